"""When a schedule is due: `hourly`, `daily`, `weekly`, `monthly` or a cron line, in a time zone. No state, no clock.

The presets are due at minute 0, at midnight, on Monday at midnight, on the 1st at midnight. A cron line means what it
means to cron: weekdays 0 and 7 are Sunday, and where day of month and weekday are both restricted, either will do.

Daylight saving, as in cron: a rule that names its hours is due once for each of them, whatever the clock does. Where
the clock leaves the time out it is due as much later; where the time comes twice, at the first. A rule for every hour
(`*`) goes by real time: once in each hour that passes.

What was missed (`to_fire`): due times that are no older than `misfire_seconds` are all run. Where there are only older
ones the manager was away, and `catch_up` says whether the `latest` of them is run, or `none`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Literal
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

PRESETS = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * mon", "monthly": "0 0 1 * *"}
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
EXPECTED = f"expected {', '.join(PRESETS)} or a cron line of five fields such as '30 2 * * 1-5'"
TINY = timedelta(microseconds=1)
FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
SHIFT = timedelta(hours=3)
"""More than any clock is put forward or back."""

CatchUp = Literal["latest", "none"]


class Rule:
    """When something is due; raises ValueError for what is no rule or no time zone, or is never due."""

    def __init__(self, rule: str, time_zone: str) -> None:
        try:
            self.zone = ZoneInfo(time_zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"time_zone: expected an IANA name such as Europe/Berlin, got {time_zone!r:.80}") from None
        fields = PRESETS.get(rule, rule).split()
        if len(fields) != 5:
            raise ValueError(f"rule: {EXPECTED}, got {rule!r:.80}")
        self._next_due = self._each_hour if fields[1] == "*" else self._by_the_clock
        try:
            self._triggers = [CronTrigger.from_crontab(line, UTC) for line in _lines(fields)]
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"rule: {EXPECTED}, got {rule!r:.80}: {error}") from None
        for trigger in self._triggers:
            trigger.end_date = LAST  # else what is never due would be looked for until the year 9999
        if self.next_due(FIRST) is None:
            raise ValueError(f"rule: {rule!r:.80} is never due")

    def next_due(self, after: datetime) -> datetime | None:
        """The first due time after this moment, in UTC."""
        return self._next_due(after.astimezone(UTC))

    def all_after(self, after: datetime) -> Iterator[datetime]:
        """One due time after another."""
        while due := self.next_due(after):
            yield due
            after = due

    def between(self, first: datetime, start: datetime, end: datetime) -> list[datetime]:
        """The due times from `start` to `end`, where `first` is the first of all."""
        later = takewhile(lambda due: due <= end, self.all_after(max(first, start - TINY)))
        return [first, *later] if start <= first <= end else list(later)

    def latest(self, first: datetime, now: datetime) -> datetime:
        """The latest due time until now, where `first` is the first of all and has come."""
        window = timedelta(minutes=1)
        while (start := now - window) > first:
            if found := self.between(first, start, now):
                return found[-1]
            window *= 2
        return self.between(first, first, now)[-1]

    def _by_the_clock(self, after: datetime) -> datetime | None:
        """Some times of the clock are left out, others come twice: each is due once."""
        wall = after + self._offset(after) - SHIFT
        while found := self._next(wall):
            due = found.replace(tzinfo=self.zone).astimezone(UTC)
            if due > after:
                return due
            wall = found
        return None

    def _each_hour(self, after: datetime) -> datetime | None:
        """As if the clock's offset stayed; where it does not, once more from its change on."""
        offset = self._offset(after)
        while found := self._next(after + offset):
            due = found - offset
            if self._offset(due) == offset:
                return due
            change = self._change(after, due)
            after, offset = change - TINY, self._offset(change)
        return None

    def _change(self, before: datetime, after: datetime) -> datetime:
        """The second from which on the offset is no more what it was."""
        offset, after = self._offset(before), after.replace(microsecond=0)
        while after - before > timedelta(seconds=1):
            middle = (before + (after - before) / 2).replace(microsecond=0)
            before, after = (middle, after) if self._offset(middle) == offset else (before, middle)
        return after

    def _offset(self, time: datetime) -> timedelta:
        return time.astimezone(self.zone).utcoffset() or timedelta()

    def _next(self, wall: datetime) -> datetime | None:
        """On a clock that is never changed: UTC in name, the zone's own in what it shows."""
        times = [trigger.get_next_fire_time(None, wall + TINY) for trigger in self._triggers]
        return min((time for time in times if time), default=None)


def to_fire(rule: Rule, next_due: datetime, now: datetime, misfire_seconds: float, catch_up: CatchUp) -> list[datetime]:
    """Of the due times that have come, those that are to be run."""
    recent = rule.between(next_due, max(next_due, now - timedelta(seconds=misfire_seconds)), now)
    if recent or catch_up == "none":
        return recent
    return [rule.latest(next_due, now)]


def filled(template: str, due: datetime, zone: ZoneInfo) -> str:
    """`{date}` and `{time}` of a due time in its zone: `2026-10-25` and `02-30+0200`, whose offset makes it unique."""
    local = due.astimezone(zone)
    return template.replace("{date}", f"{local:%Y-%m-%d}").replace("{time}", f"{local:%H-%M%z}")


def _lines(fields: list[str]) -> list[str]:
    """As APScheduler reads a cron line: by names of weekdays, and with both kinds of days as two lines."""
    minute, hour, day, month, weekday = fields
    if weekday.startswith("*") or day.startswith("*"):
        return [f"{minute} {hour} {day} {month} {_weekdays(weekday)}"]
    return [f"{minute} {hour} {day} {month} *", f"{minute} {hour} * {month} {_weekdays(weekday)}"]


def _weekdays(field: str) -> str:
    """Each by its name: cron's 0 is a Sunday, APScheduler's a Monday."""
    found: set[int] = set()
    for part in field.lower().split(","):
        days, _, step = part.partition("/")
        first, _, last = ("0", "", "6") if days == "*" else days.partition("-")
        begin = _weekday(first)
        end = _weekday(last) if last else 6 if step else begin
        if end < begin:
            end += 7
        found |= {day % 7 for day in range(begin, end + 1, int(step or 1))}
    return "*" if len(found) == 7 else ",".join(WEEKDAYS[day] for day in sorted(found))


def _weekday(text: str) -> int:
    day = WEEKDAYS.index(text) if text in WEEKDAYS else int(text)
    if not 0 <= day <= 7:
        raise ValueError(f"there is no weekday {day}")
    return day
