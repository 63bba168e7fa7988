"""One retrieve upstream serves every caller, early or late, whole or in part; what is missing is had elsewhere."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from gateway.dataset.query import Level, Selection
from gateway.deadline import Deadline
from gateway.dimse.suboperations import SubOperations
from gateway.errors import (
    Aborted,
    GatewayError,
    IncompleteRetrieve,
    LimitExceeded,
    NotFound,
    Refused,
    SpoolFull,
    Stalled,
)
from gateway.events import InstanceConflict, RetrieveRepeated
from gateway.region.inbox import Receiver
from tests.federation.reading import CT, MR, STUDY, Province, forever, holding, then
from tests.federation.scripted_region import ScriptedRegion, break_off, breaks_off_inside, lacking, sends, study_row
from tests.kit.cancelling import cancelled_at_every_point
from tests.region.virtual_time import settled

SERIES = Selection("1", "1.1")
PIXELS = b"pixels" * 100


def single(uid: str) -> Selection:
    return Selection("1", "1.1", (uid,))


def one_a_second(pause: float = 1.0) -> Any:
    async def send(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        uids = region.selected(selection)
        for uid in uids:
            await asyncio.sleep(pause)
            await receive(region.arriving(uid).arrive(), region.series_of(uid))
        return SubOperations(status=0, completed=len(uids))

    return send


async def read(province: Province, selection: Selection = STUDY, pause: float = 0.0) -> list[tuple[str, bytes]]:
    """Read a selection to its end as one more caller."""
    got = []
    async with province.retrieve(selection, Deadline.after(60.0)) as retrieval:
        async for instance in retrieval:
            pieces = []
            async for fragment in instance:
                await asyncio.sleep(pause)
                pieces.append(bytes(fragment))
            got.append((instance.sop_instance_uid, b"".join(pieces)))
    return got


def whole(*uids: str) -> list[tuple[str, bytes]]:
    return [(uid, PIXELS) for uid in uids]


def now() -> float:
    return asyncio.get_running_loop().time()


# --- joined


async def test_twenty_readers_of_a_cold_study_cause_one_retrieve_and_each_gets_all_of_it() -> None:
    region = holding("A", CT, one_a_second())
    async with Province(region) as province:
        answers = await asyncio.gather(*(read(province) for _ in range(20)))
    assert answers == [whole(*CT["1"]["1.1"])] * 20
    assert region.told == [STUDY]
    assert [query.level for query in region.asked] == [Level.STUDY]


async def test_who_comes_late_gets_what_has_come_and_then_the_rest() -> None:
    region = holding("A", CT, one_a_second())
    async with Province(region) as province:
        early = asyncio.ensure_future(read(province))
        await asyncio.sleep(2.5)
        began = now()
        late = await read(province)
        assert now() - began == pytest.approx(0.5)
        assert late == await early == whole(*CT["1"]["1.1"])
    assert region.told == [STUDY]


async def test_a_series_of_a_study_under_way_is_part_of_it() -> None:
    region = holding("A", {"1": {**CT["1"], **MR["1"]}}, one_a_second())
    async with Province(region) as province:
        study = asyncio.ensure_future(read(province))
        await asyncio.sleep(0.5)
        assert await read(province, Selection("1", "1.2")) == whole(*MR["1"]["1.2"])
        await study
    assert region.told == [STUDY]


async def test_an_instance_of_a_series_under_way_is_all_its_caller_waits_for() -> None:
    region = holding("A", CT, one_a_second())
    async with Province(region) as province:
        series = asyncio.ensure_future(read(province, SERIES))
        await asyncio.sleep(0.5)
        assert await read(province, single("1.1.1")) == whole("1.1.1")
        assert now() == pytest.approx(region.began + 1.0)
        assert len(await series) == 3
    assert region.told == [SERIES]


async def test_a_reader_who_leaves_disturbs_no_other_and_the_last_one_ends_it() -> None:
    region = holding("A", CT, one_a_second())
    async with Province(region) as province:
        async with province.retrieve(STUDY, Deadline.after(60.0)):
            async with province.retrieve(STUDY, Deadline.after(60.0)):
                await asyncio.sleep(1.5)
            assert region.under_way == 1
        assert region.under_way == 0
        assert await read(province) == whole(*CT["1"]["1.1"])


async def test_a_slow_reader_holds_up_nobody() -> None:
    region = holding("A", CT, one_a_second())
    async with Province(region, memory_bytes=1000) as province:
        slow = asyncio.ensure_future(read(province, pause=1000.0))
        began = now()
        assert await read(province) == whole(*CT["1"]["1.1"])
        assert now() - began < 10
        assert await slow == whole(*CT["1"]["1.1"])


async def test_a_caller_in_a_hurry_does_not_end_it_for_the_others() -> None:
    region = holding("A", CT, one_a_second(5.0))
    async with Province(region) as province:
        patient = asyncio.ensure_future(read(province))
        await asyncio.sleep(0.1)
        with pytest.raises(Stalled):
            async with province.retrieve(STUDY, Deadline.after(1.0)) as retrieval:
                await anext(aiter(retrieval))
        assert len(await patient) == 3


# --- single instances first


async def test_an_instance_of_a_cold_series_comes_before_its_series() -> None:
    region = holding("A", CT, one_a_second())
    async with Province(region) as province:
        began = now()
        assert await read(province, single("1.1.3")) == whole("1.1.3")
        assert now() - began == pytest.approx(1.0)
        await asyncio.sleep(30.0)
        assert region.told == [single("1.1.3"), SERIES]  # the viewer has left, and will want the rest
        assert len(await read(province, SERIES)) == 3
        assert len(region.told) == 2


async def test_many_instances_asked_at_once_are_one_series() -> None:
    region = holding("A", CT, one_a_second())
    async with Province(region) as province:
        answers = await asyncio.gather(*(read(province, single(uid)) for uid in CT["1"]["1.1"]))
    assert answers == [whole(uid) for uid in CT["1"]["1.1"]]
    assert region.told[:2] == [single("1.1.1"), SERIES]


async def test_an_instance_at_the_end_of_a_long_series_overtakes_the_rest() -> None:
    long = {"1": {"1.1": [f"1.1.{n}" for n in range(100)]}}
    region = holding("A", long, one_a_second())
    async with Province(region) as province:
        series = asyncio.ensure_future(read(province, SERIES))
        await asyncio.sleep(0.5)
        began = now()
        assert await read(province, single("1.1.99")) == whole("1.1.99")
        assert now() - began < 3.0
        assert len(await series) == 100


async def test_an_instance_that_is_not_there_is_not_found_before_the_series_is_moved() -> None:
    region = holding("A", CT)
    async with Province(region) as province:
        with pytest.raises(NotFound):
            await read(province, single("1.1.9"))
    assert SERIES not in region.told
    assert region.under_way == 0


async def test_who_leaves_before_his_instance_has_come_has_opened_nothing() -> None:
    region = holding("A", CT, forever)
    async with Province(region) as province:
        async with province.retrieve(single("1.1.1"), Deadline.after(60.0)):
            await settled()
        assert region.under_way == 0


@pytest.mark.parametrize(("limit", "comes"), [(5, True), (4, False), (0, False)])
async def test_the_rest_of_a_study_follows_a_viewer_within_limits(limit: int, comes: bool) -> None:
    both = {"1": {**CT["1"], **MR["1"]}}
    region = holding("A", both, rows=[study_row("1", _00201208=5)])
    async with Province(region, background_instances=limit) as province:
        await read(province, single("1.1.2"))
        await asyncio.sleep(30.0)
        assert (Selection("1", "1.2") in region.told) is comes
        region.told.clear()
        assert await read(province, Selection("1", "1.2")) == whole(*MR["1"]["1.2"])
        assert (region.told == []) is comes


async def test_what_somebody_waits_for_overtakes_what_nobody_does() -> None:
    async def slow_study(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        pause = 100.0 if selection.series == "1.2" and len(region.told) == 3 else 0.1
        result: SubOperations = await one_a_second(pause)(region, selection, receive)
        return result

    both = {"1": {**CT["1"], **MR["1"]}}
    region = holding("A", both, slow_study, rows=[study_row("1", _00201208=5)])
    async with Province(region, background_instances=10) as province:
        await read(province, single("1.1.2"))
        await asyncio.sleep(20.0)
        assert region.told[-1] == Selection("1", "1.2")  # the rest of the study, for nobody
        began = now()
        assert await read(province, Selection("1", "1.2")) == whole(*MR["1"]["1.2"])
        assert now() - began < 5


# --- from the spool


async def test_what_has_just_come_whole_is_served_without_a_question() -> None:
    region = holding("A", CT)
    async with Province(region) as province:
        await province.read()
        asked, told = len(region.asked), len(region.told)
        assert sorted(await read(province)) == whole(*CT["1"]["1.1"])
        assert sorted(await read(province, SERIES)) == whole(*CT["1"]["1.1"])
        assert await read(province, single("1.1.2")) == whole("1.1.2")
        assert (len(region.asked), len(region.told)) == (asked, told)
        await province.read()
        assert province.completeness == "a;state=complete;instances=3"


async def test_later_its_holders_are_asked_what_they_hold_and_nothing_is_moved_again() -> None:
    region = holding("A", CT)
    async with Province(region, fresh_seconds=60.0) as province:
        await read(province)
        await asyncio.sleep(61.0)
        assert sorted(await read(province)) == whole(*CT["1"]["1.1"])
        assert [query.level for query in region.asked[1:]] == [Level.STUDY, Level.SERIES, Level.IMAGE]
        assert region.told == [STUDY]
        asked = len(region.asked)
        assert len(await read(province)) == 3
        assert len(region.asked) == asked


async def test_what_was_rejected_since_is_served_no_more_and_what_came_is_fetched_alone() -> None:
    region = holding("A", CT)
    async with Province(region) as province:
        await read(province)
        await asyncio.sleep(61.0)
        region.holdings = {"1": {"1.1": ["1.1.2", "1.1.3", "1.1.4"]}}
        assert sorted(await read(province)) == whole("1.1.2", "1.1.3", "1.1.4")
        assert region.told == [STUDY, Selection("1", "1.1", ("1.1.4",))]
        assert sorted(await read(province)) == whole("1.1.2", "1.1.3", "1.1.4")


async def test_what_is_kept_of_a_region_that_is_down_comes_with_a_warning() -> None:
    here, there = holding("A", CT), holding("B", MR)
    async with Province(here, there) as province:
        await read(province)
        await asyncio.sleep(61.0)
        there.failures = {Level.STUDY: (0, Refused("down"))}
        await province.read()
        assert province.uids == [*CT["1"]["1.1"], *MR["1"]["1.2"]]
        assert province.completeness.endswith("b;state=refused")


async def test_only_what_is_not_at_hand_is_asked_for() -> None:
    both = {"1": {**CT["1"], **MR["1"]}}
    region = holding("A", both)
    async with Province(region) as province:
        await read(province, SERIES)
        assert sorted(await read(province)) == whole(*CT["1"]["1.1"], *MR["1"]["1.2"])
    assert region.told == [SERIES, Selection("1", "1.2")]


async def test_a_retrieve_that_was_incomplete_is_tried_again_for_what_is_missing() -> None:
    region = holding("A", CT, lacking("1.1.2", completed=3))
    async with Province(region) as province:
        with pytest.raises(IncompleteRetrieve):
            await read(province)
        region.sends = None
        region.told.clear()
        assert sorted(await read(province)) == whole(*CT["1"]["1.1"])
        assert region.told == [single("1.1.2")]


# --- had elsewhere


async def test_what_a_region_does_not_send_is_had_of_another_holder() -> None:
    broken, copy = holding("A", CT, lacking("1.1.2", "1.1.3", then=Aborted("gone"))), holding("B", CT)
    province = await Province(broken, copy).read()
    assert sorted((uid, region) for uid, region, _ in province.got) == [("1.1.1", "a"), ("1.1.2", "b"), ("1.1.3", "b")]
    assert province.completeness == "a;state=complete;instances=1, b;state=complete;instances=2"
    assert copy.told == [Selection("1", "1.1", ("1.1.2", "1.1.3"))]
    assert province.events.of(RetrieveRepeated) == [RetrieveRepeated("b", "other")]


async def test_a_holder_that_is_down_is_replaced_by_another() -> None:
    down, copy = holding("A", CT, sends(0, Refused("down"))), holding("B", CT)
    assert (await Province(down, copy).read()).uids == CT["1"]["1.1"]
    assert len(down.told) == 1


async def test_a_reader_inside_an_instance_that_breaks_off_reads_on_in_the_next_copy() -> None:
    province = await Province(holding("A", CT, breaks_off_inside("1.1.2")), holding("B", CT)).read()
    assert sorted(uid for uid, _, data in province.got if data == PIXELS) == CT["1"]["1.1"]


async def test_two_copies_that_differ_are_never_mixed() -> None:
    async def other(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        for uid in region.selected(selection):
            await receive(region.arriving(uid, b"others" * 100).arrive(), region.series_of(uid))
        return SubOperations(status=0)

    province = Province(holding("A", CT, breaks_off_inside("1.1.2")), holding("B", CT, other))
    with pytest.raises(Aborted):
        await province.read()
    assert set(province.got) <= {("1.1.1", "a", PIXELS)}


async def test_who_has_not_begun_an_instance_that_breaks_off_takes_the_other_copy() -> None:
    async def other(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        await receive(region.arriving("1.1.2", b"others" * 100).arrive(), "1.1")
        return SubOperations(status=0, completed=1)

    held = {"1": {"1.1": ["1.1.1", "1.1.2"]}}
    async with Province(holding("A", held, breaks_off_inside("1.1.2")), holding("B", held, other)) as province:
        slow = await read(province, pause=1.0)
    assert slow == [("1.1.1", PIXELS), ("1.1.2", b"others" * 100)]


async def test_success_with_nothing_sent_is_a_region_that_is_busy() -> None:
    async def busy(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        return SubOperations(status=0, completed=0)

    region = holding("A", CT, busy_once := at_first(busy))
    assert busy_once is not busy
    assert (await Province(region).read()).uids == CT["1"]["1.1"]
    assert len(region.told) == 2


def at_first(how: Any) -> Any:
    """Do this the first time, and send everything from then on."""

    async def send(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        result: SubOperations = await (how if len(region.told) == 1 else sends(99, completed=None))(
            region, selection, receive
        )
        return result

    return send


async def test_a_second_copy_with_other_bytes_is_told_of_and_dropped() -> None:
    async def twice(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        for data in (b"first" * 500, b"first" * 500, b"firsT" * 500):
            await receive(region.arriving("1.1.1", data).arrive(), "1.1")
        return SubOperations(status=0, completed=1)

    province = await Province(holding("A", {"1": {"1.1": ["1.1.1"]}}, twice)).read()
    assert province.got == [("1.1.1", "a", b"first" * 500)]
    assert province.events.of(InstanceConflict) == [InstanceConflict("a", "a")]


# --- room


async def test_a_retrieve_that_begins_while_there_is_no_room_is_refused_and_the_running_one_goes_on() -> None:
    region = holding("A", CT, one_a_second(2.0))
    other = holding("B", {"2": {"2.1": ["2.1.1"]}}, rows=[study_row("2")])
    async with Province(region, other, memory_bytes=1000, max_bytes=1) as province:
        running = asyncio.ensure_future(read(province))
        await asyncio.sleep(4.5)
        assert province.spool.is_full
        with pytest.raises(SpoolFull):
            await read(province, Selection("2"))
        assert await running == whole(*CT["1"]["1.1"])
        await asyncio.sleep(10.0)
        assert await read(province, single("1.1.2")) == whole("1.1.2")  # it recovers alone
        await asyncio.sleep(10.0)
        assert province.spool.memory.used == 0


async def test_a_reader_who_stands_still_while_others_wait_is_given_up_after_a_minute() -> None:
    big = {"1": {"1.1": [f"1.1.{n}" for n in range(20)]}}

    async def waiting(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        for uid in region.selected(selection):
            while province.spool.memory.is_short:  # noqa: ASYNC110 - as an association does that is not read
                await asyncio.sleep(0.1)
            await receive(region.arriving(uid).arrive(), region.series_of(uid))
        return SubOperations(status=0)

    async def stand_still() -> None:
        async with (
            province.retrieve(STUDY, Deadline.after(60.0)) as retrieval,
            aclosing(aiter(retrieval)) as instances,  # type: ignore[type-var]
        ):
            await anext(aiter(await anext(instances)))
            await asyncio.sleep(200.0)
            await anext(instances)

    region = holding("A", big, waiting)
    async with Province(region, memory_bytes=3000, max_bytes=1) as province:
        still = asyncio.ensure_future(stand_still())
        began = now()
        assert await read(province) == whole(*big["1"]["1.1"])
        assert 60 <= now() - began < 120
        with pytest.raises(LimitExceeded):
            await still


# --- whatever happens


@pytest.mark.parametrize("selection", [STUDY, SERIES, single("1.1.2")])
@pytest.mark.parametrize("how", [None, breaks_off_inside("1.1.2"), then(sends(1), lacking("1.1.3"))])
async def test_a_caller_cancelled_anywhere_leaves_nothing_behind(selection: Selection, how: Any) -> None:
    regions = [holding("A", CT, how), holding("B", CT)]
    province = await Province(*regions).__aenter__()

    async def scenario() -> None:
        await read(province, selection)

    async def check(point: int) -> None:
        nonlocal province
        await asyncio.sleep(30.0)
        assert not any(region.under_way for region in regions), point
        assert province.spool.memory.used == 0, point
        await province.__aexit__()
        province = await Province(*regions).__aenter__()

    assert await cancelled_at_every_point(scenario, check) > 1
    await province.__aexit__()


async def test_a_caller_cancelled_anywhere_leaves_the_other_all_he_wants() -> None:
    region = holding("A", CT, one_a_second())
    province = await Province(region).__aenter__()
    other: list[asyncio.Future[Any]] = []

    async def scenario() -> None:
        other[:] = [asyncio.ensure_future(read(province))]
        await read(province)

    async def check(point: int) -> None:
        nonlocal province
        assert await other[0] == whole(*CT["1"]["1.1"]), point
        assert region.under_way == 0, point
        await province.__aexit__()
        province = await Province(region).__aenter__()

    assert await cancelled_at_every_point(scenario, check) > 5
    await asyncio.wait(other)
    await province.__aexit__()


async def test_when_the_gateway_closes_every_flight_ends() -> None:
    region = holding("A", CT, then(sends(1), forever))
    reading: asyncio.Future[Any]
    async with Province(region) as province:
        reading = asyncio.ensure_future(read_in(province))
        await asyncio.sleep(1.0)
        assert region.under_way == 1
    with pytest.raises(GatewayError):
        await reading
    assert region.under_way == 0


async def read_in(province: Province) -> None:
    async with province.federation.retrieve(STUDY, Deadline.after(60.0)) as retrieval:
        async for instance in retrieval:
            await instance.whole()


async def test_half_an_instance_is_never_kept() -> None:
    async def half(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        await break_off(region.arriving("1.1.1").arrive(300), "1.1", receive)
        raise AssertionError

    async with Province(holding("A", CT, half)) as province:
        with pytest.raises(GatewayError):
            await read(province)
        await asyncio.sleep(5.0)
        assert province.spool.at_hand("1") == {}
        assert province.spool.memory.used == 0
