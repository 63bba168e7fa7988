"""Identifiers of C-FIND, C-MOVE and C-GET (PS3.4 C.4.1.1.3, C.4.2.1.4)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.dataset.charset import character_set
from gateway.dataset.dates import combined_pairs
from gateway.dataset.dictionary import vr_of
from gateway.dataset.query import Level, Query, Row, Selection, TagPath
from gateway.dataset.required import NEVER_REQUESTED, OPTIONAL, REQUIRED, UNIQUE_KEYS, UPPER_LEVELS
from gateway.dataset.writer import from_json_model

_LEVEL: Final = "00080052"
_PATIENT_GROUP: Final = "0010"
_ISSUER_OF_ACCESSION: Final = "00080051"

PATIENT_ID: Final = "00100020"
PATIENT_KEYS: Final = frozenset({"00100010", PATIENT_ID, "00100021", "00100030", "00100040", "00101002"})
"""Attributes of the PATIENT level (PS3.4 C.6.1.1.2), where a region has only the Patient Root model."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a region understands Identifiers.

    Attributes:
        character_set: its own; a letter that it lacks is asked for as the wildcard ``?``.
        relational: it takes keys of any level (PS3.4 C.4.1.2.2.1).
        combined: it takes a date range and a time range for one range of instants (PS3.4 C.2.2.2.5.4).
        by_patient: it has the Patient Root model only, and wants the Patient ID in every Identifier (PS3.4 C.6.1.1).
        ignores_accents: it finds BÉLANGER for belanger by itself.
    """

    character_set: str = "ISO_IR 100"
    relational: bool = False
    combined: bool = False
    by_patient: bool = False
    ignores_accents: bool = False


def level_of(tag: str, lowest: Level) -> Level:
    """Return the level that an attribute is of (PS3.4 C.6.2.1), none below ``lowest``.

    What no table lists is taken for the lowest, but what describes a patient or an accession is the study's.
    """
    if tag in UPPER_LEVELS[Level.SERIES] or tag.startswith(_PATIENT_GROUP) or tag == _ISSUER_OF_ACCESSION:
        return Level.STUDY
    return Level.SERIES if lowest is not Level.STUDY and tag in UPPER_LEVELS[Level.IMAGE] else lowest


def find_identifier(query: Query, transfer_syntax_uid: str, dialect: Dialect = Dialect()) -> bytes:
    """Return the C-FIND Identifier for a query (PS3.4 C.4.1.1.3).

    It never matches less than the query wants, and may match more: what not every archive understands is
    left universal, and the caller applies ``matching`` to what comes back.

    Args:
        query: what is searched for.
        transfer_syntax_uid: how to encode the Identifier.
        dialect: what the region understands.
    """
    level = query.level
    row: Row = {}
    for path in returned(query, relational=dialect.relational):
        _put(row, path, "")
    for path, value in matching_keys(query, dialect):
        _put(row, path, value)
    for upper, uid in ((Level.STUDY, query.study), (Level.SERIES, query.series)):
        if uid:
            _put(row, (UNIQUE_KEYS[upper],), uid)
    if not dialect.relational:
        for tag in _not_of(level, row, by_patient=dialect.by_patient):
            del row[tag]
    return _identifier(row, level.value, transfer_syntax_uid, dialect.character_set)


def _not_of(level: Level, row: Row, *, by_patient: bool) -> list[str]:
    """Return what a hierarchical query must not name: all of the levels above but their Unique Keys."""
    unique_keys = {*UNIQUE_KEYS.values(), PATIENT_ID} if by_patient else set(UNIQUE_KEYS.values())
    above = [tag for tag in row if level_of(tag, level) is not level or (by_patient and tag in PATIENT_KEYS)]
    return [tag for tag in above if tag not in unique_keys or not row[tag].get("Value")]


def patient_identifier(query: Query, transfer_syntax_uid: str, dialect: Dialect) -> bytes:
    """Return the Identifier that finds a query's patients at PATIENT level, for Patient Root (PS3.4 C.6.1.1.2)."""
    row: Row = {}
    for tag in PATIENT_KEYS:
        _put(row, ("00101002", PATIENT_ID) if tag == "00101002" else (tag,), "")
    for path, value in matching_keys(query, dialect):
        if path[0] in PATIENT_KEYS:
            _put(row, path, value)
    return _identifier(row, "PATIENT", transfer_syntax_uid, dialect.character_set)


def returned(query: Query, *, relational: bool) -> Iterator[TagPath]:
    """Yield what a response is to have: what PS3.18 10.6.3.3 requires, and what the caller includes.

    A search without a parent answers with the attributes of the levels above, too, where the region can tell them.
    """
    levels = [query.level]
    if relational and query.level is not Level.STUDY and not query.study:
        levels.append(Level.STUDY)
    if relational and query.level is Level.IMAGE and not query.series:
        levels.append(Level.SERIES)
    for level in levels:
        yield (UNIQUE_KEYS[level],)
        if not query.bare:
            yield from REQUIRED[level]
        if query.include_all:
            yield from OPTIONAL[level]
    yield from query.include


def matching_keys(query: Query, dialect: Dialect) -> Iterator[tuple[TagPath, str]]:
    """Yield the keys in the form that the archive can match at least as broadly as it is meant."""
    # A region that reads as one range what is meant as two would leave matches out, and the other way round.
    as_meant = dialect.combined is not query.separate_times
    times = set() if as_meant else set(combined_pairs(query.keys).values())
    for path, key in query.keys.items():
        vr = vr_of(path[-1])
        if path in times or key == '""' or ("\\" in key and vr != "UI"):
            # Combined ranges, empty values and lists of values are extensions: they are matched here.
            yield path, ""
        elif vr == "PN" and key.strip("*"):
            name = _fuzzy_name(key) if query.fuzzy else key if dialect.ignores_accents else _name(key)
            yield path, _writable(name, dialect.character_set)
        else:
            yield path, key


# --- person names

_FEW_LETTERS: Final = 2
_ENOUGH_LETTERS: Final = 3
"""Letters without wildcards between them that make a name worth asking for: with fewer, half of all names fit."""

_WITH_ACCENTS: Final = re.compile(r"(?:[aeinouy*?]|(?<=[^\W_])c|[^\x00-\x7f])+", re.IGNORECASE)
_VOWELS: Final = re.compile(r"(?:[aeiou*?]|[^\x00-\x7f])+", re.IGNORECASE)
"""Letters that an accent may be on, which a c at the beginning rarely has; where too few are left, only vowels."""


def has_short_name(query: Query) -> bool:
    """Whether a name is so short that it is asked for too broadly to be sure of all answers.

    Then it had better be asked for as it is typed, too, and first.
    """
    names = [key for path, key in query.keys.items() if vr_of(path[-1]) == "PN" and not query.fuzzy]
    return any(0 < _letters(_name(key)) < _ENOUGH_LETTERS for key in names if _name(key) != _as_typed(key))


def _name(key: str) -> str:
    """Return a PN key that finds a name with or without accents, and with further components.

    PS3.4 C.2.2.2.1 leaves case and accents to each archive; to the gateway's callers they do not matter. The wildcard
    is ``*``: an archive that compares bytes, or leaves accented letters out, has not one character for ``?``.
    """
    for letters in (_WITH_ACCENTS, _VOWELS):
        broad = _starred(letters, key)
        if _letters(broad) >= _FEW_LETTERS:
            return _as_typed(broad)
    return _as_typed(key)


def _as_typed(key: str) -> str:
    return key.rstrip("*") + "*"


def _starred(letters: re.Pattern[str], key: str) -> str:
    return re.sub(r"\*+", "*", letters.sub("*", key))


def _fuzzy_name(key: str) -> str:
    """Return a PN key that finds the most telling word anywhere: order, accents and hyphens do not matter."""
    words = [word for word in re.split(r"[\s\-'.,^=*]+", key) if word]
    skeletons = [_starred(_WITH_ACCENTS, word) for word in words]
    best = max(skeletons, key=_letters, default="")
    if _letters(best) < _FEW_LETTERS:
        best = max(words, key=_letters, default="")
    return f"*{best.strip('*')}*"


def _writable(key: str, terms: str) -> str:
    """Return a PN key with ``*`` for letters that the region's set lacks: where it lost them, nothing is left of them.

    In text other than names they become ``?``, as the character set has it.
    """
    if key.isascii():
        return key
    charset = character_set(terms)
    letters = ("*" if not x.isascii() and charset.encode(x) == b"?" else x for x in key)
    return re.sub(r"\*+", "*", "".join(letters))


def _letters(key: str) -> int:
    return sum(letter.isalnum() and letter.isascii() for letter in key)


# --- encoding


def retrieve_identifier(selection: Selection, transfer_syntax_uid: str) -> bytes:
    """Return the C-MOVE or C-GET Identifier for a selection, with its levels' Unique Keys only (PS3.4 C.4.2.1.4)."""
    uids = (selection.study, selection.series, "\\".join(selection.instances))
    row: Row = {}
    for key, uid in zip(UNIQUE_KEYS.values(), uids, strict=True):
        if uid:
            _put(row, (key,), uid)
    return _identifier(row, selection.level.value, transfer_syntax_uid, "ISO_IR 6")


def _identifier(row: Row, level: str, transfer_syntax_uid: str, character_set: str) -> bytes:
    for key in NEVER_REQUESTED:
        row.pop(key, None)
    row[_LEVEL] = {"vr": "CS", "Value": [level]}
    return from_json_model(row, transfer_syntax_uid, text_in=character_set)


def _put(row: Row, path: TagPath, value: str) -> None:
    """Place a key; keys below the same Sequence share its one item (PS3.4 C.2.2.2.6)."""
    for tag in path[:-1]:
        attribute = row.get(tag)
        if not attribute or attribute["vr"] != "SQ":
            row[tag] = attribute = {"vr": "SQ"}
        row = attribute.setdefault("Value", [{}])[0]
    tag = path[-1]
    vr = vr_of(tag)
    if value:
        row[tag] = {"vr": "LO" if vr == "UN" else vr, "Value": [value]}
    elif tag not in row:
        row[tag] = {"vr": vr}
