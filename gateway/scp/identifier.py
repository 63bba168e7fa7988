"""Identifiers that peers send, and those that answer them (PS3.4 C.4.1.1.3, C.4.2.1.4, C.6)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from gateway.dataset.comparison import EMPTY
from gateway.dataset.dates import is_range, key_range
from gateway.dataset.dictionary import keyword_of, vr_of
from gateway.dataset.identifier import PATIENT_ID, PATIENT_KEYS, level_of
from gateway.dataset.query import Attribute, Level, Query, Row, Selection, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.errors import RequestError

PATIENT: Final = "PATIENT"
STUDY, SERIES, INSTANCE = UNIQUE_KEYS[Level.STUDY], UNIQUE_KEYS[Level.SERIES], UNIQUE_KEYS[Level.IMAGE]
UNIQUE: Final[Mapping[str, str]] = MappingProxyType(
    {PATIENT: PATIENT_ID, Level.STUDY: STUDY, Level.SERIES: SERIES, Level.IMAGE: INSTANCE}
)
STUDY_ROOT: Final = (Level.STUDY.value, Level.SERIES.value, Level.IMAGE.value)
PATIENT_ROOT: Final = (PATIENT, *STUDY_ROOT)

CHARACTER_SET, LEVEL, RETRIEVE_AE_TITLE, TIMEZONE = "00080005", "00080052", "00080054", "00080201"
ISSUER: Final = "00100021"
PATIENT_COUNTS: Final = ("00201200", "00201202", "00201204")
"""Number of Patient Related Studies, Series and Instances: what one region says of them is true of that region only."""
_MOMENTS: Final = MappingProxyType(
    {"DA": "a date YYYYMMDD", "TM": "a time HHMMSS", "DT": "a date time YYYYMMDDHHMMSS+ZZXX"}
)
_OURS: Final = frozenset({CHARACTER_SET, LEVEL, RETRIEVE_AE_TITLE})
_OF_A_PATIENT: Final = PATIENT_KEYS | {
    "00100022",
    "00100024",
    "00100032",
    "00101000",
    "00101001",
    "00102160",
    "00104000",
}


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What extended negotiation granted for C-FIND (PS3.4 C.5.1.1.2)."""

    relational: bool = False
    combined: bool = False
    fuzzy: bool = False
    timezone: bool = False

    @classmethod
    def read(cls, information: bytes) -> "Negotiated":
        """Read Service-class-application-information; what it leaves out is not granted."""
        return cls(*(byte == 1 for byte in information[:4]))


GRANTED: Final = b"\1\1\1\1"
"""Relational queries, combined datetime matching, fuzzy matching of names, and timezone query adjustment."""


@dataclass(frozen=True, slots=True)
class Find:
    """What a C-FIND asks for.

    Attributes:
        level: its Query/Retrieve Level.
        query: what the regions are asked.
        requested: its Identifier, which says what a response has.
        above: what it asks of the study of its series or instances, to be found by another query; None if nothing.
    """

    level: str
    query: Query
    requested: Row
    above: Query | None = None


def find(row: Row, model: Sequence[str], negotiated: Negotiated, issuer: str) -> Find:
    """Read the Identifier of a C-FIND.

    Args:
        row: the Identifier.
        model: the levels of its information model, the highest first.
        negotiated: what the association grants.
        issuer: whose the Patient IDs without an issuer are, if that is known.

    Raises:
        RequestError: it does not fit the model.
    """
    level = _level(row, model)
    lowest = Level.STUDY if level == PATIENT else Level(level)
    above = _unique_keys_above(row, model, level, relational=negotiated.relational)
    elsewhere = {STUDY, SERIES, *PATIENT_COUNTS} - {UNIQUE[level]}
    keys = {path: key for path, key in _keys(row) if key and path[0] not in elsewhere}
    _check_moments(keys)
    if negotiated.relational:
        keys |= {(UNIQUE[upper],): value for upper, value in above.items() if value and not is_single(value)}
        above = {upper: value for upper, value in above.items() if is_single(value)}
    offset = keys.pop((TIMEZONE,), "")
    if keys.get((PATIENT_ID,)) and issuer and (ISSUER,) not in keys and is_single(keys[PATIENT_ID,]):
        keys[ISSUER,] = issuer
    included = frozenset(path for path, _ in _leaves(row) if path[0] not in _OURS.union(PATIENT_COUNTS))
    if level == PATIENT:  # one number may be two patients'
        included |= {(ISSUER,)}
    common: dict[str, Any] = {
        "fuzzy": negotiated.fuzzy,
        "separate_times": not negotiated.combined,
        "utc_offset": _minutes(offset) if negotiated.timezone else None,
    }
    study, series = above.get(Level.STUDY), above.get(Level.SERIES)
    if lowest is Level.STUDY or not study:
        return Find(level, Query(lowest, study, series, keys, included, **common), row)
    of_study = {path for path in included if level_of(path[0], lowest) is Level.STUDY} - {(STUDY,)}
    guards = {path: key for path, key in keys.items() if path in of_study}
    own = {path: key for path, key in keys.items() if path not in guards}
    stray = [*(guards.keys() - {(PATIENT_ID,), (ISSUER,)}), *(x for x in own if level_of(x[0], lowest) is not lowest)]
    if stray and not negotiated.relational:
        raise RequestError(f"{keyword_of(stray[0][0])} is not a key of level {level}")
    whose = Query(Level.STUDY, None, None, {(STUDY,): study} | guards, frozenset(of_study), bare=True, **common)
    query = Query(lowest, study, series, own, included - of_study, bare=True, **common)
    return Find(level, query, row, whose if of_study else None)


@dataclass(frozen=True, slots=True)
class Retrieve:
    """What a C-MOVE or C-GET asks for.

    Attributes:
        selections: what is retrieved, one after the other.
        whose: what must find a study before any is; at PATIENT level, what finds the studies to retrieve.
    """

    selections: tuple[Selection, ...]
    whose: Query | None = None


def retrieve(row: Row, model: Sequence[str], issuer: str) -> Retrieve:
    """Read the Identifier of a C-MOVE or C-GET; raise as ``find``."""
    level = _level(row, model)
    above = _unique_keys_above(row, model, level, relational=False)
    uids = tuple(uid.strip() for uid in _key(row.get(UNIQUE[level])).split("\\"))
    if not all(map(is_single, uids)):
        raise RequestError(f"{keyword_of(UNIQUE[level])} must say what is to be retrieved at level {level}")
    if level == PATIENT and len(uids) > 1:
        raise RequestError("PatientID must be one at level PATIENT")
    whose = None
    if model[0] == PATIENT:
        patient = above.get(PATIENT, uids[0])
        keys: dict[TagPath, str] = {(PATIENT_ID,): patient}
        if named := _key(row.get(ISSUER)) or issuer:
            keys[ISSUER,] = named
        if level != PATIENT:
            keys[STUDY,] = above.get(Level.STUDY) or "\\".join(uids)
        whose = Query(Level.STUDY, keys=keys, bare=True)
    match level:
        case Level.STUDY:
            selections = [Selection(uid) for uid in dict.fromkeys(uids)]
        case Level.SERIES:
            selections = [Selection(above[Level.STUDY], uid) for uid in dict.fromkeys(uids)]
        case Level.IMAGE:
            selections = [Selection(above[Level.STUDY], above[Level.SERIES], tuple(dict.fromkeys(uids)))]
        case _:
            selections = []
    return Retrieve(tuple(selections), whose)


def response(asked: Find, row: Row, retrieve_ae_title: str) -> tuple[Row, bool]:
    """Return the Identifier of a match, and whether it has all that was asked for (PS3.4 C.4.1.1.3.2)."""
    found: Row = {}
    missing = _project(asked.requested, row, found)
    found[LEVEL] = {"vr": "CS", "Value": [asked.level]}
    found[RETRIEVE_AE_TITLE] = {"vr": "AE", "Value": [retrieve_ae_title]}
    return found, not missing


def _project(requested: Row, row: Row, found: Row) -> bool:
    """Copy what is requested; tell whether anything of it is not there at all."""
    missing = False
    for tag, wanted in requested.items():
        if tag in _OURS or tag.endswith("0000"):
            continue
        attribute = row.get(tag)
        if attribute is None:
            missing = True
            found[tag] = {"vr": _vr(tag, wanted)}
        elif wanted["vr"] == "SQ" and wanted.get("Value") and wanted["Value"][0] and attribute.get("Value"):
            items: list[Row] = [{} for _ in attribute["Value"]]
            for item, copy in zip(attribute["Value"], items, strict=True):
                missing |= _project(wanted["Value"][0], item or {}, copy)
            found[tag] = {"vr": "SQ", "Value": items}
        else:
            found[tag] = attribute
    return missing


def patient_of(row: Row) -> tuple[str, str]:
    """Return what tells a patient from all others: issuer and Patient ID."""
    return _key(row.get(ISSUER)), _key(row.get(PATIENT_ID))


def _level(row: Row, model: Sequence[str]) -> str:
    level = _key(row.get(LEVEL))
    if level not in model:
        raise RequestError(f"QueryRetrieveLevel must be one of {', '.join(model)}")
    return level


def _check_moments(keys: Mapping[TagPath, str]) -> None:
    """Refuse what is no date or time: it would match nothing, and look like a patient without studies."""
    for path, key in keys.items():
        vr = vr_of(path[-1])
        if vr in _MOMENTS and key != EMPTY and not all(_is_moment(vr, part) for part in key.split("\\")):
            raise RequestError(f"{keyword_of(path[-1])} must be {_MOMENTS[vr]}, or a range with a hyphen")


def _is_moment(vr: str, key: str) -> bool:
    # Old rows write a date with hyphens; in a key a hyphen makes a range.
    return key_range(vr, key) is not None and (vr == "DT" or "-" not in key or is_range(vr, key))


def _unique_keys_above(row: Row, model: Sequence[str], level: str, *, relational: bool) -> dict[str, str]:
    """Return the Unique Keys of the levels above, each of which a hierarchical Identifier has (PS3.4 C.4.1.2.1)."""
    above = {upper: _key(row.get(UNIQUE[upper])) for upper in model[: model.index(level)]}
    for upper, value in above.items():
        if not (relational or is_single(value)):
            raise RequestError(f"{keyword_of(UNIQUE[upper])} must be one value at level {level}")
    return above


def is_single(value: str) -> bool:
    """Whether a key is one value that matches itself alone."""
    return bool(value) and not any(sign in value for sign in "*?\\")


def _keys(row: Row) -> Iterator[tuple[TagPath, str]]:
    for path, key in _leaves(row):
        if path[0] not in _OURS and key.strip("*"):
            yield path, key


def _leaves(row: Row, parents: TagPath = ()) -> Iterator[tuple[TagPath, str]]:
    """Yield each attribute with its key, those inside of a Sequence by their path (PS3.4 C.2.2.2.6)."""
    for tag, attribute in row.items():
        if tag.endswith("0000"):
            continue
        items = attribute.get("Value") or ()
        if attribute["vr"] == "SQ" and items and items[0]:
            yield from _leaves(items[0], (*parents, tag))
        else:
            yield (*parents, tag), "" if attribute["vr"] == "SQ" else _key(attribute)


def _key(attribute: Attribute | None) -> str:
    """Return a value as the notation of PS3.4 C.2.2.2 has it, several joined by backslashes."""
    values = (attribute or {}).get("Value") or ()
    return "\\".join(map(_text, values)).strip()


def _text(value: Any) -> str:
    if isinstance(value, dict):
        groups = [value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    return "" if value is None else str(value)


def _vr(tag: str, wanted: Attribute) -> str:
    known = vr_of(tag)
    return str(wanted["vr"]) if known == "UN" else known


def _minutes(offset: str) -> int | None:
    if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdecimal():
        return None
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return -minutes if offset[0] == "-" else minutes


def of_a_patient(row: Row) -> Row:
    """Return what a row of a study says of its patient, as a row of level PATIENT (PS3.4 C.6.1.1.2)."""
    return {tag: attribute for tag, attribute in row.items() if tag in _OF_A_PATIENT}
