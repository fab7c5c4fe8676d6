"""Bodies: read whole and within limits, inflated, and handled in a thread if they are long."""
