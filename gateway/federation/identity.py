"""When two regions' records are of one patient.

Study Instance UIDs are unique in the world, yet a copied or split study carries each holder's own Patient ID.
Without proof that the patients are one, rows are never merged (traps 2 and 4).
"""

import unicodedata
from collections.abc import Iterator

from gateway.dataset.query import Row, TagPath

PATIENT_NAME, PATIENT_ID, ISSUER = "00100010", "00100020", "00100021"
BIRTH_DATE, SEX = "00100030", "00100040"
OTHER_PATIENT_IDS, ORIGINAL_ATTRIBUTES = "00101002", "04000561"

PATIENT_KEYS: frozenset[TagPath] = frozenset({(PATIENT_NAME,), (PATIENT_ID,), (BIRTH_DATE,), (SEX,)})
"""What every study row has."""

RETURN_KEYS: frozenset[TagPath] = frozenset(
    {(ISSUER,), (OTHER_PATIENT_IDS, PATIENT_ID), (OTHER_PATIENT_IDS, ISSUER), (ORIGINAL_ATTRIBUTES,)}
)
"""What else tells whose a study is; archives read a file a row for it, so it is asked only where it matters."""


def identifiers(row: Row, default_issuer: str) -> frozenset[tuple[str, str]]:
    """Return the (issuer, Patient ID) pairs of a row; an ID without an issuer is in its region's namespace (trap 5)."""
    pairs = {(_text(row, ISSUER) or default_issuer, _text(row, PATIENT_ID))}
    for item in _items(row):
        pairs.add((_text(item, ISSUER) or default_issuer, _text(item, PATIENT_ID)))
    return frozenset((issuer, patient_id) for issuer, patient_id in pairs if patient_id)


def same_patient(one: Row, one_issuer: str, other: Row, other_issuer: str) -> bool:
    """Whether two rows with one Study Instance UID are of one patient.

    They are when they share an identifier of one namespace, or, where a region coerced the identifiers, when name
    and birth date are both there and agree and the sexes do not contradict.
    """
    if identifiers(one, one_issuer) & identifiers(other, other_issuer):
        return True
    return (
        bool(_text(one, BIRTH_DATE))
        and _text(one, BIRTH_DATE) == _text(other, BIRTH_DATE)
        and bool(_name(one))
        and _name(one) == _name(other)
        and (not _text(one, SEX) or not _text(other, SEX) or _text(one, SEX) == _text(other, SEX))
    )


def is_foreign_copy(row: Row, issuer: str) -> bool:
    """Whether a region's row is of a study it was sent by another: its IDs were coerced, or are another's (trap 4)."""
    if row.get(ORIGINAL_ATTRIBUTES, {}).get("Value"):
        return True
    stated = _text(row, ISSUER)
    return bool(stated and issuer and stated != issuer)


def complete(row: Row, told: Row) -> None:
    """Add to a row what its region told, when asked, of whose it is."""
    row.update({tag: told[tag] for tag in (ISSUER, OTHER_PATIENT_IDS, ORIGINAL_ATTRIBUTES) if tag in told})


def _items(row: Row) -> Iterator[Row]:
    yield from (item for item in row.get(OTHER_PATIENT_IDS, {}).get("Value") or () if item)


def _text(row: Row, tag: str) -> str:
    values = row.get(tag, {}).get("Value") or ("",)
    return str(values[0] or "").strip()


def _name(row: Row) -> str:
    """Return the patient's name without case, accents, hyphens and empty components."""
    components: dict[str, str] = (row.get(PATIENT_NAME, {}).get("Value") or [{}])[0] or {}
    name = components.get("Alphabetic") or components.get("Ideographic") or ""
    folded = "".join(x for x in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(x))
    return " ".join(folded.replace("^", " ").replace("-", " ").split())
