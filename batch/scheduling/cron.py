"""When a schedule is due: `hourly`, `daily`, `weekly`, `monthly` or a cron line, in a time zone. No state, no clock.

The presets are due at minute 0, at midnight, on Monday at midnight and on the 1st at midnight. Due times come from
`cronsim`, which follows Debian's cron. Weekdays 0 and 7 are Sunday. If day of month and weekday are both restricted,
a day that matches either is due. When a clock changes:

- A rule with a fixed minute and hour (neither begins with `*`) runs once. A time in the hour that the clock skips is
  due at the end of that hour; a time in the hour that comes twice is due the first time.
- Any other rule follows the clock: it does not run in a skipped hour, and runs in both of two equal hours.

Two exceptions of cronsim for rules that follow the clock: where a clock changes by half an hour (Lord Howe Island), up
to an hour may be missed; where the clock skips midnight, a rule for some days may be due once at the end of that hour.

Missed due times (`select_due_times`): those that are at most `misfire_seconds` old are all run. If all are older, the
manager was away, and `catch_up` says whether the `latest` of them is run, or `none`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

PRESETS = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * mon", "monthly": "0 0 1 * *"}
EXPECTED = f"expected {', '.join(PRESETS)} or a cron line of five fields such as '30 2 * * 1-5'"
ANY_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LARGEST_CLOCK_CHANGE = timedelta(hours=3)
NO_ZONES = {"localtime", "Factory"}
"""Files in the zoneinfo folder of a machine that are not time zones of the database."""

CatchUp = Literal["latest", "none"]


class Rule:
    """The due times of a rule, in UTC. Raises ValueError for a rule or time zone that is not valid, or never due."""

    def __init__(self, rule: str, time_zone: str) -> None:
        try:
            self.zone = ZoneInfo(time_zone)
        except (KeyError, ValueError, OSError):
            raise unknown_zone(time_zone) from None
        self._line = PRESETS.get(rule, rule)
        if len(self._line.split()) != 5:
            raise ValueError(f"rule: {EXPECTED}, got {rule!r:.80}")
        try:
            first = self.next_due(ANY_MOMENT)
        except (CronSimError, ValueError) as error:
            raise ValueError(f"rule: {EXPECTED}, got {rule!r:.80}: {error}") from None
        if first is None:
            raise ValueError(f"rule: {rule!r:.80} is never due")

    def next_due(self, after: datetime) -> datetime | None:
        """The first due time after this moment."""
        return next(self.due_times(after), None)

    def due_times(self, after: datetime) -> Iterator[datetime]:
        """All due times after this moment, in order."""
        for local in CronSim(self._line, after.astimezone(self.zone)):
            due = local.astimezone(UTC)
            if due > after:  # two times in a skipped hour are due at one moment; an hour that comes twice begins again
                yield due
                after = due

    def between(self, first: datetime, start: datetime, end: datetime) -> list[datetime]:
        """The due times from `start` to `end`. `first` is the schedule's first due time, and always one of them."""
        later = takewhile(lambda due: due <= end, self.due_times(max(first, start - MICROSECOND)))
        return [first, *later] if start <= first <= end else list(later)

    def latest(self, first: datetime, now: datetime) -> datetime:
        """The latest due time until now. `first` is the schedule's first due time, and not after now."""
        backwards = CronSim(self._line, (now + LARGEST_CLOCK_CHANGE).astimezone(self.zone), reverse=True)
        found = next((due.astimezone(UTC) for due in backwards if due.astimezone(UTC) <= now), first)
        start = max(first, found)  # in an hour that comes twice, cronsim's way back may pass over the second one
        return self.between(start, start, now)[-1]


def check_time_zone(name: str) -> None:
    """Raise ValueError for a name that only this machine knows, such as `localtime` or `posix/Europe/Berlin`."""
    if name not in _time_zones():
        raise unknown_zone(name)


def unknown_zone(name: str) -> ValueError:
    """The error that says which names are time zones."""
    return ValueError(f"time_zone: expected a name of the IANA database such as Europe/Berlin, got {name!r:.80}")


@cache
def _time_zones() -> set[str]:
    """The zones of the IANA database; without `posix/…`, `right/…` and `posixrules`, which Python never lists."""
    return available_timezones() - NO_ZONES


def select_due_times(
    rule: Rule, next_due: datetime, now: datetime, misfire_seconds: float, catch_up: CatchUp
) -> list[datetime]:
    """The due times, of those that have passed since `next_due`, that are to be run."""
    recent = rule.between(next_due, max(next_due, now - timedelta(seconds=misfire_seconds)), now)
    if recent or catch_up == "none":
        return recent
    return [rule.latest(next_due, now)]


def fill_template(template: str, due: datetime, zone: ZoneInfo) -> str:
    """`{date}` and `{time}` of a due time in its zone: `2026-10-25` and `02-30+0200`, whose offset makes it unique."""
    local = due.astimezone(zone)
    return template.replace("{date}", f"{local:%Y-%m-%d}").replace("{time}", f"{local:%H-%M%z}")
