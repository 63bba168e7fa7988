"""The circuit breaker: five failures open it, a pause that grows, one gentle probe (promises R01, R25)."""

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import OpenCircuit
from gateway.region.breaker import Breaker, CircuitState


class Clock:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes() -> list[CircuitState]:
    return []


@pytest.fixture
def breaker(clock: Clock, changes: list[CircuitState]) -> Breaker:
    return Breaker("hdirs", changed=changes.append, clock=clock)


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


def fail(breaker: Breaker, times: int = Breaker.THRESHOLD) -> None:
    for _ in range(times):
        breaker.fail()


def pause(breaker: Breaker, clock: Clock) -> float:
    """Let the pause pass, and return how long it was."""
    length = breaker.retry_after
    clock.now += length
    return length


def test_four_failures_let_the_next_one_through(breaker: Breaker) -> None:
    fail(breaker, 4)
    assert breaker.check() is False
    assert breaker.state is CircuitState.CLOSED


def test_the_fifth_failure_in_a_row_opens(breaker: Breaker, changes: list[CircuitState]) -> None:
    fail(breaker)
    assert changes == [CircuitState.OPEN]
    with pytest.raises(OpenCircuit, match=r"^region hdirs .* left alone for \d+ s$"):
        breaker.check()


def test_an_answer_between_failures_starts_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, 4)
    breaker.succeed()
    fail(breaker, 4)
    assert breaker.check() is False


def test_a_success_in_good_health_is_no_news(breaker: Breaker, changes: list[CircuitState]) -> None:
    breaker.succeed()
    assert changes == []


@pytest.mark.usefixtures("no_jitter")
def test_each_pause_is_longer_than_the_last_up_to_five_minutes(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    pauses = [pause(breaker, clock)]
    for _ in range(11):
        assert breaker.check() is True
        breaker.fail()
        pauses.append(pause(breaker, clock))
    assert pauses == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


@given(st.integers())
def test_a_pause_is_off_by_a_fifth_at_the_most(seed: int) -> None:
    random.seed(seed)
    breaker = Breaker("hdirs", clock=Clock())
    fail(breaker)
    assert 24 <= breaker.retry_after <= 36


def test_jitter_keeps_many_gateways_from_probing_at_once() -> None:
    lengths = set()
    for _ in range(20):
        breaker = Breaker("hdirs", clock=Clock())
        fail(breaker)
        lengths.add(breaker.retry_after)
    assert len(lengths) > 10


@pytest.mark.usefixtures("no_jitter")
def test_nothing_passes_before_the_pause_is_over(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 29.9
    with pytest.raises(OpenCircuit):
        breaker.check()
    clock.now += 0.2
    assert breaker.check() is True


def test_one_probe_at_a_time(breaker: Breaker, clock: Clock, changes: list[CircuitState]) -> None:
    fail(breaker)
    pause(breaker, clock)
    assert breaker.check() is True
    for _ in range(3):
        with pytest.raises(OpenCircuit):
            breaker.check()
    assert changes == [CircuitState.OPEN, CircuitState.HALF_OPEN]


def test_a_probe_that_succeeds_closes_and_forgets(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    pause(breaker, clock)
    breaker.check()
    breaker.succeed()
    assert breaker.check() is False
    fail(breaker, 4)
    assert breaker.check() is False


@pytest.mark.usefixtures("no_jitter")
def test_the_pause_is_short_again_after_a_recovery(breaker: Breaker, clock: Clock) -> None:
    for _ in range(2):
        fail(breaker)
        assert pause(breaker, clock) == 30
        breaker.check()
        breaker.succeed()


def test_a_probe_that_fails_opens_at_once(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    pause(breaker, clock)
    breaker.check()
    breaker.fail()
    with pytest.raises(OpenCircuit):
        breaker.check()


def test_a_probe_that_is_abandoned_leaves_the_next_caller_to_probe(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    pause(breaker, clock)
    breaker.check()
    breaker.abandon()
    assert breaker.check() is True


@pytest.mark.usefixtures("no_jitter")
def test_an_abandoned_probe_does_not_lengthen_the_next_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    pause(breaker, clock)
    breaker.check()
    breaker.abandon()
    breaker.check()
    breaker.fail()
    assert breaker.retry_after == 60


def test_abandoning_is_only_for_probes(breaker: Breaker) -> None:
    breaker.abandon()
    assert breaker.state is CircuitState.CLOSED
    fail(breaker)
    breaker.abandon()
    assert breaker.retry_after > 0


def test_late_failures_of_operations_begun_before_do_not_push_the_probe_back(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    due = breaker.retry_after
    clock.now += 10
    fail(breaker, 20)
    assert breaker.retry_after == pytest.approx(due - 10)


def test_a_late_answer_of_an_operation_begun_before_closes_it(breaker: Breaker) -> None:
    fail(breaker)
    breaker.succeed()
    assert breaker.check() is False


def test_retry_after_is_nothing_while_the_region_is_asked(breaker: Breaker) -> None:
    assert breaker.retry_after == 0


Step = Callable[[Breaker, Clock], object]
STEPS: list[Step] = [
    lambda breaker, _: breaker.succeed(),
    lambda breaker, _: breaker.fail(),
    lambda breaker, _: breaker.abandon(),
    lambda _, clock: setattr(clock, "now", clock.now + 50),
]


@given(st.lists(st.sampled_from([*STEPS, None]), max_size=60))
def test_whatever_happens_a_region_is_asked_again_in_time(steps: list[Step | None]) -> None:
    """No history shuts a region out for good; no circuit is open with nobody to probe it."""
    clock = Clock()
    breaker = Breaker("hdirs", clock=clock)
    for step in steps:
        if step is not None:
            step(breaker, clock)
            continue
        try:
            if breaker.check():
                assert breaker.state is CircuitState.HALF_OPEN
        except OpenCircuit:
            assert breaker.state is not CircuitState.CLOSED
    if breaker.state is CircuitState.HALF_OPEN:
        breaker.abandon()  # whoever probes always says how it went
    clock.now += Breaker.LONGEST_PAUSE * 1.2
    breaker.check()


async def test_of_many_callers_at_the_end_of_a_pause_one_probes(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    pause(breaker, clock)

    async def call() -> bool:
        try:
            return breaker.check()
        except OpenCircuit:
            return False

    assert sum(await asyncio.gather(*(call() for _ in range(50)))) == 1
