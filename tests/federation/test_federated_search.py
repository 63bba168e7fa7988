"""A search over regions of which some are slow and some break: what they gave is shown, what is missing is named.

Promises R01, R04, R06 and R26 from the federation's side; traps 2, 4, 10 to 13, 20 and 23.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.attributes import first
from gateway.dataset.query import Level, Query, Row
from gateway.deadline import Deadline
from gateway.errors import Aborted, GatewayError, LimitExceeded, NoRegionAnswered, Refused, Reset
from gateway.events import IdentityConflict
from tests.federation.scripted_province import SERIES, Province, failing, holding, uids
from tests.federation.scripted_region import ScriptedRegion, row, study_row
from tests.region.virtual_time import settled

# --- all is well


async def test_the_regions_make_one_answer() -> None:
    province = Province(holding("A", "1.1", "1.2"), holding("B", "1.3"), holding("C"))
    result = await province.search()
    assert sorted(uids(result)) == ["1.1", "1.2", "1.3"]
    assert result.completeness.header() == (
        "a;state=complete;matches=2, b;state=complete;matches=1, c;state=complete;matches=0"
    )
    assert (result.remaining, result.warnings) == (0, ())


async def test_nothing_found_anywhere_is_an_empty_answer() -> None:
    result = await Province(holding("A"), holding("B")).search()
    assert (result.rows, result.remaining, result.completeness.missing) == ([], 0, ())


async def test_a_province_without_regions_has_nothing_and_no_failure() -> None:
    result = await Province().search()
    assert (result.rows, result.completeness.header()) == ([], "")


async def test_all_regions_are_asked_at_the_same_time() -> None:
    regions = [failing(name, None) for name in "ABCD"]
    province = Province(*regions)
    searching = asyncio.ensure_future(province.search())
    await settled()
    assert [region.under_way for region in regions] == [1, 1, 1, 1]
    with pytest.raises(NoRegionAnswered):
        await searching
    assert [region.under_way for region in regions] == [0, 0, 0, 0]


async def test_the_slowest_of_late_is_asked_first_and_told_of_in_its_place() -> None:
    order: list[str] = []

    class Noted(ScriptedRegion):
        async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
            order.append(self.name)
            async for found in super().search(query, deadline):
                yield found

    regions = [Noted(name, usual=seconds) for name, seconds in (("A", 0.2), ("B", 0.7), ("C", 0.0), ("D", 0.2))]
    result = await Province(*regions).search()
    assert order == ["B", "A", "D", "C"]
    assert [state.region for state in result.completeness.states] == ["a", "b", "c", "d"]


async def test_each_region_that_was_asked_is_an_event() -> None:
    province = Province(
        holding("A", "1.1"), failing("B", Refused("down")), failing("C", Aborted("gone"), "1.2", after=1)
    )
    await province.search()
    assert sorted(province.operations()) == [("a", "complete", 1), ("b", "refused", 0), ("c", "aborted", 1)]


# --- one region is not


@pytest.mark.parametrize("error", [Refused("down"), Reset("cut"), Aborted("gone")])
async def test_a_region_that_fails_is_named_and_the_others_answer(error: GatewayError) -> None:
    result = await Province(holding("A", "1.1"), failing("B", error)).search()
    assert uids(result) == ["1.1"]
    assert result.completeness.header() == f"a;state=complete;matches=1, b;state={error.slug}"
    assert result.completeness.warnings() == [f"region b unavailable ({error.slug}): results incomplete"]


async def test_a_region_that_aborts_mid_search_keeps_the_rows_it_sent() -> None:
    broken = failing("B", Aborted("gone"), "1.2", "1.3", "1.4", "1.5", after=3)
    result = await Province(holding("A", "1.1"), broken).search()
    assert sorted(uids(result)) == ["1.1", "1.2", "1.3", "1.4"]
    assert result.completeness.header() == "a;state=complete;matches=1, b;state=aborted;matches=3"


async def test_the_only_region_that_aborts_mid_search_keeps_the_rows_it_sent() -> None:
    result = await Province(failing("A", Aborted("gone"), "1.1", "1.2", after=1)).search()
    assert uids(result) == ["1.1"]
    assert result.completeness.missing


async def test_a_silent_region_is_left_out_at_the_soft_deadline() -> None:
    province = Province(holding("A", "1.1"), failing("B", None, "1.2"))
    began = asyncio.get_running_loop().time()
    result = await province.search()
    assert asyncio.get_running_loop().time() - began == pytest.approx(8.0)
    assert uids(result) == ["1.1"]
    assert result.completeness.header() == "a;state=complete;matches=1, b;state=timeout"


async def test_the_rows_that_a_region_gave_before_it_fell_silent_are_shown() -> None:
    result = await Province(failing("A", None, "1.1", "1.2", after=1)).search()
    assert uids(result) == ["1.1"]


async def test_the_caller_may_shorten_the_soft_deadline_and_never_lengthen_it() -> None:
    for seconds, expected in ((1.0, 1.0), (60.0, 8.0)):
        region = holding("A")
        await Province(region).search(seconds=seconds)
        assert region.deadlines == [pytest.approx(expected)]


async def test_no_region_answered_is_an_error_that_tells_each_ones_state() -> None:
    province = Province(failing("A", Refused("down")), failing("B", None))
    with pytest.raises(NoRegionAnswered) as caught:
        await province.search()
    assert caught.value.federation_status == "a;state=refused, b;state=timeout"
    assert caught.value.http_status == 503


async def test_one_region_that_holds_nothing_has_answered() -> None:
    result = await Province(holding("A"), failing("B", Refused("down"))).search()
    assert result.rows == []


async def test_a_caller_who_leaves_stops_every_region() -> None:
    regions = [failing("A", None), failing("B", None)]
    searching = asyncio.ensure_future(Province(*regions).search())
    await settled()
    searching.cancel()
    await asyncio.wait([searching])
    assert [region.under_way for region in regions] == [0, 0]


# --- limits


@pytest.mark.parametrize(("held", "shown", "state"), [(2, 2, "complete"), (3, 3, "complete"), (4, 3, "limited")])
async def test_a_region_gives_up_to_its_limit(held: int, shown: int, state: str) -> None:
    region = holding("A", *(f"1.{i}" for i in range(held)))
    result = await Province(region, max_matches_per_region=3).search()
    assert result.completeness.header() == f"a;state={state};matches={shown}"
    assert len(result.rows) == shown
    assert region.under_way == 0


async def test_a_region_whose_rows_were_cut_below_is_named_limited() -> None:
    too_many = failing("A", LimitExceeded("too many", limit="max_matches"), "1.1", after=1)
    result = await Province(too_many).search()
    assert result.completeness.header() == "a;state=limited;matches=1"
    assert uids(result) == ["1.1"]


async def test_a_limited_region_is_no_failure() -> None:
    result = await Province(failing("A", LimitExceeded("too many", limit="max_bytes"))).search()
    assert result.rows == []
    assert result.completeness.warnings()


async def test_pages_are_cut_after_the_merge() -> None:
    regions = [holding("A", "1.1", "1.3", "1.5"), holding("B", "1.1", "1.2", "1.4")]
    for region in regions:
        region.changes = {"issuer_of_patient_id": "PROVINCE"}
    province = Province(*regions)
    shown = [await province.search(Query(Level.STUDY, offset=offset, limit=2)) for offset in (0, 2, 4)]
    assert [uids(x) for x in shown] == [["1.1", "1.2"], ["1.3", "1.4"], ["1.5"]]
    assert [x.remaining for x in shown] == [3, 1, 0]


async def test_no_page_is_longer_than_the_most_results() -> None:
    province = Province(holding("A", *(f"1.{i}" for i in range(9))), max_results=4)
    assert [len((await province.search(Query(Level.STUDY, limit=n))).rows) for n in (3, 4, 5, 99)] == [3, 4, 4, 4]
    result = await province.search()
    assert (len(result.rows), result.remaining) == (4, 5)


# --- every key is applied again


async def test_rows_that_do_not_match_are_dropped_whatever_the_region_thinks() -> None:
    ignorant = ScriptedRegion("A", rows=[study_row("1.1", name="Roy^Zoé"), study_row("1.2", name="Tremblay^Luc")])
    result = await Province(ignorant).search(Query(Level.STUDY, keys={("00100010",): "Roy*"}))
    assert uids(result) == ["1.1"]
    assert result.completeness.header() == "a;state=complete;matches=1"


@pytest.mark.parametrize("tag", ["00100020", "00100021", "00080050"])
async def test_a_row_without_the_identity_that_was_asked_for_is_another_patients(tag: str) -> None:
    anonymous = row(uid="1.1")
    result = await Province(ScriptedRegion("A", rows=[anonymous])).search(Query(Level.STUDY, keys={(tag,): "7"}))
    assert result.rows == []


async def test_a_key_that_the_rows_cannot_confirm_is_told_by_name_and_region() -> None:
    result = await Province(holding("A", "1.1"), holding("B", "1.2")).search(
        Query(Level.STUDY, keys={("00081030",): "CT*"})
    )
    assert len(result.rows) == 2
    assert result.warnings == ("StudyDescription is not in rows of a, b: it could not be verified there",)


async def test_rows_of_another_study_never_get_into_the_series_of_this_one() -> None:
    region = ScriptedRegion("A", {"1.1": {"1.1.1": []}, "1.2": {"1.2.1": []}})
    assert uids(await Province(region).search(SERIES), Level.SERIES) == ["1.1.1"]


async def test_what_the_caller_should_hear_of_the_query_is_passed_on() -> None:
    result = await Province(holding("A")).search(Query(Level.STUDY, warnings=("unknown parameter x",)))
    assert result.warnings == ("unknown parameter x",)


# --- whose study is it


def conflicting() -> list[ScriptedRegion]:
    return [
        ScriptedRegion("A", {"1.1": {"1.1.1": ["1.1.1.1"]}}, rows=[study_row("1.1")]),
        ScriptedRegion("B", {"1.1": {"1.1.2": ["1.1.2.1"]}}, rows=[study_row("1.1", name="Tremblay^Luc")]),
    ]


async def test_two_patients_under_one_study_uid_are_never_one_row() -> None:
    province = Province(*conflicting())
    result = await province.search()
    assert [first(x["00100010"]) for x in result.rows] == [{"Alphabetic": "Roy^Zoé"}]
    assert [x for x in result.warnings if "identity conflict" in x and "of b " in x]
    assert province.events.of(IdentityConflict) == [IdentityConflict("a", "b")]


async def test_the_warning_of_a_conflict_names_no_patient() -> None:
    [warning] = (await Province(*conflicting()).search()).warnings
    assert not any(word in warning for word in ("Roy", "Tremblay", "MRN1", "1.1"))


async def test_the_patient_who_was_asked_for_is_the_one_shown() -> None:
    result = await Province(*conflicting()).search(Query(Level.STUDY, keys={("00100010",): "Tremblay*"}))
    assert [first(x["00100010"]) for x in result.rows] == [{"Alphabetic": "Tremblay^Luc"}]


async def test_the_series_of_two_patients_are_never_in_one_list() -> None:
    province = Province(*conflicting())
    result = await province.search(SERIES)
    assert uids(result, Level.SERIES) == ["1.1.1"]
    assert [x for x in result.warnings if "identity conflict" in x]
    assert province.events.of(IdentityConflict) == [IdentityConflict("a", "b")]


async def test_the_instances_of_two_patients_are_never_in_one_list() -> None:
    regions = conflicting()
    regions[1].holdings = {"1.1": {"1.1.1": ["1.1.1.9"]}}
    result = await Province(*regions).search(Query(Level.IMAGE, study="1.1", series="1.1.1"))
    assert uids(result, Level.IMAGE) == ["1.1.1.1"]


async def test_the_series_of_a_split_study_are_all_listed() -> None:
    regions = conflicting()
    regions[1].rows = [study_row("1.1")]
    assert uids(await Province(*regions).search(SERIES), Level.SERIES) == ["1.1.1", "1.1.2"]


async def test_a_series_of_one_holder_costs_no_second_question() -> None:
    regions = [ScriptedRegion("A", {"1.1": {"1.1.1": ["1.1.1.1"]}}), ScriptedRegion("B")]
    await Province(*regions).search(SERIES)
    assert [query.level for region in regions for query in region.asked] == [Level.SERIES, Level.SERIES]


async def test_who_holds_the_original_speaks_for_the_patient() -> None:
    coerced = study_row("1.1", "COERCED") | {"04000561": {"vr": "SQ", "Value": [{}]}}
    regions = [ScriptedRegion("A", rows=[coerced]), ScriptedRegion("B", rows=[study_row("1.1", "MRN9")])]
    [only] = (await Province(*regions).search()).rows
    assert first(only["00100020"]) == "MRN9"
    assert "04000561" not in only


async def test_a_region_that_cannot_say_whose_its_series_are_is_left_out_and_named() -> None:
    regions = conflicting()
    regions[1].failures = {Level.STUDY: (0, Aborted("gone"))}
    result = await Province(*regions).search(SERIES)
    assert uids(result, Level.SERIES) == ["1.1.1"]
    assert result.completeness.header() == "a;state=complete;matches=1, b;state=aborted"


async def test_where_no_holder_can_say_whose_its_series_are_no_region_answered() -> None:
    regions = conflicting()
    for region in regions:
        region.failures = {Level.STUDY: (0, Aborted("gone"))}
    with pytest.raises(NoRegionAnswered):
        await Province(*regions).search(SERIES)


async def test_what_tells_copies_apart_is_asked_only_of_those_who_hold_a_shared_study() -> None:
    regions = [holding("A", "1.1", "1.2"), holding("B", "1.1"), holding("C", "1.3")]
    await Province(*regions).search()
    assert [sum(x.level is Level.STUDY for x in region.asked) for region in regions] == [2, 2, 1]


async def test_a_silent_region_does_not_take_the_time_to_tell_copies_apart() -> None:
    coerced = study_row("1.1", "COERCED") | {"04000561": {"vr": "SQ", "Value": [{}]}}
    regions = [
        OnDemand("A", rows=[coerced]),
        OnDemand("B", rows=[study_row("1.1", "MRN9")]),
        failing("C", None),
    ]
    [only] = (await Province(*regions).search()).rows
    assert first(only["00100020"]) == "MRN9"


async def test_ten_thousand_copies_are_told_apart_in_lists_that_fit_an_identifier() -> None:
    studies = [f"1.2.{'9' * 58}.{i:04}" for i in range(3000)]
    regions = [holding("A", *studies), holding("B", *studies)]
    await Province(*regions).search()
    asked = [query.keys.get(("0020000D",), "") for region in regions for query in region.asked]
    assert max(map(len, asked)) < 1 << 16
    assert {uid for keys in asked for uid in keys.split("\\") if uid} == set(studies)


class OnDemand(ScriptedRegion):
    """Tells what marks a copy only when asked for it, as archives do that would have to open a file."""

    def answers(self, level: Level) -> list[Row]:
        marked = ("04000561",) in self.asked[-1].include
        return [{tag: x[tag] for tag in x if marked or tag != "04000561"} for x in super().answers(level)]


# --- the same search, the same answer


class Dawdling(ScriptedRegion):
    """Answers after a while."""

    delay = 0.0

    async def search(self, query: Query, deadline: Deadline) -> Any:
        await asyncio.sleep(self.delay)
        async for answer in super().search(query, deadline):
            yield answer


held = st.lists(st.sampled_from([f"1.{i}" for i in range(6)]), unique=True)


@given(
    st.tuples(held, held, held), st.permutations([0.0, 1.0, 2.0]), st.randoms(), st.integers(0, 4), st.integers(1, 4)
)
async def test_whoever_answers_first_the_page_is_the_same(
    holdings: tuple[list[str], ...], delays: list[float], dice: random.Random, offset: int, limit: int
) -> None:
    query = Query(Level.STUDY, offset=offset, limit=limit)
    pages = []
    for attempt in range(2):
        regions = []
        for name, studies, delay in zip("ABC", holdings, delays if attempt else [0.0, 0.0, 0.0], strict=True):
            order = dice.sample(studies, len(studies)) if attempt else studies
            region = Dawdling(name, rows=[study_row(uid, _00081030=f"of {name}") for uid in order])
            region.delay = delay
            regions.append(region)
        pages.append(await Province(*regions).search(query))
    assert pages[0] == pages[1]


async def test_a_date_is_compared_in_the_zone_of_the_region_that_states_it() -> None:
    """Trap 8: 23:30 in Winnipeg is half past midnight of the next day in Toronto, where the caller is."""
    rows = [study_row("1.1", _00080020="20240101", _00080030="233000")]
    regions = [
        ScriptedRegion("A", rows=rows, changes={"time_zone": "America/Winnipeg"}),
        ScriptedRegion("B", rows=[study_row("1.2", _00080020="20240101", _00080030="233000")]),
    ]
    query = Query(Level.STUDY, keys={("00080020",): "20240102", ("00080030",): "0000-0100"}, utc_offset=-300)
    assert uids(await Province(*regions).search(query)) == ["1.1"]
