"""The FHIR resources of privacy officers and clinicians, and what is there (FHIR R4 CapabilityStatement)."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.access.decision import Decisions
from gateway.access.principal import Transaction
from gateway.web.fhir_audit import AuditApi
from gateway.web.fhir_consent import ConsentApi
from gateway.web.fhir_request import FHIR_JSON
from gateway.web.policy import Guarded, public

ROOT: Final = "/fhir"
DATE: Final = "2026-11-22"

CONSENT: Final[dict[str, Any]] = {
    "type": "Consent",
    "documentation": "Directives shaped by IHE PCF; a POST shaped by Ontario's PCOI begins an override.",
    "interaction": [{"code": code} for code in ("create", "read", "vread", "update", "search-type")],
    "versioning": "versioned-update",
    "readHistory": True,
    "updateCreate": False,
    "searchParam": [
        {"name": "patient", "type": "reference", "documentation": "SYSTEM|VALUE; it or patient.identifier is required"},
        {"name": "patient.identifier", "type": "token"},
        {"name": "status", "type": "token", "documentation": "required"},
    ],
}
AUDIT: Final[list[dict[str, Any]]] = [
    {
        "type": "AuditEvent",
        "interaction": [{"code": "search-type"}],
        "searchParam": [
            {
                "name": "patient",
                "type": "reference",
                "documentation": "SYSTEM|VALUE; it or patient.identifier is required",
            },
            {"name": "patient.identifier", "type": "token"},
            {"name": "date", "type": "date"},
        ],
    },
    {
        "type": "Task",
        "documentation": "Requests to correct a record.",
        "interaction": [{"code": code} for code in ("create", "read", "update", "search-type")],
        "searchParam": [{"name": "patient", "type": "reference"}],
    },
]


def fhir_routes(decisions: Decisions, consent: ConsentApi | None, audit: AuditApi | None) -> list[BaseRoute]:
    """Return the routes of those resources that there are."""
    routes: list[BaseRoute] = []
    resources: list[dict[str, Any]] = []
    if consent is not None:
        routes += consent.routes(ROOT)
        resources.append(CONSENT)
    if audit is not None:
        for path, handler, methods in audit.routes(ROOT):
            routes.append(Route(path, Guarded(handler, Transaction.PRIVACY, decisions), methods=methods))
        resources += AUDIT
    if not resources:
        return []
    return [*routes, Route(f"{ROOT}/metadata", public(_capabilities(resources)), methods=["GET"])]


def _capabilities(resources: Sequence[dict[str, Any]]) -> Any:
    statement = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": DATE,
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "implementation": {"description": "Provincial DICOMweb gateway: consent and access report"},
        "rest": [{
            "mode": "server",
            "security": {"cors": True, "description": "Bearer token (RFC 6750) with the scope privacy or override"},
            "resource": list(resources),
        }],
    }  # fmt: skip
    body = orjson.dumps(statement)

    async def answered(_: Request) -> Response:
        """Say which FHIR resources there are."""
        return Response(body, media_type=FHIR_JSON)

    return answered
