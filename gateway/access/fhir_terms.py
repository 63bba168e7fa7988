"""What consents are called in FHIR R4: systems of codes, identifiers, and times."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime
from typing import Any, Final, TypeAlias

from gateway.access.consents import REASONS
from gateway.access.directive import FOREVER

Json: TypeAlias = dict[str, Any]

SCOPE: Final = "http://terminology.hl7.org/CodeSystem/consentscope"
ACT_CODE: Final = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ACT_REASON: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
POLICY: Final = "https://profiles.ihe.net/ITI/PCF/Policy-basic-normal"
PCOI: Final = "http://ehealthontario.ca/fhir/StructureDefinition/ca-on-consent-pcoi-profile-Consent"
OVERRIDE_REASON: Final = "urn:gateway:consent-override-reason"
"""System of the codes of our reasons: those of Ontario's own value set are not published."""
DICOM_UID: Final = "urn:dicom:uid"
IDENTIFIER_TYPE: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2}))?")


@dataclass(frozen=True, slots=True)
class Naming:
    """What identifiers are called in FHIR.

    Attributes:
        issuer: an issuer of Patient IDs, by any name that it has.
        system: the FHIR system of an issuer.
        known: all issuers of whom there may be Patient IDs; empty where that is not known.
        organisation: system of organisations; empty for none.
        person: system of persons; empty for none.
    """

    issuer: Callable[[str], str]
    system: Callable[[str], str]
    known: Collection[str] = ()
    organisation: str = ""
    person: str = ""


def instant(at: float) -> str:
    """Write a time as FHIR has it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str, *, end: bool = False) -> float:
    """Read a FHIR date or dateTime; a day that ends something is part of it, and the year 9999 ends nothing.

    Raises:
        ValueError: it is neither.
    """
    if not _DATE.fullmatch(text):
        raise ValueError("it is a date or a dateTime with a time zone")
    at = datetime.fromisoformat(text)
    if end and at.year == MAXYEAR:
        return FOREVER
    day = at.tzinfo is None
    return max(0.0, at.replace(tzinfo=at.tzinfo or UTC).timestamp()) + (86400.0 if day and end else 0.0)


def reasons() -> str:
    """Say which reasons there are."""
    return "; ".join(f'"{reason}": {meaning}' for reason, meaning in REASONS.items())
