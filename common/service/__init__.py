"""What makes a FastAPI app a service: middleware, routing, problems, settings. Imports `telemetry`."""
