"""Attribute matching (PS3.4 C.2.2.2), applied again to what a region answered."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from gateway.dataset.dates import Range, combined_pairs, combined_range, key_range, moment
from gateway.dataset.dictionary import vr_of
from gateway.dataset.person_name import alike, components, wildcard
from gateway.dataset.query import Attribute, Query, Row, TagPath

IDENTITY_KEYS: Final = frozenset({"00080018", "00080050", "0020000D", "0020000E", "00100020", "00100021"})
"""Keys that say whose data a row is: a row without them is not shown (a dropped key shows other patients)."""

_DERIVED: Final = frozenset({"00080056", "00080061", "00080062", "00201206", "00201208", "00201209"})
"""Attributes that a region computes or leaves empty: empty says that it did not compute them."""

_NO_KEYS: Final = frozenset({"00080005", "00080052", "00080201"})
_WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_NUMBER_VRS: Final = frozenset({"IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"})
_DATE_VRS: Final = frozenset({"DA", "TM", "DT"})
_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_EMPTY: Final = '""'

_Test: TypeAlias = Callable[[Any], bool]


class _Answer(Enum):
    """What one key says of one row."""

    NO = 0
    YES = 1
    UNKNOWN = 2


_Check: TypeAlias = Callable[[Row], _Answer]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a row matches a query; true when it does.

    Attributes:
        matches: whether the row is to be kept.
        unverified: keys that could not be checked because the row has no such attribute, or an empty one
            that the region should have computed.
    """

    matches: bool
    unverified: tuple[TagPath, ...] = ()

    def __bool__(self) -> bool:
        return self.matches


_MATCH: Final = Verdict(matches=True)
_NO_MATCH: Final = Verdict(matches=False)


def matcher(query: Query) -> Callable[[Row], Verdict]:
    """Return the test of a row against all keys of a query, those in its path included (PS3.4 C.2.2.2).

    A key that the row cannot answer drops it when it is an identity key, and is named in the verdict when
    it is not. Date and time ranges of one pair are one range of instants, as the web has it
    (PS3.18 8.3.4.1.1).
    """
    keys = {path: key for path, key in query.keys.items() if path[-1] not in _NO_KEYS}
    for tag, uid in (("0020000D", query.study), ("0020000E", query.series)):
        if uid:
            keys[tag,] = uid
    checks = list(_checks(keys, fuzzy=query.fuzzy))

    def test(row: Row) -> Verdict:
        unverified: tuple[TagPath, ...] = ()
        for path, check in checks:
            answer = check(row)
            if answer is _Answer.NO:
                return _NO_MATCH
            if answer is _Answer.UNKNOWN:
                if path[-1] in IDENTITY_KEYS and len(path) == 1:
                    return _NO_MATCH
                unverified = (*unverified, path)
        return Verdict(matches=True, unverified=unverified) if unverified else _MATCH

    return test


def _checks(keys: Mapping[TagPath, str], *, fuzzy: bool) -> Iterator[tuple[TagPath, _Check]]:
    """Yield one check per attribute, per date and time pair, and per Sequence."""
    pairs = combined_pairs({path: key for path, key in keys.items() if len(path) == 1})
    times = set(pairs.values())
    sequences: dict[str, dict[TagPath, str]] = {}
    for path, key in keys.items():
        if len(path) > 1:
            sequences.setdefault(path[0], {})[path[1:]] = key
        elif path in pairs:
            wanted = combined_range(key, keys[pairs[path]])
            if wanted:
                yield path, _combined_check(path[0], pairs[path][0], wanted)
        elif path not in times and key:
            test = _value_test(vr_of(path[0]), key, fuzzy=fuzzy)
            if test:
                yield path, _attribute_check(path[0], key, test)
    for tag, inner in sequences.items():
        checks = list(_checks(inner, fuzzy=fuzzy))
        if checks:
            yield (tag, *checks[0][0]), _sequence_check(tag, checks)


def _attribute_check(tag: str, key: str, test: _Test) -> _Check:
    empty = _Answer.YES if key == _EMPTY else _Answer.UNKNOWN if tag in _DERIVED else _Answer.NO

    def check(row: Row) -> _Answer:
        attribute = row.get(tag)
        if attribute is None:
            return _Answer.UNKNOWN
        values = _values(attribute)
        if not values:
            return empty
        for value in values:
            if test(value):
                return _Answer.YES
        return _Answer.NO

    return check


def _values(attribute: Attribute) -> list[Any]:
    return [value for value in attribute.get("Value", ()) if value is not None]


def _sequence_check(tag: str, checks: list[tuple[TagPath, _Check]]) -> _Check:
    """Sequence Matching: all keys in the same item (PS3.4 C.2.2.2.6)."""

    def check(row: Row) -> _Answer:
        attribute = row.get(tag)
        if attribute is None:
            return _Answer.UNKNOWN
        best = _Answer.NO
        for item in _values(attribute):
            answers = [inner(item) for _, inner in checks]
            if all(answer is _Answer.YES for answer in answers):
                return _Answer.YES
            if _Answer.NO not in answers:
                best = _Answer.UNKNOWN
        return best

    return check


def _combined_check(date_tag: str, time_tag: str, wanted: Range) -> _Check:
    def check(row: Row) -> _Answer:
        dates = _values(row.get(date_tag, {}))
        times = _values(row.get(time_tag, {}))
        date = moment("DA", str(dates[0])) if dates else None
        if not date:
            return _Answer.NO if date_tag in row else _Answer.UNKNOWN
        time = moment("TM", str(times[0])) if times else None
        if time:
            return _Answer.YES if wanted.holds(date.first + time.first) else _Answer.NO
        # Without a time, only a day that is wholly in or wholly out is known to be so.
        ends = [wanted.holds(date.first + end) for end in ("0" * 12, "9" * 12)]
        if all(ends):
            return _Answer.YES
        return _Answer.UNKNOWN if any(ends) or wanted.first[:8] == wanted.last[:8] == date.first else _Answer.NO

    return check


def _value_test(vr: str, key: str, *, fuzzy: bool) -> _Test | None:
    """Return the test of one value against a key; None when every value matches (PS3.4 C.2.2.2.3)."""
    if not key.strip() or (not key.strip("*") and vr not in _DATE_VRS):
        return None
    if key == _EMPTY:
        return lambda _value: False
    if vr == "PN":
        return _person_name_test(key, fuzzy=fuzzy)
    keys = [part.strip() for part in key.split("\\")] if vr not in {"LT", "ST", "UT", "UR"} else [key.strip()]
    if vr == "UI":
        uids = frozenset(keys)
        return lambda value: str(value) in uids
    if vr in _DATE_VRS:
        tests = [_date_test(vr, part) for part in keys]
    elif vr in _NUMBER_VRS:
        tests = [_number_test(part) for part in keys]
    else:
        tests = [_text_test(part, wildcards=vr in _WILDCARD_VRS) for part in keys]
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def _text_test(key: str, *, wildcards: bool) -> _Test:
    test = wildcard(key) if wildcards else key.__eq__
    return lambda value: test(value if isinstance(value, str) else str(value))


def _number_test(key: str) -> _Test:
    try:
        wanted = float(key)
    except ValueError:
        return lambda value: str(value) == key
    return lambda value: value == wanted or str(value) == key


def _date_test(vr: str, key: str) -> _Test:
    wanted = key_range(vr, key)
    if wanted is None:
        return lambda value: value == key

    def test(value: Any) -> bool:
        instant = moment(vr, str(value))
        return instant is not None and wanted.holds(instant.first, instant.utc)

    return test


def _person_name_test(key: str, *, fuzzy: bool) -> _Test:
    """Return the test of a person name: a key without ``=`` may be any of its component groups (PS3.5 6.2.1.2)."""
    if "=" not in key:
        test = _name_group_test(key, fuzzy=fuzzy)
        return lambda value: any(map(test, value.values() if isinstance(value, dict) else (str(value),)))
    groups = zip(_NAME_GROUPS, key.split("=", 2), strict=False)
    tests = {group: _name_group_test(part, fuzzy=fuzzy) for group, part in groups if part.strip("* ")}

    def test_groups(value: Any) -> bool:
        name = value if isinstance(value, dict) else {"Alphabetic": str(value)}
        return all(test(name.get(group, "")) for group, test in tests.items())

    return test_groups


def _name_group_test(key: str, *, fuzzy: bool) -> Callable[[str], bool]:
    if fuzzy:
        return alike(key)
    test = wildcard(components(key))

    def test_group(group: str) -> bool:
        # DOE^* asks for any given name, also for none, whether the archive writes the delimiter or not.
        name = components(group)
        return test(name) or test(name + "^")

    return test_group
