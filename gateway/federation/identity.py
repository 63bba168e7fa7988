"""When two regions' records are of one patient.

Study Instance UIDs are unique in the world, yet a copied or split study carries each holder's own Patient ID.
Without proof that the patients are one, rows are never merged (traps 2 and 4).
"""

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Attribute, Row, TagPath

PATIENT_NAME, PATIENT_ID, ISSUER = "00100010", "00100020", "00100021"
ISSUER_QUALIFIERS, UNIVERSAL_ENTITY_ID, UNIVERSAL_ENTITY_ID_TYPE = "00100024", "00400032", "00400033"
BIRTH_DATE, SEX = "00100030", "00100040"
OTHER_PATIENT_IDS, ORIGINAL_ATTRIBUTES = "00101002", "04000561"

PATIENT_KEYS: frozenset[TagPath] = frozenset({(PATIENT_NAME,), (PATIENT_ID,), (BIRTH_DATE,), (SEX,)})
"""What every study row has."""

RETURN_KEYS: frozenset[TagPath] = frozenset(
    {(ISSUER,), (OTHER_PATIENT_IDS, PATIENT_ID), (OTHER_PATIENT_IDS, ISSUER), (ORIGINAL_ATTRIBUTES,)}
)
"""What else tells whose a study is; archives read a file a row for it, so it is asked only where it matters."""


Links: TypeAlias = Mapping[PatientIdentifier, frozenset[PatientIdentifier]]
"""All identifiers of the patient of an identifier, as an identity source has them; one it does not know is absent."""

UNLINKED: Final[Links] = MappingProxyType({})


def identifiers(row: Row, default_issuer: str) -> frozenset[PatientIdentifier]:
    """Return the identifiers of a row; an ID without an issuer is in its region's namespace (trap 5)."""
    own = own_identifier(row, default_issuer)
    others = (own_identifier(item, default_issuer) for item in _items(row))
    return frozenset(x for x in (own, *others) if x is not None)


def own_identifier(row: Row, default_issuer: str) -> PatientIdentifier | None:
    """Return the Patient ID of a row or of an item of Other Patient IDs Sequence, in its namespace."""
    patient_id = text(row, PATIENT_ID)
    return PatientIdentifier(text(row, ISSUER) or default_issuer, patient_id) if patient_id else None


def same_patient(one: Row, one_issuer: str, other: Row, other_issuer: str, links: Links = UNLINKED) -> bool:
    """Whether two rows with one Study Instance UID are of one patient.

    Where the identity source knows both patients its word counts, whatever the rows agree in. Else they are one
    when they share an identifier of one namespace, or, where a region coerced the identifiers, when name and birth
    date are both there and agree and the sexes do not contradict.
    """
    mine, theirs = identifiers(one, one_issuer), identifiers(other, other_issuer)
    my_links = _linked(own_identifier(one, one_issuer), mine, links)
    their_links = _linked(own_identifier(other, other_issuer), theirs, links)
    if my_links and their_links:
        return not my_links.isdisjoint(their_links)
    if (mine | my_links) & (theirs | their_links):
        return True
    return (
        bool(text(one, BIRTH_DATE))
        and text(one, BIRTH_DATE) == text(other, BIRTH_DATE)
        and bool(_name(one))
        and _name(one) == _name(other)
        and (not text(one, SEX) or not text(other, SEX) or text(one, SEX) == text(other, SEX))
    )


def _linked(
    own: PatientIdentifier | None, all_of_row: Iterable[PatientIdentifier], links: Links
) -> frozenset[PatientIdentifier]:
    """Return what a row's Patient ID leads to; where it is unknown, what its other IDs lead to."""
    if own is not None and (known := links.get(own)):
        return known
    return frozenset().union(*(links.get(identifier, frozenset()) for identifier in all_of_row))


def demographics_differ(one: Row, other: Row) -> bool:
    """Whether two rows of one patient state different birth dates or sexes (trap 6)."""
    pairs = ((text(one, tag), text(other, tag)) for tag in (BIRTH_DATE, SEX))
    return any(mine and theirs and mine != theirs for mine, theirs in pairs)


def demographics_warning(region: str, other: str) -> str:
    """Say that a patient's rows contradict one another, without saying who it is."""
    where = f"regions {region} and {other}" if region != other else f"region {region}"
    return f"{where} state different birth dates or sexes for one patient: rows are shown as stated, have them reviewed"


def is_foreign_copy(row: Row, issuer: str, other_issuers: Collection[str] = ()) -> bool:
    """Whether a region's row is of a study it was sent by another: its IDs were coerced, or are another's (trap 4).

    The issuers are the region's own; where none is known, what a row states tells nothing.
    """
    if row.get(ORIGINAL_ATTRIBUTES, {}).get("Value"):
        return True
    stated = text(row, ISSUER)
    return bool(stated and issuer and stated != issuer and stated not in other_issuers)


def complete(row: Row, told: Row) -> None:
    """Add to a row what its region told, when asked, of whose it is."""
    told_of = (ISSUER, OTHER_PATIENT_IDS, ORIGINAL_ATTRIBUTES)
    row.update({tag: told[tag] for tag in told_of if tag in told and (told[tag].get("Value") or tag not in row)})


def also_known_as(row: Row, default_issuer: str, others: Iterable[PatientIdentifier]) -> None:
    """Add identifiers to Other Patient IDs Sequence (0010,1002), those left out that the row has already."""
    held = identifiers(row, default_issuer)
    added = [other for other in sorted(set(others)) if other not in held]
    if added:
        row[OTHER_PATIENT_IDS] = {"vr": "SQ", "Value": [*_items(row), *map(other_patient_id, added)]}


def long_string(value: str) -> Attribute:
    """Return an attribute of VR LO."""
    return {"vr": "LO", "Value": [value]}


def text(row: Row, tag: str) -> str:
    """Return the first value of an attribute without padding; empty where there is none."""
    values = row.get(tag, {}).get("Value") or ("",)
    return str(values[0] or "").strip()


def other_patient_id(identifier: PatientIdentifier) -> Row:
    """Return an item of Other Patient IDs Sequence."""
    return {PATIENT_ID: long_string(identifier.value), ISSUER: long_string(identifier.issuer)}


def _items(row: Row) -> Iterator[Row]:
    yield from (item for item in row.get(OTHER_PATIENT_IDS, {}).get("Value") or () if item)


def _name(row: Row) -> str:
    """Return the patient's name without case, accents, hyphens and empty components."""
    components: dict[str, str] = (row.get(PATIENT_NAME, {}).get("Value") or [{}])[0] or {}
    name = components.get("Alphabetic") or components.get("Ideographic") or ""
    folded = "".join(x for x in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(x))
    return " ".join(folded.replace("^", " ").replace("-", " ").split())
