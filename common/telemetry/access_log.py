"""What is recorded of every request: its metrics and its line in the log.

Requests that finish in the same turn of the event loop are logged together in the next one. Logging each separately
costs twice as much CPU.
"""

import asyncio
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from types import MappingProxyType
from typing import NamedTuple

from pydantic_core import to_json

from common.telemetry.log_format import COLOURS, paint, printable, text_end, text_start, use_colour
from common.telemetry.metrics import ServiceMetrics
from common.telemetry.tracing import Trace

PROBES = ("/health/", "/v2/health/", "/metrics")


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
    """Counts requests and writes a line for each to stdout: at log level INFO, for health and metrics at DEBUG."""

    def __init__(self, metrics: ServiceMetrics, log_level: str, log_format: str = "json", service: str = "") -> None:
        self._metrics = metrics
        level = logging.getLevelNamesMapping()[log_level]
        self._logs, self._logs_probes = level <= logging.INFO, level <= logging.DEBUG
        self._line = _json_line if log_format == "json" else partial(_text_line, service=service, colour=use_colour())
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
            logged = [request for request in finished if self._logs_probes or not _is_probe(request.route)]
            if logged:
                sys.stdout.write("".join([self._line(request) for request in logged]))
                sys.stdout.flush()


def _json_line(request: RequestRecord) -> str:
    """Put together by hand: `to_json` of a dict would take nearly twice as long.

    Only two values are not escaped. A method is a token, or the HTTP parser rejects the request (RFC 9110, 5.6.2). A
    path that equals its route is one that the program itself has declared. So no client can add to the line.
    """
    time = f"{_utc(int(request.began))}.{int(request.began * 1e3) % 1000:03d}Z"
    level = "DEBUG" if _is_probe(request.route) else "INFO"
    path = f'"{request.path}"' if request.path == request.route else to_json(request.path).decode()
    more = f",{to_json(request.log, fallback=str).decode()[1:-1]}" if request.log else ""
    return (
        f'{{"time":"{time}","level":"{level}","trace_id":"{request.trace.trace_id}","span_id":"{request.trace.span_id}",'
        f'"method":"{request.method}","path":{path},"status":{request.status},"ms":{request.seconds * 1e3:.3f}'
        f"{more}}}\n"
    )


def _text_line(request: RequestRecord, service: str, colour: bool) -> str:
    start = text_start(request.began, service, "DEBUG" if _is_probe(request.route) else "INFO", colour)
    end = text_end(request.log, request.trace, colour)
    path, status = printable(request.path), _paint_status(request.status, colour)
    return f"{start} {request.method} {path} {status} {request.seconds * 1e3:.1f} ms{end}\n"


@lru_cache(maxsize=1024)
def _paint_status(status: int, colour: bool) -> str:
    level = "INFO" if status < 400 else "WARNING" if status < 500 else "ERROR"
    return paint(str(status), COLOURS[level], colour)


@lru_cache(maxsize=1024)
def _is_probe(route: str) -> bool:
    """Whether this is asked again and again by those who watch the service."""
    return route.startswith(PROBES) or (route.startswith("/v2/models/") and route.endswith("/ready"))


@lru_cache(maxsize=2)
def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
