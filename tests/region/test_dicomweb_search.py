"""Searches of a region over QIDO-RS: all that it has, nothing that it should not say, an error for what is wrong."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from gateway.dataset.query import Level, Query
from gateway.deadline import Deadline
from gateway.errors import (
    Busy,
    DatasetError,
    DimseFailure,
    GatewayError,
    LimitExceeded,
    PartlyAnswered,
    Refused,
    Rejected,
    RemoteProtocolError,
    Stalled,
    Unreachable,
)
from gateway.region import dicomweb_search
from gateway.region.outcome import BROKEN
from tests.dimse.scripts import until
from tests.kit import dicom
from tests.kit.peers import free_port
from tests.region.web_archive import JSON, Handler, Web, answering, listing, raw, row, server, status, webbed

REAL_TIME = True
SECRET = "BELANGER^JEAN"
SERIES_OF_ONE = Query(Level.SERIES, study=dicom.uid(1))


def uids(rows: list[Any]) -> list[str]:
    return [found["0020000D"]["Value"][0] for found in rows]


def paging(count: int, most: int = 10_000, *, warns: bool = False) -> Handler:
    """Hold so many studies, and give so many of them on one page."""

    async def handler(request: web.Request) -> web.StreamResponse:
        limit, offset = int(request.query["limit"]), int(request.query["offset"])
        page = [row(number) for number in range(count)][offset : offset + min(limit, most)]
        answer = listing(page)
        left = count - offset - len(page)
        if warns and left > 0:
            answer.headers["Warning"] = f'299 archive "There are {left} additional results that can be requested"'
        return answer

    return handler


# --- what it gives


async def test_each_row_is_a_match() -> None:
    async with webbed(answering(row(1), row(2))) as (watching, requests):
        assert uids(await watching.search()) == [dicom.uid(1), dicom.uid(2)]
        assert [request.headers["Accept"] for request in requests] == [JSON]


@pytest.mark.parametrize("handler", [status(204), answering(), status(200)])
async def test_nothing_is_an_answer(handler: Handler) -> None:
    async with webbed(handler) as (watching, _):
        assert await watching.gathered() == ([], None)


async def test_what_servers_write_otherwise_is_read_as_it_is_meant() -> None:
    odd = row(
        1,
        **{
            "00100010": {"vr": "PN", "Value": [None, "Lévesque^Anne"]},
            "00201208": {"vr": "IS", "Value": ["12"]},
            "00080061": {"vr": "CS", "Value": "CT\\SR"},
            "0008002a": {"vr": "DT"},
            "00081190": {"vr": "UR", "Value": ["http://169.254.169.254/studies"]},
            "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
        },
    )
    async with webbed(answering(odd)) as (watching, _):
        [found] = await watching.search()
        assert found["00100010"]["Value"] == [None, {"Alphabetic": "Lévesque^Anne"}]
        assert found["00201208"]["Value"] == [12]
        assert found["00080061"]["Value"] == ["CT", "SR"]
        assert not {"00081190", "00080005"} & found.keys()


@pytest.mark.parametrize(
    ("count", "most", "warns", "asked"), [(2500, 10_000, False, 3), (250, 100, True, 3), (250, 100, False, 3)]
)
async def test_all_pages_are_one_answer(count: int, most: int, warns: bool, asked: int) -> None:
    async with webbed(paging(count, most, warns=warns)) as (watching, requests):
        assert len(await watching.search()) == count
        assert len(requests) == asked


async def test_a_small_answer_costs_one_request() -> None:
    async with webbed(paging(42)) as (watching, requests):
        await watching.search()
        assert len(requests) == 1


async def test_a_server_without_pages_is_asked_by_study_date() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        key = request.query.get("00080020", "-")
        first, _, last = key.partition("-") if "-" in key else (key, "", key)
        fit = [n for n in range(180) if first <= row(n)["00080020"]["Value"][0] <= (last or "99991231")]
        return listing([row(n) for n in fit][:100])

    async with webbed(handler) as (watching, _):
        assert sorted(uids(await watching.search())) == sorted(dicom.uid(n) for n in range(180))


async def test_more_than_is_taken_from_one_region_is_told_after_what_is() -> None:
    async with webbed(paging(150), search={"max_matches_per_region": 100}) as (watching, _):
        found, error = await watching.gathered()
        assert len(found) == 100
        assert isinstance(error, LimitExceeded)


async def test_a_long_list_of_uids_is_asked_for_in_parts() -> None:
    wanted = [str(dicom.uid(n)) for n in range(150)]

    async def handler(request: web.Request) -> web.StreamResponse:
        assert len(request.path_qs) < 8000
        return listing([row(wanted.index(uid)) for uid in request.query["0020000D"].split(",")])

    async with webbed(handler) as (watching, requests):
        found = await watching.search(Query(Level.STUDY, keys={("0020000D",): "\\".join(wanted)}))
        assert uids(found) == wanted
        assert len(requests) == 3


async def test_a_server_that_has_no_series_of_all_studies_is_walked() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/studies"):
            return listing([row(1), row(2)])
        if "/studies/" in request.path:
            study = request.path.split("/")[3]
            return listing([{"0020000E": {"vr": "UI", "Value": [f"{study}.1"]}}])
        return web.Response(status=404)

    async with webbed(handler) as (watching, requests):
        for _ in range(2):
            found = await watching.search(Query(Level.SERIES))
            assert {x["0020000E"]["Value"][0] for x in found} == {f"{dicom.uid(n)}.1" for n in (1, 2)}
        assert requests.paths.count("/series") == 1


# --- what it must not give


async def test_rows_of_another_study_and_rows_without_a_uid_are_left_out_and_told() -> None:
    mine = {"0020000E": {"vr": "UI", "Value": [dicom.uid(1, 1)]}}
    others = {**mine, "0020000D": {"vr": "UI", "Value": [dicom.uid(2)]}}
    script = {"0020000E": {"vr": "UI", "Value": ["<script>"]}}
    async with webbed(answering(others, mine, {}, script, 7, None)) as (watching, _):
        found, error = await watching.gathered(SERIES_OF_ONE)
        assert [x["0020000E"]["Value"][0] for x in found] == [dicom.uid(1, 1)]
        assert found[0]["0020000D"]["Value"] == [dicom.uid(1)]
        assert isinstance(error, DatasetError)
        assert str(error) == "5 rows of region webbed are no matches of the search"


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"[{", JSON),
        (b'{"0020000D":{}}', JSON),
        (b"[" * 5000, JSON),
        (b"\xff\xfe", JSON),
        (b"<html>log in</html>", "text/html"),
        (b"[]", "application/octet-stream"),
    ],
)
async def test_what_is_no_answer_is_an_error_of_the_region(content: bytes, media_type: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=media_type)

    async with webbed(handler) as (watching, _):
        assert isinstance(await watching.failure(), RemoteProtocolError)


async def test_an_answer_too_large_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb_search, "MOST_BYTES", 10_000)
    async with webbed(answering(*map(row, range(500)))) as (watching, _):
        assert isinstance(await watching.failure(), LimitExceeded)


async def test_what_is_compressed_unasked_is_not_inflated() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "identity"
        bomb = web.Response(body=b"[" + b" " * 10_000_000 + b"]", content_type=JSON)
        bomb.enable_compression(web.ContentCoding.gzip)
        return bomb

    async with webbed(handler) as (watching, _):
        assert isinstance(await watching.failure(), RemoteProtocolError)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_anywhere(code: int) -> None:
    async with server(answering(row(1))) as elsewhere:
        async with webbed(status(code, Location=f"{elsewhere.url}/studies")) as (watching, _):
            error = await watching.failure()
            assert isinstance(error, Rejected)
            assert "redirects" in str(error)
        assert elsewhere == []


# --- statuses


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, DimseFailure),
        (401, Rejected),
        (403, Rejected),
        (404, DimseFailure),
        (413, DimseFailure),
        (429, Busy),
        (500, DimseFailure),
        (501, DimseFailure),
        (502, Unreachable),
        (503, Busy),
        (504, Unreachable),
    ],
)
async def test_a_status_says_what_is_wrong_and_no_word_of_the_body(code: int, kind: type[GatewayError]) -> None:
    async with webbed(status(code, SECRET, WWW_Authenticate=SECRET)) as (watching, _):
        query = Query(Level.STUDY, keys={("00100010",): SECRET})
        error = await watching.failure(query)
        assert type(error) is kind
        assert str(code) in str(error)
        assert not any(word in str(error) for word in (SECRET, "JEAN", "127.0.0.1"))


@pytest.mark.parametrize(("code", "opens"), [(401, False), (400, False), (500, False), (502, True), (503, True)])
async def test_only_what_tells_of_the_regions_health_opens_its_circuit(code: int, opens: bool) -> None:
    async with webbed(status(code)) as (watching, _):
        for _ in range(6):
            await watching.failure()
        assert ("open" in watching.circuit) is opens


async def test_a_region_that_wants_to_be_left_alone_is() -> None:
    async with webbed(status(429, Retry_After="30")) as (watching, requests):
        for _ in range(3):
            assert isinstance(await watching.failure(), Busy)
        assert len(requests) == 1


@pytest.mark.parametrize(
    ("header", "kind", "parts"),
    [
        ("a;state=complete;matches=1, b;state=timeout, c;state=refused", PartlyAnswered, ("b", "c")),
        ("a;state=limited;matches=1, b;state=complete;matches=0", LimitExceeded, None),
    ],
)
async def test_what_a_federation_lacks_is_told_behind_its_rows(header: str, kind: type, parts: object) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = listing([row(1)])
        answer.headers["Federation-Status"] = header
        return answer

    async with webbed(handler) as (watching, _):
        found, error = await watching.gathered()
        assert uids(found) == [dicom.uid(1)]
        assert type(error) is kind
        assert getattr(error, "parts", None) == parts
        assert watching.circuit == []


# --- the connection


async def test_a_header_too_long_is_refused() -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n"
    async with raw(answer) as watching:
        assert isinstance(await watching.failure(), RemoteProtocolError)


async def test_too_many_fields_are_refused() -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"Content-Length: 0\r\n\r\n"
    async with raw(answer) as watching:
        assert isinstance(await watching.failure(), RemoteProtocolError)


@pytest.mark.parametrize(
    "answer", [b"", b"220 smtp ready\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[", b"\0" * 100]
)
async def test_what_breaks_off_or_is_not_http_is_the_regions_fault(answer: bytes) -> None:
    async with raw(answer) as watching:
        assert isinstance(await watching.failure(), BROKEN)


async def test_nothing_listens() -> None:
    watching = Web(f"http://127.0.0.1:{free_port()}/dicom-web")
    assert isinstance(await watching.failure(), Refused)
    await watching.region.aclose()


async def test_a_region_that_is_silent_costs_its_deadline_and_no_connection() -> None:
    left = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    async with webbed(silent, max_associations=1) as (watching, _):
        with pytest.raises(Stalled):
            await watching.search(seconds=0.1)
        await asyncio.wait_for(left.wait(), 30)


async def test_a_search_that_is_left_frees_its_connection() -> None:
    left = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        try:
            response = web.StreamResponse()
            response.content_type = JSON
            await response.prepare(request)
            await response.write(b"[")
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with webbed(slow, max_associations=1) as (watching, requests):
        task = asyncio.ensure_future(watching.search())
        await until(lambda: bool(requests))
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.wait_for(left.wait(), 30)


async def test_verify_asks_for_one_study_and_looks_at_nothing() -> None:
    async with webbed(answering(row(1, **{"00100010": {"vr": "PN", "Value": [{"Alphabetic": SECRET}]}}))) as (
        watching,
        requests,
    ):
        await watching.region.verify(Deadline.after(5))
        assert [request.path_qs for request in requests] == ["/dicom-web/studies?limit=1"]


# --- who asks


async def test_the_token_is_sent_and_read_again_when_it_has_changed(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")

    async def handler(request: web.Request) -> web.StreamResponse:
        return listing([]) if request.headers["Authorization"] == f"Bearer {wanted}" else web.Response(status=401)

    wanted = "first"
    async with webbed(handler, token_file=str(token)) as (watching, _):
        assert await watching.search() == []
        wanted = "another"
        error = await watching.failure()
        assert "token_file" in str(error)
        assert "first" not in str(error)
        token.write_text("another")
        assert await watching.search() == []
        token.unlink()
        assert isinstance(await watching.failure(), Rejected)


async def test_tls_is_with_who_the_profile_trusts_and_with_our_certificate(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    ours = authority.issue_cert("gateway.example")
    names: dict[str, Any] = {}
    for name, pem in {
        "ca": authority.cert_pem, "stranger": stranger.cert_pem, "key": ours.private_key_pem,
        "certificate": ours.cert_chain_pems[0],
    }.items():  # fmt: skip
        pem.write_to_path(tmp_path / name)
        names[name] = str(tmp_path / name)
    ident: dict[str, Any] = {"certificate": names["certificate"], "key": names["key"]}
    async with server(answering(row(1)), tls) as requests:
        good = Web(requests.url, ca=names["ca"], **ident)
        assert uids(await good.search()) == [dicom.uid(1)]
        unknown, anonymous = Web(requests.url, ca=names["stranger"], **ident), Web(requests.url, ca=names["ca"])
        error = await unknown.failure()
        assert isinstance(error, Unreachable)
        assert "TLS" in str(error)
        assert isinstance(await anonymous.failure(), BROKEN)
        for each in (good, unknown, anonymous):
            await each.region.aclose()
        assert len(requests) == 1
