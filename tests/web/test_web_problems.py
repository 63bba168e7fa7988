"""Errors over HTTP: a problem document that helps, and nothing of a patient in it (RFC 9457, PS3.18 8.5)."""

import pytest

from gateway.errors import Saturated
from gateway.web.problem import UnexpectedError
from tests.web.fakes import STUDY, FakeRetrieve, FakeSearch, ct, gateway, study_row


@pytest.mark.parametrize(
    ("path", "status", "slug", "word"),
    [
        ("/studies/abc", 400, "bad-request", "study in the path"),
        ("/studies/1.2/series/..%20", 400, "bad-request", "series in the path"),
        ("/studies/1.2/series/1.3/instances/1..2", 400, "bad-request", "instance in the path"),
        (f"/studies/{'1' * 65}", 400, "bad-request", "at most 64"),
        ("/studies/1.2.*/metadata", 400, "bad-request", "study in the path"),
        ("/studies/%D9%A1", 400, "bad-request", "study in the path"),
        ("/studies?limit=x", 400, "bad-request", "limit: expected"),
        ("/studies?StudyDate=1", 400, "bad-request", "StudyDate: expected"),
        ("/nothing", 404, "not-found", "no such resource"),
        ("/studies/", 404, "not-found", "no such resource"),
    ],
)
async def test_bad_request_is_told_what_is_wrong(path: str, status: int, slug: str, word: str) -> None:
    async with gateway() as web:
        answer = await web.client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/docs/errors/{slug}"
    assert problem["status"] == status
    assert word in problem["detail"]
    assert not web.search.queries
    assert not web.retrieve.selections


@pytest.mark.parametrize("path", ["/studies", f"/studies/{STUDY}", f"/studies/{STUDY}/metadata"])
async def test_unacceptable_accept_is_406_and_no_region_is_asked(path: str) -> None:
    async with gateway() as web:
        answer = await web.client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 406
    assert answer.json()["available"]
    assert not web.search.queries
    assert not web.retrieve.selections


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_other_methods_are_405_with_allow(method: str) -> None:
    async with gateway() as web:
        answer = await web.client.request(method, f"/studies/{STUDY}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.json()["type"] == "/docs/errors/method-not-allowed"


async def test_defect_shows_neither_its_text_nor_its_stack() -> None:
    async with gateway(FakeSearch(before=[ValueError("Tremblay^Zoe")])) as web:
        answer = await web.client.get("/studies?PatientName=Tremblay")
    assert answer.status_code == 500
    assert answer.json()["type"] == "/docs/errors/unexpected"
    assert b"Tremblay" not in answer.content
    assert b"Traceback" not in answer.content
    [event] = web.events
    assert isinstance(event, UnexpectedError)
    assert event.error == "ValueError"
    assert event.where.startswith("fakes.py:")
    assert "Tremblay" not in repr(event)


async def test_what_may_help_later_says_when_to_ask_again() -> None:
    async with gateway(FakeSearch(before=[Saturated("all associations are taken")])) as web:
        answer = await web.client.get("/studies")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")


@pytest.mark.parametrize("path", ["/studies", f"/studies/{STUDY}", "/nothing", "/studies?limit=x"])
async def test_every_answer_is_private(path: str) -> None:
    async with gateway(FakeSearch([study_row()]), FakeRetrieve([ct()])) as web:
        answer = await web.client.get(path)
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers
    assert "date" in answer.headers


async def test_root_path_is_a_setting() -> None:
    async with gateway(root_path="/pacs") as web:
        base = f"http://127.0.0.1:{web.port}"
        assert (await web.client.get(f"{base}/pacs/studies")).status_code == 200
        assert (await web.client.get(f"{base}/dicom-web/studies")).status_code == 404


VIEWER = "https://viewer.example.ca"


async def test_configured_origin_may_read_answers_and_their_warnings() -> None:
    async with gateway(cors_origins=(VIEWER,)) as web:
        answer = await web.client.get("/studies", headers={"Origin": VIEWER})
        error = await web.client.get("/studies?limit=x", headers={"Origin": VIEWER})
        other = await web.client.get("/studies", headers={"Origin": "https://evil.example"})
    for allowed in (answer, error):
        assert allowed.headers["access-control-allow-origin"] == VIEWER
        exposed = allowed.headers["access-control-expose-headers"]
        assert {"Warning", "Federation-Status", "Content-Location", "ETag"} <= set(exposed.split(", "))
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_preflight_of_a_configured_origin(method: str) -> None:
    headers = {
        "Origin": VIEWER,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "accept, authorization, range, prefer",
    }
    async with gateway(cors_origins=(VIEWER,)) as web:
        answer = await web.client.options("/studies", headers=headers)
        other = await web.client.options("/studies", headers={**headers, "Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == VIEWER
    assert answer.headers["access-control-max-age"] == "600"
    assert other.status_code == 400


async def test_without_configured_origins_no_other_origin_may_read() -> None:
    async with gateway() as web:
        answer = await web.client.get("/studies", headers={"Origin": VIEWER})
    assert not [name for name in answer.headers if name.startswith("access-control")]
