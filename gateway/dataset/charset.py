"""Specific Character Set (0008,0005): encoded text <-> str (PS3.3 C.12.1.1.2, PS3.5 6.1)."""

import re
from collections.abc import Iterator
from functools import lru_cache
from types import MappingProxyType
from typing import Final

SPECIFIC_CHARACTER_SET: Final = "00080005"
ESC: Final = b"\x1b"

_SINGLE_BYTE: Final = MappingProxyType(
    {
        "13": "shift_jis",
        "100": "latin_1",
        "101": "iso8859_2",
        "109": "iso8859_3",
        "110": "iso8859_4",
        "126": "iso8859_7",
        "127": "iso8859_6",
        "138": "iso8859_8",
        "144": "iso8859_5",
        "148": "iso8859_9",
        "166": "tis_620",
        "203": "iso8859_15",
    }
)
"""ISO registration numbers of PS3.3 Tables C.12-2 and C.12-3."""

_WHOLE: Final = MappingProxyType(
    {
        "ISO IR 192": "utf_8",
        "GB18030": "gb18030",
        "GBK": "gbk",
        "ISO 2022 GBK": "gbk",
        "UTF 8": "utf_8",
        "UTF8": "utf_8",
    }
)
"""Sets without code extensions (PS3.3 Table C.12-5), and how some write them."""

_G1: Final = MappingProxyType(
    {
        b")I": "shift_jis",
        b"-A": "latin_1",
        b"-B": "iso8859_2",
        b"-C": "iso8859_3",
        b"-D": "iso8859_4",
        b"-F": "iso8859_7",
        b"-G": "iso8859_6",
        b"-H": "iso8859_8",
        b"-L": "iso8859_5",
        b"-M": "iso8859_9",
        b"-T": "tis_620",
        b"-b": "iso8859_15",
        b"$)C": "euc_kr",
        b"$)A": "gb2312",
    }
)
"""What an escape sequence puts into G1, the bytes from 0x80 (PS3.3 Tables C.12-3 and C.12-4)."""

_JIS_X_0208: Final = b"$B"
_JIS_X_0212: Final = b"$(D"
_MULTI_BYTE: Final = frozenset({"58", "87", "149", "159"})
_G0_MULTI_BYTE: Final = frozenset({_JIS_X_0208, b"$@", _JIS_X_0212})
_KATAKANA_IN_G0: Final = b"(I"
_ASCII_IN_G0: Final = b"(B"

_ESCAPE: Final = re.compile(rb"\x1b(\$[()][A-D]|\$[@AB]|[()\-.][@-~])")
_CONTROL: Final = re.compile(rb"[\x00-\x1f]")
_HIGH_RUNS: Final = re.compile(rb"[\x80-\xff]+|[\x00-\x7f]+")

_DESIGNATIONS: Final = MappingProxyType(
    {
        "87": ("iso2022_jp", _JIS_X_0208),
        "159": ("iso2022_jp_2", _JIS_X_0212),
        "149": ("euc_kr", b"$)C"),
        "58": ("gb2312", b"$)A"),
        **{number: (name, escape) for number, name in _SINGLE_BYTE.items() for escape, g1 in _G1.items() if g1 == name},
    }
)
"""ISO registration number -> (codec, escape sequence), to encode with code extensions."""


class CharacterSet:
    """One value of Specific Character Set, ready to decode and encode.

    Attributes:
        extended: whether escape sequences may occur, so that seven-bit text may be other than ASCII.
    """

    __slots__ = ("_base", "_numbers", "extended")

    def __init__(self, base: str, numbers: tuple[str, ...] = (), *, extended: bool = False) -> None:
        self.extended = extended
        self._base = base
        self._numbers = numbers

    def decode(self, value: bytes, resets: bytes = b"\\") -> str:
        """Decode a value; what cannot be decoded becomes U+FFFD (PS3.5 6.1.2.5).

        Args:
            value: the value field, several values and person name components included.
            resets: the bytes after which the initial sets are active again: the backslash where it
                separates values, ``^`` and ``=`` too in a person name.
        """
        if self.extended and ESC in value:
            return "".join(self._extended_parts(value, resets))
        return value.decode(self._base, "replace")

    def _extended_parts(self, value: bytes, resets: bytes) -> Iterator[str]:
        """Walk the escape sequences; G0 and G1 stand for the lower and the upper half of the code table."""
        reset = re.compile(b"[\x00-\x1f" + re.escape(resets) + b"]")
        g0, g1 = _ASCII_IN_G0, self._base
        pieces = _ESCAPE.split(value)
        for index, piece in enumerate(pieces):
            if index % 2:
                g1 = _G1.get(piece, g1)
                g0 = piece if piece not in _G1 else g0
                continue
            if not piece:
                continue
            # The two bytes of one Japanese character may look like a delimiter: there only control characters reset.
            split = (_CONTROL if g0 in _G0_MULTI_BYTE else reset).search(piece)
            at = split.start() if split else len(piece)
            yield _decode_sets(piece[:at], g0, g1)
            if split:
                g0, g1 = _ASCII_IN_G0, self._base
                yield _decode_sets(piece[at:], g0, g1)

    def encode(self, text: str) -> bytes:
        """Encode text; a character that the sets lack becomes ``?``, which a matching key reads as a wildcard."""
        if text.isascii():
            return text.encode()
        if not self.extended:
            # The default repertoire is read as somebody's Latin-1, but nobody can be expected to read ours so.
            only_ascii = self._base == "latin_1" and not self._numbers
            return text.encode("ascii" if only_ascii else self._base, "replace")
        return b"".join(self._encode_component(component) for component in re.split(r"([\\^=\r\n\f\t])", text))

    def _encode_component(self, text: str) -> bytes:
        """Encode up to the next delimiter: the initial sets are active at both its ends."""
        out = bytearray()
        g0, g1 = _ASCII_IN_G0, self._base
        for character in text:
            encoded, escape = self._encode_character(character)
            in_g0 = escape is None and encoded < b"\x80"
            wanted = _ASCII_IN_G0 if in_g0 else escape
            if wanted in _G0_MULTI_BYTE or in_g0:
                if wanted != g0:
                    g0 = wanted or g0
                    out += ESC + g0
            elif wanted is not None and _G1[wanted] != g1:
                g1 = _G1[wanted]
                out += ESC + wanted
            out += encoded
        if g0 != _ASCII_IN_G0:
            out += ESC + _ASCII_IN_G0
        return bytes(out)

    def _encode_character(self, character: str) -> tuple[bytes, bytes | None]:
        """Return the code of one character and the escape sequence it needs, None for the initial sets."""
        if character.isascii():
            return character.encode(), None
        for number in self._numbers:
            codec, escape = _DESIGNATIONS[number]
            try:
                encoded = character.encode(codec)
            except UnicodeEncodeError:
                continue
            if escape not in _G0_MULTI_BYTE:
                if len(encoded) <= (2 if escape.startswith(b"$") else 1):
                    return encoded, escape
            elif encoded.startswith(ESC + escape):
                return encoded[len(escape) + 1 : len(escape) + 3], escape
        return b"?", None


def _decode_sets(piece: bytes, g0: bytes, g1: str) -> str:
    """Decode text without escape sequences or resets inside."""
    if g0 == _ASCII_IN_G0 and piece.isascii():
        return piece.decode()
    return "".join(
        run.decode(g1, "replace") if run[0] >= 0x80 else _decode_g0(run, g0) for run in _HIGH_RUNS.findall(piece)
    )


def _decode_g0(run: bytes, g0: bytes) -> str:
    if g0 in _G0_MULTI_BYTE:
        return (ESC + g0 + run).decode("iso2022_jp_2", "replace")
    if g0 == _KATAKANA_IN_G0:
        return bytes(code | 0x80 if code > 0x20 else code for code in run).decode("shift_jis", "replace")
    return run.decode("ascii", "replace")


@lru_cache(maxsize=256)
def character_set(terms: str, default: str = "") -> CharacterSet:
    """Return the decoder of a value of (0008,0005) (PS3.3 C.12.1.1.2).

    Misspelt terms are read as what they mean, unknown ones as the default; the default repertoire, declared
    or not, is read with the default set, since its bytes from 0x80 are somebody's Latin-1. Without a default
    that is the rule.

    Args:
        terms: the value, several terms separated by backslash.
        default: the set when the value names none, such as a region's own.
    """
    names = [_plain(term) for term in terms.split("\\")]
    first = names[0]
    if first in _WHOLE:
        return CharacterSet(_WHOLE[first])
    numbers = tuple(number for number in map(_number, names) if number in _DESIGNATIONS)
    if not numbers:
        return character_set(default) if default else CharacterSet("latin_1")
    extended = len(names) > 1 or first.startswith("ISO 2022") or numbers[0] in _MULTI_BYTE
    codec, escape = _DESIGNATIONS.get(_number(first), ("latin_1", b""))
    return CharacterSet("latin_1" if escape in _G0_MULTI_BYTE else codec, numbers, extended=extended)


def is_known(term: str) -> bool:
    """Whether a term names a Specific Character Set (PS3.3 C.12.1.1.2)."""
    name = _plain(term)
    return name in _WHOLE or _number(name) in {"6", *_DESIGNATIONS}


def _plain(term: str) -> str:
    plain = re.sub(r"[\s_-]+", " ", term.upper()).strip(" \0")
    return "ISO 2022 IR 58" if plain == "ISO 2022 58" else plain


def _number(name: str) -> str:
    """Return the ISO registration number in a defined term, such as 100 in ``ISO 2022 IR 100``."""
    found = re.search(r"IR ?(\d+)$", name)
    return found[1] if found else ""
