"""How element, item and delimiter headers are laid out (PS3.5 7.1, 7.5)."""

from collections.abc import Mapping
from functools import cache, lru_cache
from struct import Struct, pack
from typing import Final

from gateway.dataset.dictionary import keys, unlisted_key, unlisted_swapped_key

UNDEFINED: Final = 0xFFFFFFFF
"""The length that says: up to a delimiter."""

ITEM: Final = bytes.fromhex("FEFF00E0")
ITEM_END: Final = bytes.fromhex("FEFF0DE0") + bytes(4)
SEQUENCE_END: Final = bytes.fromhex("FEFFDDE0") + bytes(4)

SHORT_VRS: Final = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO"),
    *("LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
)
"""VRs with a 16-bit length; all others have two reserved bytes and a 32-bit length."""

_LONG_VRS: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")

VRS: Final[Mapping[bytes, str]] = {vr.encode(): vr for vr in (*SHORT_VRS, *_LONG_VRS)}
"""Each VR as it is encoded."""

# A plain dict, as the tables of the dictionary are: a look-up through a proxy costs three times as much.
SHORT_FORMS: Final[Mapping[bytes, str]] = {vr.encode(): vr for vr in SHORT_VRS}


class HeaderFormat:
    """The number formats of one encoding.

    Attributes:
        has_vrs: whether VRs are explicit.
        explicit: reads (tag, VR, 16-bit length).
        implicit: reads (tag, 32-bit length), for items too.
        long: reads a 32-bit length.
        keys: tag, as ``explicit`` reads it, to key.
        unlisted_key: the same for a tag that the dictionary does not list.
        item, item_end, sequence_end: the delimiting tags as ``implicit`` reads them.
    """

    __slots__ = (
        "explicit",
        "has_vrs",
        "implicit",
        "item",
        "item_end",
        "keys",
        "little_endian",
        "long",
        "sequence_end",
        "unlisted_key",
    )

    def __init__(self, *, explicit: bool, little_endian: bool) -> None:
        order = "<" if little_endian else ">"
        self.little_endian = little_endian
        self.has_vrs = explicit
        self.explicit = Struct(f"{order}L2sH").unpack_from
        self.implicit = Struct(f"{order}LL").unpack_from
        self.long = Struct(f"{order}L").unpack_from
        self.keys = keys(little_endian=little_endian)
        self.unlisted_key = unlisted_swapped_key if little_endian else unlisted_key
        self.item, self.item_end, self.sequence_end = (
            tag if little_endian else (tag & 0xFFFF) << 16 | tag >> 16 for tag in (0xE000FFFE, 0xE00DFFFE, 0xE0DDFFFE)
        )


@cache
def header_format(*, explicit: bool, little_endian: bool) -> HeaderFormat:
    """Return the header format of an encoding (PS3.5 7.1)."""
    return HeaderFormat(explicit=explicit, little_endian=little_endian)


@lru_cache(maxsize=8192)
def _prefix(key: str, vr: str, order: str) -> tuple[bytes, bool]:
    """Return the header up to its length, and whether that has 32 bits."""
    tag = pack(order + "HH", int(key[:4], 16), int(key[4:], 16))
    if not vr:
        return tag, True
    return (tag + vr.encode(), False) if vr in SHORT_VRS else (tag + vr.encode() + b"\0\0", True)


def element_header(key: str, vr: str, length: int, *, explicit: bool = True, little_endian: bool = True) -> bytes:
    """Return the header of an element (PS3.5 7.1); a value too long for its VR becomes UN (PS3.5 6.2.2)."""
    order = "<" if little_endian else ">"
    prefix, long = _prefix(key, vr if explicit else "", order)
    if not long and length > 0xFFFF:
        prefix, long = _prefix(key, "UN", order)
    return prefix + (length.to_bytes(4 if long else 2, "little" if little_endian else "big"))
