"""The circuit breaker behaves like a simple model of it, whatever the calls, their order and their outcomes."""

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

from common.backends.circuit_breaker import CircuitBreaker, Generation

LIMIT = 3
OPEN_SECONDS = 10.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """An admitted call: its generation, how often the breaker had opened before it, and whether it is the probe."""

    generation: Generation
    openings: int
    is_probe: bool


class Comparison(RuleBasedStateMachine):
    """The model knows when and how often the breaker opened, how many calls failed in a row, and the probe."""

    calls: Bundle[Call] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = CircuitBreaker(LIMIT, OPEN_SECONDS, self.clock)
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
        """An open breaker admits no call before the pause is over; then one, and no other until that one has ended."""
        may_probe = self.clock.now >= self.opened + OPEN_SECONDS and self.probe is None
        generation = self.breaker.admit()
        assert (generation is not None) == (not self.is_open or may_probe)
        if generation is None:
            return multiple()
        call = Call(generation, self.openings, self.is_open)
        if call.is_probe:
            self.probe = call
        return call

    @rule(call=consumes(calls))
    def a_call_succeeds(self, call: Call) -> None:
        self.breaker.succeeded(call.generation)
        if self._counts(call):
            self.is_open, self.in_a_row = False, 0

    @rule(call=consumes(calls))
    def a_call_fails(self, call: Call) -> None:
        self.breaker.failed(call.generation)
        if self._counts(call):
            self.in_a_row += 1
            if call.is_probe or self.in_a_row == LIMIT:
                self.is_open, self.in_a_row = True, 0
                self.opened = self.clock.now
                self.openings += 1

    @rule(call=consumes(calls))
    def a_call_is_ignored(self, call: Call) -> None:
        self.breaker.ignored(call.generation)
        self._counts(call)

    @invariant()
    def it_is_open_when_the_model_is(self) -> None:
        assert self.breaker.is_open == self.is_open

    def _counts(self, call: Call) -> bool:
        """Whether the outcome of this call counts: not if the breaker has opened since it was admitted."""
        if call is self.probe:
            self.probe = None
        return call.openings == self.openings


def test_breaker_behaves_like_the_model_for_any_sequence_of_calls() -> None:
    run_state_machine_as_test(Comparison, settings=settings(max_examples=70, stateful_step_count=60))


def open_breaker() -> tuple[CircuitBreaker, Clock, list[Generation]]:
    """A breaker that has just opened, its clock, and calls that were admitted before and are still running."""
    clock = Clock()
    breaker = CircuitBreaker(LIMIT, OPEN_SECONDS, clock)
    late = [admit(breaker) for _ in range(3)]
    for _ in range(LIMIT):
        assert not breaker.is_open
        breaker.failed(admit(breaker))
    assert breaker.is_open
    return breaker, clock, late


def admit(breaker: CircuitBreaker) -> Generation:
    """The generation of a call that must be admitted."""
    generation = breaker.admit()
    assert generation is not None
    return generation


def half_open() -> tuple[CircuitBreaker, Generation]:
    """A breaker whose pause is over, and its probe."""
    breaker, clock, _ = open_breaker()
    clock.now += OPEN_SECONDS
    return breaker, admit(breaker)


@given(st.lists(st.integers(0, LIMIT - 1), max_size=20))
def test_breaker_stays_closed_after_fewer_failures_in_a_row_than_the_limit(rows: list[int]) -> None:
    breaker = CircuitBreaker(LIMIT, OPEN_SECONDS, Clock())
    for failures in rows:
        for _ in range(failures):
            breaker.failed(admit(breaker))
        breaker.succeeded(admit(breaker))
    assert not breaker.is_open


@given(st.lists(st.floats(0, OPEN_SECONDS / 20), max_size=19))
def test_open_breaker_admits_no_call_before_the_pause_is_over(pauses: list[float]) -> None:
    breaker, clock, _ = open_breaker()
    for pause in pauses:
        clock.now += pause
        assert breaker.admit() is None


def test_half_open_breaker_admits_one_call_at_a_time() -> None:
    breaker, _ = half_open()
    assert [breaker.admit() for _ in range(5)] == [None] * 5


def test_breaker_closes_when_the_probe_succeeds() -> None:
    breaker, probe = half_open()
    breaker.succeeded(probe)
    assert not breaker.is_open
    for _ in range(LIMIT - 1):
        breaker.failed(admit(breaker))
    assert not breaker.is_open, "failures from before it opened do not count any more"


def test_breaker_opens_again_when_the_probe_fails() -> None:
    breaker, probe = half_open()
    breaker.failed(probe)
    assert breaker.is_open
    assert breaker.admit() is None


def test_breaker_admits_another_probe_after_an_ignored_one() -> None:
    breaker, probe = half_open()
    breaker.ignored(probe)
    assert breaker.is_open
    breaker.succeeded(admit(breaker))
    assert not breaker.is_open


def test_breaker_ignores_outcomes_of_calls_admitted_before_it_opened() -> None:
    """They neither close it, nor count as failures, nor make room for a second probe."""
    breaker, clock, (first, second, third) = open_breaker()
    breaker.succeeded(first)
    assert breaker.is_open
    clock.now += OPEN_SECONDS
    probe = admit(breaker)
    breaker.ignored(second)
    breaker.failed(third)
    assert breaker.admit() is None
    breaker.succeeded(probe)
    assert not breaker.is_open
