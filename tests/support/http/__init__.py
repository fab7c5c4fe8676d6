"""Requests, answers and events over HTTP, and faults between two services."""
