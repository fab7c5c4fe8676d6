"""The shortest time between two due times of a rule in the coming years, the days on which a clock changes included."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from batch.scheduling.cron import ANY_MOMENT, Rule

YEARS = 5
DAY = timedelta(days=1)
USUAL, AROUND_A_CHANGE = 50, 300
"""Due times that are compared: from any moment on, and around each change of a clock."""


def shortest_gap(rule: Rule, now: datetime) -> timedelta:
    """The shortest of these times; a rule that is due only once has none, and gets the longest there is."""
    samples = [list(islice(rule.due_times(ANY_MOMENT), USUAL))]
    first = samples[0][0]
    for day in _days_of_clock_changes(rule.zone, now):
        if first < day:
            times = [rule.latest(first, day)]
            for due in islice(rule.due_times(day), AROUND_A_CHANGE):
                times.append(due)
                if due > day + 2 * DAY:
                    break
            samples.append(times)
    return min((due - before for times in samples for before, due in pairwise(times)), default=timedelta.max)


def _days_of_clock_changes(zone: ZoneInfo, now: datetime) -> Iterator[datetime]:
    """Moments less than a day after which the clock changes."""
    time = now.astimezone(UTC)
    for _ in range(YEARS * 366):
        if (time + DAY).astimezone(zone).utcoffset() != time.astimezone(zone).utcoffset():
            yield time
        time += DAY
