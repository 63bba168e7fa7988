"""Person names compared as people would (PS3.5 6.2.1, PS3.4 C.2.2.2.1 and C.2.2.2.4)."""

import re
import unicodedata
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

_LIGATURES: Final = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "’": "'", "‐": "-", "‑": "-"})
_SEPARATORS: Final = re.compile(r"[\s\-'.,^]+")
_VOICED: Final = "\u3099\u309a"  # in Japanese these make another sound, not another accent
_SAINTS: Final = MappingProxyType({"st": "saint", "ste": "sainte"})


def plain(text: str) -> str:
    """Return text without case, accents and double spaces (PS3.4 C.2.2.2.1 allows both for PN)."""
    if text.isascii():
        return " ".join(text.lower().split())
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_LIGATURES))
    bare = "".join(c for c in decomposed if c in _VOICED or not unicodedata.combining(c))
    return unicodedata.normalize("NFC", " ".join(bare.split()))


def components(group: str) -> str:
    """Return a component group in plain form, without padding and without the empty components at its end."""
    text = plain(group)
    return "^".join(component.strip() for component in text.split("^")).rstrip("^") if "^" in text else text


def _words(group: str) -> list[str]:
    return [_SAINTS.get(word, word) for word in _SEPARATORS.split(plain(group)) if word]


def _squashed(name: str) -> list[str]:
    """Return each component as one word: LeBlanc is Le Blanc."""
    return ["".join(words) for component in name.split("^") if (words := _words(component))]


def alike(key: str) -> Callable[[str], bool]:
    """Return the test whether all words of the key are in a name (PS3.18 8.3.4.2, fuzzymatching).

    Their order, case, accents and hyphens do not matter; St is Saint; a word may hold wildcards.
    """
    words = [wildcard(word) for word in _words(key)]
    parts = [wildcard(part) for part in _squashed(key)]

    def test(name: str) -> bool:
        present = _words(name)
        if all(any(map(word, present)) for word in words):
            return True
        squashed = _squashed(name)
        return all(any(map(part, squashed)) for part in parts)

    return test


def wildcard(pattern: str) -> Callable[[str], bool]:
    """Return the test for a key with ``*`` and ``?`` (PS3.4 C.2.2.2.4), in time linear in what it reads."""
    if "*" not in pattern and "?" not in pattern:
        return pattern.__eq__
    first, *rest = ("".join("." if c == "?" else re.escape(c) for c in part) for part in pattern.split("*"))
    # Atomic groups: the first place that fits a part is never taken back, or stars would multiply.
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    expression = f"{first}{middle}.*{rest[-1]}" if rest else first
    match = re.compile(expression, re.DOTALL).fullmatch

    def test(text: str) -> bool:
        return match(text) is not None

    return test
