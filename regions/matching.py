"""Attribute matching (PS3.4 C.2.2.2) of an Identifier's keys against one entity's header."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

_WILD: Final = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_RANGE: Final = frozenset(("DA", "TM", "DT"))
_NUMBER: Final = frozenset(("DS", "IS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV"))


def keys_of(identifier: Dataset) -> list[DataElement]:
    """The elements that restrict the matches: those with a value, at the top level or inside an item."""
    return [element for element in identifier if _restricts(element)]


def _restricts(element: DataElement) -> bool:
    if element.VR == "SQ":
        return any(_restricts(inner) for item in element.value for inner in item)
    return any(text not in {"", "*"} for text in _texts(element))


def matches(key: DataElement, dataset: Dataset) -> bool:
    """Whether an entity's attributes fit one key; an absent attribute fits none."""
    element = dataset.get(key.tag)
    if element is None:
        return False
    if key.VR == "SQ":
        wanted = [inner for item in key.value for inner in item if _restricts(inner)]
        return any(all(matches(inner, item) for inner in wanted) for item in element.value)
    values = list(_texts(element))
    return any(_fits(str(key.VR), pattern, held) for pattern in _texts(key) for held in values)


def _texts(element: DataElement) -> Iterator[str]:
    """The values as they are written, without padding."""
    value = element.value
    many = value if element.VM > 1 else [value]
    for one in many:
        text = getattr(one, "original_string", one) if element.VR in {"DS", "IS"} else one
        yield "" if text is None else str(text).strip(" \0")


def _fits(vr: str, pattern: str, held: str) -> bool:
    if vr == "PN":
        return _person_fits(pattern, held)
    if vr in _RANGE and "-" in pattern and not (vr == "DT" and re.fullmatch(r"\d+-\d{4}", pattern)):
        return _in_range(pattern, held)
    if vr == "TM":
        return held.startswith(pattern)
    if vr in _NUMBER:
        return _number(pattern) == _number(held)
    if vr in _WILD and ("*" in pattern or "?" in pattern):
        return _expression(pattern).fullmatch(held) is not None
    return pattern == held


def _person_fits(pattern: str, held: str) -> bool:
    """Names match whatever the case, by any component group."""
    pattern = pattern.casefold().rstrip("^=")
    candidates = [held, *held.split("=")] if "=" not in pattern else [held]
    expression = _expression(pattern)
    return any(expression.fullmatch(name.casefold().rstrip("^= ")) for name in candidates)


@lru_cache(256)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(sign) or re.escape(sign) for sign in pattern), re.DOTALL)


def _in_range(pattern: str, held: str) -> bool:
    """Within both ends, where there are two; a time that is given to the minute lasts to its end."""
    first, _, last = (part.strip() for part in pattern.partition("-"))
    return bool(held) and (not first or held >= first) and (not last or held[: len(last)] <= last)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
