"""DICOM audit messages (PS3.15 A.5): a record as XML, one message for each patient where the standard wants that."""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from gateway.audit.chain import Entry
from gateway.audit.record import Event, Outcome, Record
from gateway.audit.source import AuditSource

_STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OUTCOMES: Final = {Outcome.SUCCESS: 0, Outcome.PARTIAL: 4, Outcome.DENIED: 8, Outcome.FAILURE: 8}


@dataclass(frozen=True, slots=True)
class _Code:
    """A code of PS3.16 Annex D, unless another system is named."""

    value: str
    meaning: str
    system: str = "DCM"

    def xml(self, element: str) -> str:
        return _element(element, {"csd-code": self.value, "codeSystemName": self.system, "originalText": self.meaning})


@dataclass(frozen=True, slots=True)
class _Kind:
    """What PS3.15 A.5.3 wants of an event: its message, its action and the event's type."""

    event: _Code
    action: str
    type: _Code | None = None


_SOURCE: Final = _Code("110153", "Source Role ID")
_DESTINATION: Final = _Code("110152", "Destination Role ID")
_APPLICATION: Final = _Code("110150", "Application")
_SOURCE_MEDIA: Final = _Code("110155", "Source Media")
_DESTINATION_MEDIA: Final = _Code("110154", "Destination Media")
_MEDIA_URI: Final = _Code("110037", "URI")
_STUDY: Final = _Code("110180", "Study Instance UID")
_SOP_CLASS: Final = _Code("110181", "SOP Class UID")
_PATIENT: Final = _Code("2", "Patient Number", "RFC-3881")
_URI: Final = _Code("12", "URI", "RFC-3881")

_ALERT: Final = _Code("110113", "Security Alert")
_TRANSFERRED: Final = _Code("110104", "DICOM Instances Transferred")
_ACCESSED: Final = _Code("110103", "DICOM Instances Accessed")
_ACTIVITY: Final = _Code("110100", "Application Activity")
_CONSENT: Final = _Code(
    "AuthZ-Consent",
    "Authorization Decision using Roles and Consent",
    "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType",
)

KINDS: Final = {
    Event.SEARCH: _Kind(_Code("110112", "Query"), "E"),
    Event.RETRIEVE_BEGIN: _Kind(_Code("110102", "Begin Transferring DICOM Instances"), "E"),
    # Whether its receiver held the instances before is not known to us: then it is R (A.5.3.7).
    Event.RETRIEVE: _Kind(_TRANSFERRED, "R"),
    Event.METADATA: _Kind(_ACCESSED, "R"),
    Event.RENDERED: _Kind(_ACCESSED, "R"),
    Event.STORE: _Kind(_TRANSFERRED, "C"),
    Event.EXPORT: _Kind(_Code("110106", "Export"), "R"),
    Event.IMPORT: _Kind(_Code("110107", "Import"), "C"),
    Event.DENIED: _Kind(_ALERT, "E", _Code("110132", "Use of Restricted Function")),
    Event.UNAUTHENTICATED: _Kind(_ALERT, "E", _Code("110126", "Node Authentication")),
    Event.CONSENT: _Kind(_ALERT, "E", _CONSENT),
    Event.DIRECTIVE: _Kind(_ALERT, "E", _Code("110135", "Object Security Attributes Changed")),
    Event.OVERRIDE_START: _Kind(_ALERT, "E", _Code("110127", "Emergency Override Started")),
    Event.OVERRIDE_END: _Kind(_ALERT, "E", _Code("110138", "Emergency Override Stopped")),
    Event.START: _Kind(_ACTIVITY, "E", _Code("110120", "Application Start")),
    Event.STOP: _Kind(_ACTIVITY, "E", _Code("110121", "Application Stop")),
    Event.CONFIGURATION: _Kind(_ALERT, "E", _Code("110131", "Software Configuration")),
    Event.LOG_READ: _Kind(_Code("110101", "Audit Log Used"), "R"),
    Event.CORRECTION: _Kind(_Code("110110", "Patient Record"), "U"),
    Event.RETENTION: _Kind(_ALERT, "E", _Code("110129", "Security Configuration")),
    Event.RECOVERY: _Kind(_ALERT, "E", _Code("110134", "Audit Recording Started")),
}

_OF_ONE_PATIENT: Final = frozenset(
    {_TRANSFERRED.value, _ACCESSED.value, KINDS[Event.RETRIEVE_BEGIN].event.value, "110106", "110107", "110110"}
)
"""Messages that shall name a single patient."""


def audit_messages(entry: Entry, source: AuditSource) -> Iterator[str]:
    """Yield the messages of a record; each conforms to the schema of PS3.15 A.5.1.

    What a message names no place for (organisation, purpose, request, place in the chain) is in the
    ParticipantObjectDetail of its first object.
    """
    record, kind = entry.record, KINDS[entry.record.event]
    if kind.event.value in _OF_ONE_PATIENT:
        for patient in record.patients or (("", "unknown"),):
            about = replace(entry, record=record.about({patient}))
            yield _message(entry, source, kind, [*_studies(about), _patient(patient, _details(entry))])
    else:
        yield _message(entry, source, kind, _objects(entry, source))


def _message(entry: Entry, source: AuditSource, kind: _Kind, objects: Sequence[str]) -> str:
    event = {
        "EventActionCode": kind.action,
        "EventDateTime": entry.at,
        "EventOutcomeIndicator": str(_OUTCOMES[entry.record.outcome]),
    }
    described = kind.event.xml("EventID") + (kind.type.xml("EventTypeCode") if kind.type else "")
    if entry.record.reason:
        described += f"<EventOutcomeDescription>{_text(entry.record.reason)}</EventOutcomeDescription>"
    site = {"AuditEnterpriseSiteID": source.site} if source.site else {}
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?><AuditMessage>',
        _element("EventIdentification", event, described),
        *_participants(entry.record, source),
        _element(
            "AuditSourceIdentification",
            {**site, "AuditSourceID": source.id},
            _element("AuditSourceTypeCode", {"csd-code": "4"}),
        ),
        *objects,
        "</AuditMessage>",
    ]
    return "".join(parts)


def _participants(record: Record, source: AuditSource) -> Iterator[str]:
    """Yield who took part: the caller, the gateway, and where instances went (A.5.2.1 to A.5.2.3)."""
    event = record.event
    if event in {Event.START, Event.STOP} or not record.channel:
        yield _gateway(source, (_APPLICATION,))
        return
    inwards = event in {Event.SEARCH, Event.STORE, Event.IMPORT}
    outwards = event in {Event.RETRIEVE_BEGIN, Event.RETRIEVE, Event.EXPORT}
    # A query flows towards us as data do that are stored; its answer is not what is recorded.
    caller: tuple[_Code, ...] = (
        (_SOURCE,) if inwards else (_DESTINATION,) if outwards and not record.destination else ()
    )
    if event is Event.IMPORT:
        caller += (_SOURCE_MEDIA,)
    if event is Event.EXPORT and not record.destination:
        caller += (_DESTINATION_MEDIA,)
    media = _media() if event in {Event.IMPORT, Event.EXPORT} and not record.destination else ""
    yield _caller(record, caller, media)
    yield _gateway(source, (_DESTINATION,) if inwards else (_SOURCE,) if outwards else ())
    if record.destination and outwards:
        yield _receiver(record)


def _caller(record: Record, roles: Iterable[_Code], media: str) -> str:
    values = {"UserID": record.subject or "unknown"}
    if record.channel == "dimse" and record.subject:
        values["AlternativeUserID"] = f"AETITLES={record.subject}"
    elif record.token_id:
        values["AlternativeUserID"] = f"urn:ietf:params:oauth:jti:{record.token_id}"
    if record.issuer:
        values["UserName"] = f"<{record.subject}@{record.issuer}>"
    values["UserIsRequestor"] = "true"
    if record.address:
        values |= {"NetworkAccessPointID": record.address, "NetworkAccessPointTypeCode": "2"}
    return _element("ActiveParticipant", values, "".join(role.xml("RoleIDCode") for role in roles) + media)


def _gateway(source: AuditSource, roles: Iterable[_Code]) -> str:
    values = {"UserID": source.id}
    if source.ae_title:
        values["AlternativeUserID"] = f"AETITLES={source.ae_title}"
    values["UserIsRequestor"] = "false"
    if source.url:
        values |= {"NetworkAccessPointID": source.url, "NetworkAccessPointTypeCode": "5"}
    return _element("ActiveParticipant", values, "".join(role.xml("RoleIDCode") for role in roles))


def _receiver(record: Record) -> str:
    values = {"UserID": record.destination, "AlternativeUserID": f"AETITLES={record.destination}"}
    roles = _DESTINATION.xml("RoleIDCode")
    if record.event is Event.EXPORT:
        roles += _DESTINATION_MEDIA.xml("RoleIDCode") + _media()
    return _element("ActiveParticipant", {**values, "UserIsRequestor": "false"}, roles)


def _media() -> str:
    return f"<MediaIdentifier>{_MEDIA_URI.xml('MediaType')}</MediaIdentifier>"


def _objects(entry: Entry, source: AuditSource) -> list[str]:
    """Return the objects of a message that is not of one patient."""
    record, details = entry.record, _details(entry)
    if record.event is Event.SEARCH:
        query = f"<ParticipantObjectQuery>{_base64(record.query)}</ParticipantObjectQuery>"
        return [_object(_STUDY_ROOT_FIND, "2", "3", _SOP_CLASS, query, details)]
    if record.event is Event.LOG_READ:
        return [_object(_log_uri(source), "2", "13", _URI, _name("Security Audit Log"), details)]
    if KINDS[record.event].event is not _ALERT:
        return []
    alert = [("Alert Description", record.reason or record.event.value), *details]
    subject = _object(source.url or _log_uri(source), "2", "13", _URI, _name("Gateway"), alert)
    studies = [_object(x, "2", "3", _STUDY, _name("Study")) for x in record.studies]
    return [subject, *studies, *(_patient(x) for x in record.patients)]


def _studies(entry: Entry) -> list[str]:
    record = entry.record
    described = ""
    if record.instances and len(record.studies) == 1:
        counted = _element("SOPClass", {"NumberOfInstances": str(record.instances)})
        described = f"<ParticipantObjectDescription>{counted}</ParticipantObjectDescription>"
    return [_object(uid, "2", "3", _STUDY, _name("Study"), after=described) for uid in record.studies or ("unknown",)]


def _patient(patient: tuple[str, str], details: Sequence[tuple[str, str]] = ()) -> str:
    issuer, value = patient
    return _object(f"{value}^^^{issuer}" if issuer else value, "1", "1", _PATIENT, _name("Patient"), details)


def _object(
    uid: str, kind: str, role: str, type_: _Code, name: str, details: Sequence[tuple[str, str]] = (), after: str = ""
) -> str:
    values = {
        "ParticipantObjectID": uid,
        "ParticipantObjectTypeCode": kind,
        "ParticipantObjectTypeCodeRole": role,
    }
    pairs = (_element("ParticipantObjectDetail", {"type": key, "value": _base64(value)}) for key, value in details)
    inside = type_.xml("ParticipantObjectIDTypeCode") + name + "".join(pairs) + after
    return _element("ParticipantObjectIdentification", values, inside)


def _details(entry: Entry) -> list[tuple[str, str]]:
    record = entry.record
    told = [
        ("Organisation", record.organisation),
        ("Organisation Name", record.organisation_name),
        ("Person", record.person),
        ("Purpose Of Use", record.purpose),
        ("X-Request-Id", record.request_id),
        ("Consent Directive", record.directive),
        ("Record", f"{entry.writer} {entry.link.seq}"),
    ]
    return [(key, value) for key, value in told if value]


def _log_uri(source: AuditSource) -> str:
    return f"urn:gateway:audit:{source.id}"


def _name(name: str) -> str:
    return f"<ParticipantObjectName>{_text(name)}</ParticipantObjectName>"


def _element(name: str, values: dict[str, str], inside: str = "") -> str:
    attributes = "".join(f" {key}={quoteattr(_NO_XML.sub('?', value))}" for key, value in values.items())
    return f"<{name}{attributes}>{inside}</{name}>" if inside else f"<{name}{attributes}/>"


def _text(text: str) -> str:
    return escape(_NO_XML.sub("?", text))


def _base64(text: str) -> str:
    return b64encode(text.encode("utf-8", "backslashreplace")).decode()
