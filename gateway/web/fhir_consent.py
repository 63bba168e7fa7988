"""The Consent resource of FHIR R4, as IHE PCF has it (ITI-108): search, create, read and update, in JSON."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.access.consent import Consents
from gateway.access.consents import ACTIVE, STATUSES, Consent
from gateway.access.decision import Decisions
from gateway.access.fhir_consent import ConsentResources, standing
from gateway.access.fhir_reading import Draft, read_consent
from gateway.access.permit import StudyKey, Subject
from gateway.access.principal import Principal, Transaction
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import (
    GatewayError,
    InvalidResource,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    RequestError,
    Unauthenticated,
    UnsupportedMediaType,
    VersionConflict,
)
from gateway.events import request_id
from gateway.web.authentication import PRINCIPAL
from gateway.web.fhir_request import FHIR_JSON, JSON_TYPES, parameters, resource
from gateway.web.policy import Guarded, Handler, permit_of

_ETAG: Final = re.compile(r'W/"(?P<version>[0-9]{1,9})"')
_ISSUES: Final[Mapping[type[GatewayError], str]] = {
    InvalidResource: "invalid",
    NotFound: "not-found",
    VersionConflict: "conflict",
    UnsupportedMediaType: "not-supported",
    NotAcceptable: "not-supported",
    MethodNotAllowed: "not-supported",
}
_PARAMETERS: Final = frozenset({"patient", "patient.identifier", "status", "_format"})

Linked = Callable[[PatientIdentifier], Awaitable[frozenset[PatientIdentifier]]]


@dataclass(frozen=True, slots=True)
class ConsentApi:
    """Answers it; directives are for the transaction ``privacy``, overrides for ``override``.

    Attributes:
        linked: finds all identifiers of a patient.
    """

    consents: Consents
    resources: ConsentResources
    decisions: Decisions
    linked: Linked

    def routes(self, root: str = "/fhir") -> list[BaseRoute]:
        """Return the routes."""
        privacy, path = Transaction.PRIVACY, f"{root}/Consent"
        table = (
            (path, self.search, privacy, ("GET",)),
            (f"{path}/_search", self.search, privacy, ("POST",)),
            (path, self.create, _who_creates, ("POST",)),
            (f"{path}/{{id}}", self.read, privacy, ("GET",)),
            (f"{path}/{{id}}", self.update, privacy, ("PUT",)),
            (f"{path}/{{id}}/_history/{{version}}", self.read, privacy, ("GET",)),
        )
        return [
            Route(path, Guarded(_in_fhir(handler), policy, self.decisions), methods=methods)
            for path, handler, policy, methods in table
        ]

    async def search(self, request: Request) -> Response:
        """Search a patient's consents of some statuses (ITI-108)."""
        _check_format(request)
        asked = await parameters(request)
        if unknown := asked.keys() - _PARAMETERS:
            raise RequestError(f"not a parameter of this search: {', '.join(sorted(unknown))[:100]}")
        named = asked.get("patient", []) + asked.get("patient.identifier", [])
        statuses = {status for value in asked.get("status", ()) for status in value.split(",")}
        if len(named) != 1 or not statuses or not statuses <= set(STATUSES):
            raise RequestError("name one patient and the statuses: patient.identifier=SYSTEM|VALUE&status=active")
        system, bar, value = named[0].rpartition("|")
        if not bar or not system or not value:
            raise RequestError("name the patient by an identifier: patient.identifier=SYSTEM|VALUE")
        patient = PatientIdentifier(self.resources.naming.issuer(system), value)
        await self._note(request, patient)
        patients = await self.linked(patient)
        now = self.consents.now
        found = [one for one in await self.consents.of(patients) if standing(one, now) in statuses]
        entries = [{"resource": self.resources.write(one, now), "search": {"mode": "match"}} for one in found]
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
        if entries:
            bundle["entry"] = entries
        return Response(orjson.dumps(bundle), media_type=FHIR_JSON)

    async def create(self, request: Request) -> Response:
        """Take in a directive, or an override shaped by PCOI."""
        _check_format(request)
        draft = read_consent(await resource(request, "Consent"), self.resources.naming)
        principal, request_id = _caller(request)
        if draft.reason is None:
            # What the route asked is enough only for who may do the one and not the other.
            await self.decisions.permit(principal, Transaction.PRIVACY, request_id=request_id)
            made = await self.consents.place(
                principal, draft.patient, draft.rules, draft.document, status=draft.status, request_id=request_id
            )
        else:
            made = await self._override(principal, draft, request_id)
        headers = {"Location": f"Consent/{made.id}/_history/{made.version}", **_tag(made)}
        return self._told(made, headers, HTTPStatus.CREATED)

    async def read(self, request: Request) -> Response:
        """Show a consent, or one of its versions."""
        _check_format(request)
        version = request.path_params.get("version")
        if version is not None and not re.fullmatch(r"[0-9]{1,9}", version):
            raise NotFound("there is no such version")
        found = await self.consents.get(request.path_params["id"], None if version is None else int(version))
        await self._note(request, found.patient)
        return self._told(found, _tag(found))

    async def update(self, request: Request) -> Response:
        """Change a directive, or end an override; with If-Match only the version that the caller has seen."""
        _check_format(request)
        document = await resource(request, "Consent")
        known = await self.consents.get(request.path_params["id"])
        if document.get("id") != known.id:
            raise InvalidResource("Consent.id is not that of the URL", [("Consent.id", "is not that of the URL")])
        wanted = request.headers.get("if-match")
        if wanted is not None and ((tag := _ETAG.fullmatch(wanted)) is None or int(tag["version"]) != known.version):
            raise VersionConflict(f'the consent has the version W/"{known.version}": read it again')
        principal, request_id = _caller(request)
        if known.override is not None:
            status = str(document.get("status"))
            changed = await self.consents.change(principal, known, status=status, request_id=request_id)
            return self._told(changed, _tag(changed))
        draft = read_consent(document, self.resources.naming)
        if draft.reason is not None or draft.patient != known.patient:
            raise InvalidResource(
                "a consent stays what it is and whose it is", [("Consent.patient", "is not the patient that it was")]
            )
        changed = await self.consents.change(
            principal, known, status=draft.status, rules=draft.rules, document=draft.document, request_id=request_id
        )
        return self._told(changed, _tag(changed))

    async def _override(self, principal: Principal, draft: Draft, request_id: str) -> Consent:
        if draft.reason is None or draft.status != ACTIVE:
            raise InvalidResource('an override is "active"', [("Consent.status", 'is "active"')])
        await self.decisions.permit(principal, Transaction.OVERRIDE, request_id=request_id, reason=draft.reason)
        if set(draft.persons) - {principal.person, principal.subject}:
            where = "Consent.provision.actor"
            raise InvalidResource(f"{where} is not who asks", [(where, "is who asks: nobody overrides for another")])
        patients = await self.linked(draft.patient)
        return await self.consents.override(principal, patients, draft.reason, ends=draft.ends, request_id=request_id)

    @staticmethod
    async def _note(request: Request, patient: PatientIdentifier) -> None:
        """Have the audit trail say whose consents were looked at, before they are shown."""
        subject = Subject(StudyKey(""), frozenset({patient}))
        # The patient's report tells of a search; this one was for her directives, and showed no examination.
        what = "consent directives"
        await permit_of(request.scope).record("search", subjects=[subject], query=what, reason=f"only {what}")

    def _told(self, consent: Consent, headers: Mapping[str, str], status: int = HTTPStatus.OK) -> Response:
        body = orjson.dumps(self.resources.write(consent, self.consents.now))
        return Response(body, status, headers, FHIR_JSON)


def _who_creates(request: Request) -> Transaction:
    """Say what is asked for before the body is read: what a caller may only do the one of."""
    principal: Principal | None = request.scope.get(PRINCIPAL)
    scopes = principal.scopes if principal is not None else frozenset()
    overrides = Transaction.OVERRIDE in scopes and Transaction.PRIVACY not in scopes
    return Transaction.OVERRIDE if overrides else Transaction.PRIVACY


def _in_fhir(handler: Handler) -> Handler:
    """Answer what goes wrong as an OperationOutcome; who is not let in gets the challenge as everywhere."""

    @wraps(handler)
    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except Unauthenticated:
            raise
        except GatewayError as error:
            return outcome(error)

    return answered


def outcome(error: GatewayError) -> Response:
    """Write an error as an OperationOutcome."""
    code = _ISSUES.get(type(error), "forbidden" if error.http_status == HTTPStatus.FORBIDDEN else "processing")
    faults = error.issues if isinstance(error, InvalidResource) else ()
    issues = [
        {"severity": "error", "code": code, "diagnostics": f"{where} {what}", "expression": [where]}
        for where, what in faults
    ] or [{"severity": "error", "code": code, "diagnostics": str(error)}]
    body = orjson.dumps({"resourceType": "OperationOutcome", "issue": issues})
    headers = {"Retry-After": "30"} if error.retryable else None
    return Response(body, error.http_status, headers, FHIR_JSON)


def _caller(request: Request) -> tuple[Principal, str]:
    return permit_of(request.scope).principal, request_id()


def _tag(consent: Consent) -> dict[str, str]:
    return {"ETag": f'W/"{consent.version}"'}


def _check_format(request: Request) -> None:
    """Refuse a caller who takes no JSON."""
    asked = request.query_params.get("_format") or request.headers.get("accept", "*/*")
    kinds = {part.partition(";")[0].strip().lower() for part in asked.split(",")}
    if not kinds & (JSON_TYPES | {"*/*", "application/*", ""}):
        raise NotAcceptable(f"consents are written as {FHIR_JSON} only")
