"""Rows as they arrive, for callers that read line by line: each once, and at the end what is missing."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.query import Level, Query, Row
from gateway.deadline import Deadline
from gateway.errors import Aborted, NoRegionAnswered, Refused, RequestError
from gateway.events import IdentityConflict, RegionOperation
from gateway.federation.stream import AHEAD, RowStream
from tests.federation.scripted_province import SERIES, STUDIES, Province, failing, holding, uids
from tests.federation.scripted_region import ScriptedRegion, study_row
from tests.region.virtual_time import settled


async def read(province: Province, query: Query = STUDIES, seconds: float = 30.0) -> tuple[list[Row], RowStream]:
    async with province.gateway() as federation, federation.stream(query, Deadline.after(seconds)) as stream:
        return [row async for row in stream], stream


async def test_rows_come_as_soon_as_any_region_gives_them() -> None:
    province = Province(failing("A", None), holding("B", "1.1"))
    async with province.gateway() as federation, federation.stream(STUDIES, Deadline.after(30)) as stream:
        began = asyncio.get_running_loop().time()
        rows = aiter(stream)
        assert uids([await anext(rows)]) == ["1.1"]
        assert asyncio.get_running_loop().time() == began


async def test_a_stream_gives_each_row_once() -> None:
    rows, stream = await read(Province(holding("A", "1.1", "1.2"), holding("B", "1.2", "1.3")))
    assert sorted(uids(rows)) == ["1.1", "1.2", "1.3"]
    assert stream.completeness.header() == "a;state=complete;matches=2, b;state=complete;matches=2"


async def test_trap_1_a_stream_says_whose_counts_the_rows_of_several_regions_have() -> None:
    rows, stream = await read(Province(holding("A", "1.1", "1.2"), holding("B", "1.2", "1.3")))
    assert len(rows) == 3
    assert stream.warnings == (
        "1 row is of more than one region: counts and RetrieveAETitle are of the one that answered first",
    )


async def test_a_stream_of_rows_of_one_region_each_has_nothing_to_add() -> None:
    _, stream = await read(Province(holding("A", "1.1"), holding("B", "1.3")))
    assert stream.warnings == ()


async def test_a_row_says_where_it_is_had() -> None:
    rows, _ = await read(Province(holding("A", "1.1")))
    assert rows[0]["00080054"] == {"vr": "AE", "Value": ["A"]}


async def test_every_key_is_applied_again() -> None:
    region = ScriptedRegion("A", rows=[study_row("1.1"), study_row("1.2", name="Tremblay^Luc")])
    rows, _ = await read(Province(region), Query(Level.STUDY, keys={("00100010",): "Roy*"}))
    assert uids(rows) == ["1.1"]


async def test_a_region_that_fails_keeps_its_rows_and_is_named_at_the_end() -> None:
    rows, stream = await read(Province(holding("A", "1.1"), failing("B", Aborted("gone"), "1.2", "1.3", after=1)))
    assert sorted(uids(rows)) == ["1.1", "1.2"]
    assert stream.completeness.header() == "a;state=complete;matches=1, b;state=aborted;matches=1"


async def test_no_region_at_all_is_an_error() -> None:
    with pytest.raises(NoRegionAnswered) as caught:
        await read(Province(failing("A", Refused("down")), failing("B", None)))
    assert caught.value.federation_status == "a;state=refused, b;state=timeout"


async def test_the_first_row_must_come_while_our_patience_lasts() -> None:
    began = asyncio.get_running_loop().time()
    _, stream = await read(Province(holding("A", "1.1"), failing("B", None)))
    assert asyncio.get_running_loop().time() - began == pytest.approx(8.0)
    assert stream.completeness.header() == "a;state=complete;matches=1, b;state=timeout"


async def test_the_first_row_of_a_walk_may_take_until_the_hard_deadline() -> None:
    began = asyncio.get_running_loop().time()
    walking = failing("B", None)
    walking.walked = frozenset({Level.STUDY})
    _, stream = await read(Province(holding("A", "1.1"), walking), seconds=20.0)
    assert asyncio.get_running_loop().time() - began == pytest.approx(20.0)
    assert stream.completeness.header() == "a;state=complete;matches=1, b;state=timeout"


async def test_a_region_that_has_begun_may_take_until_the_hard_deadline() -> None:
    began = asyncio.get_running_loop().time()
    rows, stream = await read(Province(failing("A", None, "1.1", after=1)), seconds=30.0)
    assert asyncio.get_running_loop().time() - began == pytest.approx(30.0)
    assert (uids(rows), stream.completeness.header()) == (["1.1"], "a;state=timeout;matches=1")


async def test_a_region_that_cannot_be_asked_fails_the_stream_with_its_own_words() -> None:
    with pytest.raises(RequestError, match="add StudyDate"):
        await read(Province(holding("A", "1.1"), failing("B", RequestError("add StudyDate"))))


async def test_a_limit_ends_the_stream_and_stops_the_regions() -> None:
    region = holding("A", *(f"1.{i}" for i in range(900)))
    rows, _ = await read(Province(region), Query(Level.STUDY, limit=3))
    assert len(rows) == 3
    assert region.under_way == 0


async def test_a_region_gives_a_stream_no_more_than_its_limit() -> None:
    region = holding("A", "1.1", "1.2", "1.3")
    rows, stream = await read(Province(region, max_matches_per_region=2))
    assert (len(rows), stream.completeness.header()) == (2, "a;state=limited;matches=2")


async def test_a_reader_that_leaves_stops_the_regions() -> None:
    regions = [failing("A", None, "1.1", after=1), failing("B", None)]
    async with Province(*regions).gateway() as federation:
        async with federation.stream(STUDIES, Deadline.after(30)) as stream:
            async for _ in stream:
                break
        assert [region.under_way for region in regions] == [0, 0]


async def test_a_reader_that_does_not_read_holds_the_region_up_and_not_the_memory() -> None:
    region = holding("A", *(f"1.{i}" for i in range(5000)))
    given_out = 0

    class Counted(ScriptedRegion):
        async def search(self, query: Query, deadline: Deadline) -> Any:
            nonlocal given_out
            async for answer in super().search(query, deadline):
                given_out += 1
                yield answer

    province = Province(Counted("A", rows=region.rows))
    async with province.gateway() as federation, federation.stream(STUDIES, Deadline.after(30)) as stream:
        for _ in range(100):
            await settled()
        assert given_out <= AHEAD + 1
        assert len([row async for row in stream]) == 5000


async def test_an_error_of_the_reader_is_raised_as_it_is() -> None:
    async with Province(failing("A", None)).gateway() as federation:
        with pytest.raises(KeyError):
            async with federation.stream(STUDIES, Deadline.after(30)):
                raise KeyError("mine")


async def test_each_region_of_a_stream_is_an_event() -> None:
    province = Province(holding("A", "1.1"), failing("B", Refused("down")))
    await read(province)
    assert sorted((x.region, x.outcome, x.count) for x in province.events.of(RegionOperation)) == [
        ("a", "complete", 1),
        ("b", "refused", 0),
    ]


async def test_a_key_that_rows_cannot_confirm_is_named() -> None:
    rows, stream = await read(Province(holding("A", "1.1")), Query(Level.STUDY, keys={("00081030",): "CT*"}))
    assert len(rows) == 1
    assert stream.warnings == ("StudyDescription is not in rows of a: it could not be verified there",)


# --- two patients


def conflicting() -> list[ScriptedRegion]:
    return [
        ScriptedRegion("A", {"1.1": {"1.1.1": ["1.1.1.1"]}}, rows=[study_row("1.1")]),
        ScriptedRegion("B", {"1.1": {"1.1.2": ["1.1.2.1"]}}, rows=[study_row("1.1", name="Tremblay^Luc")]),
    ]


async def test_a_stream_never_shows_one_study_for_two_patients() -> None:
    province = Province(*conflicting())
    rows, stream = await read(province)
    assert [x["00100010"]["Value"][0]["Alphabetic"] for x in rows] == ["Roy^Zoé"]
    assert province.events.of(IdentityConflict) == [IdentityConflict("a", "b")]
    assert [x for x in stream.warnings if "identity conflict" in x]


async def test_a_stream_never_mixes_the_series_of_two_patients() -> None:
    province = Province(*conflicting())
    rows, stream = await read(province, SERIES)
    assert uids(rows, Level.SERIES) == ["1.1.1"]
    assert province.events.of(IdentityConflict) == [IdentityConflict("a", "b")]
    assert stream.completeness.missing == ()


async def test_a_stream_gives_the_series_of_all_holders_of_one_patient() -> None:
    regions = conflicting()
    regions[1].rows = [study_row("1.1")]
    rows, _ = await read(Province(*regions), SERIES)
    assert sorted(uids(rows, Level.SERIES)) == ["1.1.1", "1.1.2"]


async def test_a_region_that_cannot_say_whose_a_study_is_gives_no_series_of_it() -> None:
    regions = conflicting()
    regions[1].failures = {Level.STUDY: (0, Aborted("gone"))}
    rows, stream = await read(Province(*regions), SERIES)
    assert uids(rows, Level.SERIES) == ["1.1.1"]
    assert stream.completeness.header() == "a;state=complete;matches=1, b;state=aborted"


held = st.lists(st.sampled_from([f"1.{i}" for i in range(6)]), unique=True)


@given(st.tuples(held, held, held))
async def test_a_stream_holds_what_a_search_finds(holdings: tuple[list[str], ...]) -> None:
    regions = [holding(name, *studies) for name, studies in zip("ABC", holdings, strict=True)]
    rows, stream = await read(Province(*regions))
    result = await Province(*regions).search()
    assert sorted(uids(rows)) == sorted(uids(result))
    assert stream.completeness == result.completeness
