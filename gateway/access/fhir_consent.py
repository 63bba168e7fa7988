"""Consents as FHIR R4 resources: directives shaped by IHE PCF, overrides shaped by Ontario's PCOI profile."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime
from itertools import product
from typing import Any, Final, TypeAlias

from gateway.access.consents import ACTIVE, INACTIVE, REASONS, STATUSES, Consent, Override, Reason
from gateway.access.directive import FOREVER, Rule
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import InvalidResource

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

_UID: Final = re.compile(r"(urn:oid:)?(?P<uid>[0-9]+(\.[0-9]+)*)")
_INSTANCE: Final = re.compile(r"(.*/)?studies/(?P<study>[0-9.]+)/(series/[0-9.]+/)?instances/(?P<instance>[0-9.]+)")
_OF_A_PROVISION: Final = frozenset({"id", "type", "period", "actor", "data", "provision"})
_OF_AN_OVERRIDE: Final = frozenset({"id", "type", "period", "actor", "purpose"})
_CHANGING: Final = frozenset({"modifierExtension", "implicitRules"})
_DOCUMENTS: Final = frozenset({"DiagnosticReport", "DocumentReference"})
_ABOUT_RECORDS: Final = _DOCUMENTS | {"ImagingStudy", "ServiceRequest"}
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


@dataclass(slots=True)
class _Fault:
    """Collects what is wrong with a resource."""

    issues: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        self.issues.append((where, what))


class ConsentResources:
    """Reads and writes them."""

    def __init__(self, naming: Naming) -> None:
        self.naming = naming

    # --- reading

    def read(self, resource: Any) -> Draft:
        """Read a resource that somebody sent.

        Raises:
            InvalidResource: it cannot be enforced as it is meant, which is told point by point.
        """
        if not isinstance(resource, dict) or resource.get("resourceType") != "Consent":
            raise InvalidResource("the body is no FHIR Consent", [("Consent.resourceType", "is not Consent")])
        fault = _Fault()
        patient = self._patient(resource.get("patient"), fault)
        status = resource.get("status")
        if status not in STATUSES:
            fault.add("Consent.status", f"is one of {', '.join(STATUSES)}")
        provision = resource.get("provision")
        if not isinstance(provision, dict):
            fault.add("Consent.provision", "is missing: it says what is directed")
            provision = {}
        for key in sorted(_CHANGING & resource.keys()):
            fault.add(f"Consent.{key}", "is not known here, and changes what is directed: leave it out")
        document = {key: value for key, value in resource.items() if key not in {"id", "meta", "text"}}
        if is_override(resource):
            reason, ends = _reason(provision, fault), _span(provision.get("period"), "Consent.provision", fault)[1]
            _raise(fault)
            actors = provision.get("actor") if isinstance(provision.get("actor"), list) else []
            named = [_identifier(x.get("reference"))[1] for x in actors or () if isinstance(x, dict)]
            persons, latest = tuple(filter(None, named)), None if ends == FOREVER else ends
            return Draft(patient, str(status), document, reason=reason, ends=latest, persons=persons)
        _check_frame(resource, fault)
        rules = tuple(self._rules(provision, fault))
        _raise(fault)
        return Draft(patient, str(status), document, rules)

    def _patient(self, reference: Any, fault: _Fault) -> PatientIdentifier:
        system, value = _identifier(reference)
        issuer = self.naming.issuer(system)
        if not system or not value:
            fault.add("Consent.patient.identifier", "system and value name the patient")
        elif self.naming.known and issuer not in self.naming.known:
            # Nothing would ever be of this patient, and nobody would notice.
            fault.add("Consent.patient.identifier.system", "is of no issuer of Patient IDs that is configured")
        return PatientIdentifier(issuer, value)

    def _rules(self, root: Json, fault: _Fault) -> Iterator[Rule]:
        nested = root.get("provision") or []
        if not isinstance(nested, list):
            fault.add("Consent.provision.provision", "is a list")
            return
        if nested and ("actor" in root or "data" in root):
            fault.add("Consent.provision", "names actor or data beside nested provisions: nest it as one of them")
        lasting = _span(root.get("period"), "Consent.provision", fault)
        yield from self._provision(root, "Consent.provision", fault, lasting)
        for number, one in enumerate(nested):
            where = f"Consent.provision.provision[{number}]"
            if not isinstance(one, dict) or one.get("provision"):
                fault.add(where, "is a provision without provisions of its own (PCF)")
                continue
            yield from self._provision(
                one, where, fault, _span(one["period"], where, fault) if "period" in one else lasting
            )

    def _provision(self, provision: Json, where: str, fault: _Fault, lasting: tuple[float, float]) -> Iterator[Rule]:
        """Make a rule for each actor and each record that a provision names."""
        effect = provision.get("type")
        if effect not in {"deny", "permit"}:
            fault.add(f"{where}.type", 'is "deny" or "permit"')
            return
        for key in sorted(provision.keys() - _OF_A_PROVISION):
            fault.add(f"{where}.{key}", "is not enforced here: leave it out, or what is directed would not hold")
        actors = [self._actor(x, f"{where}.actor[{n}]", fault) for n, x in _numbered(provision, "actor", where, fault)]
        records = [_record(x, f"{where}.data[{n}]", fault) for n, x in _numbered(provision, "data", where, fault)]
        for (organisation, person), (study, accession, document) in product(
            actors or [("", "")], records or [("", "", "")]
        ):
            yield Rule(effect, study, accession, organisation, person, *lasting, document)

    def _actor(self, actor: Any, where: str, fault: _Fault) -> tuple[str, str]:
        """Return the organisation and the person that an actor is, of which one is empty."""
        reference = actor.get("reference") if isinstance(actor, dict) else None
        system, value = _identifier(reference)
        kind = str(reference.get("type", "")) if isinstance(reference, dict) else ""
        expected = {"Organization": self.naming.organisation, "Practitioner": self.naming.person}
        if kind not in expected or not value:
            fault.add(f"{where}.reference", "has type Organization or Practitioner, and an identifier")
        elif system != expected[kind]:
            told = f'is "{expected[kind]}"' if expected[kind] else "is left out"
            fault.add(f"{where}.reference.identifier.system", f"{told}, as [consent] in the settings has it")
        return (value, "") if kind == "Organization" else ("", value)

    # --- writing

    def write(self, consent: Consent, now: float) -> Json:
        """Write a consent as it is kept; an override whose time is over is inactive."""
        at = instant(consent.updated_at)
        meta: Json = {"versionId": str(consent.version), "lastUpdated": at}
        if consent.override is not None:
            meta["profile"] = [PCOI]
        document = {**consent.document, "status": standing(consent, now)}
        return {"resourceType": "Consent", "id": consent.id, "meta": meta, **document}

    def directive(self, patient: PatientIdentifier, rule: Rule, at: float) -> Json:
        """Write one rule as a resource without id and meta.

        It is the root provision: a root around it would direct something for all records, which nobody has said.
        """
        return self._framed(patient, at, self._written(rule))

    def override(self, patient: PatientIdentifier, override: Override) -> Json:
        """Write an override as a resource without id and meta (PCOI)."""
        display = override.person or override.subject
        reference = {"type": "Practitioner", "identifier": self._named(display, self.naming.person)}
        provision = {
            "type": "permit",
            "period": {"start": instant(override.begins), "end": instant(override.ends)},
            "actor": [{"role": {"coding": [{"system": PARTICIPATION, "code": "IRCP"}]}, "reference": reference}],
            "purpose": [
                {"system": ACT_REASON, "code": "BTG"},
                {"system": OVERRIDE_REASON, "code": str(override.reason), "display": REASONS[override.reason]},
            ],
        }
        framed = self._framed(patient, override.begins, provision)
        if override.organisation:
            named = self._named(override.organisation, self.naming.organisation)
            framed["organization"] = [{"type": "Organization", "identifier": named}]
        return framed

    def _framed(self, patient: PatientIdentifier, at: float, provision: Json) -> Json:
        identifier = self._named(patient.value, self.naming.system(patient.issuer))
        return {
            "resourceType": "Consent",
            "status": ACTIVE,
            "scope": {"coding": [{"system": SCOPE, "code": "patient-privacy"}]},
            "category": [{"coding": [{"system": ACT_CODE, "code": "INFA"}]}],
            "patient": {"type": "Patient", "identifier": identifier},
            "dateTime": instant(at),
            "policy": [{"uri": POLICY}],
            "provision": provision,
        }

    def _written(self, rule: Rule) -> Json:
        period = {"start": instant(rule.begins)} if rule.begins else {}
        if rule.ends != FOREVER:
            period["end"] = instant(rule.ends)
        named = (("Organization", rule.organisation, self.naming.organisation),
                 ("Practitioner", rule.person, self.naming.person))  # fmt: skip
        role = {"coding": [{"system": PARTICIPATION, "code": "IRCP"}]}
        actors = [
            {"role": role, "reference": {"type": kind, "identifier": self._named(value, system)}}
            for kind, value, system in named
            if value
        ]
        data: list[Json] = []
        if rule.document:
            uid = {"system": DICOM_UID, "value": f"urn:oid:{rule.document}"}
            where = f"studies/{rule.study}/instances/{rule.document}"
            document = {"type": "DocumentReference", "reference": where, "identifier": uid}
            data.append({"meaning": "instance", "reference": document})
        elif rule.study:
            uid = {"system": DICOM_UID, "value": f"urn:oid:{rule.study}"}
            data.append({"meaning": "instance", "reference": {"type": "ImagingStudy", "identifier": uid}})
        if rule.accession:
            number = {"type": {"coding": [{"system": IDENTIFIER_TYPE, "code": "ACSN"}]}, "value": rule.accession}
            data.append({"meaning": "instance", "reference": {"type": "DiagnosticReport", "identifier": number}})
        parts = {"period": period, "actor": actors, "data": data}
        return {"type": rule.effect, **{key: value for key, value in parts.items() if value}}

    @staticmethod
    def _named(value: str, system: str) -> Json:
        return {"system": system, "value": value} if system else {"value": value}


def standing(consent: Consent, now: float) -> str:
    """Return the status of a consent at a time: an override ends by itself."""
    over = consent.override is not None and consent.override.ends <= now
    return INACTIVE if over and consent.status == ACTIVE else consent.status


def is_override(resource: Mapping[str, Any]) -> bool:
    """Whether a resource asks for an override: it says so by its profile, or by a purpose, which no directive has."""
    meta, provision = resource.get("meta"), resource.get("provision")
    profiles = meta.get("profile") if isinstance(meta, dict) else None
    profiled = isinstance(profiles, list) and PCOI in profiles
    return profiled or (isinstance(provision, dict) and "purpose" in provision)


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


def _reason(provision: Json, fault: _Fault) -> Reason | None:
    purposes = provision.get("purpose")
    codes = [x.get("code") for x in purposes if isinstance(x, dict)] if isinstance(purposes, list) else []
    found = [Reason(code) for code in codes if code in list(Reason)]
    if len(found) != 1:
        fault.add("Consent.provision.purpose", f"names one reason, of system {OVERRIDE_REASON}: {reasons()}")
    if provision.get("type") != "permit":
        fault.add("Consent.provision.type", 'is "permit" in an override')
    for key in sorted(provision.keys() - _OF_AN_OVERRIDE):
        fault.add(f"Consent.provision.{key}", "is left out of an override, which is of all that the patient directs")
    return found[0] if found else None


def _check_frame(resource: Json, fault: _Fault) -> None:
    """Check what PCF requires around the provision."""
    codings = (resource.get("scope") or {}).get("coding") if isinstance(resource.get("scope"), dict) else None
    if not any(isinstance(x, dict) and x.get("code") == "patient-privacy" for x in codings or ()):
        fault.add("Consent.scope", "is patient-privacy")
    for key, what in (("category", "says what kind of consent it is"), ("policy", "names a policy by its uri")):
        if not isinstance(resource.get(key), list) or not resource[key]:
            fault.add(f"Consent.{key}", what)
    if not isinstance(resource.get("dateTime"), str):
        fault.add("Consent.dateTime", "says when it was given")


def _record(data: Any, where: str, fault: _Fault) -> tuple[str, str, str]:
    """Return what a record is named by: Study Instance UID or Accession Number, and a document's SOP Instance UID."""
    reference = data.get("reference") if isinstance(data, dict) else None
    if not isinstance(data, dict) or data.get("meaning") != "instance":
        fault.add(f"{where}.meaning", 'is "instance"')
    system, value = _identifier(reference)
    kind = reference.get("type") if isinstance(reference, dict) else None
    if kind in _DOCUMENTS and isinstance(reference, dict) and "reference" in reference:
        return _document(reference["reference"], system, value, where, fault)
    if kind not in _ABOUT_RECORDS or not value:
        fault.add(f"{where}.reference", f"has an identifier, and a type of {', '.join(sorted(_ABOUT_RECORDS))}")
        return "", "", ""
    if system == DICOM_UID:
        uid = _UID.fullmatch(value)
        if uid is None or kind != "ImagingStudy":
            told = (
                "is a Study Instance UID, of type ImagingStudy: a document is named by its URL, as reference.reference"
            )
            fault.add(f"{where}.reference.identifier", told)
        return (uid["uid"] if uid else ""), "", ""
    return "", value, ""


def _document(url: Any, system: str, value: str, where: str, fault: _Fault) -> tuple[str, str, str]:
    """Read the Retrieve URL (0008,1190) of a document; an identifier beside it is its SOP Instance UID."""
    named = _INSTANCE.fullmatch(url) if isinstance(url, str) else None
    if named is None:
        fault.add(f"{where}.reference.reference", "is the URL of an instance, .../studies/UID/series/UID/instances/UID")
        return "", "", ""
    uid = _UID.fullmatch(value)
    if (system or value) and (system != DICOM_UID or uid is None or uid["uid"] != named["instance"]):
        fault.add(f"{where}.reference.identifier", f"is of system {DICOM_UID}, and the instance that the URL names")
    return named["study"], "", named["instance"]


def _span(period: Any, where: str, fault: _Fault) -> tuple[float, float]:
    if period is None:
        return 0.0, FOREVER
    if not isinstance(period, dict) or not period or period.keys() - {"start", "end"}:
        fault.add(f"{where}.period", "has start, end or both, and nothing else")
        return 0.0, FOREVER
    try:
        begins = moment(period["start"]) if "start" in period else 0.0
        ends = moment(period["end"], end=True) if "end" in period else FOREVER
    except (TypeError, ValueError):
        fault.add(f"{where}.period", "has start and end as FHIR dateTime")
        return 0.0, FOREVER
    if ends <= begins:
        fault.add(f"{where}.period", "ends before it begins")
    return begins, ends


def _numbered(provision: Json, key: str, where: str, fault: _Fault) -> Iterator[tuple[int, Any]]:
    values = provision.get(key, [])
    if not isinstance(values, list) or (key in provision and not values):
        fault.add(f"{where}.{key}", "is a list with something in it")
        return iter(())
    return iter(enumerate(values))


def _identifier(reference: Any) -> tuple[str, str]:
    identifier = reference.get("identifier") if isinstance(reference, dict) else None
    if not isinstance(identifier, dict):
        return "", ""
    system, value = identifier.get("system"), identifier.get("value")
    # A number would have lost its leading zeros, and be nobody's.
    return (system if isinstance(system, str) else ""), (value.strip() if isinstance(value, str) else "")


def _raise(fault: _Fault) -> None:
    if fault.issues:
        where, what = fault.issues[0]
        raise InvalidResource(f"{where} {what}", fault.issues)
