"""The Data Dictionary (PS3.6) as flat tables: which key and which VR an element has.

Values are the registry's, compiled once. In these tables the VR ``US or SS`` is spelt ``xs``,
``OB or OW`` ``ox`` and the ones of LUT Data ``lt``: they are resolved by the Data Set at hand
(PS3.5 Annex A, PS3.3 C.7.6.3.1 and C.11.1).
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from gateway.dataset.registry import ELEMENTS, REPEATERS, Line

AMBIGUOUS: Final = MappingProxyType(
    {
        "US or SS": "xs",
        "OB or OW": "ox",
        "US or SS or OW": "lt",
        "US or OW": "lt",
        "NONE": "UN",
    }
)

PIXEL_REPRESENTATION: Final = "00280103"
LUT_DESCRIPTORS: Final = frozenset(
    {"00281100", "00281101", "00281102", "00281103", "00281111", "00281112", "00281113", "00283002"}
)
"""Three values each, of which only the second has the sign of Pixel Representation (PS3.3 C.11.1.1)."""


class Entry(NamedTuple):
    """One attribute of the dictionary.

    Attributes:
        key: its tag as the DICOM JSON Model writes it; empty for what a model leaves out (group lengths).
        vr: its VR, or ``xs``, ``ox``, ``lt``.
        special: whether the reader has to look twice.
    """

    key: str
    vr: str
    special: bool


def _swapped(tag: int) -> int:
    return (tag & 0xFFFF) << 16 | tag >> 16


def _key(tag: int) -> str:
    return f"{tag:08X}"


@cache
def keys(*, little_endian: bool) -> Mapping[int, str]:
    """Map each tag, read as one 32-bit number in the byte order, to its key (PS3.18 F.2.2)."""
    order = _swapped if little_endian else int
    return {order(tag): _key(tag) for tag in ELEMENTS if tag & 0xFFFF}


@cache
def entries() -> Mapping[int, Entry]:
    """Map each tag, read as one little-endian 32-bit number, to its entry (PS3.6 section 6)."""
    table = {}
    for tag, (name, *_) in ELEMENTS.items():
        if tag >> 16 != 0xFFFE and tag & 0xFFFF:
            vr = AMBIGUOUS.get(name, name)
            key = _key(tag)
            table[_swapped(tag)] = Entry(key, vr, vr.islower() or key == PIXEL_REPRESENTATION)
    return table


@cache
def _repeaters() -> tuple[tuple[int, Mapping[int, Line]], ...]:
    """Repeating groups as (mask, masked tag -> line): PS3.6 writes their tags with x."""
    masks: dict[int, dict[int, Line]] = {}
    for pattern, line in REPEATERS.items():
        mask = int("".join("0" if digit == "x" else "F" for digit in pattern), 16)
        masks.setdefault(mask, {})[int(pattern.replace("x", "0"), 16)] = line
    return tuple((mask, MappingProxyType(tags)) for mask, tags in masks.items())


def _repeating(tag: int) -> Line | None:
    lines = (tags.get(tag & mask) for mask, tags in _repeaters())
    return next(filter(None, lines), None)


def _unlisted_vr(tag: int) -> str:
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    line = _repeating(tag)
    return AMBIGUOUS.get(line[0], line[0]) if line else "UN"


@lru_cache(maxsize=8192)
def unlisted_key(tag: int) -> str:
    """Return the key of a tag that the dictionary does not list; empty for a group length."""
    return _key(tag) if tag & 0xFFFF else ""


@lru_cache(maxsize=8192)
def unlisted_swapped_key(raw: int) -> str:
    """Return the same for a tag read as one little-endian 32-bit number."""
    return unlisted_key(_swapped(raw))


@lru_cache(maxsize=8192)
def unlisted_entry(raw: int) -> Entry:
    """Return the entry of a tag, little-endian, that has no line of its own: private, repeating or unknown."""
    tag = _swapped(raw)
    if not tag & 0xFFFF:
        return Entry("", "UL", special=False)
    vr = _unlisted_vr(tag)
    return Entry(_key(tag), vr, vr.islower())


def entry_of(key: str) -> Entry:
    """Return the entry of a key."""
    raw = _swapped(int(key, 16))
    return entries().get(raw) or unlisted_entry(raw)


@lru_cache(maxsize=8192)
def vr_of(key: str) -> str:
    """Return the VR that an attribute has when it is written by us: the first of several, UN when unknown."""
    vr = entry_of(key).vr
    return {"xs": "US", "ox": "OW", "lt": "OW"}.get(vr, vr)


@lru_cache(maxsize=1024)
def has_many_values(key: str) -> bool:
    """Whether an attribute may have several values (Value Multiplicity, PS3.6 section 6)."""
    entry = ELEMENTS.get(int(key, 16))
    return entry is not None and entry[1] != "1"


def known_vr(key: str) -> str:
    """Return the VR that the dictionary gives to what came as UN, unless it leaves a choice."""
    entry = entry_of(key) if key else None
    return entry.vr if entry and not entry.special else "UN"


@cache
def keywords() -> Mapping[str, str]:
    """Map each keyword of PS3.6 to its key."""
    return MappingProxyType({line[4]: _key(tag) for tag, line in ELEMENTS.items() if line[4]})


def keyword_of(key: str) -> str:
    """Return the keyword of a key, or the key itself where PS3.6 has none."""
    tag = int(key, 16)
    line = ELEMENTS.get(tag) or (None if tag >> 16 & 1 else _repeating(tag))
    return (line and line[4]) or key
