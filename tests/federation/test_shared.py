"""Searches that are the same, at the same time, are one (promise H11): nobody disturbs anybody."""

import asyncio
from dataclasses import replace

import pytest

from gateway.dataset.query import Level, Query
from gateway.deadline import Deadline
from gateway.errors import LimitExceeded, NoRegionAnswered, Refused
from gateway.federation.findings import SearchResult
from gateway.federation.shared import Shared
from tests.federation.scripted_province import STUDIES, Province, failing, holding, uids
from tests.kit.cancelling import cancelled_at_every_point
from tests.region.virtual_time import settled


async def test_a_thousand_identical_searches_cost_one_question_per_region() -> None:
    async with Province(holding("A", "1.1"), holding("B", "1.2"), holding("C")) as province:
        results = await asyncio.gather(*(province.search() for _ in range(1000)))
    assert province.asked() == [1, 1, 1]
    assert all(result == results[0] for result in results)
    assert sorted(uids(results[0])) == ["1.1", "1.2"]


async def test_a_thousand_identical_searches_derive_once() -> None:
    region = holding("A", "1.1")
    region.holdings = {"1.1": {"1.1.1": ["1.1.1.1"]}}
    region.rows[0].pop("00201208")  # type: ignore[index]
    async with Province(region) as province:
        results = await asyncio.gather(*(province.search() for _ in range(1000)))
    assert (province.asked(Level.STUDY), province.asked(Level.SERIES)) == ([1], [1])
    assert {result.rows[0]["00201208"]["Value"][0] for result in results} == {1}


@pytest.mark.parametrize(
    ("change", "questions"),
    [
        ({"offset": 1, "limit": 3}, 1),
        ({"limit": 3}, 1),
        ({"warnings": ("unknown parameter x",)}, 1),
        ({"keys": {("00100010",): "Roy*"}}, 2),
        ({"include": frozenset({("00081030",)})}, 2),
        ({"include_all": True}, 2),
        ({"fuzzy": True}, 2),
        ({"utc_offset": -300}, 2),
        ({"level": Level.SERIES, "study": "1.1"}, 2),
    ],
)
async def test_what_makes_two_searches_the_same(change: dict[str, object], questions: int) -> None:
    async with Province(holding("A", "1.1")) as province:
        await asyncio.gather(province.search(), province.search(replace(STUDIES, **change)))  # type: ignore[arg-type]
        assert len(province.regions[0].asked) == questions


async def test_each_hears_what_concerns_its_own_query() -> None:
    async with Province(holding("A", "1.1")) as province:
        plain, warned = await asyncio.gather(
            province.search(), province.search(Query(Level.STUDY, warnings=("unknown parameter x",)))
        )
    assert (plain.warnings, warned.warnings) == ((), ("unknown parameter x",))


async def test_who_waits_less_is_not_made_to_wait() -> None:
    async with Province(failing("A", None, "1.1", after=1)) as province:
        patient = asyncio.ensure_future(province.search())
        await settled()
        began = asyncio.get_running_loop().time()
        await province.search(seconds=2.0)
        assert asyncio.get_running_loop().time() - began == pytest.approx(2.0)
        assert uids(await patient) == ["1.1"]
        assert asyncio.get_running_loop().time() - began == pytest.approx(8.0)


async def test_what_ended_is_not_shared_any_more() -> None:
    async with Province(holding("A", "1.1")) as province:
        await province.search()
        await province.search()
        assert province.asked() == [2]


async def test_one_that_leaves_does_not_disturb_the_others() -> None:
    async with Province(failing("A", None, "1.1", after=1)) as province:
        searches = [asyncio.ensure_future(province.search()) for _ in range(3)]
        await settled()
        searches[0].cancel()
        await asyncio.wait([searches[0]])
        assert province.regions[0].under_way == 1
        assert [uids(await x) for x in searches[1:]] == [["1.1"], ["1.1"]]


async def test_when_the_last_one_leaves_every_region_is_stopped() -> None:
    async with Province(failing("A", None), failing("B", None)) as province:
        searches = [asyncio.ensure_future(province.search()) for _ in range(3)]
        await settled()
        began = asyncio.get_running_loop().time()
        for search in searches:
            search.cancel()
        await asyncio.wait(searches)
        assert [region.under_way for region in province.regions] == [0, 0]
        assert asyncio.get_running_loop().time() == began


async def test_who_comes_after_the_last_one_left_searches_anew() -> None:
    async with Province(failing("A", None, "1.1", after=1)) as province:
        leaving = asyncio.ensure_future(province.search())
        await settled()
        leaving.cancel()
        assert uids(await province.search()) == ["1.1"]
        assert leaving.cancelled()


async def test_an_error_reaches_all() -> None:
    async with Province(failing("A", Refused("down"))) as province:
        results = await asyncio.gather(*(province.search() for _ in range(5)), return_exceptions=True)
        assert [type(x) for x in results] == [NoRegionAnswered] * 5
        assert province.asked() == [1]


async def test_a_search_after_an_error_is_a_new_one() -> None:
    region = failing("A", Refused("down"), "1.1")
    async with Province(region) as province:
        with pytest.raises(NoRegionAnswered):
            await province.search()
        region.failures.clear()
        assert uids(await province.search()) == ["1.1"]


async def test_a_search_cancelled_anywhere_leaves_nothing_behind() -> None:
    regions = [holding("A", "1.1"), holding("B", "1.1")]
    async with Province(*regions) as province:

        async def scenario() -> SearchResult:
            return await province.search()

        async def check(point: int) -> None:
            assert [region.under_way for region in regions] == [0, 0], point
            assert len(asyncio.all_tasks()) == 1, point

        assert await cancelled_at_every_point(scenario, check)


async def test_a_gateway_that_ends_stops_what_is_under_way() -> None:
    province = Province(failing("A", None))
    federation = await province.gateway().__aenter__()
    searching = asyncio.ensure_future(federation.search(STUDIES, Deadline.after(30.0)))
    await settled()
    await federation.__aexit__(None, None, None)
    await asyncio.wait([searching])
    assert searching.cancelled()
    assert province.regions[0].under_way == 0


async def test_an_error_inside_the_context_leaves_it_as_it_is() -> None:
    with pytest.raises(LimitExceeded):
        async with Shared[str, int]():
            raise LimitExceeded("too much", limit="x")


async def test_work_that_was_stopped_before_it_began_keeps_nobody_waiting() -> None:
    shared = await Shared[str, None]().__aenter__()
    waiting = asyncio.ensure_future(shared.run("key", settled))
    await asyncio.sleep(0)
    await shared.__aexit__(None, None, None)
    await asyncio.wait([waiting])
    assert waiting.cancelled()
