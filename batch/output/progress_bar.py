"""Shows the progress of a run: a bar on a terminal, else a line every ten seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeRemainingColumn

from batch.output.progress import Progress

LINE_SECONDS = 10.0


@contextmanager
def show_progress(progress: Progress) -> Iterator[Callable[[], None]]:
    """Returns a function to call when the progress has changed."""
    if not sys.stderr.isatty():
        yield _lines(progress)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Bar(TextColumn("rows"), *columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rows", total=progress.rows_total, completed=progress.rows, rate="")
        yield lambda: bar.update(task, completed=progress.rows, rate=_rate(progress))


def _lines(progress: Progress) -> Callable[[], None]:
    next_line = time.monotonic() + LINE_SECONDS

    def show() -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + LINE_SECONDS
            print(f"{progress.rows:,} of {progress.rows_total:,} rows, {_rate(progress)}", file=sys.stderr, flush=True)

    return show


def _rate(progress: Progress) -> str:
    risk = ", will miss its deadline" if progress.at_risk else ""
    return f"{progress.rows_per_second:,.0f} rows/s{risk}"
