"""What a region leaves out is asked one level below, at the holders concerned only (traps 1, 9 and 21)."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.query import Level, Query, Row
from gateway.errors import Aborted, RequestError
from tests.federation.scripted_province import Province
from tests.federation.scripted_region import KEYS, Holdings, ScriptedRegion, row, study_row

MODALITIES, SERIES_COUNT, INSTANCE_COUNT, SERIES_INSTANCES = "00080061", "00201206", "00201208", "00201209"
NOTHING_TOLD: dict[str, Any] = {"_00080061": None, "_00201206": None, "_00201208": None}
STUDY: Holdings = {"1.1": {"1.1.1": ["a", "b"], "1.1.2": ["c"]}}


def silent(name: str, holdings: Holdings = STUDY, **more: Any) -> ScriptedRegion:
    """A region that tells nothing of what is below its studies."""
    return ScriptedRegion(name, holdings, rows=[study_row(uid, **NOTHING_TOLD) for uid in holdings], **more)


def told(made: Row, *tags: str) -> list[list[Any]]:
    return [made[tag].get("Value", []) for tag in tags]


async def only(*regions: ScriptedRegion, **limits: Any) -> tuple[Row, Any]:
    result = await Province(*regions, **limits).search()
    [made] = result.rows
    return made, result.warnings


# --- studies


async def test_what_a_region_tells_costs_no_question() -> None:
    province = Province(*(ScriptedRegion(name, {f"1.{name}": {"1": ["1"]}}) for name in "12"))
    for region, name in zip(province.regions, "AB", strict=True):
        region.name = name
    await province.search()
    assert [len(region.asked) for region in province.regions] == [1, 1]


async def test_what_a_study_row_lacks_is_derived_from_its_series() -> None:
    region = silent("A", modalities={"1.1.2": "SR"})
    made, warnings = await only(region)
    assert told(made, MODALITIES, SERIES_COUNT, INSTANCE_COUNT) == [["CT", "SR"], [2], [3]]
    assert warnings == ()
    assert [query.level for query in region.asked] == [Level.STUDY, Level.SERIES]


@pytest.mark.parametrize("tag", [MODALITIES, SERIES_COUNT, INSTANCE_COUNT])
async def test_an_absent_attribute_is_derived_like_an_empty_one(tag: str) -> None:
    answer = study_row("1.1")
    del answer[tag]
    made, warnings = await only(ScriptedRegion("A", STUDY, rows=[answer]))
    assert told(made, tag) == {MODALITIES: [["CT"]], SERIES_COUNT: [[2]], INSTANCE_COUNT: [[3]]}[tag]
    assert warnings == ()


async def test_what_a_single_holder_tells_is_left_as_it_is() -> None:
    answer = study_row("1.1", _00080061=None, _00201206=7, _00201208=8)
    made, _ = await only(ScriptedRegion("A", STUDY, rows=[answer]))
    assert told(made, MODALITIES, SERIES_COUNT, INSTANCE_COUNT) == [["CT"], [7], [8]]


async def test_instances_are_listed_only_where_the_series_do_not_count_them() -> None:
    region = silent("A", counting=False)
    made, warnings = await only(region)
    assert told(made, SERIES_COUNT, INSTANCE_COUNT) == [[2], [3]]
    assert [query.series for query in region.asked if query.level is Level.IMAGE] == ["1.1.1", "1.1.2"]
    assert warnings == ("ModalitiesInStudy of 1 row is not known: it is left empty",)


async def test_only_the_regions_concerned_are_asked() -> None:
    regions = [silent("A"), ScriptedRegion("B", {"1.9": {"1.9.1": ["z"]}})]
    await Province(*regions).search()
    assert [len(region.asked) for region in regions] == [2, 1]


async def test_only_the_rows_of_the_page_are_derived() -> None:
    region = silent("A", {f"1.{i}": {f"1.{i}.1": ["a"]} for i in range(9)})
    await Province(region).search(Query(Level.STUDY, limit=2))
    assert [query.study for query in region.asked if query.level is Level.SERIES] == ["1.0", "1.1"]


# --- several holders


async def test_the_series_of_several_holders_are_counted_once_each_and_never_added_up() -> None:
    """Trap 1: A holds two series, B holds one of them and a third."""
    regions = [
        ScriptedRegion("A", STUDY, rows=[study_row("1.1", _00201206=2, _00201208=3)]),
        ScriptedRegion("B", {"1.1": {"1.1.2": ["c"], "1.1.3": ["d"]}}, rows=[study_row("1.1", _00201206=2)]),
    ]
    made, warnings = await only(*regions)
    assert told(made, SERIES_COUNT, INSTANCE_COUNT) == [[3], [4]]
    assert warnings == ()


async def test_a_series_split_over_two_holders_is_the_union_of_its_instances() -> None:
    regions = [
        ScriptedRegion("A", {"1.1": {"1.1.1": ["a", "b"]}}),
        ScriptedRegion("B", {"1.1": {"1.1.1": ["b", "c"]}}),
    ]
    made, _ = await only(*regions)
    assert told(made, SERIES_COUNT, INSTANCE_COUNT) == [[1], [3]]


async def test_modalities_of_several_holders_are_those_of_all_their_series() -> None:
    regions = [
        silent("A", {"1.1": {"1.1.1": ["a"]}}, modalities={"1.1.1": "MR"}),
        silent("B", {"1.1": {"1.1.2": ["b"]}}, modalities={"1.1.2": "CT"}),
    ]
    made, _ = await only(*regions)
    assert told(made, MODALITIES) == [["CT", "MR"]]


async def test_where_the_union_cannot_be_known_the_highest_count_stands_and_is_called_so() -> None:
    regions = [
        ScriptedRegion("A", STUDY, rows=[study_row("1.1", _00201206=2, _00201208=3)]),
        ScriptedRegion("B", STUDY, failures={Level.SERIES: (0, Aborted("gone"))}),
    ]
    made, warnings = await only(*regions)
    assert told(made, SERIES_COUNT, INSTANCE_COUNT) == [[2], [3]]
    [warning] = warnings
    assert warning.startswith("the counts of 1 row held by several regions are the highest")


@given(st.lists(st.dictionaries(st.sampled_from("xyz"), st.sets(st.sampled_from("abcd"), min_size=1)), max_size=3))
async def test_the_counts_are_those_of_the_union_whoever_holds_what(holdings: list[dict[str, set[str]]]) -> None:
    regions = [
        ScriptedRegion("ABC"[i], {"1.1": {f"1.{s}": [f"{s}{x}" for x in sorted(held[s])] for s in held}})
        for i, held in enumerate(x for x in holdings if x)
    ]
    for index, region in enumerate(regions):
        counts = [len(uids) for uids in region.holdings["1.1"].values()]
        region.rows = [study_row("1.1", _00201206=len(counts), _00201208=sum(counts))]
        region.name = "ABC"[index]
    result = await Province(*regions).search()
    series = {s for held in holdings for s in held}
    instances = {(s, x) for held in holdings for s in held for x in held[s]}
    expected = [[[len(series)], [len(instances)]]] if series else []
    assert [told(x, SERIES_COUNT, INSTANCE_COUNT) for x in result.rows] == expected
    assert result.warnings == ()


# --- what cannot be known


@pytest.mark.parametrize("error", [Aborted("gone"), RequestError("not like this"), None])
async def test_what_stays_unknown_is_empty_and_never_zero(error: Aborted | None) -> None:
    made, warnings = await only(silent("A", failures={Level.SERIES: (0, error)}))
    assert [made[tag] for tag in (MODALITIES, SERIES_COUNT, INSTANCE_COUNT)] == [
        {"vr": vr} for vr in (made[MODALITIES]["vr"], made[SERIES_COUNT]["vr"], made[INSTANCE_COUNT]["vr"])
    ]
    [warning] = warnings
    assert warning == (
        "ModalitiesInStudy, NumberOfStudyRelatedSeries, NumberOfStudyRelatedInstances of 1 row are not known: "
        "they are left empty"
    )


async def test_a_study_without_any_series_has_no_count_of_zero() -> None:
    made, _ = await only(silent("A", {"1.1": {}}))
    assert told(made, SERIES_COUNT, INSTANCE_COUNT) == [[], []]


async def test_a_region_that_gave_only_some_series_does_not_count() -> None:
    made, _ = await only(silent("A", failures={Level.SERIES: (1, Aborted("gone"))}))
    assert told(made, SERIES_COUNT) == [[]]


async def test_a_region_that_failed_below_is_not_asked_again() -> None:
    studies = {f"1.{i}": {f"1.{i}.1": ["a"]} for i in range(20)}
    province = Province(silent("A", studies, failures={Level.SERIES: (0, Aborted("gone"))}))
    result = await province.search()
    assert province.asked(Level.SERIES)[0] <= 3
    [warning] = result.warnings
    assert "NumberOfStudyRelatedSeries, NumberOfStudyRelatedInstances of 20 rows are not known" in warning


async def test_a_region_that_could_not_answer_the_search_is_not_asked_for_more() -> None:
    region = silent("A", failures={Level.STUDY: (1, Aborted("gone"))})
    made, warnings = await only(region)
    assert [query.level for query in region.asked] == [Level.STUDY]
    assert told(made, SERIES_COUNT) == [[]]
    [warning] = warnings
    assert "NumberOfStudyRelatedSeries" in warning
    assert "they are left empty" in warning


async def test_a_region_silent_below_holds_up_the_answer_no_longer_than_our_patience() -> None:
    studies = {f"1.{i}": {f"1.{i}.1": ["a"]} for i in range(20)}
    began = asyncio.get_running_loop().time()
    await Province(silent("A", studies, failures={Level.SERIES: (0, None)}, patience=4.0)).search()
    assert asyncio.get_running_loop().time() - began == pytest.approx(4.0)


# --- limits


async def test_no_more_studies_are_derived_than_the_limit() -> None:
    studies = {f"1.{i}": {f"1.{i}.1": ["a"]} for i in range(9)}
    province = Province(silent("A", studies), derived_studies=4)
    result = await province.search()
    assert province.asked(Level.SERIES) == [4]
    assert [told(x, SERIES_COUNT) for x in result.rows] == [[[1]]] * 4 + [[[]]] * 5
    [warning] = result.warnings
    assert "NumberOfStudyRelatedSeries, NumberOfStudyRelatedInstances of 5 rows are not known" in warning


@pytest.mark.parametrize(("limit", "count", "warned"), [(1, [], 1), (2, [3], 0), (3, [3], 0)])
async def test_no_more_series_are_counted_than_the_limit(limit: int, count: list[int], warned: int) -> None:
    region = silent("A", counting=False)
    made, warnings = await only(region, derived_series=limit)
    assert told(made, INSTANCE_COUNT) == [count]
    assert len([x for x in warnings if "Instances" in x]) == warned
    assert sum(query.level is Level.IMAGE for query in region.asked) == min(limit, 2)


async def test_a_region_is_not_asked_for_everything_at_once() -> None:
    studies = {f"1.{i}": {f"1.{i}.1": ["a"]} for i in range(20)}
    most = 0

    class Watched(ScriptedRegion):
        async def search(self, query: Query, deadline: Any) -> Any:
            nonlocal most
            async for answer in super().search(query, deadline):
                most = max(most, self.under_way)
                yield answer

    region = Watched("A", studies, rows=[study_row(uid, **NOTHING_TOLD) for uid in studies])
    await Province(region).search()
    assert most == 3


# --- series


async def test_the_instances_of_a_series_are_counted_where_its_region_does_not() -> None:
    region = ScriptedRegion("A", STUDY, counting=False)
    result = await Province(region).search(Query(Level.SERIES, study="1.1"))
    assert [told(x, SERIES_INSTANCES) for x in result.rows] == [[[2]], [[1]]]


async def test_the_instances_of_a_series_of_two_holders_are_their_union() -> None:
    regions = [
        ScriptedRegion("A", {"1.1": {"1.1.1": ["a", "b"]}}),
        ScriptedRegion("B", {"1.1": {"1.1.1": ["b", "c"]}}),
    ]
    [made] = (await Province(*regions).search(Query(Level.SERIES, study="1.1"))).rows
    assert told(made, SERIES_INSTANCES) == [[3]]


async def test_a_series_that_nobody_counts_is_empty_and_named() -> None:
    region = ScriptedRegion("A", STUDY, counting=False, failures={Level.IMAGE: (0, Aborted("gone"))})
    result = await Province(region).search(Query(Level.SERIES, study="1.1"))
    assert [told(x, SERIES_INSTANCES) for x in result.rows] == [[[]], [[]]]
    assert result.warnings == ("NumberOfSeriesRelatedInstances of 2 rows is not known: it is left empty",)


async def test_instances_need_no_derivation() -> None:
    province = Province(ScriptedRegion("A", STUDY))
    result = await province.search(Query(Level.IMAGE, study="1.1", series="1.1.1"))
    assert (len(result.rows), len(province.regions[0].asked), result.warnings) == (2, 1, ())


async def test_a_bare_search_is_not_completed() -> None:
    province = Province(silent("A"))
    result = await province.search(Query(Level.STUDY, bare=True))
    assert len(province.regions[0].asked) == 1
    assert len(result.rows) == 1


# --- Modalities in Study as a key


def by_modality(value: str = "MR", **more: Any) -> Query:
    return Query(Level.STUDY, keys={("00080061",): value}, **more)


@pytest.mark.parametrize(("value", "shown"), [("MR", ["1.2"]), ("CT", ["1.1"]), ("CT\\MR", ["1.1", "1.2"]), ("US", [])])
async def test_a_study_is_found_by_a_modality_that_its_region_does_not_tell(value: str, shown: list[str]) -> None:
    """Trap 21: the rows come back unfiltered and without Modalities in Study."""
    holdings = {"1.1": {"1.1.1": ["a"]}, "1.2": {"1.2.1": ["b"]}}
    result = await Province(silent("A", holdings, modalities={"1.2.1": "MR"})).search(by_modality(value))
    assert [x[KEYS[Level.STUDY]]["Value"][0] for x in result.rows] == shown
    assert (result.remaining, result.warnings) == (0, ())


async def test_a_study_whose_modality_stays_unknown_is_kept_and_named() -> None:
    regions = [silent("A", failures={Level.SERIES: (0, Aborted("gone"))}), ScriptedRegion("B")]
    result = await Province(*regions).search(by_modality())
    assert len(result.rows) == 1
    assert "ModalitiesInStudy is not in rows of a: it could not be verified there" in result.warnings


async def test_filtering_by_modality_happens_before_the_page_is_cut() -> None:
    holdings = {f"1.{i}": {f"1.{i}.1": ["a"]} for i in range(6)}
    region = silent("A", holdings, modalities={f"1.{i}.1": "MR" for i in (1, 3, 5)})
    result = await Province(region).search(by_modality(limit=2))
    assert [x[KEYS[Level.STUDY]]["Value"][0] for x in result.rows] == ["1.1", "1.3"]
    assert result.remaining == 1


async def test_beyond_the_limit_studies_are_kept_unfiltered_and_named() -> None:
    holdings = {f"1.{i}": {f"1.{i}.1": ["a"]} for i in range(6)}
    result = await Province(silent("A", holdings), derived_studies=4).search(by_modality())
    assert [x[KEYS[Level.STUDY]]["Value"][0] for x in result.rows] == ["1.4", "1.5"]
    assert [x for x in result.warnings if "could not be verified" in x]


async def test_a_row_that_tells_its_modality_is_not_asked_about() -> None:
    region = ScriptedRegion("A", STUDY, rows=[study_row("1.1"), study_row("1.2", _00080061="MR")])
    result = await Province(region).search(by_modality())
    assert len(result.rows) == 1
    assert len(region.asked) == 1


async def test_a_series_row_without_its_uid_is_passed_over() -> None:
    class Odd(ScriptedRegion):
        def answers(self, level: Level) -> Any:
            extra = [row(Level.SERIES, "", _0020000D="1.1")] if level is Level.SERIES else []
            return [*super().answers(level), *extra]

    made, _ = await only(Odd("A", STUDY, rows=[study_row("1.1", **NOTHING_TOLD)]))
    assert told(made, SERIES_COUNT) == [[2]]
