"""Jobs, the asynchronous half: stream, worker, next action, endpoints. Imports `common` and this pattern."""
