"""Each request has an id: in its response, in what is logged for it, and in what it is answered with."""

import asyncio
import os
import re

import orjson
import pytest

from gateway.events import REQUEST, Request, RequestHandled
from gateway.ops.recent import KEPT_SECONDS, MOST_REQUESTS, RecentRequests
from gateway.web.exchange import known_keys, read_request
from tests.ops.serving import CANARY, archive, nobody, watched
from tests.web.fakes import FakeSearch, gateway

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


async def test_a_sane_id_is_taken_and_sent_back() -> None:
    async with gateway() as here:
        answer = await here.client.get("/studies", headers={"X-Request-Id": "my-request.17"})
    assert answer.headers["X-Request-Id"] == "my-request.17"
    assert [event.request.id for event in here.handled] == ["my-request.17"]


@pytest.mark.parametrize(
    "given", ["short", "x" * 65, "with space in it", "semi;colon;x", "12345678901", "1.2.840.10008.1"]
)
async def test_an_id_that_may_be_anything_is_replaced(given: str) -> None:
    async with gateway() as here:
        answer = await here.client.get("/studies", headers={"X-Request-Id": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


async def test_each_request_has_an_id_of_its_own() -> None:
    async with gateway() as here:
        ids = {(await here.client.get("/studies")).headers["X-Request-Id"] for _ in range(5)}
    assert len(ids) == 5


async def test_a_problem_names_the_request() -> None:
    async with gateway(FakeSearch(before=[RuntimeError("a defect")])) as here:
        for path, status in (("/no/such", 404), ("/studies?StudyDate=never", 400), ("/studies", 500)):
            answer = await here.client.get(path)
            assert answer.status_code == status
            assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    assert [event.request.problem for event in here.handled] == ["not-found", "bad-request", "unexpected"]


async def test_a_page_of_another_origin_may_read_it() -> None:
    origin = "https://viewer.example.ca"
    async with gateway(cors_origins=(origin,)) as here:
        answer = await here.client.get("/studies", headers={"Origin": origin})
    assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]


async def test_what_is_told_of_a_request_has_the_template_of_its_path_and_no_value() -> None:
    async with gateway(regions={"neodin": FakeSearch()}) as here:
        await here.client.get(f"/studies/1.2.3/series?PatientName={CANARY}&00100020=7&{CANARY}=1&limit=3&19800101=1")
        root = f"http://127.0.0.1:{here.port}"
        await here.client.get(f"{root}/regions/neodin/dicom-web/studies?StudyInstanceUID=1.2.3")
    one, other = here.handled
    assert (one.method, one.route, one.region) == ("GET", "/dicom-web/studies/{study}/series", "")
    assert one.keys == ("PatientName", "PatientID", "limit")
    assert (other.route, other.region) == ("/regions/{region}/dicom-web/studies", "neodin")
    assert CANARY not in repr(here.handled)
    assert "1.2.3" not in repr(here.handled)


async def test_a_client_who_leaves_is_told_of_too() -> None:
    never = asyncio.Event()
    async with gateway(search := FakeSearch(before=[never])) as here:
        _, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await search.asked.wait()
        writer.close()
        await search.cancelled.wait()
        async with asyncio.timeout(30):
            while not here.handled:  # noqa: ASYNC110 - an observer sets no event
                await asyncio.sleep(0)
    assert [event.status for event in here.handled] == [499]


async def test_who_asks_is_told_as_a_digest() -> None:
    class Principal:
        subject = CANARY

    from gateway.web.authentication import PRINCIPAL  # noqa: PLC0415
    from gateway.web.exchange import Exchanges  # noqa: PLC0415

    told: list[RequestHandled] = []

    async def known(scope: object, _receive: object, send: object) -> None:
        assert isinstance(scope, dict)
        scope[PRINCIPAL] = Principal()

    async def unused(*_: object) -> None:
        raise AssertionError

    app = Exchanges(known, told.append)  # type: ignore[arg-type]  # it observes nothing else here
    for _ in range(2):
        scope = {"type": "http", "method": "GET", "headers": [], "query_string": b""}
        await app(scope, unused, unused)  # type: ignore[arg-type]
    one, other = told
    assert one.subject == other.subject
    assert re.fullmatch("[0-9a-f]{16}", one.subject)
    assert CANARY not in repr(told)


@pytest.mark.parametrize(
    ("field", "parent", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", SPAN, True),
        (f"00-{TRACE}-{SPAN}-00", SPAN, False),
        (f"01-{TRACE}-{SPAN}-01-more", SPAN, True),
        (f"ff-{TRACE}-{SPAN}-01", "", True),
        (f"00-{'0' * 32}-{SPAN}-01", "", True),
        (f"00-{TRACE}-{'0' * 16}-01", "", True),
        (f"00-{TRACE.upper()}-{SPAN}-01", "", True),
        ("garbage", "", True),
    ],
)
def test_the_trace_of_the_caller_goes_on_where_its_header_is_sane(field: str, parent: str, sampled: bool) -> None:
    request = read_request([(b"traceparent", field.encode())])
    assert (request.parent_id, request.sampled) == (parent, sampled)
    assert (request.trace_id == TRACE) is bool(parent)
    assert len(request.span_id) == 16


def test_names_that_may_be_values_are_not_told() -> None:
    query = b"PatientName=x&00100010.00100020=1&1980-01-01=1&OtherPatientIDsSequence.PatientID=2&%FF=3&includefield=all"
    assert known_keys(query) == ("PatientName", "OtherPatientIDsSequence.PatientID", "includefield")


# --- what became of a request


async def test_whoever_knows_an_id_can_see_what_each_region_did() -> None:
    async with watched(archive(), absent=[nobody()]) as here:
        _, headers, _ = await here.search(f"?PatientName={CANARY}*")
        url = f"{here.web}/federation/status/{headers['X-Request-Id']}"
        status, _, body = await here.get(url)
    found = orjson.loads(body)
    assert (status, found["status"], found["finished"]) == (200, 200, True)
    assert found["federation_status"] == headers["Federation-Status"]
    assert {(x["region"], x["outcome"]) for x in found["operations"]} >= {("neodin", "complete"), ("hdirs", "refused")}


async def test_an_id_of_no_request_is_not_found() -> None:
    async with watched(archive()) as here:
        assert (await here.get(f"{here.web}/federation/status/{os.urandom(8).hex()}"))[0] == 404


def handled(request: Request) -> RequestHandled:
    return RequestHandled(request, "GET", "/studies", "", (), "", 200, 0.1, 0.1, 1, "a;state=complete")


def test_only_the_last_thousands_are_kept_and_for_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    recent = RecentRequests()
    for number in range(MOST_REQUESTS + 1):
        recent(handled(Request(f"request-{number}")))
    assert recent.find("request-0") is None
    assert recent.find("request-1") is not None
    import time  # noqa: PLC0415

    later = time.monotonic() + KEPT_SECONDS + 1
    monkeypatch.setattr("gateway.ops.recent.time.monotonic", lambda: later)
    assert recent.find("request-1") is None


async def test_a_task_that_a_request_starts_works_for_it() -> None:
    request = Request("request-1")
    token = REQUEST.set(request)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_current())
    REQUEST.reset(token)
    assert task.result() is request
    assert REQUEST.get() is None


async def _current() -> Request | None:
    return REQUEST.get()
