"""The privacy officer's resources: a patient's AuditEvents (FHIR R4, IHE ITI-81) and correction requests as Tasks."""

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.audit.corrections import Correction, State
from gateway.audit.dates import span
from gateway.audit.desk import Page, PrivacyDesk
from gateway.audit.fhir_event import audit_events
from gateway.audit.index import Span
from gateway.audit.record import Actor
from gateway.audit.report import Report
from gateway.audit.words import Language
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import NotFound, RequestError, Unauthenticated
from gateway.events import request_id
from gateway.web.authentication import PRINCIPAL
from gateway.web.fhir_request import FHIR_JSON, parameters, resource

MOST_A_PAGE: Final = 1000
MOST_PAGES: Final = 1000

Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]

STATUSES: Final = {
    State.RECEIVED: "received",
    State.UNDER_REVIEW: "in-progress",
    State.DONE: "completed",
    State.REFUSED: "rejected",
}
"""Task.status (FHIR R4 TaskStatus) of a request's state."""


@dataclass(frozen=True, slots=True)
class _Search:
    """What is asked, and by whom: a page behind the first is only theirs."""

    patient: PatientIdentifier
    span: Span
    count: int
    offset: int
    asker: tuple[str, str]


class AuditApi:
    """Answers them. Every route of it is for the transaction ``privacy`` only."""

    def __init__(self, desk: PrivacyDesk) -> None:
        self._desk = desk
        self._pages: OrderedDict[str, _Search] = OrderedDict()

    def routes(self, root: str = "/fhir") -> list[tuple[str, Handler, tuple[str, ...]]]:
        """Return path, handler and methods of each resource; whoever mounts them asks for the scope first."""
        return [
            (f"{root}/AuditEvent", self.events, ("GET",)),
            (f"{root}/AuditEvent/_search", self.events, ("POST",)),
            (f"{root}/Task", self.tasks, ("GET", "POST")),
            (f"{root}/Task/{{id}}", self.task, ("GET", "PUT")),
        ]

    async def events(self, request: Request) -> Response:
        """Search a patient's events: a searchset, or with ``Accept: text/html`` or ``text/csv`` the report."""
        actor = _actor(request)
        search = self._asked(await parameters(request), actor)
        kind = _kind(request)
        page = await self._desk.look(
            actor,
            search.patient,
            search.span,
            offset=search.offset,
            limit=search.count,
            request_id=request_id(),
        )
        if kind != FHIR_JSON:
            report = Report(page.patients, page.entries)
            language = _language(request)
            body = report.html(language) if kind == "text/html" else report.csv(language)
            return Response(body, media_type=f"{kind}; charset=utf-8", headers=_more(self._next(search, page)))
        return Response(orjson.dumps(self._bundle(search, page)), media_type=FHIR_JSON)

    async def tasks(self, request: Request) -> Response:
        """Take a correction request in, or search them by patient."""
        actor = _actor(request)
        if request.method == "POST":
            task = await resource(request, "Task")
            patient = self._patient(_token(task.get("for")))
            study = _token(task.get("focus"))[1].removeprefix("urn:oid:")
            made = await self._desk.corrections.open(actor, patient, str(task.get("description", "")), study)
            # Relative: whoever opened it knows our address.
            headers = {"Location": f"Task/{made.id}"}
            return Response(orjson.dumps(self._task(made)), 201, headers, FHIR_JSON)
        asked = await parameters(request)
        _check_known(asked, {"patient", "patient.identifier", "_format"})
        named = asked.get("patient", []) + asked.get("patient.identifier", [])
        if len(named) > 1:
            raise RequestError("name one patient, or none for all requests: patient=ISSUER|VALUE")
        whose = [self._patient(_split(one)) for one in named]
        patients = await self._desk.identifiers(whose[0]) if whose else None
        await self._desk.note(actor, "list of correction requests", whose, request_id=request_id())
        found = [{"resource": self._task(x)} for x in await self._desk.corrections.all(patients)]
        return Response(orjson.dumps(_searchset(found, len(found))), media_type=FHIR_JSON)

    async def task(self, request: Request) -> Response:
        """Show a correction request, or take it a step on by its ``status`` and ``statusReason``."""
        actor, corrections = _actor(request), self._desk.corrections
        if request.method != "PUT":
            found = await corrections.get(request.path_params["id"])
            told = f"correction request {found.id}"
            await self._desk.note(actor, told, [found.patient], request_id=request_id())
            return Response(orjson.dumps(self._task(found)), media_type=FHIR_JSON)
        task = await resource(request, "Task")
        states = {status: state for state, status in STATUSES.items()}
        if task.get("status") not in states:
            raise RequestError(f"Task.status is one of {', '.join(states)}")
        reason = task.get("statusReason")
        text = str(reason.get("text", "")) if isinstance(reason, dict) else ""
        moved = await corrections.move(actor, request.path_params["id"], states[task["status"]], text)
        return Response(orjson.dumps(self._task(moved)), media_type=FHIR_JSON)

    def _asked(self, parameters: Mapping[str, list[str]], actor: Actor) -> _Search:
        """Read a search, or find the one whose next page is asked for."""
        asker = actor.issuer, actor.subject
        if pages := parameters.get("_page"):
            search = self._pages.get(pages[0])
            if search is None or search.asker != asker:
                raise NotFound("there is no such page any more: search again")
            return search
        named = parameters.get("patient", []) + parameters.get("patient.identifier", [])
        if len(named) != 1:
            raise RequestError("name one patient: patient=ISSUER|VALUE")
        _check_known(parameters, {"patient", "patient.identifier", "date", "_count", "_format"})
        count = parameters.get("_count", ["100"])[0]
        if not count.isdecimal() or not 1 <= int(count) <= MOST_A_PAGE:
            raise RequestError(f"_count is from 1 to {MOST_A_PAGE}")
        when = span(parameters.get("date", []))
        return _Search(self._patient(_split(named[0])), when, int(count), 0, asker)

    def _patient(self, token: tuple[str, str]) -> PatientIdentifier:
        issuer, value = token
        if not value:
            raise RequestError("name the patient by an identifier: its issuer (name, OID or URI) and its value")
        return PatientIdentifier(self._desk.named(issuer), value)

    def _next(self, search: _Search, page: Page) -> str:
        """Return a name for the next page that tells nothing of the patient; empty where there is none."""
        if search.offset + search.count >= page.total:
            return ""
        token = secrets.token_urlsafe(16)
        self._pages[token] = replace(search, offset=search.offset + search.count)
        while len(self._pages) > MOST_PAGES:
            self._pages.popitem(last=False)
        return token

    def _bundle(self, search: _Search, page: Page) -> Json:
        events = (event for entry in page.entries for event in audit_events(entry, self._desk.source))
        bundle = _searchset([{"resource": event} for event in events], page.total)
        if token := self._next(search, page):
            bundle["link"] = [{"relation": "next", "url": f"AuditEvent?_page={token}"}]
        return bundle

    def _task(self, one: Correction) -> Json:
        system = self._desk.source.system(one.patient.issuer)
        task: Json = {
            "resourceType": "Task",
            "id": one.id,
            "status": STATUSES[one.state],
            "intent": "order",
            "code": {"text": "Correct the record"},
            "description": one.wanted,
            "for": {"type": "Patient", "identifier": {"system": system, "value": one.patient.value}},
            "authoredOn": one.opened_at,
            "lastModified": one.changed_at,
        }
        if one.study:
            identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{one.study}"}
            task["focus"] = {"type": "ImagingStudy", "identifier": identifier}
        if one.reason:
            task["statusReason"] = {"text": one.reason}
        return task


def _check_known(parameters: Mapping[str, list[str]], known: set[str]) -> None:
    if unknown := parameters.keys() - known:
        raise RequestError(f"not a parameter of this search: {', '.join(sorted(unknown))[:100]}")


def _actor(request: Request) -> Actor:
    actor: Actor | None = request.scope.get(PRINCIPAL)
    if actor is None:
        raise Unauthenticated("who asks? Send a bearer token: Authorization: Bearer ...")
    return actor


def _token(reference: Any) -> tuple[str, str]:
    """Read the identifier of a FHIR Reference."""
    identifier = reference.get("identifier") if isinstance(reference, dict) else None
    if not isinstance(identifier, dict):
        return "", ""
    return str(identifier.get("system") or ""), str(identifier.get("value") or "")


def _split(token: str) -> tuple[str, str]:
    issuer, bar, value = token.rpartition("|")
    return (issuer, value) if bar else ("", token)


def _kind(request: Request) -> str:
    accepted = f"{request.query_params.get('_format', '')},{request.headers.get('accept', '')}"
    for part in accepted.split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in {"text/html", "text/csv"}:
            return kind
        if kind in {FHIR_JSON, "application/json", "json"}:
            return FHIR_JSON
    return FHIR_JSON


def _language(request: Request) -> Language:
    return "fr" if request.headers.get("accept-language", "").strip().lower().startswith("fr") else "en"


def _more(token: str) -> dict[str, str]:
    return {"Link": f'<AuditEvent?_page={token}>; rel="next"'} if token else {}


def _searchset(found: list[Json], total: int) -> Json:
    entries = [{**one, "search": {"mode": "match"}} for one in found]
    bundle: Json = {"resourceType": "Bundle", "type": "searchset", "total": total}
    return {**bundle, "entry": entries} if entries else bundle
