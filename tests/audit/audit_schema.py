"""The audit message schema of PS3.15 A.5.1.1, as checks over a parsed message: what RELAX NG says there, in Python."""

import re
from base64 import b64decode
from datetime import datetime
from xml.etree.ElementTree import Element, fromstring

CODED = {"csd-code", "codeSystemName", "originalText"}
OBJECT_ATTRIBUTES = {
    "ParticipantObjectID",
    "ParticipantObjectTypeCode",
    "ParticipantObjectTypeCodeRole",
    "ParticipantObjectDataLifeCycle",
    "ParticipantObjectSensitivity",
}
PARTICIPANT_ATTRIBUTES = {
    "UserID",
    "AlternativeUserID",
    "UserName",
    "UserIsRequestor",
    "NetworkAccessPointID",
    "NetworkAccessPointTypeCode",
}


def parse(message: str | bytes) -> Element:
    """Parse a message, which must conform to the schema."""
    root = fromstring(message)
    assert root.tag == "AuditMessage"
    assert not root.attrib
    in_order(root, "EventIdentification ActiveParticipant+ AuditSourceIdentification ParticipantObjectIdentification*")
    event(root[0])
    for participant in root.findall("ActiveParticipant"):
        active(participant)
    source = root.find("AuditSourceIdentification")
    assert source is not None
    attributes(source, {"AuditSourceID"}, {"AuditEnterpriseSiteID"})
    in_order(source, "AuditSourceTypeCode*")
    for thing in root.findall("ParticipantObjectIdentification"):
        participant_object(thing)
    return root


def event(element: Element) -> None:
    attributes(element, {"EventDateTime", "EventOutcomeIndicator"}, {"EventActionCode"})
    in_order(element, "EventID EventTypeCode* EventOutcomeDescription?")
    assert element.get("EventActionCode") in {"C", "R", "U", "D", "E", None}
    assert element.get("EventOutcomeIndicator") in {"0", "4", "8", "12"}
    assert datetime.fromisoformat(element.attrib["EventDateTime"]).utcoffset() is not None
    for code in [*element.findall("EventID"), *element.findall("EventTypeCode")]:
        coded(code)


def active(element: Element) -> None:
    attributes(element, {"UserID", "UserIsRequestor"}, PARTICIPANT_ATTRIBUTES)
    in_order(element, "RoleIDCode* MediaIdentifier?")
    assert element.get("UserIsRequestor") in {"true", "false"}
    assert element.get("NetworkAccessPointTypeCode") in {"1", "2", "3", "4", "5", None}
    for code in element.iter():
        if code.tag in {"RoleIDCode", "MediaType"}:
            coded(code)
    for media in element.findall("MediaIdentifier"):
        in_order(media, "MediaType")


def participant_object(element: Element) -> None:
    attributes(element, {"ParticipantObjectID"}, OBJECT_ATTRIBUTES)
    in_order(
        element,
        "ParticipantObjectIDTypeCode ParticipantObjectName? ParticipantObjectQuery?"
        " ParticipantObjectDetail* ParticipantObjectDescription*",
    )
    coded(element[0])
    assert element[1].tag in {"ParticipantObjectName", "ParticipantObjectQuery"}
    assert (element.find("ParticipantObjectName") is None) != (element.find("ParticipantObjectQuery") is None)
    assert element.get("ParticipantObjectTypeCode") in {"1", "2", "3", "4", None}
    assert int(element.get("ParticipantObjectTypeCodeRole", "1")) in range(1, 27)
    for detail in element.findall("ParticipantObjectDetail"):
        attributes(detail, {"type", "value"}, set())
        b64decode(detail.attrib["value"], validate=True)
    b64decode(element.findtext("ParticipantObjectQuery", ""), validate=True)
    for described in element.findall("ParticipantObjectDescription"):
        in_order(described, "MPPS* Accession* SOPClass* ParticipantObjectContainsStudy? Encrypted? Anonymized?")
        for counted in described.findall("SOPClass"):
            attributes(counted, {"NumberOfInstances"}, {"UID"})
            int(counted.attrib["NumberOfInstances"])


def coded(element: Element) -> None:
    attributes(element, CODED, {"displayName"})
    assert all(element.attrib[name] for name in CODED)


def attributes(element: Element, required: set[str], optional: set[str]) -> None:
    assert required <= set(element.attrib) <= required | optional, (element.tag, element.attrib)


def in_order(element: Element, content: str) -> None:
    """Check an element's children against a content model of names with ?, * and +."""
    model = "".join(f"(?:{word.rstrip('?*+')} ){word[-1] if word[-1] in '?*+' else ''}" for word in content.split())
    children = "".join(f"{child.tag} " for child in element)
    assert re.fullmatch(model, children), (element.tag, children)
