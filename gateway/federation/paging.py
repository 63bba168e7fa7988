"""The one order of an answer, and the page cut from it (PS3.18 8.3.4.4)."""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from gateway.dataset.attributes import first
from gateway.dataset.query import Level, Row
from gateway.dataset.required import UNIQUE_KEYS

STUDY_DATE, STUDY_TIME = "00080020", "00080030"
SERIES_NUMBER, INSTANCE_NUMBER = "00200011", "00200013"
NUMBERS = {Level.SERIES: SERIES_NUMBER, Level.IMAGE: INSTANCE_NUMBER}

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,12}\s*")  # PS3.5 6.2: an Integer String has 12 characters at the most

_Place: TypeAlias = Callable[[Row], tuple[Any, ...]]


def ordered(rows: list[Row], level: Level) -> list[Row]:
    """Sort rows the same way whatever order the regions answered in.

    Studies by date and time, newest first, then UID; series and instances by number, then UID; one without a
    number comes last. No value is so malformed that it has no place.
    """
    unique_key = UNIQUE_KEYS[level]
    by_uid = sorted(rows, key=lambda row: str(first(row.get(unique_key)) or ""))
    if level is Level.STUDY:
        by_uid.sort(key=_moment, reverse=True)
    else:
        by_uid.sort(key=_number_of(NUMBERS[level]))
    return by_uid


def page(rows: list[Row], offset: int, limit: int | None, max_results: int) -> tuple[list[Row], int]:
    """Cut one page; return it and how many rows remain behind it."""
    size = max_results if limit is None else min(limit, max_results)
    cut = rows[offset : offset + size]
    return cut, max(0, len(rows) - offset - len(cut))


def _moment(row: Row) -> tuple[str, str]:
    """Return date and time without the punctuation of ACR-NEMA, which real archives still give."""
    date, time = first(row.get(STUDY_DATE)), first(row.get(STUDY_TIME))
    return str(date or "").replace(".", ""), str(time or "").replace(":", "")


def _number_of(tag: str) -> _Place:
    def number(row: Row) -> tuple[bool, float]:
        value = first(row.get(tag))
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        # Not a Number is greater than nothing and less than nothing: it would undo the order of all others.
        usable = isinstance(value, int | float) and value == value  # noqa: PLR0124
        return (False, value) if usable else (True, 0)

    return number
