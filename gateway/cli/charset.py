"""Whether a region's text is what its profile says it is (PS3.3 C.12.1.1.2)."""

from collections.abc import Iterator, Sequence
from typing import Final

from gateway.cli.visit import CHARACTER_SET
from gateway.dataset.charset import character_set
from gateway.dataset.query import Row

LOST: Final = "\ufffd"
PLAIN: Final = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
"""Terms that leave the bytes from 80H open: the gateway reads them by the profile."""

UTF_8: Final = "ISO_IR 192"
LATIN_1: Final = "ISO_IR 100"


def objection(rows: Sequence[Row], configured: str) -> str:
    """Return what is wrong with the text of rows as ``Visit.find`` reads them; empty if nothing is seen to be.

    Text itself is never told: it may be a patient's name.
    """
    for row in rows:
        stated = stated_terms(row)
        for text in letters(row):
            if stated in PLAIN:
                found = _unstated(text, configured)
            elif LOST in text:
                found = f'it says its text is {stated}, and it is not: ask its administrator which it is ("{stated}")'
            elif stated == LATIN_1 and is_utf_8(text):
                found = f"it says its text is {stated}, and it is UTF-8: names with accents will be garbled"
            else:
                found = ""
            if found:
                return found
    return ""


def stated_terms(row: Row) -> str:
    """Return Specific Character Set of a row as it was sent."""
    return "\\".join(str(term or "") for term in row.get(CHARACTER_SET, {}).get("Value") or ())


def letters(row: Row) -> Iterator[str]:
    """Yield the texts of a row that have other letters than ASCII's."""
    for attribute in row.values():
        for value in attribute.get("Value") or ():
            texts = value.values() if isinstance(value, dict) and attribute["vr"] == "PN" else (value,)
            yield from (text for text in texts if isinstance(text, str) and not text.isascii())


def is_utf_8(text: str) -> bool:
    """Whether text that was read as Latin-1 is UTF-8: hardly any Latin-1 text is by chance."""
    try:
        text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return False
    return True


def _unstated(text: str, configured: str) -> str:
    """Return what is wrong with text whose character set is not said, read by the profile's."""
    data = text.encode("latin-1", "replace")
    if LOST in character_set(configured).decode(data):
        likely = LATIN_1 if not is_utf_8(text) else UTF_8
        return (
            f"its text does not say what it is, and is not {configured} as the profile has it: "
            f'write character_set = "{likely}" there'
        )
    if configured != UTF_8 and is_utf_8(text):
        return (
            f"its text does not say what it is, and is UTF-8, not {configured} as the profile has it: "
            f'write character_set = "{UTF_8}" there'
        )
    return ""
