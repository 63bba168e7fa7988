"""Data Sets in the DICOM JSON Model that others wrote, made as ours are (PS3.18 F.2).

What PS3.18 does not allow but origin servers send all the same is mended where its meaning is plain, and left out
where it is not: text for numbers and numbers for text, null for a value, names without groups, tags in lower case.
A BulkDataURI is left out: it leads to the server's own address.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from gateway.dataset.dictionary import vr_of
from gateway.dataset.query import Attribute, Row
from gateway.dataset.values import BINARY_VRS, DECODERS, NAME_GROUPS, PADDING, decimal_string, integer_string
from gateway.errors import DatasetError

DEEPEST: Final = 16
"""Sequences inside Sequences: no attribute of a search has more than a few."""

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_VRS: Final = frozenset((*DECODERS, "SQ"))


def json_row(document: Any, depth: int = 0) -> Row:
    """Return one Data Set of a parsed JSON document.

    Raises:
        DatasetError: it is no object, or too deep.
    """
    if not isinstance(document, dict) or depth > DEEPEST:
        raise DatasetError("a Data Set in JSON is not an object, or is nested too deeply")
    row: Row = {}
    for name, attribute in document.items():
        if _TAG.fullmatch(name):
            key = name.upper()
            row[key] = _attribute(key, attribute if isinstance(attribute, dict) else {}, depth)
    return row


def _attribute(key: str, attribute: Mapping[str, Any], depth: int) -> Attribute:
    said = attribute.get("vr")
    vr = said if isinstance(said, str) and said in _VRS else vr_of(key)
    if vr in BINARY_VRS:
        inline = attribute.get("InlineBinary")
        return {"vr": vr, "InlineBinary": inline} if isinstance(inline, str) and inline else {"vr": vr}
    given = attribute.get("Value")
    listed = given if isinstance(given, list) else [] if given is None else [given]
    if vr == "SQ":
        items = [json_row({} if item is None else item, depth + 1) for item in listed]
        return {"vr": vr, "Value": items} if items else {"vr": vr}
    values = [*_values(listed, _READERS.get(vr, _string))]
    return {"vr": vr, "Value": values} if any(value is not None for value in values) else {"vr": vr}


def _values(listed: list[Any], read: Callable[[Any], Any]) -> Iterator[Any]:
    for value in listed:
        if isinstance(value, str) and "\\" in value and read is not _text:
            yield from map(read, value.split("\\"))  # several values in one: none of them holds a backslash
        else:
            yield read(value)


def _string(value: Any) -> str | None:
    if isinstance(value, str):
        return value.strip(PADDING) or None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value.rstrip(PADDING) or None if isinstance(value, str) else _string(value)


def _tag(value: Any) -> str | None:
    text = _string(value)
    return text.upper() if text else None


def _name(value: Any) -> dict[str, str] | None:
    if isinstance(value, str):
        value = dict(zip(NAME_GROUPS, value.split("=", 2), strict=False))
    if not isinstance(value, dict):
        return None
    groups = {group: text for group in NAME_GROUPS if (text := _string(value.get(group)))}
    return groups or None


def _integer(value: Any) -> Any:
    if isinstance(value, str):
        return integer_string(value.strip(PADDING))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _decimal(value: Any) -> Any:
    if isinstance(value, str):
        return decimal_string(value.strip(PADDING))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "PN": _name,
        "AT": _tag,
        **dict.fromkeys(("LT", "ST", "UT", "UR", "UC"), _text),
        **dict.fromkeys(("IS", "SS", "US", "SL", "UL", "SV", "UV"), _integer),
        **dict.fromkeys(("DS", "FL", "FD"), _decimal),
    }
)
