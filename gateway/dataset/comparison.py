"""One value against one key, by its VR (PS3.4 C.2.2.2.1 to C.2.2.2.5)."""

import re
from collections.abc import Callable
from struct import pack, unpack
from typing import Any, Final, TypeAlias

from gateway.dataset.dates import Range, is_day, key_range, moment
from gateway.dataset.person_name import alike, literal, wildcard
from gateway.dataset.values import NAME_GROUPS

Test: TypeAlias = Callable[[Any], bool | None]
"""Whether a value matches; None when it cannot be read as a value of its VR."""

EMPTY: Final = '""'
"""Two quotation marks ask for attributes without a value (PS3.4 C.2.2.2.7)."""

DATE_VRS: Final = frozenset({"DA", "TM", "DT"})
_NUMBER_VRS: Final = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})
_TEXT_VRS: Final = frozenset({"LT", "ST", "UT", "UR"})
_WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_LEADING_SPACES_COUNT: Final = _TEXT_VRS | {"UC"}
_INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)
_DECIMAL: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def is_universal(key: str) -> bool:
    """Whether every value matches a key (PS3.4 C.2.2.2.3)."""
    return not key.strip(" *")


def value_tests(vr: str, key: str, *, fuzzy: bool) -> list[Test]:
    """Return one test for each value of a key; a value of any other VR than text ends at a backslash."""
    parts = split(vr, key)
    if vr == "UI":
        return [_uid_test(frozenset(parts))]
    return [_test(vr, part, fuzzy=fuzzy) for part in parts]


def split(vr: str, key: str) -> list[str]:
    """Split a key into its values, in which spaces at the ends do not count unless the VR says so (PS3.5 6.2)."""
    parts = [key] if vr in _TEXT_VRS else key.split("\\")
    trim = str.rstrip if vr in _LEADING_SPACES_COUNT else str.strip
    return [part for part in map(trim, parts) if part]


def _test(vr: str, key: str, *, fuzzy: bool) -> Test:
    if vr == "PN":
        return _person_name_test(key, fuzzy=fuzzy)
    if vr in DATE_VRS:
        return _date_test(vr, key)
    if vr in _NUMBER_VRS:
        return _number_test(vr, key)
    if vr in _WILDCARD_VRS and ("*" in key or "?" in key):
        return _wildcard_test(key)
    return _exact_test(key.upper() if vr == "AT" else key, str.rstrip if vr in _LEADING_SPACES_COUNT else str.strip)


def _uid_test(uids: frozenset[str]) -> Test:
    """Return the test of List of UID Matching (PS3.4 C.2.2.2.2)."""

    def test(value: Any) -> bool:
        return isinstance(value, str) and (value in uids or value.strip() in uids)

    return test


def _exact_test(key: str, trim: Callable[[str], str]) -> Test:
    def test(value: Any) -> bool:
        # Values come without padding from our decoder; what another one gave may still have it.
        return value == key or (value is not None and trim(str(value)) == key)

    return test


def _wildcard_test(key: str) -> Test:
    match = wildcard(key)

    def test(value: Any) -> bool:
        return value is not None and match(value if isinstance(value, str) else str(value))

    return test


# --- numbers


def _number(text: str) -> float | None:
    """Read a number; whole ones stay whole, since a float has not all the digits of UV and SV."""
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else None


def _number_test(vr: str, key: str) -> Test:
    """Return the test by meaning: 1.50 is 1.5, and 1.0 is 1 even where it should have been an integer string."""
    wanted = _number(key)
    if vr == "FL" and wanted is not None:
        wanted = _single(wanted)

    def test(value: Any) -> bool | None:
        if isinstance(value, str):
            number = _number(value)
            return number == wanted if number is not None else value.strip() == key or None
        return value == wanted and value is not None

    return test


def _single(number: float) -> float:
    """Return the nearest number that a value of VR FL can be."""
    try:
        nearest: float = unpack("<f", pack("<f", number))[0]
    except OverflowError:
        return number
    return nearest


# --- dates and times


def _date_test(vr: str, key: str) -> Test:
    wanted = key_range(vr, key)
    if wanted is None:
        return lambda value: value == key
    return _day_test(wanted) if vr == "DA" else _moment_test(vr, wanted)


def _day_test(wanted: Range) -> Test:
    first, last = wanted.first, wanted.last or "99999999"

    def test(value: Any) -> bool | None:
        day = str(value)
        if not is_day(day):
            read = moment("DA", day)
            if read is None:
                return None
            day = read.first
        return first <= day <= last

    return test


def _moment_test(vr: str, wanted: Range) -> Test:
    def test(value: Any) -> bool | None:
        instant = moment(vr, str(value))
        return None if instant is None else wanted.holds(instant.first, instant.utc)

    return test


# --- person names


def _person_name_test(key: str, *, fuzzy: bool) -> Test:
    """Return the test of a person name: a key without ``=`` may be any of its component groups (PS3.5 6.2.1.2)."""
    if "=" not in key:
        test = alike(key) if fuzzy else literal(key)

        def test_any(value: Any) -> bool:
            return any(map(test, _groups(value).values()))

        return test_any
    parts = zip(NAME_GROUPS, key.split("=", 2), strict=False)
    tests = {group: alike(part) if fuzzy else literal(part) for group, part in parts if part.strip("* ")}

    def test_groups(value: Any) -> bool:
        name = _groups(value)
        return all(test(name.get(group, "")) for group, test in tests.items())

    return test_groups


def _groups(value: Any) -> dict[str, str]:
    """Return the component groups of a name, also of one that is written as in a Data Set."""
    if isinstance(value, dict):
        return value
    return dict(zip(NAME_GROUPS, str(value).split("="), strict=False)) if value is not None else {}
