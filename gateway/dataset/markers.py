"""What the header of a codestream says, read before a codec is let at it (ISO/IEC 10918-1, 14495-1, 15444-1)."""

from dataclasses import dataclass
from struct import unpack_from
from typing import Final

_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_SOI: Final = b"\xff\xd8"
_START_OF_SCAN: Final = 0xDA
_FRAME_HEADERS: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_STAND_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_APP0: Final = 0xE0
_SEARCHED: Final = 4096
_MOST_TILES: Final = 65535


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """Size of the image, and for JPEG what tells its colour space.

    Attributes:
        components: how many samples a pixel has.
        component_ids: of JPEG and JPEG-LS.
        jfif: whether it is JFIF, in which three components are always YCbCr.
    """

    columns: int
    rows: int
    components: int
    component_ids: tuple[int, ...] = ()
    jfif: bool = False


def codestream_header(codestream: bytes) -> CodestreamHeader | None:
    """Read the header of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream; None where there is none."""
    if codestream[:2] == _SOI:
        return _jpeg(codestream)
    start = codestream.find(_SOC_SIZ, 0, _SEARCHED)
    if start < 0 or len(codestream) < start + 43:
        return None
    right, bottom, left, top, *tiles, components = unpack_from(">8LH", codestream, start + 8)
    if not _are_tiles((right, bottom), (left, top), tiles):
        return None
    return CodestreamHeader(right - left, bottom - top, components)


def _are_tiles(end: tuple[int, int], start: tuple[int, int], tiles: list[int]) -> bool:
    """Whether the first tile has some of the image and there are not too many (ISO/IEC 15444-1 B.3).

    Decoders rely on it: on others some never come to an end.
    """
    number = 1
    for last, first, size, offset in zip(end, start, tiles[:2], tiles[2:], strict=True):
        if not offset <= first < min(last, offset + size):
            return False
        number *= -(-(last - offset) // size)
    return number <= _MOST_TILES


def _jpeg(codestream: bytes) -> CodestreamHeader | None:
    position, size, jfif = 2, len(codestream), False
    while position + 4 <= size:
        if codestream[position] != 0xFF:
            return None
        marker = codestream[position + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            position += 1
            continue
        if marker in _STAND_ALONE:
            position += 2
            continue
        if marker == _START_OF_SCAN:
            return None
        (length,) = unpack_from(">H", codestream, position + 2)
        segment = codestream[position + 4 : position + 2 + length]
        if marker in _FRAME_HEADERS:
            return _frame_header(segment, jfif=jfif)
        jfif = jfif or (marker == _APP0 and segment.startswith(b"JFIF"))
        position += 2 + max(length, 2)
    return None


def _frame_header(segment: bytes, *, jfif: bool) -> CodestreamHeader | None:
    if len(segment) < 6:
        return None
    rows, columns, components = unpack_from(">xHHB", segment)
    ids = tuple(segment[6 : 6 + 3 * components : 3])
    return CodestreamHeader(columns, rows, components, ids, jfif) if len(ids) == components else None


def without_spiff(codestream: bytes) -> bytes:
    """Leave out the SPIFF header of a JPEG-LS codestream: in DICOM the Data Set says all that (PS3.5 A.4.3)."""
    end = 2
    while codestream[end : end + 2] == b"\xff\xe8":
        end += 2 + int.from_bytes(codestream[end + 2 : end + 4], "big")
    return codestream[:2] + codestream[end:]
