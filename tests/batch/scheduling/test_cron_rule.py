"""Due times are those of Debian's cron, held against its rule applied minute by minute, around every clock change."""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, given, settings, strategies as st

from batch.scheduling.cron import Rule

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
ZONES = sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/"))


@st.composite
def fields(draw: st.DrawFn, low: int, high: int, stars: int) -> str:
    """One field of a cron line: `stars` times in ten a `*`, else a number, a list, a range or a step."""
    if draw(st.integers(0, 9)) < stars:
        return "*"
    first, last = sorted(draw(st.lists(st.integers(low, high), min_size=2, max_size=2, unique=True)))
    step = draw(st.integers(1, 9))
    return draw(
        st.sampled_from([f"{first}", f"{first},{last}", f"{first}-{last}", f"{first}-{last}/{step}", f"*/{step}"])
    )


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Cron lines, many of them with an hour in which clocks are changed."""
    hours = draw(st.sampled_from([FIELDS["hour"], (0, 4)]))
    minute, hour = draw(fields(*FIELDS["minute"], stars=2)), draw(fields(*hours, stars=2))
    days = " ".join(draw(fields(*FIELDS[name], stars=8)) for name in ("day", "month", "weekday"))
    return f"{minute} {hour} {days}"


def expand(field: str, low: int, high: int) -> set[int]:
    """The numbers of a field."""
    numbers: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = (str(low), "-", str(high)) if span == "*" else span.partition("-")
        numbers.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return numbers


class CronRule:
    """Cron's rule as its manual states it."""

    def __init__(self, line: str) -> None:
        texts = dict(zip(FIELDS, line.split(), strict=True))
        self._numbers = {name: expand(text, *FIELDS[name]) for name, text in texts.items()}
        self._weekdays = {day % 7 for day in self._numbers["weekday"]}
        self._both_days = texts["day"].startswith("*") or texts["weekday"].startswith("*")
        self.follows_clock = texts["minute"].startswith("*") or texts["hour"].startswith("*")

    def matches(self, local: datetime) -> bool:
        for name in ("minute", "hour", "month"):
            if getattr(local, name) not in self._numbers[name]:
                return False
        days = (local.day in self._numbers["day"], local.isoweekday() % 7 in self._weekdays)
        return all(days) if self._both_days else any(days)

    def due_times(self, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
        """After `start`, until `end`. A fixed time runs once, at the end of the skipped hour if the clock skips it."""
        found, time, latest = [], start, start.astimezone(zone).replace(tzinfo=None)
        while (time := time + MINUTE) <= end:
            local = time.astimezone(zone).replace(tzinfo=None)
            since = [latest + MINUTE * number for number in range(1, (local - latest) // MINUTE + 1)]
            if any(map(self.matches, [local] if self.follows_clock else since)):
                found.append(time)
            latest = max(latest, local)
        return found


@cache
def clock_changes(zone: ZoneInfo, year: int) -> list[tuple[datetime, timedelta]]:
    """When the clock changes, and by how much."""

    def offset(time: datetime) -> timedelta:
        return time.astimezone(zone).utcoffset() or timedelta()

    days = [datetime(year, 1, 1, tzinfo=UTC) + 24 * HOUR * number for number in range(365)]
    changed = [day for day in days if offset(day) != offset(day + 24 * HOUR)]
    hours = [day + HOUR * number for day in changed for number in range(24)]
    minutes = [
        hour + MINUTE * number for hour in hours if offset(hour) != offset(hour + HOUR) for number in range(1, 61)
    ]
    return [(minute, shift) for minute in minutes if (shift := offset(minute) - offset(minute - MINUTE))]


def is_exception(zone: ZoneInfo, change: datetime, shift: timedelta) -> bool:
    """Not a full hour, or a skipped midnight: README says how cronsim treats these in a rule that follows the clock."""
    days = {time.astimezone(zone).date() for time in (change - MINUTE, change)}
    return bool(shift % HOUR or change.astimezone(zone).minute) or (shift > timedelta() and len(days) > 1)


@pytest.mark.full
@settings(max_examples=100)
@given(rules(), st.sampled_from(ZONES), st.integers(2015, 2030), st.data())
def test_due_times_are_those_of_cron_on_the_days_of_a_clock_change(
    line: str, name: str, year: int, data: st.DataObject
) -> None:
    zone, cron = ZoneInfo(name), CronRule(line)
    assume(changes := clock_changes(zone, year))
    change, shift = data.draw(st.sampled_from(changes))
    assume(not (cron.follows_clock and is_exception(zone, change, shift)))
    start, end = change - data.draw(st.integers(2, 30)) * HOUR, change + 30 * HOUR
    expected = cron.due_times(zone, start, end)
    try:
        rule = Rule(line, name)
    except ValueError as error:
        assert not expected, error
        return
    assert rule.between(start, start, end)[1:] == expected
    now = max(start, change + data.draw(st.integers(-180, 360)) * MINUTE)
    assert rule.latest(start, now) == max([start, *(due for due in expected if due <= now)])
    assert rule.next_due(now) == next((due for due in expected if due > now), rule.next_due(end))


@settings(max_examples=100)
@given(
    st.text(max_size=30)
    | st.lists(st.text("0129*/-,#LWmon\u0661\uff11", max_size=5), min_size=5, max_size=5).map(" ".join)
)
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    try:
        assert Rule(text, "Europe/Berlin").next_due(datetime(2026, 1, 1, tzinfo=UTC))
    except ValueError as error:
        assert str(error).startswith("rule: ")
