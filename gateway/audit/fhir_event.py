"""FHIR R4 AuditEvents in the patterns of IHE Basic Audit Log Patterns (BALP): minimal, identifiers without names."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.audit.chain import Entry
from gateway.audit.record import Event, Outcome, Record
from gateway.audit.source import AuditSource

Json = dict[str, Any]

_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_REST: Final = "http://hl7.org/fhir/restful-interaction"
_TYPES: Final = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_ENTITY: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_BALP: Final = "https://profiles.ihe.net/ITI/BALP"
_REASONS: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_OUTCOMES: Final = {Outcome.SUCCESS: "0", Outcome.PARTIAL: "4", Outcome.DENIED: "8", Outcome.FAILURE: "8"}


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What BALP wants of an event.

    Attributes:
        client: the role of the caller's node; the gateway has the other one.
        profile: the pattern of an event of a patient; without a patient, and where it failed, none is claimed.
    """

    type: tuple[str, str, str]
    subtype: tuple[str, str, str]
    action: str
    client: str = ""
    profile: str = ""


_SOURCE: Final = "110153"
_DESTINATION: Final = "110152"
_ROLES: Final = {_SOURCE: "Source Role ID", _DESTINATION: "Destination Role ID", "110150": "Application"}
_RESTFUL: Final = (_TYPES, "rest", "RESTful Operation")
_ALERT: Final = (_DCM, "110113", "Security Alert")
_DISCLOSE: Final = ("http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "disclose", "Disclose")


def _rest(interaction: str) -> tuple[str, str, str]:
    return (_REST, interaction, interaction)


def _dcm(code: str, meaning: str) -> tuple[str, str, str]:
    return (_DCM, code, meaning)


PATTERNS: Final = {
    Event.SEARCH: _Pattern(_RESTFUL, _rest("search"), "E", _SOURCE, "PatientQuery"),
    Event.RETRIEVE_BEGIN: _Pattern(
        _dcm("110102", "Begin Transferring DICOM Instances"), _rest("read"), "E", _DESTINATION
    ),
    Event.RETRIEVE: _Pattern(_RESTFUL, _rest("read"), "R", _DESTINATION, "PatientRead"),
    Event.METADATA: _Pattern(_RESTFUL, _rest("read"), "R", _DESTINATION, "PatientRead"),
    Event.RENDERED: _Pattern(_RESTFUL, _rest("read"), "R", _DESTINATION, "PatientRead"),
    Event.STORE: _Pattern(_RESTFUL, _rest("create"), "C", _SOURCE, "PatientCreate"),
    Event.EXPORT: _Pattern(_dcm("110106", "Export"), _DISCLOSE, "R", _DESTINATION, "PrivacyDisclosure.Source"),
    Event.IMPORT: _Pattern(_dcm("110107", "Import"), _DISCLOSE, "C", _SOURCE, "PrivacyDisclosure.Recipient"),
    Event.DENIED: _Pattern(_ALERT, _dcm("110132", "Use of Restricted Function"), "E"),
    Event.UNAUTHENTICATED: _Pattern(_ALERT, _dcm("110126", "Node Authentication"), "E"),
    Event.CONSENT: _Pattern(
        _ALERT,
        (f"{_BALP}/CodeSystem/AuthZsubType", "AuthZ-Consent", "Authorization Decision using Roles and Consent"),
        "E",
        profile="AuthZconsent",
    ),
    Event.DIRECTIVE: _Pattern(_ALERT, _dcm("110135", "Object Security Attributes Changed"), "E"),
    Event.OVERRIDE_START: _Pattern(_ALERT, _dcm("110127", "Emergency Override Started"), "E"),
    Event.OVERRIDE_END: _Pattern(_ALERT, _dcm("110138", "Emergency Override Stopped"), "E"),
    Event.START: _Pattern(_dcm("110100", "Application Activity"), _dcm("110120", "Application Start"), "E"),
    Event.STOP: _Pattern(_dcm("110100", "Application Activity"), _dcm("110121", "Application Stop"), "E"),
    Event.CONFIGURATION: _Pattern(_ALERT, _dcm("110131", "Software Configuration"), "E"),
    Event.LOG_READ: _Pattern(_dcm("110101", "Audit Log Used"), _rest("read"), "R"),
    Event.CORRECTION: _Pattern(_dcm("110110", "Patient Record"), _rest("update"), "U"),
    Event.RETENTION: _Pattern(_ALERT, _dcm("110129", "Security Configuration"), "E"),
    Event.RECOVERY: _Pattern(_ALERT, _dcm("110134", "Audit Recording Started"), "E"),
}


def audit_events(entry: Entry, source: AuditSource) -> Iterator[Json]:
    """Yield the AuditEvents of a record: one for each patient, or one without."""
    if not entry.record.patients:
        yield {"id": f"{entry.id}-0", **_event(entry, source, None)}
    for number, patient in enumerate(entry.record.patients):
        about = replace(entry, record=entry.record.about({patient}))
        yield {"id": f"{entry.id}-{number}", **_event(about, source, patient)}


def _event(entry: Entry, source: AuditSource, patient: tuple[str, str] | None) -> Json:
    record, pattern = entry.record, PATTERNS[entry.record.event]
    event: Json = {
        "resourceType": "AuditEvent",
        "type": _coding(*pattern.type),
        "subtype": [_coding(*pattern.subtype)],
        "action": pattern.action,
        "recorded": entry.at,
        "outcome": _OUTCOMES[record.outcome],
    }
    if profile := _profile(record, pattern, patient):
        event["meta"] = {"profile": [f"{_BALP}/StructureDefinition/IHE.BasicAudit.{profile}"]}
    if record.reason:
        event["outcomeDesc"] = record.reason
    if record.purpose:
        event["purposeOfEvent"] = [_concept(_REASONS, record.purpose)]
    event["agent"] = list(_agents(record, pattern, source))
    event["source"] = {"observer": _observer(source)} | ({"site": source.site} if source.site else {})
    if entities := list(_entities(entry, source, patient)):
        event["entity"] = entities
    return event


def _profile(record: Record, pattern: _Pattern, patient: tuple[str, str] | None) -> str:
    """Return the pattern to claim: only what fulfils its conditions does (a failure follows none but consent's)."""
    if record.event is Event.CONSENT:
        return pattern.profile if patient and record.directive and record.subject and record.organisation else ""
    if record.outcome is not Outcome.SUCCESS or not record.channel:
        return ""
    if pattern.profile == "PatientQuery":
        return pattern.profile if patient else "Query"
    # A read is of one thing; a disclosure is of one or more.
    fits = len(record.studies) == 1 or (record.studies and pattern.profile.startswith("Privacy"))
    return pattern.profile if patient and fits else ""


def _agents(record: Record, pattern: _Pattern, source: AuditSource) -> Iterator[Json]:
    """Yield the caller's node, the gateway, the user, and under whose authority they act."""
    gateway = {_SOURCE: _DESTINATION, _DESTINATION: _SOURCE}.get(pattern.client, "110150")
    if not record.channel:
        yield _ours("110150", source)
        return
    if record.event is Event.CONSENT:
        yield _node(record, "110150")
        yield {
            "type": _concept("http://terminology.hl7.org/CodeSystem/extra-security-role-type", "authserver"),
            "who": _observer(source),
            "requestor": False,
        }
    else:
        yield _node(record, pattern.client or "110150")
        yield _ours(gateway, source)
    if record.subject:
        yield _user(record)
    if record.organisation:
        yield {
            "type": _concept("http://terminology.hl7.org/CodeSystem/v3-RoleClass", "PROV"),
            "who": _named(record.organisation, record.organisation_name),
            "requestor": False,
        }


def _node(record: Record, role: str) -> Json:
    where = record.destination or record.address or "unknown"
    node: Json = {
        "type": _concept(_DCM, role, _ROLES[role]),
        "who": {"display": record.destination or record.subject or where},
        "requestor": False,
        "network": {"address": where, "type": "1" if record.destination or not record.address else "2"},
    }
    if record.token_id and record.event is Event.CONSENT:
        node["policy"] = [f"urn:ietf:params:oauth:jti:{record.token_id}"]
    return node


def _ours(role: str, source: AuditSource) -> Json:
    return {
        "type": _concept(_DCM, role, _ROLES[role]),
        "who": _observer(source),
        "requestor": False,
        "network": {"address": source.url or source.id, "type": "5" if source.url else "1"},
    }


def _user(record: Record) -> Json:
    user: Json = {
        "type": _concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP"),
        "who": _identifier(record.issuer, record.subject),
        "requestor": True,
    }
    if record.person and record.event is not Event.CONSENT:
        user["altId"] = record.person
    if record.roles:
        user["role"] = [{"text": role} for role in record.roles]
    if record.token_id:
        user["policy"] = [f"urn:ietf:params:oauth:jti:{record.token_id}"]
    if record.purpose:
        user["purposeOfUse"] = [_concept(_REASONS, record.purpose)]
    return user


def _entities(entry: Entry, source: AuditSource, patient: tuple[str, str] | None) -> Iterator[Json]:
    record = entry.record
    if patient is not None:
        yield {
            "type": _coding(_ENTITY, "1", "Person"),
            "role": _coding(_ROLE, "1", "Patient"),
            "what": _patient(patient, source),
        }
    if record.event is Event.CONSENT:  # its entities are the patient and the directive, and no other
        if record.directive:
            kind = _coding("http://hl7.org/fhir/resource-types", "Consent", "Consent")
            yield {"type": kind, "what": {"reference": f"Consent/{record.directive}", "type": "Consent"}}
        return
    if record.event is Event.SEARCH:
        query = b64encode(record.query.encode("utf-8", "backslashreplace")).decode()
        yield {
            "type": _coding(_ENTITY, "2", "System Object"),
            "role": _coding(_ROLE, "24", "Query"),
            "query": query,
        }
    else:
        for uid in record.studies:
            yield _system_object("4", "Domain Resource", _identifier("urn:dicom:uid", f"urn:oid:{uid}"))
    if record.event is Event.LOG_READ:
        yield _system_object("13", "Security Resource", {"display": f"audit log of {source.id}"})
    if record.request_id:
        kind = _coding(f"{_BALP}/CodeSystem/BasicAuditEntityType", "XrequestId", "X-Request-Id")
        yield {"type": kind, "what": {"identifier": {"value": record.request_id}}}
    yield {
        "type": _coding(_ENTITY, "4", "Other"),
        "what": _identifier("urn:gateway:audit", f"{entry.writer} {entry.link.seq}"),
        "description": f"record {entry.link.seq} of {entry.writer}",
    }


def _system_object(role: str, meaning: str, what: Json) -> Json:
    return {"type": _coding(_ENTITY, "2", "System Object"), "role": _coding(_ROLE, role, meaning), "what": what}


def _patient(patient: tuple[str, str], source: AuditSource) -> Json:
    issuer, value = patient
    return {"type": "Patient", **_identifier(source.system(issuer), value)}


def _identifier(system: str, value: str) -> Json:
    return {"identifier": {"system": system, "value": value} if system else {"value": value}}


def _named(value: str, name: str) -> Json:
    return _identifier("", value) | ({"display": name} if name else {})


def _observer(source: AuditSource) -> Json:
    return {"display": source.id, "type": "Device"}


def _coding(system: str, code: str, display: str) -> Json:
    return {"system": system, "code": code, "display": display}


def _concept(system: str, code: str, display: str = "") -> Json:
    return {"coding": [{"system": system, "code": code} | ({"display": display} if display else {})]}
