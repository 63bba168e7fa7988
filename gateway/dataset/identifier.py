"""Identifiers of C-FIND, C-MOVE and C-GET (PS3.4 C.4.1.1.3, C.4.2.1.4)."""

import re
from collections.abc import Iterable, Iterator

from gateway.dataset.dates import combined_pairs
from gateway.dataset.dictionary import vr_of
from gateway.dataset.query import Level, Query, Row, Selection, TagPath
from gateway.dataset.required import NEVER_REQUESTED, OPTIONAL, REQUIRED, UNIQUE_KEYS, UPPER_LEVELS
from gateway.dataset.writer import from_json_model

_LEVEL = "00080052"


def find_identifier(
    query: Query,
    transfer_syntax_uid: str,
    *,
    character_set: str = "ISO_IR 100",
    return_keys: Iterable[TagPath] = (),
    relational: bool = False,
) -> bytes:
    """Return the C-FIND Identifier for a query (PS3.4 C.4.1.1.3).

    It never matches less than the query wants, and may match more: what not every archive understands is
    left universal, and the caller applies ``matching`` to what comes back.

    Args:
        query: what is searched for.
        transfer_syntax_uid: how to encode the Identifier.
        character_set: the region's; a letter that it lacks is asked for as the wildcard ``?``.
        return_keys: what to ask for beside what PS3.18 requires at the level and the query includes.
        relational: relational queries were negotiated, so keys of the levels above may be named.
    """
    level = query.level
    row: Row = {}
    for path in (*REQUIRED[level], *query.include, *return_keys, *(OPTIONAL[level] if query.include_all else ())):
        _put(row, path, "")
    for path, value in _matching_keys(query):
        _put(row, path, value)
    for upper, uid in ((Level.STUDY, query.study), (Level.SERIES, query.series)):
        if uid:
            _put(row, (UNIQUE_KEYS[upper],), uid)
    if not relational:
        for tag in UPPER_LEVELS[level] & row.keys():
            if tag not in UNIQUE_KEYS.values() or not row[tag].get("Value"):
                del row[tag]
    return _identifier(row, level, transfer_syntax_uid, character_set)


def _matching_keys(query: Query) -> Iterator[tuple[TagPath, str]]:
    """Yield the keys in the form that every archive can match at least as broadly as it is meant."""
    times = set(combined_pairs(query.keys).values())
    for path, key in query.keys.items():
        vr = vr_of(path[-1])
        if path in times or key == '""' or ("\\" in key and vr != "UI"):
            # Combined ranges, empty values and lists of values are extensions: they are matched here.
            yield path, ""
        elif vr == "PN" and query.fuzzy:
            yield path, _broad_name(key)
        else:
            yield path, key


def _broad_name(name: str) -> str:
    """Return a key that spells the family name with a wildcard wherever an accent or a hyphen may be."""
    family = name.partition("=")[0].partition("^")[0]
    return re.sub(r"[\s\-'.*]+", "*", re.sub(r"[^\x00-\x7f]|[aceinouyACEINOUY]", "?", family)) + "*"


def retrieve_identifier(selection: Selection, transfer_syntax_uid: str) -> bytes:
    """Return the C-MOVE or C-GET Identifier for a selection, with its levels' Unique Keys only (PS3.4 C.4.2.1.4)."""
    uids = (selection.study, selection.series, "\\".join(selection.instances))
    row: Row = {}
    for key, uid in zip(UNIQUE_KEYS.values(), uids, strict=True):
        if uid:
            _put(row, (key,), uid)
    return _identifier(row, selection.level, transfer_syntax_uid, "ISO_IR 6")


def _identifier(row: Row, level: Level, transfer_syntax_uid: str, character_set: str) -> bytes:
    for key in NEVER_REQUESTED:
        row.pop(key, None)
    row[_LEVEL] = {"vr": "CS", "Value": [level.value]}
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
