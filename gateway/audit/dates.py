"""Times of a search in the log, from FHIR's date parameter (R4 3.1.1.4.5) and from days."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.audit.index import Span
from gateway.errors import RequestError

_PARAMETER: Final = re.compile(r"(eq|ge|gt|le|lt)?(\d{4}-\d\d-\d\d)(T\S+)?", re.ASCII)


def span(values: Iterable[str]) -> Span:
    """Return the time that all values of a date parameter name.

    Raises:
        RequestError: one is no date, or has a prefix other than eq, ge, gt, le, lt.
    """
    begin, end = "", ""
    for value in values:
        first, behind, prefix = _range(value)
        if prefix in {"ge", "eq"}:
            begin = max(begin, first)
        if prefix == "gt":
            begin = max(begin, behind)
        limit = {"le": behind, "eq": behind, "lt": first}.get(prefix, "")
        end = min(filter(None, (end, limit)), default="")
    return Span(begin, end)


def _range(value: str) -> tuple[str, str, str]:
    match = _PARAMETER.fullmatch(value)
    prefix, day, clock = match.groups() if match else ("", "", "")
    try:
        moment = datetime.fromisoformat(day + (clock or ""))
    except ValueError:
        raise RequestError(
            f"the date {value[:40]!r} is none: expected such as ge2026-01-31 or lt2026-02-01T00:00:00Z"
        ) from None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    length = timedelta(seconds=1) if clock else timedelta(days=1)
    return _told(moment), _told(moment + length), prefix or "eq"


def _told(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")[:-6] + "Z"
