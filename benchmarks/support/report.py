"""The figures: a table for the terminal, Markdown for a file, JSON for programs."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table


class Measurement(BaseModel):
    """One server under one load in one round; the CPU time is the server's."""

    model: str
    connections: int
    round: int
    contestant: str
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_us: float
    cpu_percent: float


class Footprint(BaseModel):
    """What a server takes: seconds from its start to its first answer, and memory before and after the load."""

    model: str
    contestant: str
    ready_seconds: float
    idle_mb: float
    loaded_mb: float


class Report(BaseModel):
    """All that was measured, and on what."""

    machine: dict[str, str]
    warnings: list[str]
    measurements: list[Measurement] = []
    footprints: list[Footprint] = []


SPEED_COLUMNS = (
    "model",
    "connections",
    "contestant",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "p99/p50",
    "CPU µs/request",
    "CPU %",
    "/ constant (min, median, max)",
    "/ minimal (min, median, max)",
)
FOOTPRINT_COLUMNS = ("model", "contestant", "start to ready s", "MB idle", "MB after load")
TEXT_COLUMNS = ("model", "contestant", "piece")


def show(report: Report, console: Console) -> None:
    """Print the report: as tables on a terminal, as Markdown in a file."""
    console.print("; ".join(f"{name} {value}" for name, value in report.machine.items()), soft_wrap=True)
    for warning in report.warnings:
        console.print(f"Warning: {warning}", soft_wrap=True)
    tables = ((SPEED_COLUMNS, speed_rows(report.measurements)), (FOOTPRINT_COLUMNS, footprint_rows(report.footprints)))
    for columns, rows in tables:
        console.print()
        show_table(columns, rows, console)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """One table, in the form that suits the console."""
    if not console.is_terminal:
        console.print(markdown(columns, rows), soft_wrap=True, markup=False, highlight=False)
        return
    table = Table()
    for name in columns:
        table.add_column(name, justify="left" if name in TEXT_COLUMNS else "right")
    grouped_by = columns.index("contestant") if "contestant" in columns else 0
    for row, next_row in zip(rows, [*rows[1:], rows[-1]], strict=True):
        table.add_row(*row, end_section=row[:grouped_by] != next_row[:grouped_by])
    console.print(table)


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    rule = [":--" if name in TEXT_COLUMNS else "--:" for name in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))


def speed_rows(measurements: Sequence[Measurement]) -> list[list[str]]:
    """A row for each server and load: medians over the rounds, and ratios taken round by round."""
    groups: dict[tuple[str, int, str], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault((one.model, one.connections, one.contestant), []).append(one)
    return [
        [
            model,
            str(connections),
            contestant,
            f"{_median(rounds, lambda one: one.requests_per_second):,.0f}",
            f"{_median(rounds, lambda one: one.p50_ms):.3f}",
            f"{_median(rounds, lambda one: one.p99_ms):.3f}",
            f"{_median(rounds, lambda one: one.p99_ms / one.p50_ms):.1f}",
            f"{_median(rounds, lambda one: one.cpu_us):.1f}",
            f"{_median(rounds, lambda one: one.cpu_percent):.0f}",
            ratio(rounds, groups.get((model, connections, "constant"))),
            ratio(rounds, groups.get((model, connections, "minimal"))),
        ]
        for (model, connections, contestant), rounds in groups.items()
    ]


def ratio(rounds: Sequence[Measurement], others: Sequence[Measurement] | None) -> str:
    """Requests/s relative to another server's in the same round, so that a busy minute harms both alike."""
    if others is None:
        return "-"
    ratios = [one.requests_per_second / other.requests_per_second for one, other in zip(rounds, others, strict=True)]
    return ", ".join(f"{value:.2f}" for value in (min(ratios), median(ratios), max(ratios)))


def footprint_rows(footprints: Iterable[Footprint]) -> list[list[str]]:
    """A row for each server."""
    return [
        [one.model, one.contestant, f"{one.ready_seconds:.2f}", f"{one.idle_mb:.0f}", f"{one.loaded_mb:.0f}"]
        for one in footprints
    ]


def _median(rounds: Iterable[Measurement], figure: Callable[[Measurement], float]) -> float:
    return median(map(figure, rounds))
