"""`Server-Timing` (W3C): what of an answer took how long, told to the caller, and taken over from those we called.

https://www.w3.org/TR/server-timing/
"""

import re

Timings = dict[str, float]
"""Seconds by name."""

_ENTRY = re.compile(r"([\w.-]{1,60});dur=([\d.]{1,20})")
MAX_ENTRIES = 20


def server_timing(timings: Timings, total: float) -> bytes:
    """The header's value, which counts in milliseconds."""
    entries = [f"{name};dur={seconds * 1e3:.3f}" for name, seconds in timings.items()]
    return ", ".join([*entries, f"total;dur={total * 1e3:.3f}"]).encode()


def merge_timings(timings: Timings, backend: str, header: str) -> None:
    """Add what a backend told of its own time, each entry as `BACKEND.ENTRY`; what is malformed is passed over."""
    for name, milliseconds in _ENTRY.findall(header)[:MAX_ENTRIES]:
        if milliseconds.count(".") <= 1 and milliseconds != ".":
            timings[f"{backend}.{name}"] = float(milliseconds) / 1e3
