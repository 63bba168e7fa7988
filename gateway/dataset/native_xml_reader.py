"""Native DICOM Model, as XML -> the DICOM JSON Model (PS3.19 Annex A.1), with bounded parsing.

Documents come from anywhere: one with a document type, and so with entities, is refused before any of it is
read, and Sequences are nested no deeper than in a Data Set. Keywords are not looked at, tags are.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NoReturn, Protocol
from xml.parsers.expat import ExpatError, ParserCreate

from gateway.dataset.dictionary import vr_of
from gateway.dataset.query import Attribute, Row
from gateway.dataset.sink import DatasetLimits
from gateway.dataset.values import (
    BINARY_VRS,
    DECODERS,
    MAX_SAFE_INTEGER,
    NAME_GROUPS,
    decimal_string,
    integer_string,
)
from gateway.errors import DatasetError, LimitExceeded

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
NAME_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")

_MAX_NESTING: Final = DatasetLimits().max_nesting
_TAG: Final = re.compile(r"[0-9A-F]{8}")
_INTEGER: Final = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_VRS: Final = DECODERS.keys() | {"SQ"}
_FIRST_BLOCK, _LAST_BLOCK = 0x10, 0xFF


def from_native_xml(document: bytes, *, max_bytes: int) -> Row:
    """Return the row that a document describes, private elements in blocks that their creators reserve.

    Raises:
        DatasetError: it is no well-formed document of the Native DICOM Model, or has a document type.
        LimitExceeded: it is longer than ``max_bytes``, or Sequences are nested too deeply.
    """
    if len(document) > max_bytes:
        raise LimitExceeded(f"an XML document of {len(document)} bytes, more than {max_bytes}", limit="max_bytes")
    reading = _Reading()
    parser = ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        parser.Parse(document, True)
    except ExpatError as error:
        raise DatasetError(f"the XML is not well-formed at line {error.lineno}, column {error.offset}") from None
    except (LookupError, ValueError):
        raise DatasetError("the XML is in a character encoding that is not read: send UTF-8") from None
    return reading.root.row


def _refuse_document_type(*_declaration: object) -> NoReturn:
    raise DatasetError("an XML document with a document type is not read: leave out <!DOCTYPE>")


class _Node(Protocol):
    """One element of the document while it is open."""

    def child(self, name: str, attributes: Mapping[str, str]) -> "_Node":
        """Open an element inside it."""

    def text(self, text: str) -> None:
        """Take character data."""

    def close(self) -> None:
        """Take its end."""


class _Reading:
    """The elements that are open, the root's outermost."""

    def __init__(self) -> None:
        self.root = _DataSet(0)
        self._open: list[_Node] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        name = name.removeprefix(NAMESPACE + " ")
        if self._open:
            self._open.append(self._open[-1].child(name, attributes))
        elif name == "NativeDicomModel":
            self._open.append(self.root)
        else:
            raise DatasetError("the XML's root is no NativeDicomModel")

    def end(self, _name: str) -> None:
        self._open.pop().close()

    def text(self, text: str) -> None:
        self._open[-1].text(text)


class _Branch:
    """An element that holds elements only; white space between them has no meaning."""

    def text(self, text: str) -> None:
        if text.strip():
            raise DatasetError("the XML has text where only elements can be")

    def close(self) -> None:
        """Nothing is left to do."""


@dataclass(slots=True)
class _Leaf:
    """An element that holds text only."""

    take: Callable[[str], None]
    parts: list[str] = field(default_factory=list)

    def child(self, name: str, attributes: Mapping[str, str]) -> _Node:  # noqa: ARG002  (of every node)
        raise DatasetError("the XML has an element where only text can be")

    def text(self, text: str) -> None:
        self.parts.append(text)

    def close(self) -> None:
        self.take("".join(self.parts))


@dataclass(slots=True)
class _DataSet(_Branch):
    """The root, or an Item."""

    depth: int
    row: Row = field(default_factory=dict)
    private: dict[tuple[str, str], Attribute] = field(default_factory=dict)

    def child(self, name: str, attributes: Mapping[str, str]) -> _Node:
        tag = attributes.get("tag", "")
        if name != "DicomAttribute" or not _TAG.fullmatch(tag):
            raise DatasetError("the XML has something else than a DicomAttribute with a tag in a Data Set")
        vr = attributes.get("vr") or vr_of(tag)
        if vr not in _VRS or (vr == "UN" and "vr" not in attributes):
            raise DatasetError(f"{tag}: its VR is missing or unknown")
        creator = attributes.get("privateCreator", "")
        if creator and not int(tag[3], 16) & 1:
            raise DatasetError(f"{tag}: only private elements have a privateCreator")
        return _Attribute(self, tag, vr, creator)

    def put(self, tag: str, creator: str, attribute: Attribute) -> None:
        place, key = (self.private, (creator, tag)) if creator else (self.row, tag)
        if key in place:
            raise DatasetError(f"{tag}: given twice")
        place[key] = attribute  # type: ignore[index]

    def close(self) -> None:
        blocks = {owner: self._block(*owner) for owner in sorted({(tag[:4], creator) for creator, tag in self.private})}
        for (creator, tag), attribute in self.private.items():
            self.row[tag[:4] + blocks[tag[:4], creator] + tag[6:]] = attribute
        for tag in sorted(self.row):
            attribute = self.row.pop(tag)
            # Group lengths and File Meta Information are no part of a model (PS3.19 A.1.1, PS3.18 F.2.2).
            if tag[4:] != "0000" and tag[:4] not in {"0000", "0002"}:
                self.row[tag] = attribute

    def _block(self, group: str, creator: str) -> str:
        """Return the block that a creator has reserved, or reserve the first that is free (PS3.5 7.8.1)."""
        free = ""
        for number in range(_FIRST_BLOCK, _LAST_BLOCK + 1):
            block = f"{number:02X}"
            reservation = self.row.get(f"{group}00{block}")
            if reservation and reservation.get("Value") == [creator]:
                return block
            free = free or ("" if reservation else block)
        if not free:
            raise DatasetError(f"group {group} has no block left for a private creator")
        self.row[f"{group}00{free}"] = {"vr": "LO", "Value": [creator]}
        return free


@dataclass(slots=True)
class _Attribute(_Branch):
    """A DicomAttribute: Values, PersonNames or Items in their order, or one InlineBinary or BulkData."""

    data_set: _DataSet
    tag: str
    vr: str
    creator: str
    values: list[Any] = field(default_factory=list)
    other: Attribute = field(default_factory=dict)

    def child(self, name: str, attributes: Mapping[str, str]) -> _Node:
        if self.other or name != self._expected(name):
            raise DatasetError(f"{self.tag}: a {name[:20]} is not what its VR has")
        if name == "BulkData":
            if "uri" not in attributes:
                raise DatasetError(f"{self.tag}: BulkData without uri")
            self.other["BulkDataURI"] = attributes["uri"]
            return _Leaf(self._nothing)
        if name == "InlineBinary":
            self.other["InlineBinary"] = ""
            return _Leaf(self._inline)
        if attributes.get("number", "").strip() != str(len(self.values) + 1):
            raise DatasetError(f"{self.tag}: its values are not numbered 1, 2, 3 and so on")
        if name == "Item":
            return self._item()
        return _Name(self.values.append) if name == "PersonName" else _Leaf(self._value)

    def _expected(self, name: str) -> str:
        """Return what its VR holds; any value may be bulk data."""
        if name == "BulkData" and not self.values:
            return name
        return _CONTENTS.get(self.vr, "Value")

    def _item(self) -> _DataSet:
        item = _DataSet(self.data_set.depth + 1)
        if item.depth > _MAX_NESTING:
            raise LimitExceeded(f"Sequences are nested deeper than {_MAX_NESTING}", limit="max_nesting")
        self.values.append(item.row)
        return item

    def _nothing(self, text: str) -> None:
        if text.strip():
            raise DatasetError(f"{self.tag}: BulkData has text")

    def _inline(self, text: str) -> None:
        text = "".join(text.split())
        try:
            b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise DatasetError(f"{self.tag}: InlineBinary is no base64") from None
        self.other["InlineBinary"] = text

    def _value(self, text: str) -> None:
        try:
            self.values.append(_READERS.get(self.vr, str)(text) if text else None)
        except (ValueError, OverflowError):
            raise DatasetError(f"{self.tag}: value {len(self.values) + 1} is none of its VR") from None

    def close(self) -> None:
        attribute: Attribute = {"vr": self.vr}
        if self.other and self.other != {"InlineBinary": ""}:
            attribute.update(self.other)
        elif any(value is not None for value in self.values):
            attribute["Value"] = self.values
        self.data_set.put(self.tag, self.creator, attribute)


@dataclass(slots=True)
class _Name(_Branch):
    """A PersonName."""

    take: Callable[[Any], None]
    groups: dict[str, str] = field(default_factory=dict)

    def child(self, name: str, attributes: Mapping[str, str]) -> _Node:  # noqa: ARG002  (of every node)
        if name not in NAME_GROUPS or name in self.groups:
            raise DatasetError("a PersonName holds Alphabetic, Ideographic and Phonetic, once each")
        return _Group(name, self.groups)

    def close(self) -> None:
        self.take({group: text for group in NAME_GROUPS if (text := self.groups.get(group))} or None)


@dataclass(slots=True)
class _Group(_Branch):
    """One component group of a PersonName."""

    group: str
    groups: dict[str, str]
    components: dict[str, str] = field(default_factory=dict)

    def child(self, name: str, attributes: Mapping[str, str]) -> _Node:  # noqa: ARG002  (of every node)
        if name not in NAME_COMPONENTS or name in self.components:
            raise DatasetError("a group of a PersonName holds FamilyName, GivenName and so on, once each")
        self.components[name] = ""
        return _Leaf(lambda text: self.components.update({name: text}))

    def close(self) -> None:
        self.groups[self.group] = "^".join(self.components.get(name, "") for name in NAME_COMPONENTS).rstrip("^")


# --- values


def _integer(text: str) -> int:
    text = text.strip()
    if not _INTEGER.fullmatch(text):
        raise ValueError
    return int(text)


def _long_integer(text: str) -> int | str:
    """Read an SV or UV as a row has it: as text where JSON readers would round it (PS3.18 F.2.3.1)."""
    number = _integer(text)
    return number if abs(number) <= MAX_SAFE_INTEGER else str(number)


def _tag(text: str) -> str:
    text = text.strip().upper()
    if not _TAG.fullmatch(text):
        raise ValueError
    return text


def _finite(text: str) -> float | None:
    number = decimal_string(text)
    if isinstance(number, str):
        raise ValueError  # noqa: TRY004  (it is the text that is wrong)
    return number


_READERS: Final[Mapping[str, Callable[[str], Any]]] = MappingProxyType(
    {
        "IS": integer_string,
        "DS": decimal_string,
        **dict.fromkeys(("US", "SS", "UL", "SL"), _integer),
        **dict.fromkeys(("SV", "UV"), _long_integer),
        **dict.fromkeys(("FL", "FD"), _finite),
        "AT": _tag,
    }
)
_CONTENTS: Final = MappingProxyType({"SQ": "Item", "PN": "PersonName", **dict.fromkeys(BINARY_VRS, "InlineBinary")})
