"""What becomes of the due times of a schedule, and which states a run may leave by which transition."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from batch.output.progress import Progress
from batch.registry import transitions
from batch.registry.plan_runs import ExistingRuns, Skip, Start, plan_runs
from batch.registry.registry import Registry
from batch.registry.transitions import Outcome, Transition
from batch.schemas import Run, RunRequest, Schedule, ScheduleRequest, State

DUE = [datetime(2026, 11, 24, hour, tzinfo=UTC) for hour in range(3)]
NO_RUNS = ExistingRuns(has_open_run=False, due_times=set(), open_outputs={})


def schedule(**options: Any) -> Schedule:
    request = ScheduleRequest(name="a", rule="hourly", input=["in"], output="out/{date}/{time}", **options)
    times = {"created_at": DUE[0], "next_due": DUE[0], "next_trial": None}
    return Schedule(**request.model_dump(), **times, id="1")


def requests(*due_times: datetime) -> list[tuple[datetime, RunRequest]]:
    return [(due, RunRequest(input=["in"], output=f"out/{due.hour}")) for due in due_times]


def test_every_due_time_starts_a_run_with_overlap_allow() -> None:
    plan = plan_runs(schedule(overlap="allow"), DUE[0], requests(*DUE), NO_RUNS)
    assert [step.due_at for step in plan if isinstance(step, Start)] == DUE


def test_due_time_is_skipped_while_a_run_is_open_with_overlap_forbid() -> None:
    first, *others = plan_runs(schedule(), DUE[0], requests(*DUE), NO_RUNS)
    assert isinstance(first, Start)
    assert others == [Skip(f"2026-11-24 0{hour}:00Z: a run was still open (overlap=forbid)") for hour in (1, 2)]
    (only,) = plan_runs(schedule(), DUE[0], requests(DUE[0]), NO_RUNS._replace(has_open_run=True))
    assert isinstance(only, Skip)


def test_due_time_with_a_run_gets_no_second_one() -> None:
    existing = NO_RUNS._replace(due_times={DUE[0]})
    (step,) = plan_runs(schedule(overlap="allow"), DUE[0], requests(*DUE[:2]), existing)
    assert isinstance(step, Start)
    assert step.due_at == DUE[1]


def test_due_time_is_skipped_if_an_open_run_has_its_output() -> None:
    (step,) = plan_runs(schedule(), DUE[0], requests(DUE[0]), NO_RUNS._replace(open_outputs={"out/0": "other"}))
    assert step == Skip("2026-11-24 00:00Z: the open run other has the output out/0")


def test_missed_due_times_are_reported_before_those_that_are_run() -> None:
    assert plan_runs(schedule(catch_up="none"), DUE[0], [], NO_RUNS) == [
        Skip("2026-11-24 00:00Z and after: missed (catch_up=none)")
    ]
    missed, start = plan_runs(schedule(), DUE[0], requests(DUE[2]), NO_RUNS)
    assert missed == Skip("2026-11-24 00:00Z until 2026-11-24 02:00Z: missed (catch_up=latest)")
    assert isinstance(start, Start)


def all_transitions(run: Run) -> dict[str, Transition]:
    """Every transition of the module, by name."""
    outcome = Outcome("done", [])
    return {
        "start": transitions.start(run, None, None, DUE[0]),
        "record_pid": transitions.record_pid(1),
        "report": transitions.report(None, False),
        "finish": transitions.finish(run, outcome, None, False, DUE[0]),
        "reject": transitions.reject("no", DUE[0]),
        "mark_at_risk": transitions.mark_at_risk(),
        "expire": transitions.expire(DUE[0]),
        "cancel": transitions.cancel(DUE[0]),
        "request_cancel": transitions.request_cancel(),
        "queue_again": transitions.queue_again(run, None, DUE[0]),
    }


def force(registry: Registry, run_id: str, state: State) -> None:
    """Bring a run into a state, wherever it is."""
    assert registry.apply(run_id, Transition(get_args(State), {"state": state}))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with closing(Registry(tmp_path / "registry.sqlite")) as registry:
        yield registry


@pytest.fixture
def run(registry: Registry) -> Run:
    return registry.add_run(RunRequest(input=["in"], output="out", retry="none", deadline_seconds=60))


@pytest.mark.parametrize("state", get_args(State))
def test_transition_changes_a_run_only_in_the_states_it_names(registry: Registry, run: Run, state: State) -> None:
    for name, transition in all_transitions(run).items():
        force(registry, run.id, state)
        before = registry.run(run.id)
        assert registry.apply(run.id, transition) == (state in transition.expected), name
        after = registry.run(run.id)
        if state not in transition.expected:
            assert after == before, name
        else:
            assert after.state == transition.columns.get("state", state), name


def test_readme_lists_every_transition_with_its_states(run: Run) -> None:
    readme = (Path(transitions.__file__).parents[1] / "README.md").read_text()
    rows = [row.split("|")[1:4] for row in readme.splitlines() if row.startswith("| `")]
    listed = {name.strip(" `"): (before, after) for names, before, after in rows for name in names.split(", ")}
    for name, transition in all_transitions(run).items():
        before, after = listed[name]
        assert {text.strip() for text in before.split(",")} == {*transition.expected}, name
        assert transition.columns.get("state", transition.expected[0]) in after, name


def ended(registry: Registry, due: datetime, chunks: int, deferred_from: str | None = None) -> str:
    """A run of a schedule that ended at its due time, with so many of its four chunks done; its id."""
    request = RunRequest(input=["in"], output=f"out/{due.hour}", retry="none")
    stored = registry.schedules() or [
        registry.add_schedule(ScheduleRequest(name="a", rule="hourly", input=["in"], output="out/{time}"), DUE[0], None)
    ]
    current = stored[0]
    registry.trigger(current, [(due, request)], due + timedelta(hours=1), trial=False)
    run = registry.runs(count=1)[0]
    progress = Progress(engine="local", rows_total=4, chunks=chunks, chunks_total=4).model_dump_json()
    columns = {"state": "done", "finished_at": due, "progress": progress, "deferred_from": deferred_from}
    assert registry.apply(run.id, Transition(("queued",), columns))
    return run.id


def test_old_runs_are_forgotten_but_for_open_ones_and_those_with_chunks_that_no_run_has_taken(
    registry: Registry, run: Run
) -> None:
    first, second, third = (
        ended(registry, DUE[0], chunks=4),
        ended(registry, DUE[1], chunks=3),
        ended(registry, DUE[2], chunks=4),
    )
    assert registry.remove_ended(DUE[0]) == []
    assert registry.remove_ended(DUE[2]) == [first]
    assert {one.id for one in registry.runs()} == {run.id, second, third}
    taker = ended(registry, DUE[2] + timedelta(hours=1), chunks=4, deferred_from="out/1")
    assert sorted(registry.remove_ended(DUE[2])) == [second]
    assert {one.id for one in registry.runs()} == {run.id, third, taker}


def test_retry_starts_the_deadline_again(run: Run) -> None:
    columns = transitions.queue_again(run, None, DUE[0]).columns
    assert (columns["deadline_at"], columns["next_retry"]) == (DUE[0] + timedelta(seconds=60), "partial")
