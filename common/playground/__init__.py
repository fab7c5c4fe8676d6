"""The page on which one tries a service, served by the service itself. Imports `service`."""
