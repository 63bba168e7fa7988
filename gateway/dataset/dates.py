"""Dates and times as matching keys and as values (PS3.5 6.2 DA, TM, DT; PS3.4 C.2.2.2.1 and C.2.2.2.5)."""

import re
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

_DATE_TIME: Final = re.compile(r"(\d{4,14})(\.\d{1,6})?([+-]\d{4})?")
_RANGE_WITH_OFFSET: Final = re.compile(
    r"(\d{4,14}(?:\.\d{1,6})?(?:[+-]\d{4})?)?-(\d{4,14}(?:\.\d{1,6})?(?:[+-]\d{4})?)?"
)
_LATEST_OFFSET: Final = 1400
_EARLIEST: Final = "00000101000000"


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
            instant = _shifted(instant, self.utc - utc)
        return (not self.first or self.first <= instant) and (not self.last or instant <= self.last)


def _shifted(digits: str, minutes: int) -> str:
    """Move an instant to another zone; one that no calendar has stays where it is."""
    try:
        instant = datetime.strptime(digits[:14], "%Y%m%d%H%M%S") + timedelta(minutes=minutes)  # noqa: DTZ007
    except (ValueError, OverflowError):
        return digits
    return instant.strftime("%Y%m%d%H%M%S") + digits[14:]


def _date(text: str) -> Moment | None:
    digits = re.sub(r"[-./: ]", "", text.strip())
    if not re.fullmatch(r"\d{4}(\d\d){0,2}", digits, re.ASCII):
        return None
    return Moment(digits.ljust(8, "0"), digits.ljust(8, "9"))


def _time(text: str) -> Moment | None:
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
    found = _RANGE_WITH_OFFSET.fullmatch(key)
    single = _DATE_TIME.fullmatch(key)
    # 2024-0500 is the year 2024 in New York, not a range that ends in the year 500 (PS3.5 6.2, DT).
    if not found or (single and single[3] and int(single[3][1:]) <= _LATEST_OFFSET):
        return None
    return found[1] or "", found[2] or ""


def is_range(vr: str, key: str) -> bool:
    """Whether a key of VR DA, TM or DT is a range (PS3.4 C.2.2.2.5)."""
    return _ends(vr, key.strip()) is not None


def key_range(vr: str, key: str) -> Range | None:
    """Read a matching key: a range, or a value, which covers what its precision leaves open.

    None when the key is no date or time.
    """
    key = key.strip()
    ends = _ends(vr, key)
    if ends is None:
        only = moment(vr, key)
        return Range(only.first, only.last, only.utc) if only else None
    first, last = (moment(vr, end) if end else Moment("", "") for end in ends)
    if first is None or last is None or not (first.first or last.last):
        return None
    return Range(first.first, last.last, first.utc if first.utc is not None else last.utc)


def combined_pairs(keys: Mapping[TagPath, str]) -> dict[TagPath, TagPath]:
    """Return the date keys, with their time keys, that mean one range of instants (PS3.18 8.3.4.1.1)."""
    pairs = {}
    for path, key in keys.items():
        time_path = (*path[:-1], _TIME_OF.get(path[-1], ""))
        time_key = keys.get(time_path, "")
        if time_key and is_range("DA", key) and is_range("TM", time_key):
            pairs[path] = time_path
    return pairs


def combined_range(date_key: str, time_key: str) -> Range | None:
    """Return the instants from the first time on the first date to the last time on the last (PS3.4 C.2.2.2.5.4)."""
    dates, times = key_range("DA", date_key), key_range("TM", time_key)
    if not dates or not times:
        return None
    first = dates.first + (times.first or "0" * 12) if dates.first else ""
    last = dates.last + (times.last or "9" * 12) if dates.last else ""
    return Range(first, last)
