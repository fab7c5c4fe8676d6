"""What uvicorn is started with: its HTTP/1.1 protocol, with limits for headers. Imports `service`."""
