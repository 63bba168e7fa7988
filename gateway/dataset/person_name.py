"""Person names compared as people would (PS3.5 6.2.1, PS3.4 C.2.2.2.1 and C.2.2.2.4)."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import accumulate
from types import MappingProxyType
from typing import Final, TypeAlias

_Word: TypeAlias = str | Callable[[str], bool]

_LETTERS: Final = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d"})
_SIGNS: Final = str.maketrans(dict.fromkeys("‘’ʼ´`′", "'") | dict.fromkeys("‐‑‒–—−", "-"))
_SPELT: Final = _LETTERS | _SIGNS
_LATIN_ACCENTS: Final = re.compile("[\u0300-\u036f]+")
_SEPARATORS: Final = re.compile(r"[\s\-'.,^]+")
_VOICED: Final = "\u3099\u309a"  # in Japanese these make another sound, not another accent
_SAINTS: Final = MappingProxyType({"st": "saint", "ste": "sainte"})
_SHORT_SAINTS: Final = MappingProxyType({full: short for short, full in _SAINTS.items()})
_MOST_WORDS: Final = 12


def plain(text: str) -> str:
    """Return text without case, accents and double spaces (PS3.4 C.2.2.2.1 allows both for PN)."""
    if text.isascii():
        return " ".join(text.lower().replace("`", "'").split())
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_SPELT))
    bare = _LATIN_ACCENTS.sub("", decomposed)
    if not bare.isascii():
        bare = "".join(c for c in bare if c in _VOICED or not unicodedata.combining(c))
        bare = unicodedata.normalize("NFC", bare)
    return " ".join(bare.split())


def components(group: str) -> str:
    """Return a component group in plain form, without padding and without the empty components at its end."""
    text = plain(group)
    return "^".join(component.strip() for component in text.split("^")).rstrip("^") if "^" in text else text


def literal(key: str) -> Callable[[str], bool]:
    """Return the test of one component group against a key, case and accents aside (PS3.4 C.2.2.2.1.1)."""
    pattern = components(key)
    test = wildcard(pattern)
    if "^" not in pattern:
        return lambda group: test(components(group))

    def test_group(group: str) -> bool:
        # DOE^* asks for any given name, also for none, whether the archive writes the delimiter or not.
        name = components(group)
        return test(name) or test(name + "^")

    return test_group


# --- fuzzy


def alike(key: str) -> Callable[[str], bool]:
    """Return the test whether a name has all words of the key (PS3.18 8.3.4.2, fuzzymatching).

    Case, accents, hyphens, apostrophes, spaces and the order of the words do not matter: L'Écuyer is Lecuyer,
    LeBlanc is Le Blanc; St is Saint; a word may hold wildcards.
    """
    parts = [_runs(_words(component)) for component in key.split("^")]

    def test(name: str) -> bool:
        spelt = _spellings(name)
        return all(_is_made_of(spelt, runs) for runs in parts)

    return test


def _words(text: str) -> list[str]:
    return [word for word in _SEPARATORS.split(plain(text)) if word][:_MOST_WORDS]


def _joined(words: list[str]) -> Iterator[str]:
    """Yield every run of neighbouring words as one word."""
    for start in range(len(words)):
        yield from accumulate(words[start:])


def _spellings(name: str) -> set[str]:
    """Return the words of a name, also as they are when written together, Saint in full and in short."""
    spelt: set[str] = set()
    for component in name.split("^"):
        words = _words(component)
        spelt.update(_joined(words))
        for saints in (_SAINTS, _SHORT_SAINTS):
            if not saints.keys().isdisjoint(words):
                spelt.update(_joined([saints.get(word, word) for word in words]))
    return spelt


def _runs(words: list[str]) -> list[list[_Word]]:
    """Return, for each word of a key, what it may be with none, one or more of the words that follow it."""
    return [[_word(run) for run in accumulate(words[start:])] for start in range(len(words))]


def _word(word: str) -> _Word:
    return wildcard(word) if "*" in word or "?" in word else word


def _is_made_of(spelt: set[str], runs: list[list[_Word]]) -> bool:
    """Whether the words of a key, each alone or with its neighbours, are all there."""
    reached = {0}
    for start, words in enumerate(runs):
        if start in reached:
            for end, word in enumerate(words, start + 1):
                if word in spelt if isinstance(word, str) else any(map(word, spelt)):
                    reached.add(end)
    return len(runs) in reached


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
