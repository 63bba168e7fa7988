"""Consents written as FHIR R4 resources: directives shaped by IHE PCF, overrides shaped by Ontario's PCOI profile."""

from gateway.access.consents import ACTIVE, INACTIVE, REASONS, Consent, Override
from gateway.access.directive import FOREVER, Rule
from gateway.access.fhir_terms import (
    ACT_CODE,
    ACT_REASON,
    DICOM_UID,
    IDENTIFIER_TYPE,
    OVERRIDE_REASON,
    PARTICIPATION,
    PCOI,
    POLICY,
    SCOPE,
    Json,
    Naming,
    instant,
)
from gateway.dataset.patient import PatientIdentifier


class ConsentResources:
    """Writes them."""

    def __init__(self, naming: Naming) -> None:
        self.naming = naming

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
