"""Consents as they are kept: directives of patients, and overrides of them (FHIR R4 Consent)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final

from gateway.access.directive import FOREVER, Directive, Rule
from gateway.access.permit import StudyKey
from gateway.access.principal import Principal
from gateway.dataset.patient import PatientIdentifier

ACTIVE: Final = "active"
INACTIVE: Final = "inactive"
STATUSES: Final = ("draft", "proposed", ACTIVE, "rejected", INACTIVE, "entered-in-error")
"""Consent.status (FHIR R4 consent-state-codes); only what is active counts."""


class Reason(StrEnum):
    """Why a directive may be overridden: Ontario's three reasons, and no other."""

    EXPRESS_CONSENT = "express-consent"
    HARM_TO_PATIENT = "harm-to-patient"
    HARM_TO_OTHERS = "harm-to-others"


REASONS: Final[Mapping[Reason, str]] = {
    Reason.EXPRESS_CONSENT: "the patient, or who decides for the patient, expressly consents",
    Reason.HARM_TO_PATIENT: (
        "significant risk of serious bodily harm to the patient, whose consent cannot be had in time"
    ),
    Reason.HARM_TO_OTHERS: "significant risk of serious bodily harm to another person or a group of persons",
}


@dataclass(frozen=True, slots=True)
class Override:
    """Leave of one person to see one patient's records whatever was directed, for a while.

    Attributes:
        issuer: who vouches for the person.
        subject: who it is, as its issuer calls it.
        organisation: under whose authority it acts.
        person: its registration, such as "cpso:123".
        begins: seconds since the epoch, included.
        ends: likewise, not included.
    """

    reason: Reason
    issuer: str
    subject: str
    organisation: str
    organisation_name: str
    person: str
    begins: float
    ends: float

    def permits(self, principal: Principal, now: float) -> bool:
        """Whether it is a caller's, and lasts."""
        mine = self.issuer, self.subject, self.organisation
        return mine == (principal.issuer, principal.subject, principal.organisation) and self.begins <= now < self.ends

    @property
    def principal(self) -> Principal:
        """Whose it is, for the audit trail."""
        who = Principal(self.subject, self.issuer, self.organisation, self.organisation_name, self.person)
        return replace(who, purpose="BTG")


@dataclass(frozen=True, slots=True)
class Consent:
    """One version of a consent.

    Attributes:
        version: from 1.
        patient: by one of the identifiers; the identity source knows the others.
        rules: what it directs; none where it is an override.
        override: what it allows, where it is one.
        updated_at: seconds since the epoch.
        document: the FHIR resource without id and meta.
    """

    id: str
    version: int
    status: str
    patient: PatientIdentifier
    updated_at: float
    document: Mapping[str, Any]
    rules: tuple[Rule, ...] = ()
    override: Override | None = None

    @property
    def ends(self) -> float:
        """When nothing of it counts any more."""
        if self.override is not None:
            return self.override.ends
        return max((rule.ends for rule in self.rules), default=FOREVER)

    @property
    def turns(self) -> list[float]:
        """When something of it begins or ends to count."""
        spans = [self.override] if self.override is not None else self.rules
        return [at for span in spans for at in (span.begins, span.ends) if 0.0 < at < FOREVER]

    def about(self, study: str) -> "Consent":
        """Return what it directs about one study, which it names."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.study == study))

    def content(self) -> dict[str, Any]:
        """Return what it says as plain values, which ``of`` reads."""
        rules = [{k: v for k, v in asdict(rule).items() if v not in ("", 0.0, FOREVER)} for rule in self.rules]
        return {"rules": rules, "override": None if self.override is None else asdict(self.override)}

    @classmethod
    def of(cls, content: Mapping[str, Any], **kept: Any) -> "Consent":
        """Make it of what ``content`` said."""
        override = content["override"]
        return cls(
            rules=tuple(Rule(**rule) for rule in content["rules"]),
            override=None if override is None else Override(**{**override, "reason": Reason(override["reason"])}),
            **kept,
        )


def applying(
    consents: Iterable[Consent], principal: Principal, study: StudyKey, now: float, document: str = ""
) -> Iterator[Directive]:
    """Yield what consents say of a caller and a study at a time, or of a document of the study."""
    for one in consents:
        for rule in one.rules:
            if rule.applies(principal, study, now, document):
                yield Directive(one.id, rule)
