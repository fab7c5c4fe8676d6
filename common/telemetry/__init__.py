"""What a service says of itself: log lines, metrics, trace context and `Server-Timing`. Imports no other room."""
