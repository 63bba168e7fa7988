"""A region's own cap is found out and got around by windows of StudyDate, within limits (traps 12 and 13)."""

import random
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.errors import DimseFailure, GatewayError, LimitExceeded
from gateway.region.split import ResultCap, Span, Split
from tests.dimse.scripts import until
from tests.kit import dicom, pdus
from tests.region.picky_archive import A700, PickyArchive, values
from tests.region.watched import fields, left_at, watched

REAL_TIME = True

DATE = ("00080020",)


def studies(count: int, **attributes: Any) -> list[Dataset]:
    """Return studies of many days, in no order."""
    made = [
        dicom.instance(
            number,
            1,
            1,
            size=0,
            StudyDate=f"20{10 + number % 14}{1 + number % 12:02}{1 + number % 28:02}",
            **attributes,
        )
        for number in range(1, count + 1)
    ]
    random.Random(7).shuffle(made)
    return made


def found_in(rows: Sequence[Row]) -> list[str]:
    return sorted(row["0020000D"]["Value"][0] for row in rows)


def held_in(instances: Sequence[Dataset]) -> list[str]:
    return sorted({str(each.StudyInstanceUID) for each in instances})


MANY = {"max_matches_per_region": 5000}


async def searched(archive: PickyArchive, query: Query = Query(Level.STUDY), **profile: Any) -> list[Row]:  # noqa: B008
    async with watched(archive.script, search=MANY, **profile) as (watching, _):
        return await watching.search(query)


# --- over a scripted archive


async def test_region_whose_cap_is_known_gives_every_study_once() -> None:
    held = studies(170)
    archive = PickyArchive(held, cap=20)
    assert found_in(await searched(archive, result_cap=20)) == held_in(held)


async def test_region_that_ends_with_out_of_resources_gives_every_study_once() -> None:
    held = studies(130)
    archive = PickyArchive(held, cap=17, cap_status=A700)
    assert found_in(await searched(archive)) == held_in(held)


async def test_cap_that_nobody_told_of_is_found_out_and_remembered() -> None:
    held = studies(230)
    archive = PickyArchive(held, cap=100)
    async with watched(archive.script, search=MANY) as (watching, _):
        assert found_in(await watching.search()) == held_in(held)
        assert watching.region._cap.cap == 100
        assert found_in(await watching.search()) == held_in(held)


async def test_round_number_that_is_no_cap_costs_two_more_queries_once() -> None:
    held = studies(150)
    archive = PickyArchive(held)
    async with watched(archive.script, search=MANY) as (watching, _):
        for queries in (3, 4, 5):
            assert found_in(await watching.search()) == held_in(held)
            assert len(archive.asked) == queries


@pytest.mark.parametrize("count", [99, 101, 149])
async def test_other_numbers_are_believed(count: int) -> None:
    archive = PickyArchive(studies(count))
    assert len(await searched(archive)) == count
    assert len(archive.asked) == 1


async def test_studies_named_by_uid_are_complete_when_there_are_as_many() -> None:
    held = studies(100)
    archive = PickyArchive(held)
    keys: dict[TagPath, str] = {("0020000D",): "\\".join(held_in(held))}
    assert len(await searched(archive, Query(Level.STUDY, keys=keys))) == 100
    assert len(archive.asked) == 1


async def test_callers_own_study_date_bounds_the_windows() -> None:
    held = studies(200)
    archive = PickyArchive(held, cap=20)
    query = Query(Level.STUDY, keys={DATE: "20120101-20161231"})
    rows = await searched(archive, query, result_cap=20)
    assert found_in(rows) == held_in([x for x in held if "20120101" <= x.StudyDate <= "20161231"])
    assert all(row["00080020"]["Value"][0][:4] in {"2012", "2013", "2014", "2015", "2016"} for row in rows)
    asked = [values(identifier, "StudyDate") for identifier in archive.asked]
    assert all(first >= "20120101" and last <= "20161231" for first, _, last in (x.partition("-") for x in asked))


async def test_studies_of_one_day_are_parted_by_time() -> None:
    held = [
        dicom.instance(n, 1, 1, size=0, StudyDate="20240105", StudyTime=f"{8 + n % 10:02}{n % 60:02}{n % 7:02}.5")
        for n in range(1, 61)
    ]
    archive = PickyArchive(held, cap=10)
    assert found_in(await searched(archive, result_cap=10)) == held_in(held)


async def test_studies_without_a_date_that_the_first_answer_had_stay() -> None:
    held = [*studies(5, StudyTime=""), *studies(60)[10:]]
    for each in held[:5]:
        each.StudyDate = ""
    rows = await searched(PickyArchive(held, cap=20), result_cap=20)
    assert found_in(rows) == held_in(held)


async def test_key_that_finds_less_than_the_cap_is_asked_once() -> None:
    archive = PickyArchive(studies(200), cap=100)
    assert len(await searched(archive, Query(Level.STUDY, keys={("00100020",): "MRN00007"}), result_cap=100)) == 1
    assert len(archive.asked) == 1


async def ended(archive: PickyArchive, search: dict[str, Any], **profile: Any) -> tuple[list[Row], GatewayError | None]:
    async with watched(archive.script, search={**MANY, **search}, **profile) as (watching, _):
        return await watching.gathered()


async def test_more_than_a_second_holds_is_told_as_a_limit_and_keeps_the_rows() -> None:
    held = [dicom.instance(n, 1, 1, size=0, StudyDate="20240105", StudyTime="101500") for n in range(1, 31)]
    rows, error = await ended(PickyArchive(held, cap=10), {}, result_cap=10)
    assert isinstance(error, LimitExceeded)
    assert len(rows) == len(set(found_in(rows))) == 10


async def test_number_of_further_queries_has_a_limit() -> None:
    archive = PickyArchive(studies(170), cap=20)
    rows, error = await ended(archive, {"split_searches": 5}, result_cap=20)
    assert isinstance(error, LimitExceeded)
    assert error.limit == "split_searches"
    assert len(archive.asked) == 6
    assert len(rows) == len(set(found_in(rows)))


async def test_number_of_rows_has_a_limit() -> None:
    rows, error = await ended(PickyArchive(studies(170), cap=50), {"max_matches_per_region": 120}, result_cap=50)
    assert isinstance(error, LimitExceeded)
    assert len(rows) == 120


async def test_region_that_ignores_study_date_is_not_asked_on_and_on() -> None:
    archive = PickyArchive(studies(200), cap=50, ignores=["StudyDate"])
    rows, error = await ended(archive, {}, result_cap=50)
    assert isinstance(error, LimitExceeded)
    assert len(archive.asked) == 2
    assert len(rows) == 50


async def test_out_of_resources_before_any_row_is_a_failure() -> None:
    async def refusing(query: Query) -> AsyncGenerator[Row, None]:
        raise DimseFailure("out of resources", status=A700)
        yield {}

    split = Split(refusing, ResultCap(), max_searches=10, max_rows=100)
    with pytest.raises(DimseFailure):
        [row async for row in split.rows(Query(Level.STUDY))]


async def test_walk_over_a_capped_region_meets_every_study() -> None:
    held = studies(60)
    archive = PickyArchive(held, cap=20)
    rows = await searched(archive, Query(Level.SERIES), result_cap=60)
    assert len(rows) == 20
    archive.cap_status = A700
    rows = await searched(archive, Query(Level.SERIES))
    assert {row["0020000E"]["Value"][0] for row in rows} == {str(each.SeriesInstanceUID) for each in held}


async def test_leaving_in_the_middle_of_a_split_cancels_and_frees_the_association() -> None:
    archive = PickyArchive(studies(100), cap=30, stops_at=3)
    async with watched(archive.script, search=MANY, result_cap=30, max_associations=1) as (watching, node):
        await left_at(watching, Query(Level.STUDY), lambda: len(archive.asked) == 3)
        await until(lambda: pdus.C_CANCEL_RQ in fields(node))
        archive.stops_at = archive.cap = 0
        assert len(await watching.search(Query(Level.STUDY, keys={("00100020",): "MRN00007"}))) == 1
        assert len(node.peers) == 1


# --- properties


@given(st.lists(st.integers(1, 400), min_size=1), st.integers(1, 400), st.integers(0, 400))
def test_halves_part_a_span_and_leave_nothing_out(points: list[int], first: int, length: int) -> None:
    span = Span(first, first + length)
    halves = span.halves(points)
    inside = [point for point in points if span.holds(point)]
    if halves is None:
        assert not inside or length == 0
        return
    low, high = halves
    assert (low.first, high.last) == (span.first, span.last)
    assert low.last is not None
    assert high.first == low.last + 1
    assert all(low.holds(point) is not high.holds(point) for point in inside)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=300), st.integers(1, 40))
def test_any_days_are_parted_into_windows_below_any_cap_or_single_days(days: list[int], cap: int) -> None:
    waiting, searches = [Span()], 0
    while waiting:
        span = waiting.pop()
        seen = [day for day in days if span.holds(day)][:cap]
        searches += 1
        if len(seen) == cap:
            waiting += span.halves(seen) or ()
    assert searches <= 40 * len(days) + 1


@given(st.lists(st.integers(0, 1000)), st.integers(1, 500))
def test_configured_cap_is_believed_whatever_is_seen(sizes: list[int], cap: int) -> None:
    known = ResultCap(cap)
    for size in sizes:
        assert known.cuts(size) is (size >= cap)
        assert not known.may_cut(size)


def test_cap_that_was_found_is_forgotten_when_an_answer_exceeds_it() -> None:
    known = ResultCap()
    assert known.may_cut(200)
    known.found(200)
    assert known.cuts(200)
    assert not known.cuts(201)
    assert known.cap == 0


def test_answer_that_was_whole_makes_smaller_ones_believable() -> None:
    known = ResultCap()
    assert [size for size in range(90, 260) if known.may_cut(size)] == [100, 128, 150, 200, 250, 256]
    known.refuted(180)
    assert [size for size in range(90, 260) if known.may_cut(size)] == [200, 250, 256]
