"""A deadline can only shrink, and the wall clock has no part in it."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.deadline import Deadline

seconds = st.floats(min_value=0, max_value=1e6)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Stop the monotonic clock at [0]."""
    now = [1000.0]
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now[0])
        yield now


@given(seconds, st.lists(seconds, max_size=5))
def test_a_deadline_handed_down_never_moves_back(first: float, more: list[float]) -> None:
    deadline = Deadline.after(first)
    for shorter in more:
        below = deadline.within(shorter)
        assert below.at <= deadline.at
        assert below.remaining <= shorter
        deadline = below


def test_within_less_brings_it_forward(clock: list[float]) -> None:
    assert Deadline.after(30).within(8) == Deadline.after(8)


def test_within_more_leaves_it(clock: list[float]) -> None:
    assert Deadline.after(8).within(30) == Deadline.after(8)


def test_it_passes_and_its_remaining_time_is_never_negative(clock: list[float]) -> None:
    deadline = Deadline.after(5)
    assert (deadline.remaining, deadline.passed) == (5, False)
    clock[0] += 5
    assert (deadline.remaining, deadline.passed) == (0, True)
    clock[0] += 5
    assert (deadline.remaining, deadline.passed) == (0, True)


def test_the_wall_clock_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = Deadline.after(3600)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert not deadline.passed


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Deadline.after(1).at = 0.0  # type: ignore[misc]


async def test_its_timeout_ends_what_takes_longer() -> None:
    with pytest.raises(TimeoutError):
        async with Deadline.after(0).timeout():
            await asyncio.Event().wait()


async def test_its_timeout_lets_pass_what_is_done_in_time() -> None:
    async with Deadline.after(60).timeout():
        await asyncio.sleep(0)
