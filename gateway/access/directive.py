"""What a patient has directed about who may see what, and which of several directives counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from gateway.access.permit import StudyKey
from gateway.access.principal import Principal

Effect: TypeAlias = Literal["deny", "permit"]

FOREVER: Final = float("inf")


class Level(StrEnum):
    """What a directive is about, as Ontario names it."""

    DOMAIN = "domain"
    """All records, for everybody."""
    RECORD = "record"
    """One study with its reports, or one document of a study."""
    ORGANISATION = "organisation"
    """All who act for one organisation (HIC-Agent)."""
    PERSON = "person"
    """One provider (Agent)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One effect on some records for some people; what is empty is everything, or everybody.

    Attributes:
        study: Study Instance UID.
        accession: Accession Number, which a study shares with its reports; beside ``study``, either will do.
        document: SOP Instance UID of the one instance of the study that is meant, such as a report.
        organisation: under whose authority the caller acts.
        person: the caller's registration, such as "cpso:123".
        begins: seconds since the epoch, included.
        ends: likewise, not included.
    """

    effect: Effect
    study: str = ""
    accession: str = ""
    organisation: str = ""
    person: str = ""
    begins: float = 0.0
    ends: float = FOREVER
    document: str = ""

    @property
    def level(self) -> Level:
        """The level that people name it by: who it is about before what it is about."""
        if self.person:
            return Level.PERSON
        if self.organisation:
            return Level.ORGANISATION
        return Level.RECORD if self.of_a_record else Level.DOMAIN

    @property
    def of_a_record(self) -> bool:
        """Whether it is about one study only, or one document of it."""
        return bool(self.study or self.accession)

    def applies(self, principal: Principal, study: StudyKey, now: float, document: str = "") -> bool:
        """Whether it says anything about a caller and a study at a time, or about a document of the study."""
        if not self.begins <= now < self.ends or (self.document and self.document != document):
            return False
        if self.person and self.person != principal.person:
            return False
        if self.organisation and self.organisation != principal.organisation:
            return False
        if not self.of_a_record:
            return True
        return self.study == study.study_instance_uid or (bool(self.accession) and self.accession == study.accession)

    @property
    def who(self) -> int:
        """How narrowly it says whom it is about."""
        return 2 * bool(self.person) + bool(self.organisation)

    @property
    def what(self) -> int:
        """How narrowly it says what it is about."""
        return self.of_a_record + bool(self.document)

    def narrower_than(self, other: "Rule") -> bool:
        """Whether it is more specific: narrower in whom or in what, and wider in neither."""
        mine, its = (self.who, self.what), (other.who, other.what)
        return mine != its and mine[0] >= its[0] and mine[1] >= its[1]


@dataclass(frozen=True, slots=True)
class Directive:
    """A rule, and the consent that it is part of."""

    consent: str
    rule: Rule


def decisive(directives: Iterable[Directive]) -> Directive | None:
    """Return what counts of the directives that apply: the most specific one.

    Of those of which none is more specific than another, one that denies counts: a patient who hid one study and let
    one clinic see everything has not said that the clinic may see that study.
    """
    applying = list(directives)
    chosen: Directive | None = None
    for one in applying:
        if any(other.rule.narrower_than(one.rule) for other in applying):
            continue
        if chosen is None or (one.rule.effect == "deny" and chosen.rule.effect == "permit"):
            chosen = one
    return chosen
