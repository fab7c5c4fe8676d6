"""Clients of the protocol that need a process of their own: each brings its own copy of the protocol's messages."""
