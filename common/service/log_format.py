"""One JSON object a line on stdout, each with the trace id of the request that it belongs to."""

import logging
import sys
from datetime import UTC, datetime

from pydantic_core import to_json

from common.service.tracing import current_trace

Fields = dict[str, object]


class JsonFormatter(logging.Formatter):
    """Renders a log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level, logger, message and exception, with the current trace id."""
        fields: Fields = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return _line(record.levelname, record.created, fields)


def configure_logging(level: str) -> None:
    """Send all logs of the process, uvicorn's too, through one JSON handler."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def _line(level: str, time: float, fields: Fields) -> str:
    line: Fields = {"time": datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds"), "level": level}
    if trace := current_trace.get():
        line["trace_id"], line["span_id"] = trace.trace_id, trace.span_id
    return to_json(line | fields, fallback=str).decode()
