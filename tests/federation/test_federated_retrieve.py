"""A retrieve over regions of which some break: each instance once, and never an incomplete answer that looks complete.

Promises R16, R20 and H07 from the federation's side.
"""

import asyncio
from typing import Any

import pytest

from gateway.access.permit import Permit
from gateway.access.principal import Principal, Transaction
from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Level, Selection
from gateway.deadline import Deadline
from gateway.dimse.suboperations import SubOperations
from gateway.errors import (
    Aborted,
    DimseFailure,
    GatewayError,
    Gone,
    IncompleteRetrieve,
    NoRegionAnswered,
    NotFound,
    Refused,
    RegionMissing,
)
from gateway.events import RegionOperation
from gateway.region.inbox import Receiver
from tests.federation.reading import CT, EVERYTHING, MR, STUDY, Province, holding, then
from tests.federation.scripted_region import ScriptedRegion, breaks_off_inside, lacking, sends, study_row
from tests.region.virtual_time import settled

# --- all is well


async def test_a_study_of_one_region_comes_whole() -> None:
    province = await Province(holding("A", CT), holding("B", {})).read()
    assert province.got == [(uid, "a", b"pixels" * 100) for uid in CT["1"]["1.1"]]
    assert province.completeness == "a;state=complete;instances=3, b;state=complete;instances=0"


async def test_a_study_split_over_two_regions_comes_whole() -> None:
    province = await Province(holding("A", CT), holding("B", MR)).read()
    assert province.uids == EVERYTHING
    assert {uid: region for uid, region, _ in province.got} == {uid: "a" if uid < "1.2" else "b" for uid in EVERYTHING}
    assert province.completeness == "a;state=complete;instances=3, b;state=complete;instances=2"


async def test_an_instance_that_two_regions_hold_comes_once() -> None:
    province = await Province(holding("A", CT), holding("B", {"1": {"1.1": ["1.1.3", "1.1.4"]}})).read()
    assert province.uids == ["1.1.1", "1.1.2", "1.1.3", "1.1.4"]


async def test_an_instance_that_a_region_sends_twice_comes_once() -> None:
    province = await Province(holding("A", CT, then(sends(3), sends(3)))).read()
    assert province.uids == CT["1"]["1.1"]
    assert province.idle


async def test_an_instance_sent_twice_does_not_stand_for_one_that_is_missing() -> None:
    with pytest.raises(IncompleteRetrieve):
        await Province(holding("A", CT, then(lacking("1.1.3"), lacking("1.1.3", completed=3)))).read()


async def test_the_first_of_two_different_copies_is_the_one_that_comes() -> None:
    async def twice(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        for data in (b"first", b"second"):
            await receive(region.arriving("1.1.1", data).arrive(), None)
        return SubOperations(status=0, completed=2)

    province = await Province(holding("A", CT, twice)).read()
    assert province.got == [("1.1.1", "a", b"first")]


async def test_instances_come_in_the_order_of_their_arrival_whatever_the_region() -> None:
    async def slowly(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        for uid in region.selected(selection):
            await asyncio.sleep(1.0 if region.name == "A" else 1.6)
            await receive(region.arriving(uid).arrive(), None)
        return SubOperations(status=0)

    province = await Province(holding("A", CT, slowly), holding("B", MR, slowly)).read()
    assert [uid for uid, _, _ in province.got] == ["1.1.1", "1.2.1", "1.1.2", "1.1.3", "1.2.2"]


async def test_an_instance_is_read_while_it_arrives() -> None:
    async def dripping(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        store = region.arriving("1.1.1", b"x" * 5000)
        taking = asyncio.ensure_future(receive(store, None))
        for _ in range(5):
            await settled()
            assert store.buffered == 0
            store.arrive(1000)
        await taking
        return SubOperations(status=0, completed=1)

    province = await Province(holding("A", CT, dripping)).read()
    assert province.got == [("1.1.1", "a", b"x" * 5000)]


@pytest.mark.parametrize("completed", [None, 0, 1])
async def test_a_region_that_counts_less_than_it_sends_is_believed_no_less(completed: int | None) -> None:
    province = Province(holding("A", CT, sends(3, completed=completed, failed=None, warning=None)))
    assert (await province.read()).uids == CT["1"]["1.1"]


async def test_a_warning_is_an_instance_that_came() -> None:
    province = Province(holding("A", CT, sends(3, completed=1, warning=2)))
    assert (await province.read()).uids == CT["1"]["1.1"]


async def test_each_part_is_an_event() -> None:
    province = Province(holding("A", CT), holding("B", MR, lacking("1.2.2", then=Aborted("gone"))))
    with pytest.raises(IncompleteRetrieve):
        await province.read()
    told = [x for x in province.events.of(RegionOperation) if x.verb == "retrieve"]
    assert sorted((x.region, x.outcome, x.count) for x in told) == [
        ("a", "complete", 3),
        ("b", "aborted", 0),
        ("b", "aborted", 1),
    ]


# --- nothing there


async def test_a_study_that_nobody_holds_is_not_found() -> None:
    with pytest.raises(NotFound):
        await Province(holding("A", {}), holding("B", {})).read()


async def test_without_any_answer_no_region_answered() -> None:
    with pytest.raises(NoRegionAnswered):
        await Province(holding("A", CT, failures={Level.STUDY: (0, Refused("down"))})).read()


@pytest.mark.parametrize("selection", [Selection("1", "1.9"), Selection("1", "1.1", ("1.1.9",))])
@pytest.mark.parametrize("holders", [1, 2])
async def test_a_series_or_instance_that_nobody_holds_is_not_found(selection: Selection, holders: int) -> None:
    regions = [holding(name, CT) for name in "AB"[:holders]]
    with pytest.raises(NotFound) as caught:
        await Province(*regions).read(selection)
    assert "a;state=complete" in caught.value.federation_status


async def test_a_series_that_may_be_at_a_region_that_is_down_is_not_said_to_be_nowhere() -> None:
    down = holding("B", {"1": {"1.9": ["1.9.1"]}}, failures={Level.STUDY: (0, Refused("down"))})
    with pytest.raises(RegionMissing, match="b did not answer"):
        await Province(holding("A", CT), down).read(Selection("1", "1.9"))


# --- something is missing


@pytest.mark.parametrize("error", [Aborted("gone"), Refused("down"), DimseFailure("no", status=0xA701)])
async def test_a_failure_before_the_first_instance_is_that_failure(error: GatewayError) -> None:
    with pytest.raises(type(error)):
        await Province(holding("A", CT, sends(0, error))).read()


async def test_a_failure_after_the_first_instance_leaves_the_retrieve_incomplete() -> None:
    province = Province(holding("A", CT, lacking("1.1.3", then=Aborted("gone"))))
    with pytest.raises(IncompleteRetrieve) as caught:
        await province.read()
    assert isinstance(caught.value.__cause__, Aborted)
    assert province.uids == ["1.1.1", "1.1.2"]
    assert province.completeness == "a;state=aborted;instances=2"


async def test_what_the_others_hold_comes_before_a_failure_is_told() -> None:
    province = Province(holding("A", CT, sends(0, Refused("down"))), holding("B", MR))
    with pytest.raises(IncompleteRetrieve):
        await province.read()
    assert province.uids == MR["1"]["1.2"]
    assert province.completeness == "a;state=refused;instances=0, b;state=complete;instances=2"


async def test_an_instance_that_breaks_off_is_an_error_where_it_is_read() -> None:
    province = Province(holding("A", CT, breaks_off_inside("1.1.2")))
    with pytest.raises(Aborted):
        await province.read()
    assert province.uids == ["1.1.1"]


@pytest.mark.parametrize(
    "reported",
    [
        {"completed": 3},
        {"completed": 2, "warning": 1},
        {"status": 0xB000, "completed": 2, "failed": 1},
    ],
)
async def test_a_region_that_sends_less_than_it_says_is_never_complete(reported: dict[str, Any]) -> None:
    province = Province(holding("A", CT, lacking("1.1.3", **reported)))
    with pytest.raises(IncompleteRetrieve):
        await province.read()
    assert province.completeness == "a;state=incomplete;instances=2"


async def test_a_region_that_miscounts_is_looked_up_and_found_complete() -> None:
    province = await Province(holding("A", CT, lacking(completed=4, status=0xB000, failed=1))).read()
    assert province.uids == CT["1"]["1.1"]
    assert province.completeness == "a;state=complete;instances=3"


async def test_a_region_that_sends_less_than_it_listed_is_never_complete() -> None:
    """Of a split series it is known how much there is, whatever the region counts."""
    province = Province(holding("A", CT, lacking("1.1.3")), holding("B", {"1": {"1.1": ["1.1.4"]}}))
    with pytest.raises(IncompleteRetrieve):
        await province.read()


async def test_what_is_known_to_be_there_and_does_not_come_is_not_not_found() -> None:
    province = Province(holding("A", CT, sends(0)), holding("B", {"1": {"1.1": ["1.1.4"]}}, sends(0)))
    with pytest.raises(IncompleteRetrieve):
        await province.read()


@pytest.mark.parametrize(("how", "partial"), [(sends(2), False), (sends(0, Refused("down")), True)])
async def test_it_is_partial_as_soon_as_an_instance_that_exists_will_not_come(how: Any, partial: bool) -> None:
    async def late(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        await asyncio.sleep(1.0)
        result: SubOperations = await sends(3)(region, selection, receive)
        return result

    province = Province(holding("A", CT, late), holding("B", MR, how))
    async with province.retrieve(STUDY, Deadline.after(60.0)) as retrieval:
        assert not retrieval.partial
        await asyncio.sleep(0.5)
        assert retrieval.partial is partial


async def test_a_region_that_did_not_answer_at_all_makes_nothing_partial() -> None:
    province = Province(holding("A", CT), holding("B", MR, failures={Level.STUDY: (0, Refused("down"))}))
    async with province.retrieve(STUDY, Deadline.after(60.0)) as retrieval:
        assert [instance.sop_instance_uid async for instance in retrieval] == CT["1"]["1.1"]
        assert not retrieval.partial
        assert retrieval.completeness.header() == "a;state=complete;instances=3, b;state=refused"


async def test_another_patients_instances_are_named_and_do_not_come() -> None:
    stranger = holding("B", MR, rows=[study_row("1", name="Tremblay^Luc")])
    province = await Province(holding("A", CT), stranger).read()
    assert province.uids == CT["1"]["1.1"]
    assert province.completeness == "a;state=complete;instances=3, b;state=identity-conflict"
    assert stranger.told == []


# --- a study that was there


async def test_a_study_that_its_regions_have_deleted_is_gone_and_one_that_nobody_had_is_not_found() -> None:
    first, second = holding("A", dict(CT)), holding("B", {})
    async with Province(first, second) as province:
        await province.read()
        await asyncio.sleep(61.0)
        first.holdings = {}
        with pytest.raises(Gone) as error:
            await province.read()
        assert error.value.federation_status == "a;state=complete;instances=0, b;state=complete;instances=0"
        with pytest.raises(NotFound) as unknown:
            await province.read(Selection("2"))
        assert unknown.type is NotFound


async def test_a_study_is_not_gone_while_a_region_that_may_hold_it_is_silent() -> None:
    first, second = holding("A", dict(CT)), holding("B", {})
    async with Province(first, second) as province:
        await province.read()
        await asyncio.sleep(61.0)
        first.holdings = {}
        second.failures[Level.STUDY] = 0, Refused("no")
        with pytest.raises(RegionMissing):
            await province.read()


async def test_that_a_study_was_there_is_not_told_to_a_caller_who_might_not_have_had_it() -> None:
    region = holding("A", dict(CT))
    stranger = Permit(Principal("dr", patient=PatientIdentifier("X", "9")), Transaction.RETRIEVE)
    async with Province(region) as province:
        await province.read()
        await asyncio.sleep(61.0)
        region.holdings = {}
        with pytest.raises(NotFound) as error:
            async with province.federation.retrieve(STUDY, Deadline.after(60), permit=stranger):
                pytest.fail("a study that nobody holds was found")
        assert error.type is NotFound
