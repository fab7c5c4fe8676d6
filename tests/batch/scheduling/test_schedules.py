"""When schedules are due: rules, time zones, daylight saving, what was missed; by fixed times, without a clock."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from batch.registry.registry import OutputTaken, Registry
from batch.scheduling.cron import CatchUp, Rule, fill_template, select_due_times
from batch.schemas import RunRequest, ScheduleRequest


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def due(rule: str, zone: str, after: str, count: int = 3) -> list[str]:
    """The next due times, in the zone's own time."""
    found, time = [], at(after)
    for _ in range(count):
        next_time = Rule(rule, zone).next_due(time)
        assert next_time
        assert next_time > time
        time = next_time
        found.append(f"{time.astimezone(Rule(rule, zone).zone):%m-%d %H:%M%z}")
    return found


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("hourly", ["11-24 13:00+0000", "11-24 14:00+0000", "11-24 15:00+0000"]),
        ("daily", ["11-25 00:00+0000", "11-26 00:00+0000", "11-27 00:00+0000"]),
        ("weekly", ["11-30 00:00+0000", "12-07 00:00+0000", "12-14 00:00+0000"]),  # Mondays
        ("monthly", ["12-01 00:00+0000", "01-01 00:00+0000", "02-01 00:00+0000"]),
        ("*/20 12 * * *", ["11-24 12:20+0000", "11-24 12:40+0000", "11-25 12:00+0000"]),
        ("0 9-11/2 * nov,dec *", ["11-25 09:00+0000", "11-25 11:00+0000", "11-26 09:00+0000"]),
    ],
)
def test_presets_and_cron_lines_have_the_expected_due_times(rule: str, expected: list[str]) -> None:
    assert due(rule, "UTC", "2026-11-24T12:00Z") == expected


@pytest.mark.parametrize(
    ("weekday", "days"),
    [
        ("0", {"Sun"}),
        ("7", {"Sun"}),
        ("1-5", {"Mon", "Tue", "Wed", "Thu", "Fri"}),
        ("5-7", {"Fri", "Sat", "Sun"}),
        ("fri,sat,sun-mon", {"Fri", "Sat", "Sun", "Mon"}),
        ("*/2", {"Sun", "Tue", "Thu", "Sat"}),
        ("1,Wed", {"Mon", "Wed"}),
        ("0-6", {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}),
    ],
)
def test_weekdays_are_numbered_as_in_cron(weekday: str, days: set[str]) -> None:
    rule, start = Rule(f"0 0 * * {weekday}", "UTC"), at("2026-11-24T12:00Z")
    times = rule.between(start, start, start + timedelta(days=7))[1:]
    assert {f"{time:%a}" for time in times} == days
    assert len(times) == len(days)


def test_either_day_matches_if_day_of_month_and_weekday_are_restricted() -> None:
    assert due("0 0 13 * fri", "UTC", "2026-11-01T12:00Z", 5) == [
        *("11-06 00:00+0000", "11-13 00:00+0000", "11-20 00:00+0000"),
        *("11-27 00:00+0000", "12-04 00:00+0000"),
    ]
    assert due("0 0 25 * 1", "UTC", "2026-11-24T12:00Z", 2) == ["11-25 00:00+0000", "11-30 00:00+0000"]


def test_day_begins_in_the_time_zone_of_the_schedule() -> None:
    assert due("daily", "Asia/Tokyo", "2026-11-24T12:00Z", 1) == ["11-25 00:00+0900"]
    assert due("daily", "America/New_York", "2026-11-24T12:00Z", 1) == ["11-25 00:00-0500"]
    assert due("daily", "Asia/Kathmandu", "2026-11-24T18:30Z", 1) == ["11-26 00:00+0545"]


@pytest.mark.parametrize(
    ("rule", "zone", "after", "expected"),
    [
        # The clock goes from 2:00 to 3:00: 2:30 is due at 3:00, as in Debian's cron, and on no other day.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        ("0,30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["03-29 03:00+0200", "03-29 03:30+0200"]),
        # A rule that begins with * goes by the clock.
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["03-30 02:00+0200", "03-30 02:30+0200"]),
        # It goes from 3:00 back to 2:00: 2:30 comes twice, and is due once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["10-25 02:00+0200", "10-25 02:30+0200"]),
        # There, midnight is skipped.
        ("daily", "America/Santiago", "2026-09-05T12:00Z", ["09-06 01:00-0300", "09-07 00:00-0300"]),
        ("daily", "America/Santiago", "2026-04-04T12:00Z", ["04-05 00:00-0400", "04-06 00:00-0400"]),
        # Every hour is every hour that passes.
        ("hourly", "Europe/Berlin", "2026-03-29T00:30Z", ["03-29 03:00+0200", "03-29 04:00+0200"]),
        ("hourly", "Europe/Berlin", "2026-10-24T23:30Z", ["10-25 02:00+0200", "10-25 02:00+0100"]),
    ],
)
def test_due_times_around_clock_changes_follow_cron(rule: str, zone: str, after: str, expected: list[str]) -> None:
    assert due(rule, zone, after, 2) == expected


def test_due_time_in_the_skipped_hour_is_due_once_when_that_hour_ends() -> None:
    assert due("30 2 * * *", "Europe/Berlin", "2026-03-29T00:59:30Z", 1) == ["03-29 03:00+0200"]
    assert due("30 2 * * *", "Europe/Berlin", "2026-03-29T01:10Z", 1) == ["03-30 02:30+0200"]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "America/St_Johns"])
def test_daily_is_due_every_day_of_a_year_and_hourly_every_hour(zone: str) -> None:
    start, end = at("2026-01-15T12:00Z"), at("2027-01-15T12:00Z")
    days = Rule("daily", zone).between(start, start, end)[1:]
    assert len(days) == 365
    assert len({time.astimezone(Rule("daily", zone).zone).date() for time in days}) == 365
    start, end = at("2026-03-01T12:00Z"), at("2026-04-30T12:00Z")
    hours = Rule("hourly", zone).between(start, start, end)[1:]
    assert all(timedelta(minutes=30) <= b - a <= timedelta(minutes=90) for a, b in pairwise(hours))
    assert abs(len(hours) - (end - start) / timedelta(hours=1)) <= 1


def test_due_times_of_a_repeated_hour_have_different_outputs() -> None:
    rule = Rule("hourly", "Europe/Berlin")
    times = rule.between(at("2026-10-25T00:00Z"), at("2026-10-25T00:00Z"), at("2026-10-25T01:00Z"))
    assert [fill_template("out/{date}/{time}", time, rule.zone) for time in times] == [
        "out/2026-10-25/02-00+0200",
        "out/2026-10-25/02-00+0100",
    ]


@pytest.mark.parametrize(
    ("late", "catch_up", "expected"),
    [
        (0, "none", ["10:00"]),
        (59, "none", ["10:00"]),  # late, but within misfire_seconds
        (200, "none", ["10:02", "10:03"]),  # three are missed, and two are not
        (200, "latest", ["10:02", "10:03"]),
    ],
)
def test_due_times_within_misfire_seconds_are_all_run(late: int, catch_up: CatchUp, expected: list[str]) -> None:
    first = at("2026-11-24T10:00Z")
    times = select_due_times(Rule("* * * * *", "UTC"), first, first + timedelta(seconds=late), 90, catch_up)
    assert [f"{time:%H:%M}" for time in times] == expected


@pytest.mark.parametrize(("catch_up", "expected"), [("latest", ["11-24 00:00"]), ("none", [])])
def test_latest_missed_due_time_is_run_or_none(catch_up: CatchUp, expected: list[str]) -> None:
    rule = Rule("daily", "UTC")
    times = select_due_times(rule, at("2026-11-21T00:00Z"), at("2026-11-24T10:00Z"), 60, catch_up)
    assert [f"{time:%m-%d %H:%M}" for time in times] == expected


def test_latest_due_time_of_a_year_of_minutes_is_found_quickly() -> None:
    times = select_due_times(
        Rule("* * * * *", "UTC"), at("2025-11-24T10:00Z"), at("2026-11-24T10:00:30Z"), 10, "latest"
    )
    assert times == [at("2026-11-24T10:00Z")]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rule": "yearly"}, "expected hourly, daily"),
        ({"rule": "* * * * * *"}, "five fields"),
        ({"rule": "61 * * * *"}, "five fields"),
        ({"rule": "0 0 * * 8"}, "Bad day-of-week"),
        ({"rule": "0 0 * * fri-mon"}, "Bad day-of-week"),
        ({"rule": "0 0 30 2 *"}, "Bad day-of-month"),
        ({"rule": "* * */20 * 1L"}, "is never due"),
        ({"rule": "\uff13\uff10 2 * * *"}, "five fields"),
        ({"rule": "30 \u0662 * * *"}, "five fields"),
        ({"rule": "0 0 * * \u0663L"}, "five fields"),
        ({"rule": ""}, "five fields"),
        ({"trial_rule": "often"}, "five fields"),
        ({"time_zone": "Berlin"}, "IANA"),
        ({"time_zone": "../../etc/passwd"}, "IANA"),
        ({"time_zone": "Europe"}, "IANA"),
        ({"time_zone": "localtime"}, "IANA"),
        ({"time_zone": "Factory"}, "IANA"),
        ({"time_zone": "posix/Europe/Berlin"}, "IANA"),
        ({"time_zone": "right/Europe/Berlin"}, "IANA"),
        ({"time_zone": "posixrules"}, "IANA"),
        ({"output": "out"}, "two due times would share out"),
        ({"rule": "0 */6 * * *"}, "perhaps also {time}"),
        ({"output": "out/{date}/{name}"}, "as the only braces"),
        ({"rule": "hourly", "output": "{date}/{time}", "deadline_seconds": 3_601}, "expected at most 3600"),
        ({"time_zone": "Europe/Berlin", "deadline_seconds": 86_400}, "expected at most 82800"),
        ({"time_zone": "Europe/Berlin", "rule": "30 2 * * *", "deadline_seconds": 86_400}, "expected at most 84600"),
        ({"time_zone": "Europe/Berlin", "rule": "weekly", "deadline_seconds": 604_800}, "expected at most 601200"),
        (
            {"time_zone": "Europe/Berlin", "rule": "0 */2 * * *", "output": "{date}/{time}", "deadline_seconds": 7_200},
            "expected at most 3600",
        ),
        ({"deadline_seconds": 86_401}, "expected at most 86400"),
        ({"interval": 0}, "greater than or equal to 1"),
    ],
)
def test_invalid_schedule_is_refused_with_what_was_expected(wrong: dict[str, object], says: str) -> None:
    form = {"name": "a", "rule": "daily", "input": "in/{date}", "output": "out/{date}"} | wrong
    with pytest.raises(ValidationError) as error:
        ScheduleRequest.model_validate(form)
    assert says in str(error.value)


def test_due_time_is_added_once_by_two_managers_and_two_open_runs_never_share_an_output(tmp_path: Path) -> None:
    first, second = (Registry(tmp_path / "registry.sqlite") for _ in range(2))
    now = datetime.now(UTC)
    form = ScheduleRequest(name="a", rule="daily", input=["in"], output="out/{date}", overlap="allow")
    seen = first.add_schedule(form, now, None)
    run = RunRequest(input=["in"], output="out/1")
    later = now + timedelta(days=1)
    assert first.trigger(seen, [(now, run)], later, False)
    assert not second.trigger(seen, [(now, run)], later, False)
    (again,) = second.schedules()
    assert not second.trigger(again, [(now, run.model_copy(update={"output": "out/2"}))], later, False)
    assert len(second.runs()) == 1
    with pytest.raises(OutputTaken, match="which is open"):
        second.add_run(run)
    first.close()
    second.close()
