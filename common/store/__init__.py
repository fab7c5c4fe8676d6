"""Scans of letters, kept in Redis by an id. Imports `service`, `jobs`, `prediction`; the endpoint also `inference`."""
