"""Privacy officers ask over FHIR who saw a patient's record, and work on correction requests."""

import csv
import dataclasses
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from starlette.requests import Request
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from gateway.access.principal import Principal
from gateway.audit.desk import PrivacyDesk
from gateway.audit.record import Event
from gateway.audit.source import AuditSource
from gateway.dataset.patient import PatientIdentifier
from gateway.events import REQUEST, unobserved
from gateway.events import Request as Asked
from gateway.web.fhir_audit import AuditApi
from gateway.web.problem import ProblemBoundary
from tests.audit.logs import SEARCH, searches, write
from tests.kit.auditing import InMemoryAuditor

OFFICER = Principal("officer", "https://login.example.ca")
SOURCE = AuditSource("gw1", systems={"TEST-HCN": "urn:oid:1.2.3"})
ASKED = {"patient": "TEST-HCN|0041596842"}


async def linked(patient: PatientIdentifier) -> frozenset[PatientIdentifier]:
    return frozenset({patient})


class Caller:
    """Puts a principal into the scope, as the authentication does."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.principal: Principal | None = OFFICER

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["gateway.principal"] = self.principal
        token = REQUEST.set(Asked("req-9", "", "", "", sampled=False))
        try:
            await self.app(scope, receive, send)
        finally:
            REQUEST.reset(token)


class Face:
    def __init__(self, folder: Path) -> None:
        self.auditor = InMemoryAuditor()
        desk = PrivacyDesk(
            folder, self.auditor, SOURCE, named=lambda x: "TEST-HCN" if x == "urn:oid:1.2.3" else x, linked=linked
        )
        routes = [Route(path, _plain(handler), methods=methods) for path, handler, methods in AuditApi(desk).routes()]
        self.caller = Caller(Router(routes))
        self.client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=ProblemBoundary(self.caller, observe=unobserved)),
            base_url="http://gateway/fhir/",
        )


def _plain(handler: Any) -> Any:
    async def answer(request: Request) -> Any:
        return await handler(request)

    return answer


@pytest.fixture
async def face(tmp_path: Path) -> AsyncIterator[Face]:
    write(tmp_path / "log", searches(5), [SEARCH._replace(patients=(("TEST-HCN", "9"),))])
    made = Face(tmp_path / "log")
    async with made.client:
        yield made


async def test_a_patients_events_are_a_searchset(face: Face) -> None:
    answer = await face.client.get("AuditEvent", params=ASKED)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json"
    assert answer.headers["cache-control"] == "private, no-store"
    bundle = answer.json()
    assert (bundle["type"], bundle["total"], len(bundle["entry"])) == ("searchset", 5, 5)
    assert all(x["resource"]["resourceType"] == "AuditEvent" for x in bundle["entry"])
    assert len({x["resource"]["id"] for x in bundle["entry"]}) == 5
    (look,) = face.auditor.of(Event.LOG_READ)
    assert (look.subject, look.request_id, look.patients) == ("officer", "req-9", (("TEST-HCN", "0041596842"),))


async def test_an_issuer_may_be_named_by_its_system_and_the_patient_kept_out_of_the_url(face: Face) -> None:
    answer = await face.client.post("AuditEvent/_search", data={"patient": "urn:oid:1.2.3|0041596842"})
    assert answer.json()["total"] == 5


async def test_pages_follow_each_other_and_their_links_name_nobody(face: Face) -> None:
    seen: list[str] = []
    link = "AuditEvent?patient=TEST-HCN|0041596842&_count=2"
    for _ in range(3):
        bundle = (await face.client.get(link)).json()
        seen += [x["resource"]["id"] for x in bundle["entry"]]
        link = next((x["url"] for x in bundle.get("link", [])), "")
        assert "0041596842" not in link
    assert link == ""
    assert len(set(seen)) == 5
    assert len(face.auditor.of(Event.LOG_READ)) == 3


async def test_a_page_is_only_for_who_asked_for_the_first(face: Face) -> None:
    bundle = (await face.client.get("AuditEvent", params={**ASKED, "_count": "2"})).json()
    face.caller.principal = dataclasses.replace(OFFICER, subject="another")
    assert (await face.client.get(bundle["link"][0]["url"])).status_code == 404


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"patient": ""},
        {"patient": "TEST-HCN|"},
        {**ASKED, "date": "soon"},
        {**ASKED, "_count": "0"},
        {**ASKED, "x": "y"},
    ],
)
async def test_what_is_no_such_search_is_400_and_reads_nothing(face: Face, params: dict[str, str]) -> None:
    assert (await face.client.get("AuditEvent", params=params)).status_code == 400
    assert face.auditor.records == []


async def test_without_a_record_of_the_look_nothing_is_shown(face: Face) -> None:
    face.auditor.broken = True
    answer = await face.client.get("AuditEvent", params=ASKED)
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("audit-unavailable")
    assert "dr.roy" not in answer.text


async def test_nobody_is_answered_without_a_principal(face: Face) -> None:
    face.caller.principal = None
    for method, path in (("GET", "AuditEvent?patient=A|1"), ("GET", "Task"), ("POST", "Task"), ("GET", "Task/1")):
        assert (await face.client.request(method, path)).status_code == 401


async def test_the_same_resource_is_a_page_or_a_table_for_people(face: Face) -> None:
    page = await face.client.get(
        "AuditEvent", params=ASKED, headers={"Accept": "text/html", "Accept-Language": "fr-CA"}
    )
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "Qui a vu ce dossier" in page.text
    table = await face.client.get("AuditEvent", params=ASKED, headers={"Accept": "text/csv"})
    assert len(list(csv.reader(io.StringIO(table.content.decode("utf-8-sig"))))) == 6


TASK: dict[str, Any] = {
    "resourceType": "Task",
    "status": "requested",
    "intent": "order",
    "for": {"identifier": {"system": "urn:oid:1.2.3", "value": "0041596842"}},
    "focus": {"identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4"}},
    "description": "The birth date is wrong.",
}
FHIR = {"Content-Type": "application/fhir+json"}


async def test_a_correction_request_is_a_task_with_a_state(face: Face) -> None:
    opened = await face.client.post("Task", content=orjson.dumps(TASK), headers=FHIR)
    assert opened.status_code == 201
    where = opened.headers["location"]
    assert opened.json()["status"] == "received"
    moved = await face.client.put(where, content=orjson.dumps({**TASK, "status": "in-progress"}), headers=FHIR)
    assert moved.json()["status"] == "in-progress"
    refused = {**TASK, "status": "rejected", "statusReason": {"text": "the record is right"}}
    await face.client.put(where, content=orjson.dumps(refused), headers=FHIR)
    task = (await face.client.get(where)).json()
    assert (task["status"], task["statusReason"]["text"]) == ("rejected", "the record is right")
    assert task["for"]["identifier"] == {"system": "urn:oid:1.2.3", "value": "0041596842"}
    assert task["focus"]["identifier"]["value"] == "urn:oid:1.2.3.4"
    found = (await face.client.get("Task", params=ASKED)).json()
    assert [x["resource"]["id"] for x in found["entry"]] == [task["id"]]
    assert (await face.client.get("Task", params={"patient": "A|1"})).json()["total"] == 0
    assert len(face.auditor.of(Event.CORRECTION)) == 3


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", FHIR, 400),
        (b"[]", FHIR, 400),
        (orjson.dumps({**TASK, "for": {}}), FHIR, 400),
        (orjson.dumps({**TASK, "description": ""}), FHIR, 400),
        (orjson.dumps({**TASK, "description": "x" * 70_000}), FHIR, 400),
        (orjson.dumps(TASK), {"Content-Type": "text/plain"}, 415),
    ],
)
async def test_what_is_no_correction_request_is_refused(
    face: Face, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert (await face.client.post("Task", content=body, headers=headers)).status_code == status
    assert face.auditor.records == []


async def test_who_reads_correction_requests_is_recorded_before_anything_is_shown(face: Face) -> None:
    where = (await face.client.post("Task", content=orjson.dumps(TASK), headers=FHIR)).headers["location"]
    await face.client.get(where)
    await face.client.get("Task", params=ASKED)
    await face.client.get("Task")
    looks = [(record.query, record.patients) for record in face.auditor.of(Event.LOG_READ)]
    whose = (("TEST-HCN", "0041596842"),)
    assert looks == [(f"correction request {where.removeprefix('Task/')}", whose)] + [
        ("list of correction requests", x) for x in (whose, ())
    ]
    face.auditor.broken = True
    for path in (where, "Task"):
        answer = await face.client.get(path)
        assert (answer.status_code, TASK["description"] in answer.text) == (503, False)


@pytest.mark.parametrize("query", ["subject=A|1", "patient=A|1&patient=B|2", "patient=A|"])
async def test_a_search_of_requests_that_names_a_patient_in_no_way_of_ours_shows_not_all(
    face: Face, query: str
) -> None:
    await face.client.post("Task", content=orjson.dumps(TASK), headers=FHIR)
    assert (await face.client.get(f"Task?{query}")).status_code == 400


async def test_an_unknown_request_and_an_impossible_step_are_told(face: Face) -> None:
    assert (await face.client.get("Task/none")).status_code == 404
    where = (await face.client.post("Task", content=orjson.dumps(TASK), headers=FHIR)).headers["location"]
    for status in ("completed", "nonsense"):
        answer = await face.client.put(where, content=orjson.dumps({**TASK, "status": status}), headers=FHIR)
        assert answer.status_code == 400
