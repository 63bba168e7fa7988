"""Dates and times as matching keys and as values (PS3.5 6.2 DA, TM, DT; PS3.4 C.2.2.2.1 and C.2.2.2.5)."""

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

from gateway.dataset.query import TagPath

_TIME_OF: Final = MappingProxyType(
    {
        "00080020": "00080030",  # Study
        "00080021": "00080031",  # Series
        "00080022": "00080032",  # Acquisition
        "00080023": "00080033",  # Content
        "00100030": "00100032",  # Patient's Birth
        "00080012": "00080013",  # Instance Creation
        "00400002": "00400003",  # Scheduled Procedure Step Start
        "00400004": "00400005",  # Scheduled Procedure Step End
        "00400244": "00400245",  # Performed Procedure Step Start
        "00400250": "00400251",  # Performed Procedure Step End
        "0040A121": "0040A122",  # Date and Time of a content item
    }
)
"""The time that belongs to a date: matched together when both are ranges (PS3.4 C.2.2.2.5.4)."""

_DATE_OF: Final = MappingProxyType({time: date for date, time in _TIME_OF.items()})

_DATE_TIME: Final = re.compile(r"(\d{4,14})(\.\d{1,6})?([+-]\d{4})?", re.ASCII)
_RANGE_WITH_OFFSET: Final = re.compile(
    r"(\d{4,14}(?:\.\d{1,6})?(?:[+-]\d{4})?)?-(\d{4,14}(?:\.\d{1,6})?(?:[+-]\d{4})?)?"
)
_LATEST_OFFSET: Final = 1400
_EARLIEST: Final = "00000101000000"
_PARTS: Final = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))
_CIVIL: Final = frozenset({"00100030"})
"""Dates of the calendar that are no moment of the day, which no time zone moves: a birthday is one everywhere."""


class Moment(NamedTuple):
    """A date, time or both of any precision, as the text it begins and ends with.

    Attributes:
        first: the first instant it covers, in digits that compare as text.
        last: the last instant.
        utc: minutes east of Greenwich that it is given in; None for local time.
    """

    first: str
    last: str
    utc: int | None = None


class Range(NamedTuple):
    """A range of instants, both ends included; an empty end is open (PS3.4 C.2.2.2.5)."""

    first: str
    last: str
    utc: int | None = None

    def holds(self, instant: str, utc: int | None = None) -> bool:
        """Whether an instant lies in the range; zones are compared where both sides name one."""
        if utc is not None and self.utc is not None and utc != self.utc:
            instant = shifted(instant, self.utc - utc)
        return (not self.first or self.first <= instant) and (not self.last or instant <= self.last)


def instant(digits: str) -> datetime | None:
    """Read fourteen digits as a moment; parts that are too great become the last there is, as in an open end of 9s."""
    try:
        return datetime.fromisoformat(f"{digits[:8]}T{digits[8:14]}")
    except ValueError:
        year, month, day, hour, minute, second = (int(digits[at:end]) for at, end in _PARTS)
    if not year:
        return None
    month = max(1, min(month, 12))
    day = max(1, min(day, monthrange(year, month)[1]))
    return datetime(year, month, day, min(hour, 23), min(minute, 59), min(second, 59))  # noqa: DTZ001


def shifted(digits: str, minutes: int) -> str:
    """Move an instant by minutes; one that would leave the calendar stays where it is."""
    moment = instant(digits) if minutes else None
    if moment is None:
        return digits
    try:
        text = (moment + timedelta(minutes=minutes)).isoformat()
    except OverflowError:
        return digits
    return text[:4] + text[5:7] + text[8:10] + text[11:13] + text[14:16] + text[17:19] + digits[14:]


def time_of(date_tag: str) -> str | None:
    """Return the time attribute that makes a date one moment; None for a date that is the same in every zone."""
    return None if date_tag in _CIVIL else _TIME_OF.get(date_tag)


def date_of(time_tag: str) -> str | None:
    """Return the date attribute that a time belongs to; None where there is none, or the same in every zone."""
    date_tag = _DATE_OF.get(time_tag)
    return None if date_tag in _CIVIL else date_tag


def is_day(text: str) -> bool:
    """Whether a text is a date as PS3.5 6.2 has it, eight digits, whether or not a calendar has it."""
    return len(text) == 8 and text.isdecimal() and text.isascii()


def _date(text: str) -> Moment | None:
    if is_day(text):
        return Moment(text, text)
    digits = re.sub(r"[-./: ]", "", text.strip())
    if not re.fullmatch(r"\d{4}(\d\d){0,2}", digits, re.ASCII):
        return None
    return Moment(digits.ljust(8, "0"), digits.ljust(8, "9"))


def _time(text: str) -> Moment | None:
    if len(text) == 6 and text.isdecimal() and text.isascii():
        return Moment(text + "000000", text + "999999")
    found = re.fullmatch(r"(\d\d(?:\d\d){0,2})(\.\d{1,6})?", text.strip().replace(":", ""), re.ASCII)
    if not found:
        return None
    digits, fraction = found[1], (found[2] or "").lstrip(".")
    return Moment(digits.ljust(6, "0") + fraction.ljust(6, "0"), digits.ljust(6, "9") + fraction.ljust(6, "9"))


def _date_time(text: str) -> Moment | None:
    found = _DATE_TIME.fullmatch(text.strip())
    if not found:
        return None
    digits, fraction, zone = found[1], (found[2] or "").lstrip("."), found[3]
    first = digits + _EARLIEST[len(digits) :]
    utc = (int(zone[1:3]) * 60 + int(zone[3:])) * (-1 if zone[0] == "-" else 1) if zone else None
    return Moment(first + fraction.ljust(6, "0"), digits.ljust(14, "9") + fraction.ljust(6, "9"), utc)


_PARSERS: Final = MappingProxyType({"DA": _date, "TM": _time, "DT": _date_time})


def moment(vr: str, text: str) -> Moment | None:
    """Read a value of VR DA, TM or DT in any precision; None when it is none."""
    return _PARSERS[vr](text)


def _ends(vr: str, key: str) -> tuple[str, str] | None:
    """Split a range at its hyphen; None when the key is one value."""
    if vr != "DT":
        first, hyphen, last = key.partition("-")
        return (first, last) if hyphen and "-" not in last else None
    key = key.replace(" ", "")
    found = _RANGE_WITH_OFFSET.fullmatch(key)
    single = _DATE_TIME.fullmatch(key)
    # 2024-0500 is the year 2024 in New York, not a range that ends in the year 500 (PS3.5 6.2, DT).
    if not found or (single and single[3] and int(single[3][1:]) <= _LATEST_OFFSET):
        return None
    return found[1] or "", found[2] or ""


def is_range(vr: str, key: str) -> bool:
    """Whether a key of VR DA, TM or DT is a range (PS3.4 C.2.2.2.5)."""
    return _ends(vr, key.strip()) is not None


def key_range(vr: str, key: str, utc: int | None = None) -> Range | None:
    """Read a matching key: a range, or a value, which covers what its precision leaves open.

    None when the key is no date or time.

    Args:
        vr: DA, TM or DT.
        key: as PS3.4 C.2.2.2 writes it.
        utc: minutes east of Greenwich that a DT without an offset is meant in.
    """
    key = key.strip()
    ends = _ends(vr, key)
    if ends is None:
        only = moment(vr, key)
        return Range(only.first, only.last, utc if only.utc is None else only.utc) if only else None
    first, last = (moment(vr, end) if end else Moment("", "") for end in map(str.strip, ends))
    if first is None or last is None or not (first.first or last.last):
        return None
    return _bounded(first, last, utc)


def _bounded(first: Moment, last: Moment, utc: int | None) -> Range:
    """Return the range between two moments, in the zone of the first that names one."""
    zones = [utc if end.utc is None else end.utc for end in (first, last)]
    zone = zones[0] if first.first and zones[0] is not None else zones[1]
    end = last.last
    if end and zone is not None and zones[1] is not None:
        end = shifted(end, zone - zones[1])
    return Range(first.first, end, zone)


def combined_pairs(keys: Mapping[TagPath, str]) -> dict[TagPath, TagPath]:
    """Return the date keys, with their time keys, that mean one range of instants (PS3.18 8.3.4.1.1).

    Both have to be ranges of the same form (PS3.4 C.2.2.2.5.4): other pairs are matched one by one.
    """
    pairs = {}
    for path, key in keys.items():
        time_path = (*path[:-1], _TIME_OF.get(path[-1], ""))
        if combined_range(key, keys.get(time_path, "")):
            pairs[path] = time_path
    return pairs


def combined_range(date_key: str, time_key: str) -> Range | None:
    """Return the instants from the first time on the first date to the last time on the last (PS3.4 C.2.2.2.5.4).

    None when the keys are not ranges of the same form: both closed, or both open at the same end.
    """
    if not (is_range("DA", date_key) and is_range("TM", time_key)):
        return None
    dates, times = key_range("DA", date_key), key_range("TM", time_key)
    if not dates or not times or (not dates.first, not dates.last) != (not times.first, not times.last):
        return None
    return Range(dates.first + times.first, dates.last + times.last)
