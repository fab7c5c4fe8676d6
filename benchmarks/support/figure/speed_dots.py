"""A speed in the figure: a dot on a logarithmic scale, and a line to it from what it is compared to."""

from math import log
from statistics import median
from typing import NamedTuple

from benchmarks.support.figure.svg import Drawing
from benchmarks.support.side_by_side.results import Results

BASE = "minimal"
TIMES = "\N{MULTIPLICATION SIGN}"
UNITS = {"p50_ms": "{:.2f} ms", "digits_per_second": "{:,.0f}/s"}


class Scale(NamedTuple):
    """Ratios from the least to the most over so many pixels."""

    x: float
    width: float
    least: float
    most: float

    def at(self, ratio: float) -> float:
        """Where a ratio stands."""
        return self.x + self.width * log(ratio / self.least) / log(self.most / self.least)


def draw_speed(drawing: Drawing, results: Results, name: str, figure: str, scale: Scale, y: float, ours: bool) -> None:
    """The contestant's ratio; the base's own figure stands beside its dot."""
    ratio = results.ratio(name, figure)
    colours = drawing.colours
    colour = colours.ours if ours else colours.muted
    x, one = scale.at(ratio), scale.at(1)
    drawing.line(one, y, x, y, colour, 2)
    drawing.dot(x, y, 4.5, colour)
    label = f"{written(ratio)}{TIMES}"
    if name == BASE:
        label = f"1{TIMES} = {UNITS[figure].format(median(getattr(results.speeds[name], figure)))}"
    text, weight = (colours.text, 600) if ours else (colours.muted, 400)
    drawing.text(max(x, one) + 9, y + 4, label, text, size=12, weight=weight)


def written(ratio: float) -> str:
    """Two digits that count."""
    if ratio >= 10:
        digits = 10 ** max(0, len(f"{ratio:.0f}") - 2)
        return f"{round(ratio / digits) * digits:,}"
    return f"{ratio:.1f}" if ratio >= 0.995 else f"{ratio:.2f}"
