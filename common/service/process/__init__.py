"""The process around an app: how it starts, where it writes, how it is probed, and how it ends."""
