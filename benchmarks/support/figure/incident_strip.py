"""An incident in the figure: a strip of time, coloured by what a caller got who came then, and a line that says it."""

from itertools import groupby

from benchmarks.support.figure.svg import Drawing
from benchmarks.support.side_by_side.results import BatchKill, Incident, Outcome

HEIGHT = 10
LEGEND = {
    Outcome.DIGIT: "the digit",
    Outcome.PARTIAL: "an answer without this model",
    Outcome.ACCEPTED: "accepted, the digit later",
    Outcome.ERROR: "an error in time",
    Outcome.NOTHING: "no answer in time",
}
PARTIAL = {"synchronous": "fallback", "microservice_horizontal": "two votes"}
"""What it is, by pattern."""


def draw_incident(
    drawing: Drawing, incident: Incident, per_second: int, x: float, y: float, width: float, name: str
) -> None:
    """One contestant's strip."""
    scale, place = width / len(incident.outcomes), x
    for outcome, same in groupby(incident.outcomes):
        run = len(list(same)) * scale
        drawing.box(place, y, run, HEIGHT, drawing.colours.outcomes[outcome])
        place += run
    drawing.text(x, y + HEIGHT + 11.5, describe(incident, per_second, name), drawing.colours.muted, size=10.5)


def describe(incident: Incident, per_second: int, name: str) -> str:
    """What most callers got instead of the digit, how soon, and for how long."""
    missed = incident.outcomes.rstrip(Outcome.DIGIT)
    seconds = f"{len(missed) / per_second:.1f} s"
    if not missed:
        return "no caller notices"
    most = Outcome(max((*Outcome,), key=missed.count))
    if most is Outcome.NOTHING:
        return f"no answer for {seconds}" if len(missed) < len(incident.outcomes) else f"no answer in these {seconds}"
    took = f"in {incident.p50_ms:.0f} ms" if incident.p50_ms and incident.p50_ms >= 1 else "at once"
    if most is Outcome.ACCEPTED:
        return f"accepted {took}, {incident.lost or 'none'} lost"
    word = {Outcome.PARTIAL: PARTIAL.get(name, "part"), Outcome.ERROR: "error"}[most]
    return f"{word} {took}, for {seconds}"


def note_batch(drawing: Drawing, kill: BatchKill, slow_x: float, killed_x: float, y: float) -> None:
    """Where no caller waits, a line instead of a strip."""
    muted = drawing.colours.muted
    drawing.text(slow_x, y - 2, "no caller waits:", muted, size=10.5)
    drawing.text(slow_x, y + 10, "the run takes longer", muted, size=10.5)
    lost = f"{kill.rows_missing:,}" if kill.rows_missing else "none"
    drawing.text(killed_x, y - 2, f"the run resumes: {lost} of", muted, size=10.5)
    drawing.text(killed_x, y + 10, f"{kill.rows:,} rows lost", muted, size=10.5)


def time_axis(drawing: Drawing, x: float, y: float, width: float, seconds: float) -> None:
    """The seconds of a strip, from the incident on."""
    muted = drawing.colours.muted
    for second in range(int(seconds) + 1):
        place, last = x + width * second / seconds, second == int(seconds)
        drawing.line(place, y + 4, place, y + 8, muted)
        drawing.text(
            place, y, f"{second} s" if last else str(second), muted, size=10, anchor="end" if last else "middle"
        )


def legend(drawing: Drawing, x: float, y: float) -> None:
    """The colours."""
    for outcome, words in LEGEND.items():
        drawing.box(x, y - 9, 18, HEIGHT, drawing.colours.outcomes[outcome])
        drawing.text(x + 23, y, words, size=11)
        x += 23 + 6.2 * len(words) + 16
