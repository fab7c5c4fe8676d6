"""Scans of letters, kept in Redis by an id. Imports `service`, `inference`, `jobs`, `prediction`."""
