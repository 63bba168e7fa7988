"""Page 2 continues page 1, whatever the archives do in between (PS3.18 8.3.4.4.1, trap 12)."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.query import Level, Query
from gateway.errors import Refused
from gateway.federation.snapshots import Snapshots
from tests.federation.scripted_province import Province, failing, holding, uids
from tests.federation.scripted_region import ScriptedRegion, study_row


def page(offset: int = 0, limit: int = 2, **more: object) -> Query:
    return Query(Level.STUDY, offset=offset, limit=limit, **more)  # type: ignore[arg-type]


def five(name: str = "A") -> ScriptedRegion:
    return holding(name, *(f"1.{i}" for i in range(5)))


async def test_the_next_page_continues_the_one_before_while_the_archive_changes() -> None:
    region = five()
    async with Province(region) as province:
        assert uids(await province.search(page(0))) == ["1.0", "1.1"]
        region.rows = [study_row("1.00"), *(region.rows or ())[3:]]
        pages = [await province.search(page(offset)) for offset in (2, 4)]
    assert [uids(x) for x in pages] == [["1.2", "1.3"], ["1.4"]]
    assert [x.remaining for x in pages] == [1, 0]
    assert province.asked() == [1]


async def test_the_first_page_is_always_searched_anew() -> None:
    region = five()
    async with Province(region) as province:
        await province.search(page(0))
        region.rows = [study_row("2.1"), study_row("2.2"), study_row("2.3")]
        assert uids(await province.search(page(0))) == ["2.1", "2.2"]
        assert uids(await province.search(page(2))) == ["2.3"]


async def test_a_first_page_with_nothing_behind_it_forgets_the_older_one() -> None:
    region = five()
    async with Province(region) as province:
        await province.search(page(0))
        region.rows = [study_row("2.1")]
        await province.search(page(0))
        assert uids(await province.search(page(2))) == []


async def test_a_page_asked_for_again_is_the_same_page() -> None:
    async with Province(five()) as province:
        await province.search(page(0))
        assert await province.search(page(4)) == await province.search(page(4))
        assert province.asked() == [1]


async def test_a_page_without_a_first_one_is_cut_from_a_search_of_its_own() -> None:
    async with Province(five()) as province:
        assert uids(await province.search(page(2))) == ["1.2", "1.3"]
        assert uids(await province.search(page(4))) == ["1.4"]
        assert province.asked() == [1]


async def test_each_caller_turns_its_own_pages() -> None:
    region = five()
    async with Province(region) as province:
        await province.search(page(0), caller="one")
        region.rows = [study_row(f"2.{i}") for i in range(5)]
        await province.search(page(0), caller="two")
        assert uids(await province.search(page(2), caller="one")) == ["1.2", "1.3"]
        assert uids(await province.search(page(2), caller="two")) == ["2.2", "2.3"]


async def test_another_question_is_no_continuation() -> None:
    async with Province(five()) as province:
        await province.search(page(0))
        await province.search(page(2, keys={("00100010",): "Roy*"}))
        assert province.asked() == [2]


async def test_a_page_tells_how_complete_the_answer_is_that_it_is_cut_from() -> None:
    broken = failing("B", Refused("down"))
    async with Province(five(), broken) as province:
        first_page = await province.search(page(0))
        broken.failures.clear()
        assert (await province.search(page(2))).completeness == first_page.completeness
        assert first_page.completeness.missing


async def test_a_snapshot_is_forgotten_after_a_while() -> None:
    async with Province(five(), snapshot_seconds=60.0) as province:
        await province.search(page(0))
        await asyncio.sleep(59.0)
        await province.search(page(2))
        await asyncio.sleep(59.0)  # it was just used
        await province.search(page(4))
        assert province.asked() == [1]
        await asyncio.sleep(61.0)
        await province.search(page(2))
        assert province.asked() == [2]


async def test_more_rows_than_there_is_room_for_are_not_kept() -> None:
    async with Province(five(), snapshot_rows=4) as province:
        assert uids(await province.search(page(0))) == ["1.0", "1.1"]
        assert uids(await province.search(page(2))) == ["1.2", "1.3"]
        assert province.asked() == [2]


async def test_a_cut_page_is_completed_only_when_it_is_looked_at() -> None:
    region = ScriptedRegion("A", {f"1.{i}": {f"1.{i}.1": ["1.1.1.1"]} for i in range(4)})
    region.rows = [study_row(f"1.{i}", _00201206=None) for i in range(4)]
    async with Province(region) as province:
        await province.search(page(0))
        assert province.asked(Level.SERIES) == [2]
        await province.search(page(2))
        assert province.asked(Level.SERIES) == [4]
        await province.search(page(2))
        assert province.asked(Level.SERIES) == [4]


@given(st.integers(1, 7), st.integers(0, 15), st.integers(0, 15))
async def test_all_pages_together_are_the_whole_answer_without_a_repeat(size: int, here: int, there: int) -> None:
    regions = [holding("A", *(f"1.{i}" for i in range(here))), holding("B", *(f"1.{i}" for i in range(5, there)))]
    whole = uids(await Province(*regions).search())
    shown: list[str] = []
    async with Province(*regions) as province:
        remaining = True
        while remaining:
            result = await province.search(page(len(shown), size))
            shown += uids(result)
            remaining = bool(result.remaining)
            for region in regions:  # the archives change at every page
                region.rows = [*(region.rows or ())][1:]
    assert shown == whole
    assert len(set(shown)) == len(shown)


# --- the shelf


@dataclass(frozen=True)
class Rows:
    rows: list[int]


def rows(count: int) -> Rows:
    return Rows(list(range(count)))


async def test_the_one_unused_the_longest_makes_room() -> None:
    kept = Snapshots[Rows](60.0, 10)
    for key in "abc":
        kept.keep(key, rows(4))
    assert [kept.get(key) is not None for key in "abc"] == [False, True, True]
    kept.get("b")
    kept.keep("d", rows(4))
    assert [kept.get(key) is not None for key in "bcd"] == [True, False, True]
    kept.clear()


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["keep", "drop", "get"]), st.integers(0, 12))))
async def test_there_are_never_more_rows_than_there_is_room_for(steps: list[tuple[str, str, int]]) -> None:
    kept = Snapshots[Rows](60.0, 10)
    model: dict[str, Rows] = {}
    for key, verb, count in steps:
        if verb == "keep":
            kept.keep(key, made := rows(count))
            model[key] = made
        elif verb == "drop":
            kept.drop(key)
            model.pop(key, None)
        else:
            held = kept.get(key)
            assert held is None or held is model[key]
        assert sum(len(x.rows) for k in "abcd" if (x := kept.get(k))) <= 10
    kept.clear()
    assert len(kept) == 0


async def test_an_idle_gateway_forgets_too() -> None:
    kept = Snapshots[Rows](60.0, 10)
    kept.keep("a", rows(1))
    await asyncio.sleep(30.0)
    kept.keep("b", rows(1))
    await asyncio.sleep(31.0)
    assert len(kept) == 1
    await asyncio.sleep(30.0)
    assert len(kept) == 0


@pytest.mark.parametrize("count", [10, 11])
async def test_what_is_larger_than_all_the_room_is_not_kept(count: int) -> None:
    kept = Snapshots[Rows](60.0, 10)
    kept.keep("a", rows(count))
    assert (kept.get("a") is not None) == (count == 10)
    kept.clear()
