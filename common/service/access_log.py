"""What is recorded of every request: its metrics and its line in the log.

Requests that finish in the same turn of the event loop are logged together in the next one. Logging each separately
costs twice as much CPU.
"""

import asyncio
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from pydantic_core import to_json

from common.service.metrics import ServiceMetrics
from common.service.tracing import Trace


class RequestRecord(NamedTuple):
    """A request that was answered. `began` counts seconds since the epoch; `route` is the path as declared.

    `log` holds further members of its line in the log.
    """

    began: float
    seconds: float
    trace: Trace
    method: str
    path: str
    route: str
    status: int
    log: Mapping[str, object] = MappingProxyType({})


class AccessLog:
    """Counts requests, and from log level INFO on writes a line of JSON for each to stdout."""

    def __init__(self, metrics: ServiceMetrics, log_level: str) -> None:
        self._metrics = metrics
        self._logs = logging.getLevelNamesMapping()[log_level] <= logging.INFO
        self._requests: list[RequestRecord] = []

    def add(self, request: RequestRecord) -> None:
        """Count and log this request in the next turn of the event loop."""
        self._requests.append(request)
        if len(self._requests) == 1:
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        finished, self._requests = self._requests, []
        for request in finished:
            self._metrics.request(request.method, request.route, request.status, request.seconds)
        if self._logs:
            sys.stdout.write("".join([_line(request) for request in finished]))
            sys.stdout.flush()


def _line(request: RequestRecord) -> str:
    time = f"{_utc(int(request.began))}.{int(request.began * 1e3) % 1000:03d}Z"
    path = f'"{request.path}"' if request.path == request.route else to_json(request.path).decode()
    more = f",{to_json(request.log, fallback=str).decode()[1:-1]}" if request.log else ""
    return (
        f'{{"time":"{time}","level":"INFO","trace_id":"{request.trace.trace_id}","span_id":"{request.trace.span_id}",'
        f'"method":"{request.method}","path":{path},"status":{request.status},"ms":{request.seconds * 1e3:.3f}'
        f"{more}}}\n"
    )


@lru_cache(maxsize=2)
def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
