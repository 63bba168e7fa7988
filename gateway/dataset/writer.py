"""The DICOM JSON Model -> Data Set bytes (PS3.18 Annex F, PS3.5 section 7)."""

import binascii
from base64 import b64decode
from functools import lru_cache
from struct import error as StructError  # noqa: N812
from struct import pack
from types import MappingProxyType
from typing import Any, Final

from gateway.dataset.charset import SPECIFIC_CHARACTER_SET, CharacterSet, character_set
from gateway.dataset.headers import element_header
from gateway.dataset.inflate import deflated
from gateway.dataset.query import Attribute, Row
from gateway.dataset.transfer_syntax import TransferSyntax, transfer_syntax
from gateway.dataset.values import BINARY_VRS, NAME_GROUPS, WORD_SIZES, swapped
from gateway.errors import DatasetError, LimitExceeded

_MAX_NESTING: Final = 64
_ITEM: Final = "FFFEE000"
_NUMBERS: Final = MappingProxyType(
    {"SS": "h", "US": "H", "SL": "i", "UL": "I", "SV": "q", "UV": "Q", "FL": "f", "FD": "d"}
)


def from_json_model(row: Row, transfer_syntax_uid: str, *, text_in: str = "ISO_IR 192") -> bytes:
    """Return the Data Set that a row describes (PS3.18 F.2).

    Where all text is ASCII, (0008,0005) stays what the row says; else it becomes ``text_in``, in which the
    text then is. A character that this set lacks becomes ``?``.

    Raises:
        DatasetError: a value does not fit its VR, or is a BulkDataURI.
        LimitExceeded: Sequences are nested too deeply.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    charset = character_set(text_in)
    encoder = _Encoder(syntax, charset)
    try:
        data = encoder.dataset(row, 0)
        if encoder.beyond_ascii:
            data = encoder.dataset({**row, SPECIFIC_CHARACTER_SET: {"vr": "CS", "Value": [text_in]}}, 0)
    except (StructError, binascii.Error, ValueError, TypeError, AttributeError, OverflowError):
        raise DatasetError(f"a value of {encoder.at} does not fit its VR") from None
    return b"".join(deflated([data])) if syntax.deflated else data


class _Encoder:
    """Encodes rows; notes at which attribute it is, and whether any text went beyond ASCII."""

    __slots__ = ("_charset", "_syntax", "at", "beyond_ascii")

    def __init__(self, syntax: TransferSyntax, charset: CharacterSet) -> None:
        self._syntax = syntax
        self._charset = charset
        self.at = ""
        self.beyond_ascii = False

    def dataset(self, row: Row, depth: int) -> bytes:
        if depth > _MAX_NESTING:
            raise LimitExceeded(f"Sequences are nested deeper than {_MAX_NESTING}", limit="max_nesting")
        # All text is in one set: what an item says of its own is not true any more.
        keys = [key for key in sorted(row) if key[4:] != "0000" and not (depth and key == SPECIFIC_CHARACTER_SET)]
        return b"".join([self._element(key, row[key], depth) for key in keys])

    def _element(self, key: str, attribute: Attribute, depth: int) -> bytes:
        vr = attribute["vr"]
        if len(attribute) == 1:
            return _empty(key, vr, self._syntax)
        self.at = key
        if vr == "SQ":
            value = self._items(attribute.get("Value", ()), depth)
        else:
            value = self._value(vr, attribute)
            if len(value) % 2:
                value += b" " if vr not in _ZERO_PADDED else b"\0"
            if not self._syntax.little_endian:
                value = swapped(value, WORD_SIZES.get(vr, 1))
        syntax = self._syntax
        header = element_header(key, vr, len(value), explicit=syntax.explicit, little_endian=syntax.little_endian)
        return header + value

    def _items(self, rows: Any, depth: int) -> bytes:
        little_endian = self._syntax.little_endian
        encoded = [self.dataset(row or {}, depth + 1) for row in rows]
        return b"".join(
            [
                element_header(_ITEM, "", len(data), explicit=False, little_endian=little_endian) + data
                for data in encoded
            ]
        )

    def _value(self, vr: str, attribute: Attribute) -> bytes:
        if "BulkDataURI" in attribute:
            raise DatasetError("a row with bulk data has no Data Set")
        if vr in BINARY_VRS:
            return b64decode(attribute.get("InlineBinary", ""), validate=True)
        values = attribute.get("Value") or ()
        if vr in _NUMBERS:
            return b"".join([pack("<" + _NUMBERS[vr], _number(vr, value)) for value in values])
        if vr == "AT":
            return b"".join([pack("<HH", int(tag[:4], 16), int(tag[4:], 16)) for tag in values])
        text = "\\".join([_text(vr, value) for value in values])
        if not text.isascii():
            self.beyond_ascii = True
        return self._charset.encode(text)


@lru_cache(maxsize=1024)
def _empty(key: str, vr: str, syntax: TransferSyntax) -> bytes:
    """Encode an element without a value: most of every C-FIND Identifier."""
    return element_header(key, vr, 0, explicit=syntax.explicit, little_endian=syntax.little_endian)


_ZERO_PADDED: Final = frozenset({"UI", *BINARY_VRS})


def _number(vr: str, value: Any) -> int | float:
    if value is None:
        raise ValueError("a binary number cannot be empty")
    return float(value) if vr in {"FL", "FD"} else int(value)


def _text(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if vr == "PN" and isinstance(value, dict):
        groups = [value.get(group, "") for group in NAME_GROUPS]
        return "=".join(groups).rstrip("=")
    if isinstance(value, float):
        return decimal_text(value)
    return str(value)


def decimal_text(number: float) -> str:
    """Write a DS in the 16 bytes it may have (PS3.5 6.2)."""
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    for digits in range(17, 8, -1):
        text = f"{number:.{digits}g}"
        if len(text) <= 16 and (float(text) == number or digits < 16):
            return text
    return f"{number:.8g}"
