"""The manager's HTTP endpoints. They write requests into the registry; the control loop carries them out."""
