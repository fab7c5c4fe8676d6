"""What `side_by_side.py` measures: callers during an incident, a killed batch job, and what one would use instead."""
