"""The one order of an answer, and the page cut from it (PS3.18 8.3.4.4)."""

from collections.abc import Callable
from typing import Any

from gateway.dataset.query import Attribute, Level, Row
from gateway.dataset.required import UNIQUE_KEYS

STUDY_DATE, STUDY_TIME = "00080020", "00080030"
SERIES_NUMBER, INSTANCE_NUMBER = "00200011", "00200013"


def ordered(rows: list[Row], level: Level) -> list[Row]:
    """Sort rows the same way whatever order the regions answered in.

    Studies by date and time, newest first, then UID; series and instances by number, then UID; one without a
    number comes last.
    """
    by_uid = sorted(rows, key=lambda row: first(row.get(UNIQUE_KEYS[level])) or "")
    if level is Level.STUDY:
        return sorted(by_uid, key=_moment, reverse=True)
    numbered = _number_of(SERIES_NUMBER if level is Level.SERIES else INSTANCE_NUMBER)
    return sorted(by_uid, key=numbered)


def page(rows: list[Row], offset: int, limit: int | None, max_results: int) -> tuple[list[Row], int]:
    """Cut one page; return it and how many rows remain behind it."""
    size = max_results if limit is None else min(limit, max_results)
    cut = rows[offset : offset + size]
    return cut, max(0, len(rows) - offset - len(cut))


def first(attribute: Attribute | None) -> Any:
    """Return the first value of an attribute, None where there is none."""
    values = attribute.get("Value") if attribute else None
    return values[0] if values else None


def _moment(row: Row) -> tuple[str, str]:
    return str(first(row.get(STUDY_DATE)) or ""), str(first(row.get(STUDY_TIME)) or "")


def _number_of(tag: str) -> Callable[[Row], tuple[bool, float]]:
    def number(row: Row) -> tuple[bool, float]:
        value = first(row.get(tag))
        return (False, value) if isinstance(value, int | float) else (True, 0)

    return number
