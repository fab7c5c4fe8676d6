"""The breaker: whatever calls come, and however and whenever they end, it does what a simple model of it does."""

from dataclasses import dataclass

from hypothesis import given, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from common.backends.circuit_breaker import Breaker, Era

LIMIT = 3
OPEN_SECONDS = 10.0


class Clock:
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """One that was let through: what it reports to, how often the breaker had opened by then, and if it was open."""

    era: Era
    openings: int
    is_probe: bool


class Comparison(RuleBasedStateMachine):
    """The model knows when the breaker opened and how often, how many failed in a row, and which call probes."""

    calls: Bundle[Call] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(LIMIT, OPEN_SECONDS, self.clock)
        self.is_open = False
        self.opened = 0.0
        self.openings = 0
        self.in_a_row = 0
        self.probe: Call | None = None

    @rule(seconds=st.one_of(st.floats(0, OPEN_SECONDS), st.sampled_from([OPEN_SECONDS, 100 * OPEN_SECONDS])))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(target=calls)
    def a_call_comes(self) -> Call | MultipleResults[Call]:
        """While it is open, none gets through before the time is up; then one does, and no other until it has ended."""
        may_probe = self.clock.now >= self.opened + OPEN_SECONDS and self.probe is None
        era = self.breaker.admit()
        assert (era is not None) == (not self.is_open or may_probe)
        if era is None:
            return multiple()
        call = Call(era, self.openings, self.is_open)
        if call.is_probe:
            self.probe = call
        return call

    @rule(call=consumes(calls))
    def a_call_succeeds(self, call: Call) -> None:
        self.breaker.succeeded(call.era)
        if self._counts(call):
            self.is_open, self.in_a_row = False, 0

    @rule(call=consumes(calls))
    def a_call_fails(self, call: Call) -> None:
        self.breaker.failed(call.era)
        if self._counts(call):
            self.in_a_row += 1
            if call.is_probe or self.in_a_row == LIMIT:
                self.is_open, self.in_a_row = True, 0
                self.opened = self.clock.now
                self.openings += 1

    @rule(call=consumes(calls))
    def a_call_is_abandoned(self, call: Call) -> None:
        self.breaker.abandoned(call.era)
        self._counts(call)

    @invariant()
    def it_is_open_when_the_model_is(self) -> None:
        assert self.breaker.is_open == self.is_open

    def _counts(self, call: Call) -> bool:
        """Whether the end of this call tells anything: not if the breaker has opened since it came."""
        if call is self.probe:
            self.probe = None
        return call.openings == self.openings


def test_whatever_calls_come_it_does_as_the_model() -> None:
    run_state_machine_as_test(Comparison, settings=settings(max_examples=70, stateful_step_count=60, deadline=None))


def opened() -> tuple[Breaker, Clock, list[Era]]:
    """A breaker that has just opened, its clock, and calls that were let through before and are still under way."""
    clock = Clock()
    breaker = Breaker(LIMIT, OPEN_SECONDS, clock)
    late = [admitted(breaker) for _ in range(3)]
    for _ in range(LIMIT):
        assert not breaker.is_open
        breaker.failed(admitted(breaker))
    assert breaker.is_open
    return breaker, clock, late


def admitted(breaker: Breaker) -> Era:
    """A call that must be let through."""
    era = breaker.admit()
    assert era is not None
    return era


def half_open() -> tuple[Breaker, Era]:
    """One whose time is up, and its probe."""
    breaker, clock, _ = opened()
    clock.now += OPEN_SECONDS
    return breaker, admitted(breaker)


@given(st.lists(st.integers(0, LIMIT - 1), max_size=20))
def test_fewer_failures_in_a_row_than_the_limit_never_open_it(rows: list[int]) -> None:
    breaker = Breaker(LIMIT, OPEN_SECONDS, Clock())
    for failures in rows:
        for _ in range(failures):
            breaker.failed(admitted(breaker))
        breaker.succeeded(admitted(breaker))
    assert not breaker.is_open


@given(st.lists(st.floats(0, OPEN_SECONDS / 20), max_size=19))
def test_while_it_is_open_no_call_gets_through_before_the_time_is_up(pauses: list[float]) -> None:
    breaker, clock, _ = opened()
    for pause in pauses:
        clock.now += pause
        assert breaker.admit() is None


def test_at_most_one_probe_is_under_way() -> None:
    breaker, _ = half_open()
    assert [breaker.admit() for _ in range(5)] == [None] * 5


def test_the_success_of_the_probe_closes_it() -> None:
    breaker, probe = half_open()
    breaker.succeeded(probe)
    assert not breaker.is_open
    for _ in range(LIMIT - 1):
        breaker.failed(admitted(breaker))
    assert not breaker.is_open, "failures from before it opened do not count any more"


def test_the_failure_of_the_probe_opens_it_anew() -> None:
    breaker, probe = half_open()
    breaker.failed(probe)
    assert breaker.is_open
    assert breaker.admit() is None


def test_an_abandoned_probe_leaves_its_place_to_another() -> None:
    breaker, probe = half_open()
    breaker.abandoned(probe)
    assert breaker.is_open
    breaker.succeeded(admitted(breaker))
    assert not breaker.is_open


def test_late_results_of_calls_from_before_it_opened_change_nothing() -> None:
    """Neither do they close it, nor count as failures, nor make place for a second probe."""
    breaker, clock, (first, second, third) = opened()
    breaker.succeeded(first)
    assert breaker.is_open
    clock.now += OPEN_SECONDS
    probe = admitted(breaker)
    breaker.abandoned(second)
    breaker.failed(third)
    assert breaker.admit() is None
    breaker.succeeded(probe)
    assert not breaker.is_open
