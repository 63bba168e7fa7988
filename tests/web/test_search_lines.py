"""Rows as lines: each as soon as it is known, and at the end what became of the regions."""

import asyncio
import json

import pytest
from httpx2 import RemoteProtocolError

from gateway.errors import NoRegionAnswered, RequestError, Stalled
from gateway.web.problem import BodyBroken
from tests.web.fakes import ONE_MISSING, FakeSearch, gateway, headed, study_row
from tests.web.test_disconnect import leave

LINES = {"Accept": "application/x-ndjson"}
STRICT = {**LINES, "Prefer": "handling=strict"}


async def test_each_row_is_a_line_and_the_last_line_tells_of_the_regions() -> None:
    search = FakeSearch([study_row("1.2"), study_row("1.3")], warnings=("told of the rows",))
    async with gateway(search) as web:
        answer = await web.client.get("/studies?PatietName=x", headers=LINES)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.content.endswith(b"\n")
    first, second, last = map(json.loads, answer.text.splitlines())
    assert first["0020000D"]["Value"] == ["1.2"]
    assert second["00081190"]["Value"] == ["/dicom-web/studies/1.3"]
    [header] = answer.headers.get_list("warning")
    assert "did you mean PatientName?" in header
    assert last == {
        "federation": {
            "complete": True,
            "regions": [
                {"name": "neodin", "state": "complete", "matches": 1},
                {"name": "hdirs", "state": "complete", "matches": 0},
            ],
            "rows": 2,
            "warnings": ["told of the rows"],
        }
    }


async def test_row_is_written_while_other_regions_are_silent() -> None:
    silence = asyncio.Event()
    search = FakeSearch([study_row("1.2"), silence, study_row("1.3")])
    async with gateway(search) as web, web.client.stream("GET", "/studies", headers=LINES) as answer:
        lines = answer.aiter_lines()
        first = json.loads(await asyncio.wait_for(anext(lines), 30))
        assert first["0020000D"]["Value"] == ["1.2"]
        silence.set()
        rest = [json.loads(line) async for line in lines]
    assert [line.get("0020000D", {}).get("Value") for line in rest] == [["1.3"], None]
    assert rest[-1]["federation"]["rows"] == 2


async def test_no_match_is_one_line() -> None:
    async with gateway() as web:
        answer = await web.client.get("/studies", headers=LINES)
    [last] = map(json.loads, answer.text.splitlines())
    assert last["federation"]["complete"]
    assert last["federation"]["rows"] == 0


async def test_missing_region_is_told_in_the_last_line() -> None:
    async with gateway(FakeSearch([study_row()], ONE_MISSING)) as web:
        answer = await web.client.get("/studies", headers=LINES)
    told = json.loads(answer.text.splitlines()[-1])["federation"]
    assert not told["complete"]
    assert told["regions"][1] == {"name": "hdirs", "state": "timeout", "matches": None}
    assert told["warnings"] == ["region hdirs unavailable (timeout): results incomplete"]


async def test_limit_ends_the_search_early_and_says_so() -> None:
    search = FakeSearch([study_row("1.2"), study_row("1.3"), asyncio.Event()])
    async with gateway(search) as web:
        answer = await asyncio.wait_for(web.client.get("/studies?limit=2", headers=LINES), 30)
        assert search.left.is_set()
    *rows, last = map(json.loads, answer.text.splitlines())
    assert len(rows) == 2
    assert last["federation"]["rows"] == 2
    assert not last["federation"]["complete"]
    assert last["federation"]["warnings"] == [
        "the limit is reached and the search was ended: there may be more results"
    ]


async def test_limit_of_nothing_is_no_row() -> None:
    async with gateway(FakeSearch([asyncio.Event()])) as web:
        answer = await asyncio.wait_for(web.client.get("/studies?limit=0", headers=LINES), 30)
    [last] = map(json.loads, answer.text.splitlines())
    assert last["federation"]["rows"] == 0
    assert not last["federation"]["complete"]


async def test_limit_that_no_answer_reaches_changes_nothing() -> None:
    async with gateway(FakeSearch([study_row()])) as web:
        answer = await web.client.get("/studies?limit=2&offset=0", headers=LINES)
    assert json.loads(answer.text.splitlines()[-1])["federation"]["complete"]


async def test_pages_are_refused_with_what_has_them() -> None:
    async with gateway() as web:
        answer = await web.client.get("/studies?offset=10", headers=LINES)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("offset: ")
    assert "application/dicom+json" in answer.json()["detail"]
    assert web.search.queries == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(NoRegionAnswered("none", federation_status="hdirs;state=timeout"), 503), (RequestError("too broad"), 400)],
)
async def test_what_fails_before_the_first_row_has_its_own_status(error: Exception, status: int) -> None:
    async with gateway(FakeSearch([error])) as web:
        answer = await web.client.get("/studies", headers=LINES)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_what_fails_later_leaves_the_body_without_its_last_line() -> None:
    async with gateway(FakeSearch([study_row(), Stalled("too late")])) as web:
        with pytest.raises(RemoteProtocolError):
            await web.client.get("/studies", headers=LINES)
    assert web.events == [BodyBroken("timeout")]


async def test_strict_caller_never_gets_a_whole_body_of_a_partial_answer() -> None:
    async with gateway(FakeSearch([study_row()], ONE_MISSING)) as web:
        with pytest.raises(RemoteProtocolError):
            await web.client.get("/studies", headers=STRICT)
    assert web.events == [BodyBroken("region-missing")]


async def test_strict_caller_without_a_row_gets_503() -> None:
    async with gateway(FakeSearch(states=ONE_MISSING)) as web:
        answer = await web.client.get("/studies", headers=STRICT)
    assert answer.status_code == 503
    assert answer.headers["federation-status"].endswith("hdirs;state=timeout")


async def test_strict_caller_who_wants_no_more_is_no_victim_of_a_region_that_was_not_waited_for() -> None:
    async with gateway(FakeSearch([study_row(), asyncio.Event()], ONE_MISSING)) as web:
        answer = await asyncio.wait_for(web.client.get("/studies?limit=1", headers=STRICT), 30)
    assert answer.status_code == 200
    assert len(answer.text.splitlines()) == 2


async def test_caller_who_leaves_ends_the_search() -> None:
    arrived = asyncio.Event()
    search = FakeSearch([study_row(), arrived.set, asyncio.Event()])
    async with gateway(search) as web:
        await leave(web.port, headed("Accept: application/x-ndjson"), arrived, reset=True)
        await asyncio.wait_for(search.left.wait(), 1)
    assert search.cancelled.is_set()
    assert web.events == []


async def test_head_waits_for_the_first_row_only() -> None:
    search = FakeSearch([study_row(), asyncio.Event()], ONE_MISSING)
    async with gateway(search) as web:
        answer = await asyncio.wait_for(web.client.head("/studies", headers=STRICT), 30)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert search.left.is_set()


async def test_thousands_of_lines_are_all_there() -> None:
    async with gateway(FakeSearch([study_row(f"1.2.{number}") for number in range(5000)])) as web:
        answer = await web.client.get("/studies", headers=LINES)
    rows = answer.text.splitlines()
    assert len(rows) == 5001
    assert json.loads(rows[4999])["0020000D"]["Value"] == ["1.2.4999"]
