"""Search by POST: the same parameters in a body, with the same care (PS3.18 8.3.4 says what they mean)."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest

from gateway.dataset.query import Level
from gateway.web import form
from tests.web.fakes import SEARCHED, STUDY, FakeSearch, exchange, gateway, study_row
from tests.web.test_disconnect import leave

FORM = "application/x-www-form-urlencoded"


def posted(body: bytes, *lines: str, target: str = "/dicom-web/studies", length: int | None = None) -> bytes:
    """Return a POST request with a form as its body."""
    size = len(body) if length is None else length
    head = [f"POST {target} HTTP/1.1", "Host: localhost", f"Content-Type: {FORM}", f"Content-Length: {size}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize(("path", "level", "study", "series"), SEARCHED)
async def test_every_search_resource_takes_its_parameters_from_a_form(
    path: str, level: Level, study: str | None, series: str | None
) -> None:
    fields = {"PatientName": "Gagné^Zoé*", "limit": "5", "includefield": "00081030"}
    async with gateway(FakeSearch([study_row()])) as web:
        answer = await web.client.post(path, data=fields)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    [query] = web.search.queries
    assert (query.level, query.study, query.series, query.limit) == (level, study, series, 5)
    assert query.keys == {("00100010",): "Gagné^Zoé*"}
    assert query.include == {("00081030",)}


async def test_parameters_of_the_url_and_of_the_body_are_one_search() -> None:
    async with gateway() as web:
        await web.client.post("/studies?limit=7&PatientID=1", data={"StudyDate": "20240101-"})
        twice = await web.client.post("/studies?PatientID=1", data={"00100020": "2"})
    [query] = web.search.queries
    assert (query.limit, query.keys) == (7, {("00100020",): "1", ("00080020",): "20240101-"})
    assert twice.status_code == 400
    assert "expected once, given twice" in twice.json()["detail"]


async def test_list_of_uids_too_long_for_a_url_fits_a_form() -> None:
    uids = [f"1.2.826.0.1.3680043.9.7433.1.{number:030}" for number in range(900)]
    async with gateway() as web:
        answer = await web.client.post("/studies", data={"StudyInstanceUID": ",".join(uids)})
    assert answer.status_code == 200
    assert web.search.queries[0].keys == {("0020000D",): "\\".join(uids)}


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "multipart/form-data; boundary=x",
        'multipart/related; type="application/dicom"',
        "",
        "text/plain",
    ],
)
async def test_other_bodies_are_415_with_what_is_expected(content_type: str) -> None:
    async with gateway() as web:
        answer = await web.client.post("/studies", content=b"limit=1", headers={"Content-Type": content_type})
    assert answer.status_code == 415
    assert answer.json()["type"] == "/docs/errors/unsupported-media-type"
    assert f"expected Content-Type: {FORM}" in answer.json()["detail"]
    assert web.search.queries == []


async def test_compressed_form_is_415() -> None:
    async with gateway() as web:
        answer = await web.client.post(
            "/studies", content=b"\x1f\x8b", headers={"Content-Type": FORM, "Content-Encoding": "gzip"}
        )
    assert answer.status_code == 415


async def test_type_of_a_form_has_any_case_and_parameters() -> None:
    async with gateway() as web:
        headers = {"Content-Type": "Application/X-WWW-Form-Urlencoded ; charset=UTF-8"}
        answer = await web.client.post("/studies", content=b"limit=1", headers=headers)
    assert answer.status_code == 200


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 4096):
        yield b"x" * 4096


async def test_body_beyond_64_kib_is_413_whether_its_length_is_said_or_not() -> None:
    headers = {"Content-Type": FORM}
    async with gateway() as web:
        fits = await web.client.post("/studies", content=b"&" * 65536, headers=headers)
        said = await web.client.post("/studies", content=b"x" * 65537, headers=headers)
        unsaid = await web.client.post("/studies", content=chunks(200_000), headers=headers)
    assert fits.status_code == 200
    for answer in (said, unsaid):
        assert answer.status_code == 413
        assert "longer than 65536 bytes" in answer.json()["detail"]


async def test_length_that_is_said_is_not_waited_for() -> None:
    async with gateway() as web:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
            writer.write(posted(b"0123456789", length=1 << 32))
            answer = await reader.readuntil(b"\r\n")
            writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_body_that_does_not_come_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MOST_SECONDS", 0.05)
    async with gateway() as web:
        answer = await exchange(web.port, posted(b"limit=", length=100))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert web.search.queries == []


@pytest.mark.parametrize("reset", [True, False])
async def test_search_by_post_is_cancelled_when_its_client_leaves(reset: bool) -> None:
    async with gateway(FakeSearch(before=[asyncio.Event()])) as web:
        await leave(web.port, posted(b"limit=5"), web.search.asked, reset=reset)
        await asyncio.wait_for(web.search.cancelled.wait(), 1)
    assert web.events == []


async def test_lines_by_post_are_left_when_their_client_leaves() -> None:
    arrived = asyncio.Event()
    search = FakeSearch([study_row()], before=[arrived.set, asyncio.Event()])
    async with gateway(search) as web:
        await leave(web.port, posted(b"limit=5", "Accept: application/x-ndjson"), arrived, reset=True)
        await asyncio.wait_for(search.left.wait(), 1)
    assert search.cancelled.is_set()
    assert web.events == []


async def test_client_that_leaves_in_the_middle_of_its_form_is_no_defect() -> None:
    async with gateway() as web:
        await exchange_and_leave(web.port, posted(b"limit=", length=100))
        assert (await web.client.post("/studies", data={"limit": "1"})).status_code == 200
        await web.server._quiet(0.0)
        await asyncio.wait_for(web.server._ended(5), 5)
    assert web.events == []
    assert len(web.search.queries) == 1


async def exchange_and_leave(port: int, request: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_answer_by_post_is_the_answer_by_get() -> None:
    fields = {"PatietName": "x", "limit": "1"}
    async with gateway(FakeSearch([study_row()], remaining=3)) as web:
        got = await web.client.get(f"/studies?{urlencode(fields)}")
        sent = await web.client.post("/studies", data=fields)
        again = await web.client.post("/studies", data={"limit": "x"})
    assert got.content == sent.content
    for name in ("content-type", "federation-status", "cache-control"):
        assert got.headers[name] == sent.headers[name]
    assert got.headers.get_list("warning") == sent.headers.get_list("warning")
    assert again.status_code == 400


@pytest.mark.parametrize("path", ["/studies", "/series", f"/studies/{STUDY}/instances"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_are_405_with_allow(method: str, path: str) -> None:
    async with gateway() as web:
        answer = await web.client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
