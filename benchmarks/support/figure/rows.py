"""The rows of the figure, from top to bottom: who stands in it, and where."""

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.support.servers.pattern import WAYS

TOP, HEAD, GROUP = 20, 64, 30
TALL, LOW = 34, 24
"""Rows, with incidents and without."""
INCIDENTS = {*WAYS, "batch:ours_local"}
"""Rows with something to show of them."""


class Row(NamedTuple):
    """One contestant: its name in the results, and in the figure."""

    name: str
    label: str
    ours: bool = True

    @property
    def height(self) -> int:
        """In pixels."""
        return TALL if self.name in INCIDENTS else LOW


GROUPS = {
    "The caller waits for the digit": (
        Row("minimal", "minimal FastAPI", False),
        Row("minimal-threads", "FastAPI, thread pool", False),
        Row("web_single", "web_single"),
        Row("synchronous", "synchronous"),
        Row("microservice_vertical", "microservice_vertical"),
        Row("microservice_horizontal", "microservice_horizontal"),
    ),
    "The digit is fetched later": (
        Row("asynchronous", "asynchronous"),
        Row("queue:ours", "its queue alone"),
        Row("queue:arq", "arq", False),
        Row("queue:taskiq", "taskiq", False),
        Row("queue:dramatiq", "dramatiq", False),
        Row("queue:celery", "celery", False),
    ),
    "Many digits at once, from and to files": (
        Row("batch:ours_local", "batch"),
        Row("batch:loop", "plain pyarrow loop", False),
        Row("batch:pandas", "pandas, scikit-learn", False),
        Row("batch:dask", "Dask", False),
        Row("batch:spark", "Spark", False),
    ),
}


def group_tops() -> Iterator[tuple[str, float]]:
    """Where each group's heading begins."""
    y = TOP + HEAD
    for name, rows in GROUPS.items():
        yield name, y
        y += GROUP + height_of(rows)


def row_spans() -> Iterator[tuple[float, float]]:
    """From the first row to the last of each group."""
    for name, y in group_tops():
        yield y + GROUP, y + GROUP + height_of(GROUPS[name])


def row_tops() -> Iterator[tuple[Row, float]]:
    """Where each row begins."""
    for name, y in group_tops():
        y += GROUP
        for row in GROUPS[name]:
            yield row, y
            y += row.height


def height_of(rows: tuple[Row, ...]) -> int:
    """Of all together."""
    return sum(row.height for row in rows)


def rows_end() -> int:
    """Where the last row ends."""
    return TOP + HEAD + sum(GROUP + height_of(rows) for rows in GROUPS.values())
