"""Time zones of rows and of callers (PS3.3 C.12.1.1.8 Timezone Offset From UTC, PS3.4 C.2.2.2.5).

Offsets are minutes east of Greenwich. A row's dates and times are in its own offset where it names one,
else in the zone of the region that gave it, daylight saving time by the row's date. They are compared in
another zone, and never rewritten.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from gateway.dataset.dates import date_of, instant, is_day, key_range, moment, time_of
from gateway.dataset.dictionary import vr_of
from gateway.dataset.query import Query, Row, TagPath

TIMEZONE_OFFSET_FROM_UTC: Final = "00080201"
_OFFSET: Final = re.compile(r"[+-](0\d|1[0-4])[0-5]\d", re.ASCII)
_DATES: Final = ("00080020", "00080021", "00080022", "00080023", "00080012", "00400244")
"""Dates that may say when a row is from, the study's first; a series row has that of its Performed Procedure Step."""

_DAY: Final = timedelta(days=1)
_LONGEST: Final = 366
_UNIVERSAL: Final = ""


@lru_cache(maxsize=256)
def minutes_east(text: str) -> int | None:
    """Read an offset such as -0500; None for what is none."""
    text = text.strip()
    if not _OFFSET.fullmatch(text):
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return -minutes if text[0] == "-" else minutes


def offset(row: Row, zone: ZoneInfo) -> str | None:
    """Return what a row's Timezone Offset From UTC is by the zone of its region, such as -0500.

    None where the row has no date, or only the day on which the clocks change without the time of day.
    """
    for tag in _DATES:
        date = _first(row, tag, "DA")
        if date:
            minutes = _of_day(zone, date)
            if minutes is None:
                time = _first(row, time_of(tag) or "", "TM")
                minutes = _minutes(zone, date, time) if time else None
            return None if minutes is None else _text(minutes)
    return None


def _first(row: Row, tag: str, vr: str) -> str | None:
    """Return the first value of a date or time in digits; None where there is none that can be read."""
    attribute = row.get(tag)
    values = attribute.get("Value") if attribute else None
    if not values:
        return None
    text = str(values[0])
    if vr == "DA" and is_day(text):
        return text
    read = moment(vr, text)
    return read.first if read else None


@lru_cache(maxsize=256)
def _text(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}{rest:02d}"


def local_offset(row: Row, zone: ZoneInfo | None, date: str | None, time: str) -> int | None:
    """Return the offset of a date and time of a row: the row's own, else that of the zone; None when unknown."""
    own = row.get(TIMEZONE_OFFSET_FROM_UTC)
    if own:
        values = own.get("Value")
        minutes = minutes_east(values[0]) if values and isinstance(values[0], str) else None
        if minutes is not None:
            return minutes
    return _minutes(zone, date, time) if zone and date else None


def _minutes(zone: ZoneInfo, date: str, time: str) -> int | None:
    minutes = _of_day(zone, date)
    if minutes is not None:
        return minutes
    at = instant(date + time)
    return None if at is None else _at(zone, at)


@lru_cache(maxsize=8192)
def _of_day(zone: ZoneInfo, date: str) -> int | None:
    """Return the offset that holds all day; None on a day when the clocks change."""
    at = instant(date + "000000")
    if at is None:
        return None
    first, last = _at(zone, at), _at(zone, at.replace(hour=23, minute=59, second=59))
    return first if first == last else None


def _at(zone: ZoneInfo, local: datetime) -> int:
    """Return the offset at a local time; of one that the clocks show twice, the first (PEP 495)."""
    delta = zone.utcoffset(local)
    return 0 if delta is None else round(delta.total_seconds() / 60)


# --- what a region is asked


def upstream(query: Query, zone: ZoneInfo) -> Query:
    """Return the query as a region in this zone is to be asked, which compares dates as they are written.

    It never matches less among dates and times of the region's zone: date keys reach into the next day where
    the caller's zone and the region's differ, and there the keys of times of day are left to ``matching``. A
    row whose own offset is another than its region's may be missed at the ends of a range.
    """
    caller = query.utc_offset
    if caller is None:
        return query
    keys = {path: _asked(query, path, key, zone, caller) for path, key in query.keys.items()}
    return replace(query, keys=keys, utc_offset=None)


def _asked(query: Query, path: TagPath, key: str, zone: ZoneInfo, caller: int) -> str:
    vr = vr_of(path[-1])
    if vr == "DA" and time_of(path[-1]):
        return "\\".join(_widened(part, zone, caller) for part in key.split("\\"))
    if vr == "TM" and (date_tag := date_of(path[-1])):
        dates = query.keys.get((*path[:-1], date_tag), _UNIVERSAL)
        return key if _same_clock(dates, zone, caller) else _UNIVERSAL
    return _UNIVERSAL if vr == "DT" else key


def _same_clock(dates: str, zone: ZoneInfo, caller: int) -> bool:
    """Whether the region's clocks show the caller's time on all days of a date key; false where that is not known."""
    wanted = key_range("DA", dates)
    if not wanted or not wanted.first or not wanted.last:
        return False
    first, last = instant(wanted.first + "000000"), instant(wanted.last + "000000")
    if first is None or last is None or (last - first).days > _LONGEST:
        return False
    return all(_at(zone, at) == caller for at in _around(first, last))


def _around(first: datetime, last: datetime) -> Iterator[datetime]:
    """Yield each midnight from the day before to the end of the day after."""
    for days in range(-1, (last - first).days + 3):
        try:
            yield first + days * _DAY
        except OverflowError:
            return


def _widened(key: str, zone: ZoneInfo, caller: int) -> str:
    wanted = key_range("DA", key)
    if not wanted:
        return key
    first = _region_day(wanted.first + "000000", zone, caller, earliest=True) if wanted.first else ""
    last = _region_day(wanted.last + "235959", zone, caller, earliest=False) if wanted.last else ""
    if first == wanted.first and last == wanted.last:
        return key
    return first if first == last else f"{first}-{last}" if first or last else _UNIVERSAL


def _region_day(digits: str, zone: ZoneInfo, caller: int, *, earliest: bool) -> str:
    """Return the region's date at a moment of the caller's; empty where the calendar ends.

    Clocks that change within a day of it count in both settings: a local time shown twice, or never, may be
    meant either way.
    """
    at = instant(digits)
    if at is None:
        return ""
    try:
        utc = at - timedelta(minutes=caller)
        around = [(utc + days * _DAY).replace(tzinfo=UTC) for days in (-1, 0, 1)]
        days = [utc + (time.astimezone(zone).utcoffset() or timedelta()) for time in around]
    except OverflowError:
        return ""
    day = min(days) if earliest else max(days)
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"
