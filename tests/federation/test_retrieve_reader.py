"""A retrieve over time: slow readers, readers who leave, silent regions; and whatever happens, it ends honestly.

Promises R16 and H07 from the federation's side.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.dimse.suboperations import SubOperations
from gateway.errors import (
    Aborted,
    DimseFailure,
    GatewayError,
    Refused,
    Stalled,
)
from gateway.region.inbox import Receiver
from tests.federation.reading import CT, EVERYTHING, MR, STUDY, Province, forever, holding, then
from tests.federation.scripted_region import ScriptedRegion, breaks_off_inside, sends
from tests.region.virtual_time import settled

# --- time


async def test_no_first_instance_in_time_is_a_timeout() -> None:
    province = Province(holding("A", CT, forever))
    began = asyncio.get_running_loop().time()
    with pytest.raises(Stalled):
        await province.read(seconds=30.0)
    assert asyncio.get_running_loop().time() - began == pytest.approx(30.0)
    assert province.idle


async def test_a_caller_in_a_hurry_waits_no_longer_than_he_said() -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(Stalled):
        await Province(holding("A", CT, forever)).read(seconds=2.0)
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.0)


async def test_a_slow_reader_gets_everything_however_long_it_takes() -> None:
    province = await Province(holding("A", CT), holding("B", MR)).read(seconds=5.0, pause=1000.0)
    assert province.uids == EVERYTHING


async def test_a_region_that_ends_while_the_last_instance_is_read_ends_the_answer() -> None:
    province = Province(holding("A", CT))
    async with province.retrieve(STUDY, Deadline.after(60.0)) as retrieval:
        got = []
        async for instance in retrieval:
            await asyncio.sleep(100.0)
            got.append(instance.sop_instance_uid)
    assert got == CT["1"]["1.1"]


async def test_a_region_is_held_up_only_while_memory_is_short_and_its_bytes_wait_for_the_reader() -> None:
    gate = asyncio.Event()

    async def half(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        store = region.arriving("1.1.1", b"x" * 3000).arrive(1000)
        taking = asyncio.ensure_future(receive(store, None))
        await gate.wait()
        store.arrive(1000)
        await settled()
        store.arrive()
        await taking
        return SubOperations(status=0, completed=1)

    region = holding("A", {"1": {"1.1": ["1.1.1"]}}, half)
    province = Province(region, memory_bytes=1500, max_bytes=1)
    async with province.retrieve(STUDY, Deadline.after(60.0)) as retrieval:
        assert not region.held_up()
        async with aclosing(aiter(retrieval)) as instances:  # type: ignore[type-var]
            fragments = aiter(await anext(instances))
            assert not region.held_up()
            gate.set()
            await settled()
            assert region.held_up()  # there is no room for what has come, and nobody reads it
            assert b"".join([bytes(x) async for x in fragments]) == b"x" * 3000
            assert not region.held_up()
    assert not region.held_up()


# --- the reader leaves


@pytest.mark.parametrize("how", [None, forever, breaks_off_inside("1.1.2")], ids=["all", "silent", "broken"])
async def test_a_reader_who_leaves_at_once_leaves_nothing_behind(how: Any) -> None:
    province = Province(holding("A", CT, how), holding("B", MR, how))
    async with province.retrieve(STUDY, Deadline.after(60.0)):
        pass
    assert province.idle
    async with province.retrieve(STUDY, Deadline.after(60.0)):
        await settled()
    assert province.idle


async def test_a_reader_who_leaves_midway_stops_every_region() -> None:
    province = Province(holding("A", CT, then(sends(1), forever)), holding("B", MR, forever))
    await province.read(first=1)
    assert province.uids == ["1.1.1"]
    assert province.idle


async def test_a_reader_who_leaves_inside_an_instance_leaves_nothing_of_it() -> None:
    province = Province(holding("A", CT))
    async with (
        province.retrieve(STUDY, Deadline.after(60.0)) as retrieval,
        aclosing(aiter(retrieval)) as instances,  # type: ignore[type-var]
        aclosing(aiter(await anext(instances))) as fragments,  # type: ignore[type-var]
    ):
        await anext(fragments)
    assert province.idle


async def test_an_error_of_the_reader_is_his_own() -> None:
    province = Province(holding("A", CT, then(sends(1), forever)))
    with pytest.raises(ZeroDivisionError):
        async with province.retrieve(STUDY, Deadline.after(60.0)):
            raise ZeroDivisionError
    assert province.idle


async def test_a_reader_who_is_cancelled_stops_every_region() -> None:
    province = Province(holding("A", CT, then(sends(1), forever)), holding("B", MR, forever))
    reading = asyncio.ensure_future(province.read())
    await settled()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert province.idle


async def test_what_comes_after_the_reader_left_is_refused_and_kept_nowhere() -> None:
    receivers: list[Receiver] = []

    async def remember(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        receivers.append(receive)
        return SubOperations(status=0, completed=0)

    region = holding("A", CT, remember)
    async with Province(region).retrieve(STUDY, Deadline.after(60.0)):
        await settled()
    late = region.arriving("1.1.1").arrive(300)
    assert await receivers[0](late, None) == 0xA700
    late.arrive()
    assert late.buffered == 0


async def test_an_instance_that_the_reader_passes_over_is_dropped() -> None:
    region = holding("A", CT)
    async with Province(region).retrieve(STUDY, Deadline.after(60.0)) as retrieval:
        async for instance in retrieval:
            unread = [x.sop_instance_uid for x in region.stores if x.buffered]
            assert all(uid >= instance.sop_instance_uid for uid in unread)


async def test_two_readers_of_one_study_do_not_disturb_each_other() -> None:
    province = Province(holding("A", CT), holding("B", MR))
    leaving = Province(*province.regions)
    await asyncio.gather(province.read(pause=1.0), leaving.read(first=1))
    assert province.uids == EVERYTHING


# --- whatever happens


@dataclass(frozen=True)
class Performance:
    """Sends the first so many of what it is asked for, says that it was all, or fails."""

    count: int
    again: int
    end: GatewayError | None

    async def __call__(self, region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        selected = region.selected(selection)
        for uid in [*selected[: self.count], *selected[: self.again]]:
            await receive(region.arriving(uid).arrive(), selection.series)
        if self.end is not None:
            raise self.end
        return SubOperations(status=0, completed=len(selected))


performances = st.builds(
    lambda counts, end: Performance(counts[0], counts[1], end),
    st.sampled_from([(0, 0), (1, 0), (2, 0), (9, 0), (9, 1), (9, 9)]),
    st.sampled_from([None, None, None, Aborted("gone"), Refused("down"), DimseFailure("no", status=0xC000)]),
)


@st.composite
def provinces(draw: st.DrawFn) -> list[ScriptedRegion]:
    made = []
    for name in "ABC":
        series = draw(st.dictionaries(st.sampled_from(["1.1", "1.2"]), st.sets(st.integers(1, 4), min_size=1)))
        held = {uid: [f"{uid}.{number}" for number in sorted(numbers)] for uid, numbers in series.items()}
        made.append(holding(name, {"1": held} if held else {}, draw(performances)))
    return made


@given(provinces(), st.sampled_from([0.0, 1.0]))
async def test_an_answer_that_ends_well_is_whole_and_each_instance_comes_once(
    regions: list[ScriptedRegion], pause: float
) -> None:
    province = Province(*regions)
    held = sorted({uid for region in regions for uid in region.selected(STUDY)})
    faultless = all(isinstance(x.sends, Performance) and x.sends.count == 9 and not x.sends.end for x in regions)
    try:
        await province.read(pause=pause)
    except GatewayError:
        assert not (held and faultless)
    else:
        assert province.uids == held
    assert len(province.uids) == len(set(province.uids))
    assert province.idle
