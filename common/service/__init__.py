"""What makes a FastAPI app a service: middleware, routing, problems, metrics, log, shutdown. Imports no other room."""
