"""Draws `docs/side-by-side-light.svg` and `-dark.svg` from the committed results: `python -m benchmarks.figure`

A row for each contestant and a column for each question. Speeds are ratios to the minimal FastAPI application in the
same run, on a logarithmic scale. During an incident, time goes from left to right, and the colour is what a caller got
who came then.
"""

from pathlib import Path

from benchmarks.support.figure.incident_strip import draw_incident, legend, note_batch, time_axis
from benchmarks.support.figure.rows import GROUP, TOP, group_tops, row_spans, row_tops, rows_end
from benchmarks.support.figure.speed_dots import TIMES, Scale, draw_speed
from benchmarks.support.figure.svg import SCHEMES, Colours, Drawing
from benchmarks.support.side_by_side.results import FILE, Results

FOLDER = Path(__file__).parents[1] / "docs"
WIDTH, MARGIN, FOOT = 860, 20, 92
LATENCY = Scale(x=196, width=140, least=0.5, most=300_000)
THROUGHPUT = Scale(x=360, width=130, least=0.06, most=3_000)
SLOW_X, KILLED_X, STRIP_WIDTH = 516, 690, 150
TITLE = "The six patterns side by side"


def main() -> None:
    """Write both files."""
    results = Results.model_validate_json(FILE.read_text())
    for scheme, colours in SCHEMES.items():
        (FOLDER / f"side-by-side-{scheme}.svg").write_text(draw(results, colours))


def draw(results: Results, colours: Colours) -> str:
    """The whole figure."""
    height = rows_end() + FOOT
    drawing = Drawing(colours, WIDTH, height, TITLE, __doc__.partition("\n\n")[2] if __doc__ else "")
    for name, y in group_tops():
        drawing.box(8, y, WIDTH - 16, GROUP - 4, colours.band, radius=6)
        drawing.text(MARGIN, y + 17.5, name, colours.muted, size=12, weight=600)
    draw_heads(drawing, results)
    for scale in (LATENCY, THROUGHPUT):
        for top, bottom in row_spans():
            drawing.line(scale.at(1), top, scale.at(1), bottom, colours.line)
    for row, y in row_tops():
        middle = y + row.height / 2
        colour, weight = ("", 600) if row.ours else (colours.muted, 400)
        drawing.text(MARGIN, middle + 4.5, row.label, colour, size=12.5, weight=weight)
        if row.name in results.speeds:
            draw_speed(drawing, results, row.name, "p50_ms", LATENCY, middle, row.ours)
            draw_speed(drawing, results, row.name, "digits_per_second", THROUGHPUT, middle, row.ours)
        for x, incidents in ((SLOW_X, results.slow), (KILLED_X, results.killed)):
            if incident := incidents.get(row.name):
                draw_incident(drawing, incident, results.callers_per_second, x, y + 5, STRIP_WIDTH, row.name)
        if row.name == "batch:ours_local" and results.batch_kill:
            note_batch(drawing, results.batch_kill, SLOW_X, KILLED_X, middle)
    draw_foot(drawing, results, height)
    return drawing.svg()


def draw_heads(drawing: Drawing, results: Results) -> None:
    """The question of each column."""
    muted, y = drawing.colours.muted, TOP + 10
    heads = (
        (LATENCY.x, "Latency", "one caller, p50", "◂ less is better"),
        (THROUGHPUT.x, "Throughput", "32 callers, digits/s", "more is better ▸"),
        (SLOW_X, "The model is slow", f"1 s a picture, for {results.slow_seconds:g} s", ""),
        (KILLED_X, "Its process is killed", "and started again", ""),
    )
    for x, head, *lines in heads:
        drawing.text(x, y, head, size=14, weight=700)
        for number, line in enumerate(lines, 1):
            drawing.text(x, y + 1 + 15 * number, line, muted, size=11.5)
    for x, incidents in ((SLOW_X, results.slow), (KILLED_X, results.killed)):
        for incident in list(incidents.values())[:1]:
            seconds = len(incident.outcomes) / results.callers_per_second
            time_axis(drawing, x, y + 32, STRIP_WIDTH, seconds)


def draw_foot(drawing: Drawing, results: Results, height: int) -> None:
    """The colours, and what was measured on."""
    muted, y = drawing.colours.muted, height - FOOT + 22
    legend(drawing, MARGIN, y)
    machine = results.machine
    pace, deadline = results.callers_per_second, results.deadline_ms
    lines = (
        f"1{TIMES} is the minimal FastAPI application in the same run. During an incident {pace} callers come "
        f"each second, with a deadline of {deadline} ms.",
        "All processes of a pattern share one CPU, and the callers have the other. Other queues, the queue alone "
        f"and the batches ({results.rows:,} rows) have both.",
        f"Measured on {machine['cpu']}, {machine['cpus']} CPUs, {machine['system'].partition('-')[0]}, "
        f"Python {machine['python']}, {results.date}."
        + (" The machine was not quiet: read the speeds roughly." if results.warnings else ""),
    )
    for number, line in enumerate(lines):
        drawing.text(MARGIN, y + 20 + 14 * number, line, muted, size=11)


if __name__ == "__main__":
    main()
