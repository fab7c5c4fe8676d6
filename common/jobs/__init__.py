"""What patterns with a queue share: connection, streams, leases, subscriptions. Imports `service`, `prediction`."""
