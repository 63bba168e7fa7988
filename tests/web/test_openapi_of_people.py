"""What is there beside DICOMweb is described as well: pages for people, privacy officers' resources, the sign-in."""

from collections.abc import Sequence
from typing import Any, cast

from gateway.access.decision import Decisions
from gateway.web.fhir import fhir_routes
from gateway.web.fhir_audit import AuditApi
from gateway.web.fhir_consent import ConsentApi
from gateway.web.front import Front, front_routes
from gateway.web.home import Light
from gateway.web.openapi import openapi
from gateway.web.sign_in import SignIn, Visitor

NOBODY = cast("Any", None)


async def lights() -> Sequence[Light]:
    return ()


def test_every_page_and_every_fhir_resource_is_described_with_who_may() -> None:
    decisions = Decisions("tokens")
    front = Front(lights, {}, None, SignIn({"clinician": Visitor("a radiologist", "token")}, "session", 60))
    pages = front_routes(front, NOBODY, 1.0, decisions, [])
    resources = fhir_routes(decisions, ConsentApi(NOBODY, NOBODY, decisions, NOBODY), AuditApi(NOBODY))
    paths = openapi([*pages, *resources], version="1")["paths"]
    public = {path for path, methods in paths.items() if all(x.get("security") == [] for x in methods.values())}
    assert {"/", "/home", "/demo/sign-in", "/fhir/metadata"} <= public
    assert not {path for path in public if path.startswith("/fhir/")} - {"/fhir/metadata"}
    assert "/IHEInvokeImageDisplay" in paths.keys() - public
    assert {"/fhir/AuditEvent", "/fhir/Consent", "/fhir/Consent/{id}", "/fhir/Task"} <= paths.keys()
    assert all(x["summary"] for methods in paths.values() for x in methods.values())
