"""FHIR R4 Consents that somebody sends: directives shaped by IHE PCF, overrides shaped by Ontario's PCOI profile."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from gateway.access.consents import STATUSES, Reason
from gateway.access.directive import FOREVER, Rule
from gateway.access.fhir_terms import DICOM_UID, OVERRIDE_REASON, PCOI, Json, Naming, moment, reasons
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import InvalidResource

_UID: Final = re.compile(r"(urn:oid:)?(?P<uid>[0-9]+(\.[0-9]+)*)")
_INSTANCE: Final = re.compile(r"(.*/)?studies/(?P<study>[0-9.]+)/(series/[0-9.]+/)?instances/(?P<instance>[0-9.]+)")
_OF_A_PROVISION: Final = frozenset({"id", "type", "period", "actor", "data", "provision"})
_OF_AN_OVERRIDE: Final = frozenset({"id", "type", "period", "actor", "purpose"})
_CHANGING: Final = frozenset({"modifierExtension", "implicitRules"})
_DOCUMENTS: Final = frozenset({"DiagnosticReport", "DocumentReference"})
_ABOUT_RECORDS: Final = _DOCUMENTS | {"ImagingStudy", "ServiceRequest"}


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wants a consent to be.

    Attributes:
        rules: what it directs; none where it asks for an override.
        reason: why to override.
        ends: until when, at the latest.
        persons: for whom the override is, where it says so.
    """

    patient: PatientIdentifier
    status: str
    document: Json
    rules: tuple[Rule, ...] = ()
    reason: Reason | None = None
    ends: float | None = None
    persons: tuple[str, ...] = ()


def read_consent(resource: Any, naming: Naming) -> Draft:
    """Read a resource that somebody sent.

    Raises:
        InvalidResource: it cannot be enforced as it is meant, which is told point by point.
    """
    if not isinstance(resource, dict) or resource.get("resourceType") != "Consent":
        raise InvalidResource("the body is no FHIR Consent", [("Consent.resourceType", "is not Consent")])
    reading = _Reading(naming)
    draft = reading.draft(resource)
    if reading.issues:
        where, what = reading.issues[0]
        raise InvalidResource(f"{where} {what}", reading.issues)
    return draft


def is_override(resource: Mapping[str, Any]) -> bool:
    """Whether a resource asks for an override: it says so by its profile, or by a purpose, which no directive has."""
    meta, provision = resource.get("meta"), resource.get("provision")
    profiles = meta.get("profile") if isinstance(meta, dict) else None
    profiled = isinstance(profiles, list) and PCOI in profiles
    return profiled or (isinstance(provision, dict) and "purpose" in provision)


class _Reading:
    """Reads one resource, and collects what is wrong with it."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self.issues: list[tuple[str, str]] = []

    def draft(self, resource: Json) -> Draft:
        """Return what is asked for; it means something only where no issue was found."""
        patient = self._patient(resource.get("patient"))
        status = resource.get("status")
        if status not in STATUSES:
            self._fault("Consent.status", f"is one of {', '.join(STATUSES)}")
        provision = resource.get("provision")
        if not isinstance(provision, dict):
            self._fault("Consent.provision", "is missing: it says what is directed")
            provision = {}
        for key in sorted(_CHANGING & resource.keys()):
            self._fault(f"Consent.{key}", "is not known here, and changes what is directed: leave it out")
        document = {key: value for key, value in resource.items() if key not in {"id", "meta", "text"}}
        if is_override(resource):
            reason, ends = self._reason(provision), self._span(provision.get("period"), "Consent.provision")[1]
            actors = provision.get("actor") if isinstance(provision.get("actor"), list) else []
            named = [_identifier(x.get("reference"))[1] for x in actors or () if isinstance(x, dict)]
            persons, latest = tuple(filter(None, named)), None if ends == FOREVER else ends
            return Draft(patient, str(status), document, reason=reason, ends=latest, persons=persons)
        self._check_frame(resource)
        return Draft(patient, str(status), document, tuple(self._rules(provision)))

    def _fault(self, where: str, what: str) -> None:
        self.issues.append((where, what))

    def _patient(self, reference: Any) -> PatientIdentifier:
        system, value = _identifier(reference)
        issuer = self._naming.issuer(system)
        if not system or not value:
            self._fault("Consent.patient.identifier", "system and value name the patient")
        elif self._naming.known and issuer not in self._naming.known:
            # Nothing would ever be of this patient, and nobody would notice.
            self._fault("Consent.patient.identifier.system", "is of no issuer of Patient IDs that is configured")
        return PatientIdentifier(issuer, value)

    def _rules(self, root: Json) -> Iterator[Rule]:
        nested = root.get("provision") or []
        if not isinstance(nested, list):
            self._fault("Consent.provision.provision", "is a list")
            return
        if nested and ("actor" in root or "data" in root):
            self._fault("Consent.provision", "names actor or data beside nested provisions: nest it as one of them")
        lasting = self._span(root.get("period"), "Consent.provision")
        yield from self._provision(root, "Consent.provision", lasting)
        for number, one in enumerate(nested):
            where = f"Consent.provision.provision[{number}]"
            if not isinstance(one, dict) or one.get("provision"):
                self._fault(where, "is a provision without provisions of its own (PCF)")
                continue
            yield from self._provision(one, where, self._span(one["period"], where) if "period" in one else lasting)

    def _provision(self, provision: Json, where: str, lasting: tuple[float, float]) -> Iterator[Rule]:
        """Make a rule for each actor and each record that a provision names."""
        effect = provision.get("type")
        if effect not in {"deny", "permit"}:
            self._fault(f"{where}.type", 'is "deny" or "permit"')
            return
        for key in sorted(provision.keys() - _OF_A_PROVISION):
            self._fault(f"{where}.{key}", "is not enforced here: leave it out, or what is directed would not hold")
        actors = [self._actor(x, f"{where}.actor[{n}]") for n, x in self._numbered(provision, "actor", where)]
        records = [self._record(x, f"{where}.data[{n}]") for n, x in self._numbered(provision, "data", where)]
        for (organisation, person), (study, accession, document) in product(
            actors or [("", "")], records or [("", "", "")]
        ):
            yield Rule(effect, study, accession, organisation, person, *lasting, document)

    def _actor(self, actor: Any, where: str) -> tuple[str, str]:
        """Return the organisation and the person that an actor is, of which one is empty."""
        reference = actor.get("reference") if isinstance(actor, dict) else None
        system, value = _identifier(reference)
        kind = str(reference.get("type", "")) if isinstance(reference, dict) else ""
        expected = {"Organization": self._naming.organisation, "Practitioner": self._naming.person}
        if kind not in expected or not value:
            self._fault(f"{where}.reference", "has type Organization or Practitioner, and an identifier")
        elif system != expected[kind]:
            told = f'is "{expected[kind]}"' if expected[kind] else "is left out"
            self._fault(f"{where}.reference.identifier.system", f"{told}, as [consent] in the settings has it")
        return (value, "") if kind == "Organization" else ("", value)

    def _reason(self, provision: Json) -> Reason | None:
        purposes = provision.get("purpose")
        codes = [x.get("code") for x in purposes if isinstance(x, dict)] if isinstance(purposes, list) else []
        found = [Reason(code) for code in codes if code in list(Reason)]
        if len(found) != 1:
            self._fault("Consent.provision.purpose", f"names one reason, of system {OVERRIDE_REASON}: {reasons()}")
        if provision.get("type") != "permit":
            self._fault("Consent.provision.type", 'is "permit" in an override')
        for key in sorted(provision.keys() - _OF_AN_OVERRIDE):
            self._fault(
                f"Consent.provision.{key}", "is left out of an override, which is of all that the patient directs"
            )
        return found[0] if found else None

    def _check_frame(self, resource: Json) -> None:
        """Check what PCF requires around the provision."""
        codings = (resource.get("scope") or {}).get("coding") if isinstance(resource.get("scope"), dict) else None
        if not any(isinstance(x, dict) and x.get("code") == "patient-privacy" for x in codings or ()):
            self._fault("Consent.scope", "is patient-privacy")
        for key, what in (("category", "says what kind of consent it is"), ("policy", "names a policy by its uri")):
            if not isinstance(resource.get(key), list) or not resource[key]:
                self._fault(f"Consent.{key}", what)
        if not isinstance(resource.get("dateTime"), str):
            self._fault("Consent.dateTime", "says when it was given")

    def _record(self, data: Any, where: str) -> tuple[str, str, str]:
        """Return what names a record: Study Instance UID or Accession Number, and a document's SOP Instance UID."""
        reference = data.get("reference") if isinstance(data, dict) else None
        if not isinstance(data, dict) or data.get("meaning") != "instance":
            self._fault(f"{where}.meaning", 'is "instance"')
        system, value = _identifier(reference)
        kind = reference.get("type") if isinstance(reference, dict) else None
        if kind in _DOCUMENTS and isinstance(reference, dict) and "reference" in reference:
            return self._document(reference["reference"], system, value, where)
        if kind not in _ABOUT_RECORDS or not value:
            self._fault(f"{where}.reference", f"has an identifier, and a type of {', '.join(sorted(_ABOUT_RECORDS))}")
            return "", "", ""
        if system == DICOM_UID:
            uid = _UID.fullmatch(value)
            if uid is None or kind != "ImagingStudy":
                told = (
                    "is a Study Instance UID, of type ImagingStudy: a document is named by reference.reference, its URL"
                )
                self._fault(f"{where}.reference.identifier", told)
            return (uid["uid"] if uid else ""), "", ""
        return "", value, ""

    def _document(self, url: Any, system: str, value: str, where: str) -> tuple[str, str, str]:
        """Read the Retrieve URL (0008,1190) of a document; an identifier beside it is its SOP Instance UID."""
        named = _INSTANCE.fullmatch(url) if isinstance(url, str) else None
        if named is None:
            self._fault(
                f"{where}.reference.reference", "is the URL of an instance, .../studies/UID/series/UID/instances/UID"
            )
            return "", "", ""
        uid = _UID.fullmatch(value)
        if (system or value) and (system != DICOM_UID or uid is None or uid["uid"] != named["instance"]):
            self._fault(
                f"{where}.reference.identifier", f"is of system {DICOM_UID}, and the instance that the URL names"
            )
        return named["study"], "", named["instance"]

    def _span(self, period: Any, where: str) -> tuple[float, float]:
        if period is None:
            return 0.0, FOREVER
        if not isinstance(period, dict) or not period or period.keys() - {"start", "end"}:
            self._fault(f"{where}.period", "has start, end or both, and nothing else")
            return 0.0, FOREVER
        try:
            begins = moment(period["start"]) if "start" in period else 0.0
            ends = moment(period["end"], end=True) if "end" in period else FOREVER
        except (TypeError, ValueError):
            self._fault(f"{where}.period", "has start and end as FHIR dateTime")
            return 0.0, FOREVER
        if ends <= begins:
            self._fault(f"{where}.period", "ends before it begins")
        return begins, ends

    def _numbered(self, provision: Json, key: str, where: str) -> Iterator[tuple[int, Any]]:
        values = provision.get(key, [])
        if not isinstance(values, list) or (key in provision and not values):
            self._fault(f"{where}.{key}", "is a list with something in it")
            return iter(())
        return iter(enumerate(values))


def _identifier(reference: Any) -> tuple[str, str]:
    identifier = reference.get("identifier") if isinstance(reference, dict) else None
    if not isinstance(identifier, dict):
        return "", ""
    system, value = identifier.get("system"), identifier.get("value")
    # A number would have lost its leading zeros, and be nobody's.
    return (system if isinstance(system, str) else ""), (value.strip() if isinstance(value, str) else "")
