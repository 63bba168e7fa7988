"""Who brings what: the parts of a retrieve name each instance once, each of the best holder that has it (trap 1)."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.query import Level, Selection
from gateway.deadline import Deadline
from gateway.errors import Aborted, GatewayError, NoRegionAnswered, NotFound, Refused, RegionMissing
from gateway.events import IdentityConflict
from gateway.federation.issuers import Issuers
from gateway.federation.locations import Part, Plan, Planner
from gateway.federation.patients import NoIdentitySource, Patients
from tests.federation.scripted_region import Holdings, ScriptedRegion, study_row
from tests.region.witness import Witness

UNKNOWN = Patients(NoIdentitySource(), Issuers())

STUDY = Selection("1")
CT = {"1": {"1.1": ["1.1.1", "1.1.2"], "1.2": ["1.2.1"]}}


def regions(*holdings: Holdings, **changes: Any) -> list[ScriptedRegion]:
    return [ScriptedRegion(name, held, **changes) for name, held in zip("ABCD", holdings, strict=False)]


async def plan(of: Sequence[ScriptedRegion], selection: Selection = STUDY, witness: Witness | None = None) -> Plan:
    witness = Witness() if witness is None else witness
    return await Planner(of, Deadline.after(30.0), 8.0, witness, UNKNOWN).plan(selection)


def asked(of: Sequence[ScriptedRegion]) -> list[list[str]]:
    return [[query.level.value for query in region.asked] for region in of]


def brought(of: Sequence[ScriptedRegion], parts: Sequence[Part]) -> list[str]:
    """Return what the parts bring, as often as they bring it."""
    by_id = {region.profile.id: region for region in of}
    return sorted(uid for part in parts for uid in by_id[part.region].selected(part.selection))


# --- one holder


async def test_a_study_of_one_region_is_asked_for_whole_and_after_one_question() -> None:
    province = regions(CT, {})
    assert (await plan(province)).parts == [Part("a", STUDY)]
    assert asked(province) == [["STUDY"], ["STUDY"]]


@pytest.mark.parametrize("selection", [STUDY, Selection("1", "1.1"), Selection("1", "1.1", ("1.1.2",))])
async def test_what_was_selected_is_what_the_only_holder_is_asked_for(selection: Selection) -> None:
    assert (await plan(regions({}, CT), selection)).parts == [Part("b", selection)]


async def test_the_state_of_every_region_is_known_before_the_first_byte() -> None:
    province = regions(CT, {}, CT)
    province[2].failures = {Level.STUDY: (0, Refused("down"))}
    assert (
        await plan(province)
    ).completeness.header() == "a;state=complete, b;state=complete;instances=0, c;state=refused"


# --- several holders


async def test_a_study_that_was_copied_is_asked_of_one_holder() -> None:
    province = regions(CT, CT)
    assert (await plan(province)).parts == [Part("a", STUDY)]


async def test_a_study_split_by_series_is_asked_of_each_holder_by_series() -> None:
    province = regions({"1": {"1.1": ["1.1.1"]}}, {"1": {"1.2": ["1.2.1"]}})
    assert (await plan(province)).parts == [Part("a", Selection("1", "1.1")), Part("b", Selection("1", "1.2"))]
    assert asked(province) == [["STUDY", "SERIES"], ["STUDY", "SERIES"]]


async def test_a_series_split_by_instance_is_asked_of_each_holder() -> None:
    province = regions({"1": {"1.1": ["1", "2", "3"]}}, {"1": {"1.1": ["3", "4"]}})
    assert (await plan(province)).parts == [
        Part("a", Selection("1", "1.1"), 3),
        Part("b", Selection("1", "1.1", ("4",)), 1),
    ]


async def test_two_halves_of_a_series_are_each_asked_for_whole() -> None:
    province = regions({"1": {"1.1": ["1", "2"]}}, {"1": {"1.1": ["3"]}})
    assert (await plan(province)).parts == [Part("a", Selection("1", "1.1"), 2), Part("b", Selection("1", "1.1"), 1)]


async def test_a_copy_with_fewer_instances_brings_none() -> None:
    province = regions({"1": {"1.1": ["1", "2", "3"]}}, {"1": {"1.1": ["2"]}})
    assert (await plan(province)).parts == [Part("a", STUDY)]


async def test_a_copy_with_more_instances_brings_the_rest() -> None:
    province = regions({"1": {"1.1": ["2"]}}, {"1": {"1.1": ["1", "2", "3"]}})
    assert (await plan(province)).parts == [
        Part("a", Selection("1", "1.1"), 1),
        Part("b", Selection("1", "1.1", ("1", "3")), 2),
    ]


async def test_a_foreign_copy_brings_only_what_the_original_lacks() -> None:
    province = regions({"1": {"1.1": ["1", "2"]}}, {"1": {"1.1": ["1"]}})
    province[0].rows = [study_row("1") | {"04000561": {"vr": "SQ", "Value": [{}]}}]
    assert (await plan(province)).parts == [
        Part("b", Selection("1", "1.1"), 1),
        Part("a", Selection("1", "1.1", ("2",)), 1),
    ]


async def test_a_series_is_split_without_a_look_at_the_others() -> None:
    province = regions(CT, {"1": {"1.1": ["1.1.9"], "1.3": ["1.3.1"]}})
    parts = (await plan(province, Selection("1", "1.1"))).parts
    assert parts == [Part("a", Selection("1", "1.1"), 2), Part("b", Selection("1", "1.1"), 1)]


async def test_a_series_of_one_of_the_holders_is_asked_of_that_one() -> None:
    province = regions(CT, {"1": {"1.3": ["1.3.1"]}})
    assert (await plan(province, Selection("1", "1.3"))).parts == [Part("b", Selection("1", "1.3"))]


async def test_an_instance_of_the_second_holder_is_asked_of_that_one() -> None:
    province = regions(CT, {"1": {"1.1": ["1.1.9"]}})
    selection = Selection("1", "1.1", ("1.1.9",))
    assert (await plan(province, selection)).parts == [Part("b", selection, 1)]


async def test_instances_of_two_holders_are_asked_of_both() -> None:
    province = regions({"1": {"1.1": ["1", "2"]}}, {"1": {"1.1": ["2", "3"]}})
    assert (await plan(province, Selection("1", "1.1", ("1", "2", "3")))).parts == [
        Part("a", Selection("1", "1.1", ("1", "2")), 2),
        Part("b", Selection("1", "1.1", ("3",)), 1),
    ]


async def test_a_list_of_instances_fits_an_identifier() -> None:
    """An element with a length of 16 bits holds about a thousand UIDs."""
    many = [f"1.1.{'9' * 50}.{i:04}" for i in range(1200)]
    province = regions({"1": {"1.1": ["1"]}}, {"1": {"1.1": ["1", *many]}})
    parts = (await plan(province)).parts
    assert max(len("\\".join(part.selection.instances)) for part in parts) < 1 << 16
    assert brought(province, parts) == sorted(["1", *many])


# --- what does not exist


async def test_a_study_that_nobody_holds_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        await plan(regions({}, {}))
    assert caught.value.federation_status == "a;state=complete;instances=0, b;state=complete;instances=0"


async def test_a_study_is_not_said_to_be_nowhere_while_a_region_is_down() -> None:
    province = regions({}, CT)
    province[1].failures = {Level.STUDY: (0, Refused("down"))}
    with pytest.raises(RegionMissing, match="no region that answered holds this study, and b did not answer") as caught:
        await plan(province)
    assert caught.value.federation_status == "a;state=complete;instances=0, b;state=refused"


async def test_without_any_answer_nothing_is_known() -> None:
    province = regions(CT, CT, failures={Level.STUDY: (0, Aborted("gone"))})
    with pytest.raises(NoRegionAnswered) as caught:
        await plan(province)
    assert caught.value.federation_status == "a;state=aborted, b;state=aborted"


@pytest.mark.parametrize("selection", [Selection("1", "1.9"), Selection("1", "1.1", ("1.1.9",))])
async def test_what_no_holder_lists_is_still_asked_of_the_best(selection: Selection) -> None:
    parts = (await plan(regions(CT, CT), selection)).parts
    assert [part.region for part in parts] == ["a"]
    assert parts[0].known == 0


# --- what goes wrong while planning


@pytest.mark.parametrize("error", [Aborted("gone"), None])
@pytest.mark.parametrize("level", [Level.SERIES, Level.IMAGE])
async def test_a_holder_that_fails_while_planning_is_named(level: Level, error: GatewayError | None) -> None:
    province = regions({"1": {"1.1": ["1"]}}, {"1": {"1.1": ["2"], "1.2": ["3"]}})
    province[1].failures = {level: (0, error)}
    made = await plan(province)
    assert made.completeness.header() == f"a;state=complete, b;state={'aborted' if error else 'timeout'}"
    assert "1" in brought(province, made.parts)


async def test_what_a_holder_listed_before_it_failed_is_not_lost() -> None:
    province = regions({"1": {"1.1": ["1"]}}, {"1": {"1.2": ["2"], "1.3": ["3"]}})
    province[1].failures = {Level.SERIES: (1, Aborted("gone"))}
    assert brought(province, (await plan(province)).parts) == ["1", "2"]


async def test_a_series_that_nobody_can_list_any_more_is_still_asked_for() -> None:
    province = regions({"1": {"1.1": ["1"], "1.2": ["2"]}}, {"1": {"1.1": ["1"], "1.3": ["3"]}})
    for region in province:
        region.failures = {Level.IMAGE: (0, Aborted("gone"))}
    assert "1" in brought(province, (await plan(province)).parts)


async def test_a_silent_region_does_not_take_the_time_of_the_next_question() -> None:
    province = regions({"1": {"1.1": ["1"]}}, {"1": {"1.2": ["2"]}}, {})
    province[2].failures = {Level.STUDY: (0, None)}
    began = asyncio.get_running_loop().time()
    made = await plan(province)
    assert brought(province, made.parts) == ["1", "2"]
    assert made.completeness.header() == "a;state=complete, b;state=complete, c;state=timeout"
    assert asyncio.get_running_loop().time() - began == pytest.approx(8.0)


async def test_no_planning_lasts_longer_than_its_deadline() -> None:
    province = regions(CT, CT, CT)
    province[1].failures = dict.fromkeys((Level.SERIES, Level.IMAGE), (0, None))
    province[2].failures = {Level.STUDY: (0, None)}
    began = asyncio.get_running_loop().time()
    await Planner(province, Deadline.after(10.0), 8.0, Witness(), UNKNOWN).plan(STUDY)
    assert asyncio.get_running_loop().time() - began <= 10.0 + 1e-6


# --- two patients


async def test_what_another_patient_has_under_the_study_is_never_retrieved() -> None:
    province = regions(CT, {"1": {"1.3": ["1.3.1"]}})
    province[1].rows = [study_row("1", name="Tremblay^Luc")]
    witness = Witness()
    made = await plan(province, witness=witness)
    assert made.parts == [Part("a", STUDY)]
    assert made.completeness.header() == "a;state=complete, b;state=identity-conflict"
    assert witness.of(IdentityConflict) == [IdentityConflict("a", "b")]


# --- whatever is held where

uids = st.lists(st.sampled_from([f"{n}" for n in range(5)]), unique=True, max_size=4)
studies = st.dictionaries(st.sampled_from(["1.1", "1.2", "1.3"]), uids, max_size=3)


def spelt(series: dict[str, list[str]]) -> Holdings:
    """Hold instances only in series that have some, each named after its series."""
    held = {uid: [f"{uid}.{number}" for number in numbers] for uid, numbers in series.items() if numbers}
    return {"1": held} if held else {}


@given(st.tuples(studies, studies, studies).map(lambda held: [spelt(x) for x in held]))
async def test_each_instance_of_a_study_is_in_exactly_one_part(held: list[Holdings]) -> None:
    province = regions(*held)
    everything = {uid for region in province for uid in region.selected(STUDY)}
    if not everything:
        with pytest.raises(NotFound):
            await plan(province)
        return
    parts = (await plan(province)).parts
    assert brought(province, parts) == sorted(everything)
    assert all(part.known in {0, len(brought(province, [part]))} for part in parts)


@given(
    st.tuples(studies, studies, studies).map(lambda held: [spelt(x) for x in held]),
    st.sampled_from(["1.1", "1.2"]),
    uids,
)
async def test_each_instance_that_was_selected_is_in_exactly_one_part(
    held: list[Holdings], series: str, numbers: list[str]
) -> None:
    province = regions(*held)
    selection = Selection("1", series, tuple(f"{series}.{number}" for number in numbers))
    wanted = {uid for region in province for uid in region.selected(selection)}
    if any(held):
        assert brought(province, (await plan(province, selection)).parts) == sorted(wanted)
