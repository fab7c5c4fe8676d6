"""The lines of the log on stdout: JSON for programs (LOG_FORMAT=json, as in the images), or text for people.

JSON lines have the trace id of the request that they belong to; text lines have its first eight characters.
"""

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from pydantic_core import to_json

from common.telemetry.tracing import Trace, current_trace

Fields = dict[str, object]
COLOURS = {"DEBUG": 2, "INFO": 32, "WARNING": 33, "ERROR": 31, "CRITICAL": 31}
DIM = 2
UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")
SERVER_EVENTS = (
    "Started server process",
    "Waiting for application",
    "Application startup complete",
    "Application shutdown complete",
    "Uvicorn running on",
    "Shutting down",
    "Finished server process",
)
"""Messages of uvicorn that people need not see once for every service."""


class JsonFormatter(logging.Formatter):
    """Renders a log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level, logger, message and exception, with the current trace id."""
        line: Fields = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname,
        }
        if trace := current_trace.get():
            line["trace_id"], line["span_id"] = trace.trace_id, trace.span_id
        line |= {"logger": record.name, "message": _message(record)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return to_json(line, fallback=str).decode()


class TextFormatter(logging.Formatter):
    """Renders a log record as a line for people, followed by its traceback as Python prints it."""

    def __init__(self, service: str, colour: bool) -> None:
        super().__init__()
        self._service, self._colour = service, colour

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, service, level, message and exception."""
        start = text_start(record.created, self._service, record.levelname, self._colour)
        lines = [f"{start} {printable(_message(record))}{text_end({}, current_trace.get(), self._colour)}"]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        return "\n".join(lines)


def _message(record: logging.LogRecord) -> str:
    """Without line breaks at its end: uvicorn's, of an unhandled error, has one before the traceback."""
    return record.getMessage().rstrip("\r\n")


def text_start(time: float, service: str, level: str, colour: bool) -> str:
    """The start of a line for people, with the local time."""
    clock, level = _clock(int(time)), _paint_level(level, colour)
    return f"{clock}.{int(time * 1e3) % 1000:03d} {service} {level}"


@lru_cache(maxsize=2)
def _clock(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds):%H:%M:%S}"


@lru_cache(maxsize=16)
def _paint_level(level: str, colour: bool) -> str:
    return paint(level, COLOURS.get(level, DIM), colour)


def text_end(fields: Mapping[str, object], trace: Trace | None, colour: bool) -> str:
    """The end of a line for people: further fields, and by which trace other services' lines are found."""
    end = "".join([f" {name}={printable(str(value))}" for name, value in fields.items()]) if fields else ""
    return f"{end} {paint(f'trace={trace.trace_id[:8]}', DIM, colour)}" if trace else end


def printable(text: str) -> str:
    """The text without line breaks and other control characters, which a client may have sent."""
    return text if text.isprintable() else repr(text)[1:-1]


def paint(text: str, colour: int, use_colour: bool) -> str:
    """The text in an ANSI colour."""
    return f"\033[{colour}m{text}\033[0m" if use_colour else text


def use_colour() -> bool:
    """Whether people see stdout on a terminal; NO_COLOR and FORCE_COLOR decide where they are set."""
    if os.environ.get("NO_COLOR"):
        return False
    return sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))


def configure_logging(level: str, log_format: str = "json", service: str = "") -> None:
    """Send all logs of the process, uvicorn's too, through one handler; uvicorn's access log would double ours."""
    handler = logging.StreamHandler(sys.stdout)
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter(service, use_colour()))
        handler.addFilter(_is_for_people)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    _take_from_uvicorn()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else it logs every URL, with the secrets in it
    logging.getLogger("httpcore").setLevel(logging.WARNING)


def reconfigure_uvicorn() -> None:
    """The same again at start, since `uvicorn.run(create_app())` sets up its logs after the app was made.

    Logs that you have configured yourself (`log_config`) stay as they are.
    """
    handlers = [handler for name in UVICORN for handler in logging.getLogger(name).handlers]
    if any(type(handler.formatter).__module__ == "uvicorn.logging" for handler in handlers):
        _take_from_uvicorn()


def _take_from_uvicorn() -> None:
    for name in UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = name != "uvicorn.access"


def _is_for_people(record: logging.LogRecord) -> bool:
    """Drops what uvicorn says of each start and stop; on a terminal of its own it says where it listens."""
    message = record.getMessage()
    if record.name != "uvicorn.error" or record.levelno > logging.INFO or not message.startswith(SERVER_EVENTS):
        return True
    return message.startswith("Uvicorn running on") and sys.stdout.isatty()
