"""What makes a FastAPI app a service: middleware, routing, problems, settings, shutdown. Imports `telemetry`."""
