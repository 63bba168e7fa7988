"""The Consent resource as its clients meet it: PCF's ITI-108, versions, what is refused and why, and its audit."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.access.consenting import CLINIC, ELSEWHERE, FHIR, HIDDEN, Province, actor, consent, posted, province, record
from tests.access.issuing import Issuer, real_time

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NAMED = {"patient.identifier": "north|MRN-1", "status": "active"}


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return real_time()


@pytest.fixture
async def here(issuer: Issuer, tmp_path: Path) -> AsyncIterator[Province]:
    async with province(tmp_path, issuer, organisation_system="urn:hic") as made:
        yield made


@pytest.fixture
async def over_each(issuer: Issuer, tmp_path: Path, kept: dict[str, Any]) -> AsyncIterator[Province]:
    """Run a gateway over each kind of database."""
    async with province(tmp_path, issuer, organisation_system="urn:hic", **kept) as made:
        yield made


async def search(here: Province, **parameters: str) -> Any:
    return (await here.ask(here.privacy, f"/fhir/Consent?{urlencode(parameters)}", FHIR)).json


async def test_what_is_created_is_found_by_its_patient_read_and_changed(over_each: Province) -> None:
    here = over_each
    await here.direct({"type": "deny"}, patient="MRN-2")
    made = await here.direct({"type": "deny", "data": [record(HIDDEN)]})
    id_ = made.json["id"]
    assert made.headers["ETag"] == 'W/"1"'
    assert made.headers["Location"] == f"Consent/{id_}/_history/1"
    for parameters in (NAMED, {"patient": "north|MRN-1", "status": "active,inactive"}):
        found = await search(here, **parameters)
        assert (found["type"], found["total"], [x["resource"]["id"] for x in found["entry"]]) == ("searchset", 1, [id_])
    by_form = await here.ask(here.privacy, "/fhir/Consent/_search", FHIR, "POST", data=urlencode(NAMED), headers=FORM)
    assert by_form.json == await search(here, **NAMED)
    assert (await search(here, **{**NAMED, "status": "inactive"})) == {
        "resourceType": "Bundle", "type": "searchset", "total": 0,
    }  # fmt: skip
    read = await here.ask(here.privacy, f"/fhir/Consent/{id_}", FHIR)
    assert read.json == made.json
    assert read.json["provision"] == {"type": "deny", "data": [record(HIDDEN)]}
    changed = await here.end(made)
    assert (changed.headers["ETag"], changed.json["meta"]["versionId"]) == ('W/"2"', "2")
    assert (await search(here, **NAMED))["total"] == 0
    before = await here.ask(here.privacy, f"/fhir/Consent/{id_}/_history/1", FHIR)
    assert before.json == made.json


async def test_a_change_of_what_was_changed_meanwhile_is_refused(over_each: Province) -> None:
    here = over_each
    made = await here.direct({"type": "deny"})
    await here.end(made)
    late = posted({**made.json, "status": "active"})
    late["headers"]["If-Match"] = made.headers["ETag"]
    refused = await here.ask(here.privacy, f"/fhir/Consent/{made.json['id']}", FHIR, "PUT", **late)
    assert (refused.status, refused.json["issue"][0]["code"]) == (412, "conflict")
    assert len(here.events("directive")) == 2


async def test_each_change_is_recorded_with_what_was_before_and_after(here: Province) -> None:
    made = await here.direct({"type": "deny"})
    await here.end(made)
    told = [(outcome, more["directive"], more["reason"]) for _, outcome, more in here.events("directive")]
    assert told == [
        ("success", made.json["id"], "placed: none before, version 1 (active) after"),
        ("success", made.json["id"], "changed: version 1 (active) before, version 2 (inactive) after"),
    ]


WRONG = {"system": "urn:hic", "value": ["x"]}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a patient of an issuer that nobody knows": (consent({"type": "deny"}, issuer="nowhere"), "Consent.patient"),
    "no patient": ({**consent({"type": "deny"}), "patient": {}}, "Consent.patient.identifier"),
    "no provision": ({**consent({}), "provision": None}, "Consent.provision"),
    "no type": (consent({}), "Consent.provision.type"),
    "an unknown status": ({**consent({"type": "deny"}), "status": "on"}, "Consent.status"),
    "no scope": ({**consent({"type": "deny"}), "scope": {}}, "Consent.scope"),
    "what is not enforced": (consent({"type": "deny", "securityLabel": [{"code": "R"}]}), "securityLabel"),
    "an actor of another system": (consent({"type": "deny", "actor": [actor("Organization", CLINIC)]}), "system"),
    "an actor of a group": (consent({"type": "deny", "actor": [actor("Group", "x")]}), "actor[0].reference"),
    "no actor at all": (consent({"type": "deny", "actor": []}), "Consent.provision.actor"),
    "a study that is no UID": (consent({"type": "deny", "data": [record("../x")]}), "identifier"),
    "a period that ends before": (
        consent({"type": "deny", "period": {"start": "2026-02-01", "end": "2026-01-01"}}),
        "Consent.provision.period",
    ),
    "a time without a zone": (consent({"type": "deny", "period": {"start": "2026-02-01T10:00:00"}}), "period"),
    "a period that is none": (consent({"type": "permit", "period": "2026-02-01"}), "Consent.provision.period"),
    "a period with an end of another name": (
        consent({"type": "permit", "period": {"ends": "2026-02-01"}}),
        "Consent.provision.period",
    ),
    "a number in place of a patient's identifier": (
        {**consent({"type": "deny"}), "patient": {"identifier": {"system": "north", "value": 41}}},
        "Consent.patient.identifier",
    ),
    "a list in place of an organisation": (
        consent({"type": "deny", "actor": [{"reference": {"type": "Organization", "identifier": WRONG}}]}),
        "actor[0].reference has",
    ),
    "what changes the meaning of all": (
        {**consent({"type": "deny"}), "modifierExtension": [{"url": "urn:not", "valueBoolean": True}]},
        "Consent.modifierExtension",
    ),
    "an override of one study": (
        consent({"type": "permit", "purpose": [{"code": "express-consent"}], "data": [record("1.2")]}),
        "Consent.provision.data",
    ),
    "provisions within provisions": (
        consent({"type": "permit", "provision": [{"type": "deny", "provision": [{"type": "permit"}]}]}),
        "Consent.provision.provision[0]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_would_not_be_enforced_as_it_is_meant_is_refused_and_told_where(here: Province, case: str) -> None:
    document, where = REFUSED[case]
    answer = await here.ask(here.privacy, "/fhir/Consent", FHIR, "POST", **posted(document))
    assert answer.status == 422
    assert answer.json["resourceType"] == "OperationOutcome"
    assert any(where in issue["diagnostics"] for issue in answer.json["issue"])
    assert (await search(here, **NAMED))["total"] == 0


async def test_a_period_may_end_with_the_calendar(here: Province) -> None:
    made = await here.direct({"type": "deny", "period": {"start": "0001-01-01", "end": "9999-12-31"}})
    assert made.json["provision"]["period"]["end"] == "9999-12-31"
    assert await here.studies(here.clinician, "?PatientID=MRN-1") == {ELSEWHERE}


async def test_searches_that_name_no_patient_or_no_status_are_refused(here: Province) -> None:
    queries = ({"status": "active"}, {"patient": "north|MRN-1"}, {**NAMED, "status": "all"}, {**NAMED, "code": "x"})
    for parameters in (*queries, {**NAMED, "patient": "north|MRN-2"}, {**NAMED, "patient.identifier": "MRN-1"}):
        answer = await here.ask(here.privacy, f"/fhir/Consent?{urlencode(parameters)}", FHIR)
        assert (answer.status, answer.json["resourceType"]) == (400, "OperationOutcome"), parameters


async def test_bodies_and_formats_that_are_not_json_are_refused(here: Province) -> None:
    path = f"/fhir/Consent?{urlencode(NAMED)}"
    assert (await here.ask(here.privacy, path, "application/fhir+xml")).status == 406
    assert (await here.ask(here.privacy, f"{path}&_format=xml")).status == 406
    xml = {"data": b"<Consent/>", "headers": {"Content-Type": "application/fhir+xml"}}
    assert (await here.ask(here.privacy, "/fhir/Consent", FHIR, "POST", **xml)).status == 415
    for body in (b"{", b"[]", b'{"resourceType": "Patient"}'):
        broken = {"data": body, "headers": {"Content-Type": FHIR}}
        assert (await here.ask(here.privacy, "/fhir/Consent", FHIR, "POST", **broken)).status == 400
    assert (await here.ask(here.privacy, "/fhir/Consent/unknown", FHIR)).status == 404


async def test_nobody_but_a_privacy_officer_sees_or_changes_directives(here: Province) -> None:
    made = await here.direct({"type": "deny"})
    for who in (here.other, here.token("admin", CLINIC, "", scope="admin store search")):
        for method, path in (
            ("GET", f"/fhir/Consent?{urlencode(NAMED)}"),
            ("GET", f"/fhir/Consent/{made.json['id']}"),
            ("PUT", f"/fhir/Consent/{made.json['id']}"),
            ("POST", "/fhir/Consent"),
        ):
            more = posted(made.json) if method != "GET" else {}
            assert (await here.ask(who, path, FHIR, method, **more)).status == 401, (method, path)


async def test_what_there_is_is_told_to_everybody(here: Province) -> None:
    async with here.session.get(f"{here.url}/fhir/metadata") as answer:
        statement = await answer.json(content_type=None)
    assert (answer.status, statement["fhirVersion"]) == (200, "4.0.1")
    [resource] = statement["rest"][0]["resource"]
    assert {x["code"] for x in resource["interaction"]} == {"create", "read", "vread", "update", "search-type"}


async def test_nested_provisions_are_exceptions_of_the_root(here: Province) -> None:
    await here.direct({"type": "deny", "provision": [{"type": "permit", "data": [record(HIDDEN)]}]})
    assert HIDDEN in await here.studies(here.clinician)
    assert len(await here.studies(here.clinician)) == 3
