"""Every event becomes the message that PS3.15 A.5.3 and IHE BALP want of it (domain.md's event table)."""

from base64 import b64decode
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from gateway.audit.chain import GENESIS, Entry, decode, dump, encode
from gateway.audit.dicom_message import audit_messages
from gateway.audit.fhir_event import audit_events
from gateway.audit.record import Event, Outcome, Record
from gateway.audit.source import AuditSource
from tests.audit.audit_schema import parse
from tests.audit.logs import SEARCH

SOURCE = AuditSource("gw1", "HDIRS", "https://imaging.example.ca/dicom-web", "GATEWAY", {"TEST-HCN": "urn:oid:1.2.3"})

EXPECTED = {  # event: EventID, action, EventTypeCode, role of the caller, role of the gateway
    Event.SEARCH: ("110112", "E", None, "110153", "110152"),
    Event.RETRIEVE_BEGIN: ("110102", "E", None, "110152", "110153"),
    Event.RETRIEVE: ("110104", "R", None, "110152", "110153"),
    Event.METADATA: ("110103", "R", None, None, None),
    Event.RENDERED: ("110103", "R", None, None, None),
    Event.STORE: ("110104", "C", None, "110153", "110152"),
    Event.EXPORT: ("110106", "R", None, "110152", "110153"),
    Event.IMPORT: ("110107", "C", None, "110153", "110152"),
    Event.DENIED: ("110113", "E", "110132", None, None),
    Event.UNAUTHENTICATED: ("110113", "E", "110126", None, None),
    Event.CONSENT: ("110113", "E", "AuthZ-Consent", None, None),
    Event.DIRECTIVE: ("110113", "E", "110135", None, None),
    Event.OVERRIDE_START: ("110113", "E", "110127", None, None),
    Event.OVERRIDE_END: ("110113", "E", "110138", None, None),
    Event.START: ("110100", "E", "110120", None, "110150"),
    Event.STOP: ("110100", "E", "110121", None, "110150"),
    Event.CONFIGURATION: ("110113", "E", "110131", None, "110150"),
    Event.LOG_READ: ("110101", "R", None, None, None),
    Event.CORRECTION: ("110110", "U", None, None, None),
    Event.RETENTION: ("110113", "E", "110129", None, "110150"),
    Event.RECOVERY: ("110113", "E", "110134", None, "110150"),
}
OF_THE_GATEWAY = {Event.START, Event.STOP, Event.CONFIGURATION, Event.RETENTION, Event.RECOVERY}


def entry(record: Record) -> Entry:
    line, _ = encode(dump(record), 1.7e9, "gw1/0a1b2c3d", GENESIS)
    return decode(line)


def of(event: Event, **more: Any) -> Record:
    return Record(event, **more) if event in OF_THE_GATEWAY else SEARCH._replace(event=event, **more)


def code(element: Element | None) -> str | None:
    return None if element is None else element.get("csd-code")


def test_every_event_is_in_the_table() -> None:
    assert set(EXPECTED) == set(Event)


@pytest.mark.parametrize("event", Event)
def test_a_dicom_message_has_the_standards_codes_and_participants(event: Event) -> None:
    (message,) = audit_messages(entry(of(event)), SOURCE)
    root = parse(message)
    event_id, action, kind, caller_role, our_role = EXPECTED[event]
    assert code(root.find("EventIdentification/EventID")) == event_id
    assert root[0].get("EventActionCode") == action
    assert code(root.find("EventIdentification/EventTypeCode")) == kind
    ours = root.find("ActiveParticipant[@UserID='gw1']")
    assert ours is not None
    assert code(ours.find("RoleIDCode")) == our_role
    caller = root.find("ActiveParticipant[@UserID='dr.roy']")
    if event in OF_THE_GATEWAY:
        assert caller is None
        return
    assert caller is not None
    assert code(caller.find("RoleIDCode")) == caller_role
    assert caller.get("UserName") == "<dr.roy@https://login.example.ca>"
    assert (caller.get("UserIsRequestor"), caller.get("NetworkAccessPointID")) == ("true", "10.1.2.3")


@pytest.mark.parametrize("event", [Event.RETRIEVE_BEGIN, Event.RETRIEVE, Event.METADATA, Event.STORE, Event.EXPORT])
def test_a_message_of_a_transfer_names_one_patient_and_the_study(event: Event) -> None:
    patients = (("A", "1"), ("B", "2"))
    roots = [parse(message) for message in audit_messages(entry(of(event, patients=patients, instances=7)), SOURCE)]
    assert len(roots) == 2
    for root, who in zip(roots, ("1^^^A", "2^^^B"), strict=True):
        study, patient = root.findall("ParticipantObjectIdentification")
        assert (study.get("ParticipantObjectTypeCode"), study.get("ParticipantObjectTypeCodeRole")) == ("2", "3")
        assert (study.get("ParticipantObjectID"), code(study[0])) == ("1.2.3.4", "110180")
        counted = study.find("ParticipantObjectDescription/SOPClass")
        assert counted is not None
        assert counted.get("NumberOfInstances") == "7"
        assert (patient.get("ParticipantObjectTypeCode"), patient.get("ParticipantObjectTypeCodeRole")) == ("1", "1")
        assert (patient.get("ParticipantObjectID"), code(patient[0])) == (who, "2")


@pytest.mark.parametrize("event", [Event.STORE, Event.RETRIEVE])
def test_what_is_told_of_a_patient_names_no_study_of_another(event: Event) -> None:
    both = of(event, patients=(("A", "1"), ("B", "2")), studies=("1.1", "1.2"), whose=((1,), (0,)))
    one, other = [parse(message) for message in audit_messages(entry(both), SOURCE)]
    for root, study in ((one, "1.2"), (other, "1.1")):
        objects = root.findall("ParticipantObjectIdentification")
        assert [x.get("ParticipantObjectID") for x in objects if code(x[0]) == "110180"] == [study]
    made = list(audit_events(entry(both), SOURCE))
    assert [entities(x)["2", "4"]["what"]["identifier"]["value"] for x in made] == ["urn:oid:1.2", "urn:oid:1.1"]


def test_a_query_is_recorded_as_it_was_asked_and_its_answer_is_not() -> None:
    (message,) = audit_messages(entry(SEARCH), SOURCE)
    (asked,) = parse(message).findall("ParticipantObjectIdentification")
    assert b64decode(asked.findtext("ParticipantObjectQuery", "")).decode() == SEARCH.query
    details = {x.get("type"): b64decode(x.attrib["value"]).decode() for x in asked.iter("ParticipantObjectDetail")}
    assert details["Organisation Name"] == "Hôpital Général"
    assert details["Purpose Of Use"] == "TREAT"
    assert details["Record"] == "gw1/0a1b2c3d 1"


def test_an_export_names_the_destination_as_receiver() -> None:
    (message,) = audit_messages(entry(of(Event.EXPORT, destination="CLINIC")), SOURCE)
    roles = {
        x.get("UserID"): [code(role) for role in x.findall("RoleIDCode")]
        for x in parse(message).findall("ActiveParticipant")
    }
    assert roles == {"dr.roy": [], "gw1": ["110153"], "CLINIC": ["110152", "110154"]}


def test_what_xml_cannot_hold_breaks_no_message() -> None:
    nasty = 'a"b<c>&\x00\x1b\ud800]]>\u2028'
    for event in Event:
        record = of(event, reason=nasty) if event in OF_THE_GATEWAY else of(event, reason=nasty, subject=nasty)
        for message in audit_messages(entry(record), SOURCE):
            parse(message)


@pytest.mark.parametrize("event", Event)
def test_a_fhir_event_is_complete(event: Event) -> None:
    """AuditEvent R4: type, recorded, agent with requestor, source.observer are required; agents have a role."""
    (made,) = audit_events(entry(of(event)), SOURCE)
    assert made["resourceType"] == "AuditEvent"
    assert {"type", "recorded", "agent", "source"} <= set(made)
    assert all("requestor" in agent and "type" in agent for agent in made["agent"])
    assert made["source"] == {"observer": {"display": "gw1", "type": "Device"}, "site": "HDIRS"}
    assert all("type" in entity for entity in made.get("entity", []))


def slices(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {agent["type"]["coding"][0]["code"]: agent for agent in made["agent"]}


def entities(made: dict[str, Any]) -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(x["type"]["code"], x.get("role", {}).get("code")): x for x in made["entity"]}


def profile(made: dict[str, Any]) -> str:
    (url,) = made["meta"]["profile"]
    return str(url).rpartition("IHE.BasicAudit.")[2]


def test_a_search_that_found_two_patients_is_two_patient_queries() -> None:
    first, second = audit_events(entry(of(Event.SEARCH, patients=(("TEST-HCN", "1"), ("NEODIN", "2")))), SOURCE)
    for made, system, value in ((first, "urn:oid:1.2.3", "1"), (second, "urn:gateway:issuer:NEODIN", "2")):
        assert profile(made) == "PatientQuery"
        assert (made["type"]["code"], made["subtype"][0]["code"], made["action"]) == ("rest", "search", "E")
        client, server, user = (slices(made)[x] for x in ("110153", "110152", "IRCP"))
        assert client["network"] == {"address": "10.1.2.3", "type": "2"}
        assert server["network"]["type"] == "5"
        assert user["requestor"] is True
        assert "network" not in user
        assert user["policy"] == ["urn:ietf:params:oauth:jti:jti-1"]
        assert user["purposeOfUse"][0]["coding"][0]["code"] == "TREAT"
        found = entities(made)
        assert found["1", "1"]["what"]["identifier"] == {"system": system, "value": value}
        assert b64decode(found["2", "24"]["query"]).decode() == SEARCH.query
        assert "what" not in found["2", "24"]
        assert found["XrequestId", None]["what"]["identifier"]["value"] == "req-1"


def test_a_search_that_found_nobody_is_a_query() -> None:
    (made,) = audit_events(entry(of(Event.SEARCH, patients=())), SOURCE)
    assert profile(made) == "Query"


@pytest.mark.parametrize(
    ("event", "name", "action", "client", "server"),
    [
        (Event.RETRIEVE, "PatientRead", "R", "110152", "110153"),
        (Event.METADATA, "PatientRead", "R", "110152", "110153"),
        (Event.RENDERED, "PatientRead", "R", "110152", "110153"),
        (Event.STORE, "PatientCreate", "C", "110153", "110152"),
        (Event.EXPORT, "PrivacyDisclosure.Source", "R", "110152", "110153"),
        (Event.IMPORT, "PrivacyDisclosure.Recipient", "C", "110153", "110152"),
    ],
)
def test_a_transfer_follows_its_pattern(event: Event, name: str, action: str, client: str, server: str) -> None:
    (made,) = audit_events(entry(of(event)), SOURCE)
    assert (profile(made), made["action"], made["outcome"]) == (name, action, "0")
    assert slices(made)[client]["who"]["display"] == "dr.roy"
    assert slices(made)[server]["who"] == made["source"]["observer"]
    assert entities(made)["2", "4"]["what"]["identifier"]["value"] == "urn:oid:1.2.3.4"
    assert entities(made)["1", "1"]["what"]["type"] == "Patient"


def test_what_failed_claims_no_pattern_of_success() -> None:
    (made,) = audit_events(entry(of(Event.RETRIEVE, outcome=Outcome.FAILURE, reason="region gone")), SOURCE)
    assert "meta" not in made
    assert (made["outcome"], made["outcomeDesc"]) == ("8", "region gone")


def test_a_consent_denial_is_an_authorization_decision() -> None:
    record = of(Event.CONSENT, outcome=Outcome.DENIED, directive="d-1", reason="record level directive")
    (made,) = audit_events(entry(record), SOURCE)
    assert profile(made) == "AuthZconsent"
    assert (made["type"]["code"], made["subtype"][0]["code"], made["outcome"]) == ("110113", "AuthZ-Consent", "8")
    agents = slices(made)
    assert set(agents) == {"110150", "IRCP", "PROV", "authserver"}
    assert agents["authserver"]["who"] == made["source"]["observer"]
    assert "network" not in agents["authserver"]
    assert set(entities(made)) == {("1", "1"), ("Consent", None)}


def test_minimal_events_hold_no_names_but_those_of_who_acts() -> None:
    (made,) = audit_events(entry(SEARCH), SOURCE)
    patient = entities(made)["1", "1"]
    assert set(patient) == {"type", "role", "what"}
    assert set(patient["what"]) == {"type", "identifier"}
