"""What each region is asked when a search names a patient, and which of its rows are believed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.errors import IdentityUnavailable, RequestError
from gateway.federation.identity import (
    ISSUER,
    ISSUER_QUALIFIERS,
    PATIENT_ID,
    UNIVERSAL_ENTITY_ID,
    long_string,
    text,
)
from gateway.federation.issuers import Issuers
from gateway.region.profile import Profile

PATIENT_ID_KEY: Final[TagPath] = (PATIENT_ID,)
WITH_ISSUER: Final[frozenset[TagPath]] = frozenset({(ISSUER,), (ISSUER_QUALIFIERS, UNIVERSAL_ENTITY_ID)})
ACCESSION_KEY: Final[TagPath] = ("00080050",)
NAMING: Final[frozenset[TagPath]] = frozenset({ACCESSION_KEY, ("00100010",), PATIENT_ID_KEY, ("0020000D",)})
"""Keys that leave few rows: Accession Number, Patient's Name, Patient ID, Study Instance UID."""
NOT_ONE_VALUE: Final = frozenset('*?\\"')
"""Wildcards, lists and empty values (PS3.4 C.2.2.2)."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What to ask the regions, and which of their rows to believe.

    Attributes:
        of: the queries of each region, by id; a region that is not there has no identifier of the patient, is not
            asked, and counts as complete with no match.
        warnings: what the caller should hear.
        unavailable: set when the identity source failed; ``Prefer: handling=strict`` raises it.
        issuers: the issuer table.
        stated: whether each row shall carry its issuer.
        wanted: identifiers of the patients asked for; None where they are not known.
        issuer: the issuer asked for beside an unknown identifier; empty for any.
    """

    of: Mapping[str, tuple[Query, ...]]
    warnings: tuple[str, ...] = ()
    unavailable: IdentityUnavailable | None = None
    issuers: Issuers = field(default_factory=Issuers)
    stated: bool = False
    wanted: frozenset[PatientIdentifier] | None = None
    issuer: str = ""

    def admits(self, profile: Profile, row: Row) -> bool:
        """Whether a region's row may be shown (trap 23); one that states no issuer gets its region's (trap 5).

        To be asked of each row that matches the query its region was asked.
        """
        if not self.stated:
            return True
        patient_id = text(row, PATIENT_ID)
        issuer = self.issuers.stated(row) or self.issuers.name(profile.namespace)
        if patient_id:
            row[ISSUER] = long_string(issuer)
        if self.wanted is not None:
            return PatientIdentifier(issuer, patient_id) in self.wanted
        return not self.issuer or issuer == self.issuer


@dataclass(frozen=True, slots=True)
class Asked:
    """The patient a query names.

    Attributes:
        value: the Patient ID; empty where none or more than one is meant.
        issuer: its issuer's text; empty where none is named.
    """

    value: str = ""
    issuer: str = ""

    @classmethod
    def by(cls, query: Query, issuers: Issuers) -> "Asked":
        """Read a query's keys, the issuer given as text or as Universal Entity ID.

        Raises:
            RequestError: they name two issuers.
        """
        keys = (query.keys.get(path, "").strip() for path in WITH_ISSUER)
        named = {issuers.name(key) for key in keys if key and not NOT_ONE_VALUE & set(key)}
        if len(named) > 1:
            raise RequestError("IssuerOfPatientID and UniversalEntityID name two issuers: name one, or one by both")
        value = query.keys.get(PATIENT_ID_KEY, "").strip()
        if len(value) > 2 and value[0] == value[-1] == "*":
            value = value[1:-1]  # a viewer's study list puts stars around whatever is typed
        return cls("" if NOT_ONE_VALUE & set(value) else value, next(iter(named), ""))


def names_somebody(query: Query) -> bool:
    """Whether a query has few rows, each of which may as well tell its issuer; archives read a file a row for it."""
    return query.study is not None or any(query.keys.get(path, "").strip("*") for path in NAMING)


def returning_owner(query: Query) -> Query:
    """Return the query with what tells whose each row is, and by which number the patient may have named it."""
    return (
        replace(query, include=query.include | {PATIENT_ID_KEY, ACCESSION_KEY}) if query.level is Level.STUDY else query
    )


def returning_issuer(query: Query, asked: Asked) -> Query:
    """Return the query with the issuer asked for in return instead of as a key.

    An archive that stores no issuer would match nothing, though all it has is in its own namespace (trap 5).
    """
    keys = {
        path: key
        for path, key in query.keys.items()
        if not (asked.issuer and (path in WITH_ISSUER or path[0] == ISSUER_QUALIFIERS))
    }
    below_a_study = query.level is not Level.STUDY and query.study is not None
    return replace(query, keys=keys, include=query.include if below_a_study else query.include | WITH_ISSUER)
