"""W3C Trace Context: one `traceparent` runs through every service, queue and log line of a transaction.

https://www.w3.org/TR/trace-context/
"""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_random = random.Random()  # ids need to be unlike each other, not unguessable


class Trace(NamedTuple):
    """A transaction (`trace_id`, 32 hex digits) and our part in it (`span_id`, 16)."""

    trace_id: str
    span_id: str
    flags: str = "01"

    @property
    def traceparent(self) -> str:
        """The header's value, to answer with and to pass on."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)


def begin_span(traceparent: bytes | None = None) -> Trace:
    """Our span in the caller's trace; a new trace where there is none or it is malformed, as the standard asks."""
    trace = _parse(traceparent) if traceparent else None
    ids = _random.randbytes(24).hex()  # all zeros, which the standard forbids, come once in 2^64 spans
    trace = Trace(trace.trace_id, ids[32:], trace.flags) if trace else Trace(ids[:32], ids[32:])
    current_trace.set(trace)
    return trace


@contextmanager
def span_of(traceparent: bytes) -> Iterator[Trace]:
    """What is logged in this block is part of that trace: for work that came by a queue."""
    before = current_trace.get()
    try:
        yield begin_span(traceparent)
    finally:
        current_trace.set(before)


def _parse(traceparent: bytes) -> Trace | None:
    match = _TRACEPARENT.fullmatch(traceparent.decode("latin-1").strip())
    if not match:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Trace(trace_id, span_id, flags)
