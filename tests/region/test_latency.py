"""How long to wait for a region follows from how long it lately took, within bounds (trap 11)."""

from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from gateway.region.latency import Latency

SECONDS = st.floats(0, 20, allow_nan=False)
History: TypeAlias = list[tuple[bool, float]]
HISTORY = st.lists(st.tuples(st.booleans(), SECONDS))
STEADY = 40


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def latency(clock: Clock | None = None) -> Latency:
    return Latency(2.0, 8.0, clock=clock or Clock())


def lived(history: History, clock: Clock | None = None) -> Latency:
    known = latency(clock)
    for is_finished, seconds in history:
        (known.finished if is_finished else known.given_up)(seconds)
    return known


def test_before_anything_is_known_a_region_has_all_the_time() -> None:
    assert latency().patience == 8.0


@given(st.floats(0, 20))
def test_what_is_usual_is_what_searches_lately_took(seconds: float) -> None:
    known = latency()
    assert known.usual == 0.0
    for _ in range(STEADY):
        known.finished(seconds)
    assert abs(known.usual - seconds) < 1e-9 * (1 + seconds)


@given(HISTORY)
def test_patience_stays_within_its_bounds(history: History) -> None:
    assert 2.0 <= lived(history).patience <= 8.0


def test_least_is_never_more_than_most() -> None:
    known = Latency(2.0, 0.5)
    known.finished(0.1)
    assert known.patience == 0.5


@given(HISTORY, st.floats(0, 8))
def test_region_that_answers_steadily_is_waited_for(history: History, seconds: float) -> None:
    known = lived(history)
    for _ in range(STEADY):
        known.finished(seconds)
    assert known.patience >= seconds


@given(st.floats(0, 0.4))
def test_quick_region_is_soon_waited_for_no_longer_than_least(seconds: float) -> None:
    known = latency()
    for _ in range(STEADY):
        known.finished(seconds)
    assert known.patience == 2.0


@given(HISTORY, st.floats(0.5, 8))
def test_region_that_timed_out_gets_twice_the_time_until_it_has_all(history: History, needed: float) -> None:
    known = lived(history)
    for _ in range(3):
        given_time = known.patience
        if given_time >= needed:
            break
        known.given_up(given_time)
        assert known.patience >= min(2 * given_time, 8.0)
    assert known.patience >= needed


@given(st.lists(st.floats(0, 0.4), max_size=50))
def test_quick_searches_in_between_do_not_shut_a_slow_one_out(quick: list[float]) -> None:
    known = latency()
    for _ in range(STEADY):
        known.finished(0.1)
    for _ in range(2):
        known.given_up(known.patience)
        for seconds in quick:
            known.finished(seconds)
    assert known.patience == 8.0


def test_region_that_hung_once_is_not_waited_for_for_ever() -> None:
    clock = Clock()
    known = latency(clock)
    for _ in range(STEADY):
        known.finished(0.1)
    known.given_up(4.0)
    assert known.patience == 8.0
    clock.now += Latency.HELD + 1
    assert known.patience == 2.0


def test_caller_in_a_hurry_does_not_shorten_patience() -> None:
    known = latency()
    for _ in range(STEADY):
        known.finished(1.0)
    before = known.patience
    known.given_up(0.1)
    assert known.patience == before
