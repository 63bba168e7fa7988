"""Attribute matching (PS3.4 C.2.2.2), applied again to what a region answered."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from gateway.dataset.comparison import DATE_VRS, EMPTY, Test, is_universal, split, value_tests
from gateway.dataset.dates import Range, combined_pairs, combined_range, date_of, key_range, time_of
from gateway.dataset.dictionary import has_many_values, vr_of
from gateway.dataset.moments import (
    Answer,
    Check,
    Clocks,
    any_of,
    date_time_check,
    instant_check,
    time_check,
    whole_days,
)
from gateway.dataset.query import Attribute, Query, Row, TagPath
from gateway.dataset.zones import TIMEZONE_OFFSET_FROM_UTC

IDENTITY_KEYS: Final = frozenset({"00080018", "00080050", "0020000D", "0020000E", "00100020", "00100021", "00101000"})
"""Keys that say whose data a row is: a row without them is not shown (a dropped key shows other patients)."""

_DERIVED: Final = frozenset({"00080056", "00080061", "00080062", "00201206", "00201208", "00201209"})
"""Attributes that a region computes or leaves empty: empty says that it did not compute them."""

_NOTHING: Final = object()
_NO_KEYS: Final = frozenset({"00080005", "00080052", TIMEZONE_OFFSET_FROM_UTC})
_LISTED_VRS: Final = frozenset({"AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"})
"""VRs with Multiple Value Matching (PS3.4 C.2.2.2.8)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a row matches a query; true when it does.

    Attributes:
        matches: whether the row is to be kept.
        unverified: keys that could not be checked because the row has no such attribute, one that cannot be
            read, or an empty one that the region should have computed.
    """

    matches: bool
    unverified: tuple[TagPath, ...] = ()

    def __bool__(self) -> bool:
        return self.matches


_MATCH: Final = Verdict(matches=True)
_NO_MATCH: Final = Verdict(matches=False)


class _Manner(NamedTuple):
    """How a query's keys are meant.

    Attributes:
        query: which says so.
        clocks: whose dates and times they are.
    """

    query: Query
    clocks: Clocks


def matcher(query: Query, zone: ZoneInfo | None = None) -> Callable[[Row], Verdict]:
    """Return the test of a row against all keys of a query, those in its path included (PS3.4 C.2.2.2).

    A key that the row cannot answer drops it when it is an identity key, and is named in the verdict when
    it is not. Date and time ranges of one pair are one range of instants, as the web has it
    (PS3.18 8.3.4.1.1), unless the query has them separate.

    Args:
        query: whose keys; its dates and times are compared as instants where it names an offset.
        zone: of the region, for rows that do not name theirs.
    """
    keys = {path: key for path, key in query.keys.items() if path[-1] not in _NO_KEYS}
    for tag, uid in (("0020000D", query.study), ("0020000E", query.series)):
        if uid:
            keys[tag,] = uid
    checks = list(_checks(keys, _Manner(query, Clocks(query.utc_offset, zone))))

    def test(row: Row) -> Verdict:
        unverified: tuple[TagPath, ...] = ()
        for path, check in checks:
            answer = check(row)
            if answer is Answer.NO:
                return _NO_MATCH
            if answer is Answer.UNKNOWN:
                unverified = (*unverified, path)
        return Verdict(matches=True, unverified=unverified) if unverified else _MATCH

    return test


def _checks(keys: Mapping[TagPath, str], manner: _Manner) -> Iterator[tuple[TagPath, Check]]:
    """Yield one check per attribute, per date and time pair, and per Sequence."""
    joined = {} if manner.query.separate_times else keys
    pairs = combined_pairs({path: key for path, key in joined.items() if len(path) == 1})
    times = set(pairs.values())
    sequences: dict[str, dict[TagPath, str]] = {}
    for path, key in keys.items():
        if len(path) > 1:
            sequences.setdefault(path[0], {})[path[1:]] = key
        elif path in pairs:
            if wanted := combined_range(key, keys[pairs[path]]):
                yield path, instant_check(path[0], pairs[path][0], (wanted,), _clocks(path[0], manner))
        elif path not in times and not is_universal(key):
            yield path, _key_check(path[0], key, manner)
    for tag, inner in sequences.items():
        checks = list(_checks(inner, manner))
        if checks:
            identity = any(path[-1] in IDENTITY_KEYS and not is_universal(key) for path, key in inner.items())
            absent = Answer.NO if identity else Answer.UNKNOWN
            zoned = manner.clocks.caller is not None
            yield (tag, *checks[0][0]), _sequence_check(tag, [check for _, check in checks], absent, zoned=zoned)


def _clocks(date_tag: str, manner: _Manner) -> Clocks:
    return manner.clocks if time_of(date_tag) else Clocks(None, None)


def _key_check(tag: str, key: str, manner: _Manner) -> Check:
    vr = vr_of(tag)
    if key.strip() == EMPTY:
        return _empty_check(tag)
    if vr in DATE_VRS:
        check = _clock_check(tag, vr, key, manner.clocks)
        if check:
            return check
    tests = value_tests(vr, key, fuzzy=manner.query.fuzzy)
    if manner.query.every_value and vr in _LISTED_VRS and has_many_values(tag) and len(tests) > 1:
        return _every_value_check(tag, tests)
    return _attribute_check(tag, split(vr, key), tests[0] if len(tests) == 1 else _any_test(tests))


def _clock_check(tag: str, vr: str, key: str, clocks: Clocks) -> Check | None:
    """Return the check of a date or time that more than its own value decides; None where that is all there is."""
    if vr == "DT":
        wanted = _ranges("DT", key, clocks.caller)
        return date_time_check(tag, wanted, clocks) if wanted and clocks != Clocks(None, None) else None
    other = time_of(tag) if vr == "DA" else date_of(tag)
    wanted = _ranges(vr, key)
    if clocks.caller is None or not other or not wanted:
        return None
    if vr == "DA":
        return instant_check(tag, other, [whole_days(days) for days in wanted], clocks)
    return time_check(tag, other, wanted, clocks)


def _ranges(vr: str, key: str, utc: int | None = None) -> list[Range]:
    return [wanted for part in split(vr, key) if (wanted := key_range(vr, part, utc))]


def _any_test(tests: list[Test]) -> Test:
    def test(value: Any) -> bool | None:
        answers = [one(value) for one in tests]
        return any(answers) or (None if None in answers else False)

    return test


# --- checks of one attribute


def _attribute_check(tag: str, keys: Sequence[str], test: Test) -> Check:
    """Return the check whether one of an attribute's values matches (PS3.4 C.2.2.3).

    A value that is a key letter by letter needs no test, which is what most rows are.
    """
    key = keys[0] if len(keys) == 1 else _NOTHING
    absent = _when_silent(tag)

    def check(row: Row) -> Answer:
        attribute = row.get(tag)
        if attribute is None:
            return absent
        values = attribute.get("Value", ())
        if key in values or any(map(test, values)):
            return Answer.YES
        return _mismatch(tag, attribute, test)

    return check


def _when_silent(tag: str) -> Answer:
    """Return what a row says of a key that it does not answer."""
    return Answer.NO if tag in IDENTITY_KEYS else Answer.UNKNOWN


def _mismatch(tag: str, attribute: Attribute, test: Test) -> Answer:
    """Tell values that do not match from none, and from values that cannot be read."""
    values = _present(attribute)
    silent = any(test(value) is None for value in values) or (not values and (tag in _DERIVED or _elsewhere(attribute)))
    return _when_silent(tag) if silent else Answer.NO


def _present(attribute: Attribute) -> list[Any]:
    return [value for value in attribute.get("Value", ()) if value is not None and value not in ("", {})]


def _elsewhere(attribute: Attribute) -> bool:
    return "InlineBinary" in attribute or "BulkDataURI" in attribute


def _every_value_check(tag: str, tests: list[Test]) -> Check:
    """Return the check of Multiple Value Matching: each value of the key is there, in any order (PS3.4 C.2.2.2.8)."""
    checks = [_attribute_check(tag, (), test) for test in tests]
    return lambda row: _all(check(row) for check in checks)


def _all(answers: Iterable[Answer]) -> Answer:
    total = Answer.YES
    for answer in answers:
        if answer is Answer.NO:
            return answer
        if answer is Answer.UNKNOWN:
            total = answer
    return total


def _empty_check(tag: str) -> Check:
    """Return the check of Empty Value Matching (PS3.4 C.2.2.2.7)."""
    absent = _when_silent(tag)
    empty = Answer.UNKNOWN if tag in _DERIVED else Answer.YES

    def check(row: Row) -> Answer:
        attribute = row.get(tag)
        if attribute is None:
            return absent
        return Answer.NO if _elsewhere(attribute) or _present(attribute) else empty

    return check


def _sequence_check(tag: str, checks: list[Check], absent: Answer, *, zoned: bool) -> Check:
    """Return the check of Sequence Matching: all keys in the same item (PS3.4 C.2.2.2.6)."""

    def check(row: Row) -> Answer:
        attribute = row.get(tag)
        if attribute is None:
            return absent
        items = (item for item in attribute.get("Value", ()) if item is not None)
        return any_of(_all(inner(_in_zone_of(row, x) if zoned else x) for inner in checks) for x in items)

    return check


def _in_zone_of(row: Row, item: Row) -> Row:
    """Return an item with the offset that the row names for all dates and times in it (PS3.3 C.12.1.1.8)."""
    own = row.get(TIMEZONE_OFFSET_FROM_UTC)
    return {TIMEZONE_OFFSET_FROM_UTC: own, **item} if own else item
