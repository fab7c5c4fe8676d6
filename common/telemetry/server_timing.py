"""`Server-Timing` (W3C): how long each part of a response took, with the timings of the backends that were called.

https://www.w3.org/TR/server-timing/
"""

import re
from functools import lru_cache

Timings = dict[str, float]
"""Seconds by name; a name may have a description: `fallback;desc="timeout"`."""

_ENTRY = re.compile(r"([\w.-]{1,60});dur=([\d.]{1,20})")
MAX_ENTRIES = 20


def server_timing(timings: Timings, total: float) -> bytes:
    """The header's value, which counts in milliseconds."""
    milliseconds = [seconds * 1e3 for seconds in (*timings.values(), total)]
    return (_template(*timings, "total") % tuple(milliseconds)).encode()


def merge_timings(timings: Timings, backend: str, header: str) -> None:
    """Add a backend's own timings, each entry as `BACKEND.ENTRY`; malformed entries are ignored."""
    for name, milliseconds in _ENTRY.findall(header)[:MAX_ENTRIES]:
        if milliseconds.count(".") <= 1 and milliseconds != ".":
            timings[f"{backend}.{name}"] = float(milliseconds) / 1e3


@lru_cache(maxsize=256)
def _template(*names: str) -> str:
    """A place for the milliseconds of each; a service has few sets of names, and formats one for each response."""
    entries = [name.replace("%", "%%").partition(";") for name in names]
    return ", ".join([f"{name};dur=%.3f{separator}{description}" for name, separator, description in entries])
