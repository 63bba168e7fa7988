"""Value Representations (PS3.5 6.2): little-endian value fields -> attributes of the DICOM JSON Model (PS3.18 F.2)."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from math import isfinite
from struct import Struct, calcsize, unpack
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from gateway.dataset.charset import ESC, CharacterSet
from gateway.dataset.query import Attribute

Decoder: TypeAlias = Callable[[bytes, CharacterSet], Attribute]

PADDING: Final = " \0"
MAX_SAFE_INTEGER: Final = (1 << 53) - 1
"""What every JSON reader keeps exactly (PS3.18 F.2.3.1)."""

NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
"""Component groups of a person name (PS3.5 6.2.1.2), as the DICOM JSON Model calls them."""

_SHORT_ARRAY: Final = 17

WORD_SIZES: Final = MappingProxyType(
    {
        **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
        **dict.fromkeys(("UL", "SL", "FL", "OL", "OF"), 4),
        **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
    }
)
"""Bytes that change places between the byte orders (PS3.5 7.3)."""


def swapped(value: bytes, size: int) -> bytes:
    """Return a value field in the other byte order; what is left over at the end stays as it is (PS3.5 7.3)."""
    whole = len(value) - len(value) % size
    out = bytearray(value)
    for offset in range(size):
        out[offset:whole:size] = value[size - 1 - offset : whole : size]
    return bytes(out)


def _attribute(vr: str, values: list[Any]) -> Attribute:
    for value in values:
        if value is not None:
            return {"vr": vr, "Value": values}
    return {"vr": vr}


def _strings(vr: str) -> Decoder:
    """Make the decoder of a VR that may have several values."""

    def decode(value: bytes, charset: CharacterSet) -> Attribute:
        plain = value.isascii() and not (charset.extended and ESC in value)
        text = (value.decode() if plain else charset.decode(value)).strip(" \0")
        if "\\" in text:
            return _attribute(vr, [part.strip(" \0") or None for part in text.split("\\")])
        return {"vr": vr, "Value": [text]} if text else {"vr": vr}

    return decode


def _text(vr: str, separator: str = "") -> Decoder:
    """Make the decoder of a VR in which leading spaces count, and a backslash too unless it separates values."""
    resets = separator.encode()

    def decode(value: bytes, charset: CharacterSet) -> Attribute:
        plain = value.isascii() and not (charset.extended and ESC in value)
        text = (value.decode() if plain else charset.decode(value, resets)).rstrip(PADDING)
        if separator and separator in text:
            return _attribute(vr, [part.rstrip(PADDING) or None for part in text.split(separator)])
        return {"vr": vr, "Value": [text]} if text else {"vr": vr}

    return decode


def _person_name(value: bytes, charset: CharacterSet) -> Attribute:
    plain = value.isascii() and not (charset.extended and ESC in value)
    text = (value.decode() if plain else charset.decode(value, b"\\^=")).strip(" \0")
    if "\\" not in text and "=" not in text:
        return {"vr": "PN", "Value": [{"Alphabetic": text}]} if text else {"vr": "PN"}
    return _attribute("PN", [_name_groups(name) or None for name in text.split("\\")])


def _name_groups(name: str) -> dict[str, str]:
    groups = zip(NAME_GROUPS, name.split("=", 2), strict=False)
    return {group: text for group, part in groups if (text := part.strip(PADDING))}


def integer_string(text: str) -> int | float | str | None:
    """Read one value of VR IS: what is no integer stays as near as it can (PS3.18 F.2.3.1)."""
    try:
        number = int(text)
    except ValueError:
        decimal = decimal_string(text)
        return int(decimal) if isinstance(decimal, float) and decimal.is_integer() else decimal
    # JSON numbers of more digits are not the same number in every reader.
    return number if "_" not in text and -MAX_SAFE_INTEGER <= number <= MAX_SAFE_INTEGER else text.strip()


def decimal_string(text: str) -> float | str | None:
    """Read one value of VR DS: text that is no number is kept as it is, a number that is not finite is not."""
    try:
        number = float(text)
    except ValueError:
        return text.strip(PADDING) or None
    if "_" in text:
        return text.strip()
    return number if isfinite(number) else None


def _integer_strings(value: bytes, charset: CharacterSet) -> Attribute:
    # Only what is as short as PS3.5 has it goes the short way: no number of 15 characters needs a second look.
    if len(value) <= 15 and b"_" not in value:
        try:
            return {"vr": "IS", "Value": [*map(int, value.split(b"\\"))]}
        except ValueError:
            return _parsed("IS", value, charset, integer_string)
    return _parsed("IS", value, charset, integer_string)


def _decimal_strings(value: bytes, charset: CharacterSet) -> Attribute:
    if b"_" not in value:
        try:
            numbers = [*map(float, value.split(b"\\"))]
        except ValueError:
            return _parsed("DS", value, charset, decimal_string)
        if all(map(isfinite, numbers)):
            return {"vr": "DS", "Value": numbers}
    return _parsed("DS", value, charset, decimal_string)


def _parsed(
    vr: str, value: bytes, charset: CharacterSet, parse: Callable[[str], int | float | str | None]
) -> Attribute:
    text = (value.decode() if value.isascii() else charset.decode(value)).strip(PADDING)
    return _attribute(vr, [parse(part) for part in text.split("\\")])


def _arrays(code: str) -> tuple[int, Callable[[bytes], tuple[Any, ...]]]:
    """Return the size of a number and the reader of a whole value field of them.

    A length that is no multiple of the size is malformed: the whole numbers are kept.
    """
    size = calcsize("<" + code)
    short = tuple(Struct(f"<{count}{code}").unpack for count in range(_SHORT_ARRAY))

    def read(value: bytes) -> tuple[Any, ...]:
        count, left = divmod(len(value), size)
        if left:
            value = value[:-left]
        return short[count](value) if count < _SHORT_ARRAY else unpack(f"<{count}{code}", value)

    return size, read


def _integers(vr: str, code: str) -> Decoder:
    size, read = _arrays(code)

    def decode(value: bytes, _charset: CharacterSet) -> Attribute:
        return {"vr": vr, "Value": [*read(value)]} if len(value) >= size else {"vr": vr}

    return decode


def _long_integers(vr: str, code: str) -> Decoder:
    """Make the decoder of SV or UV, whose values leave as text where JSON readers would round them."""
    plain = _integers(vr, code)

    def decode(value: bytes, charset: CharacterSet) -> Attribute:
        attribute = plain(value, charset)
        values = attribute.get("Value", ())
        if any(abs(number) > MAX_SAFE_INTEGER for number in values):
            attribute["Value"] = [n if abs(n) <= MAX_SAFE_INTEGER else str(n) for n in values]
        return attribute

    return decode


def _floats(vr: str, code: str) -> Decoder:
    size, read = _arrays(code)

    def decode(value: bytes, _charset: CharacterSet) -> Attribute:
        if len(value) < size:
            return {"vr": vr}
        numbers = read(value)
        if all(map(isfinite, numbers)):
            return {"vr": vr, "Value": [*numbers]}
        return _attribute(vr, [number if isfinite(number) else None for number in numbers])

    return decode


def _tags(value: bytes, _charset: CharacterSet) -> Attribute:
    count = len(value) // 4
    words = unpack(f"<{2 * count}H", value[: 4 * count])
    tags = [f"{group:04X}{element:04X}" for group, element in zip(words[::2], words[1::2], strict=True)]
    return {"vr": "AT", "Value": tags} if tags else {"vr": "AT"}


def _binary(vr: str) -> Decoder:
    def decode(value: bytes, _charset: CharacterSet) -> Attribute:
        return {"vr": vr, "InlineBinary": b64encode(value).decode()}

    return decode


BINARY_VRS: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")

TRIMMED_VRS: Final = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UI"})
"""VRs of text in which a backslash separates values, and padding on either side says nothing."""

DECODERS: Final[Mapping[str, Decoder]] = {
    **{vr: _strings(vr) for vr in TRIMMED_VRS},
    "UC": _text("UC", "\\"),
    **{vr: _text(vr) for vr in ("LT", "ST", "UR", "UT")},
    "PN": _person_name,
    "IS": _integer_strings,
    "DS": _decimal_strings,
    **{vr: _integers(vr, code) for vr, code in (("SS", "h"), ("US", "H"), ("SL", "i"), ("UL", "I"))},
    "SV": _long_integers("SV", "q"),
    "UV": _long_integers("UV", "Q"),
    "FL": _floats("FL", "f"),
    "FD": _floats("FD", "d"),
    "AT": _tags,
    **{vr: _binary(vr) for vr in BINARY_VRS},
}
"""One decoder per VR but SQ; a value field has at least one byte."""
