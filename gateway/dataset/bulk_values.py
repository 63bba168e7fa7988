"""Rows whose large values stand elsewhere -> Data Sets in pieces: no large value is ever held (PS3.18 F.2.6)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import unpack_from
from typing import Final

from gateway.dataset.headers import ITEM, SEQUENCE_END, SHORT_VRS, UNDEFINED, VRS, element_header
from gateway.dataset.image import PIXEL_DATA
from gateway.dataset.query import Row
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, transfer_syntax
from gateway.dataset.writer import from_json_model
from gateway.errors import DatasetError

_LONGEST: Final = UNDEFINED - 1


@dataclass(frozen=True, slots=True)
class BulkPart:
    """One part that holds a value, or a frame of compressed Pixel Data.

    Attributes:
        number: which part it is.
        size: its bytes.
        transfer_syntax_uid: how a frame is compressed; Explicit VR Little Endian for any other value.
    """

    number: int
    size: int
    transfer_syntax_uid: str = EXPLICIT_VR_LE


def assembled(row: Row, values: Mapping[str, Sequence[BulkPart]]) -> tuple[str, list[bytes | BulkPart]]:
    """Return the Transfer Syntax of the instance that a row describes, and its Data Set in pieces.

    Raises:
        DatasetError: a BulkDataURI is none of the values given, or the row is no Data Set.
    """
    bulky = {key: str(attribute["BulkDataURI"]) for key, attribute in row.items() if "BulkDataURI" in attribute}
    for key, uri in bulky.items():
        if uri not in values:
            raise DatasetError(f"the bulk data of {key} is no part of the request; it is fetched from nowhere else")
    pixels = values[bulky[PIXEL_DATA]] if PIXEL_DATA in bulky else ()
    syntaxes = {value.transfer_syntax_uid for value in pixels} or {EXPLICIT_VR_LE}
    if len(syntaxes) > 1:
        raise DatasetError("its frames are compressed in different ways")
    syntax = syntaxes.pop()
    plain = from_json_model({key: attribute for key, attribute in row.items() if key not in bulky}, EXPLICIT_VR_LE)
    pieces: list[bytes | BulkPart] = []
    start = 0
    for key in sorted(bulky):
        stop = _position(plain, start, key)
        pieces.append(plain[start:stop])
        encapsulated = key == PIXEL_DATA and transfer_syntax(syntax).encapsulated
        found = values[bulky[key]]
        pieces += _frames(found) if encapsulated else _value(key, row[key]["vr"], found)
        start = stop
    return syntax, [*pieces, plain[start:]]


def _position(data: bytes, start: int, key: str) -> int:
    """Return where an element belongs among those of a Data Set whose lengths are all defined."""
    tag = int(key[:4], 16), int(key[4:], 16)
    while start < len(data):
        group, element, vr = unpack_from("<HH2s", data, start)
        if (group, element) >= tag:
            break
        short = VRS[vr] in SHORT_VRS
        start += 8 + unpack_from("<H", data, start + 6)[0] if short else 12 + unpack_from("<I", data, start + 8)[0]
    return start


def _value(key: str, vr: str, values: Sequence[BulkPart]) -> Iterator[bytes | BulkPart]:
    if len(values) > 1:
        raise DatasetError(f"two parts are the bulk data of {key}")
    [value] = values
    length = value.size + value.size % 2
    if length > _LONGEST or vr == "SQ":
        raise DatasetError(f"the bulk data of {key} cannot be its value")
    yield element_header(key, vr, length)
    yield value
    yield bytes(value.size % 2)


def _frames(values: Sequence[BulkPart]) -> Iterator[bytes | BulkPart]:
    """Yield a fragment for each frame, behind an empty Basic Offset Table (PS3.5 A.4)."""
    yield element_header(PIXEL_DATA, "OB", UNDEFINED) + ITEM + bytes(4)
    for value in values:
        length = value.size + value.size % 2
        if length > _LONGEST:
            raise DatasetError("a frame is too long for a fragment")
        yield ITEM + length.to_bytes(4, "little")
        yield value
        yield bytes(value.size % 2)
    yield SEQUENCE_END
