"""Dates and times of a row against keys, where one attribute alone does not say when (PS3.4 C.2.2.2.5)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from gateway.dataset.dates import Range, moment, shifted
from gateway.dataset.query import Row
from gateway.dataset.zones import local_offset


class Answer(Enum):
    """What one key says of one row."""

    NO = 0
    YES = 1
    UNKNOWN = 2


Check: TypeAlias = Callable[[Row], Answer]

_MIDNIGHT: Final = "000000000000"
_LAST_MOMENT: Final = "235959999999"
_ANY_DAY: Final = "20000101"


class Clocks(NamedTuple):
    """Whose times are compared.

    Attributes:
        caller: minutes east of Greenwich in which the keys are meant; None where the caller names none.
        zone: of the rows that do not say; None where it is not known.
    """

    caller: int | None
    zone: ZoneInfo | None

    def instant(self, row: Row, date: str, time: str) -> str:
        """Return a date and time of a row as the caller's clocks show it, or as it is where nobody knows."""
        if self.caller is None:
            return date + time
        offset = local_offset(row, self.zone, date, time)
        return date + time if offset is None else shifted(date + time, self.caller - offset)


def whole_days(wanted: Range) -> Range:
    """Return a range of dates as one of instants."""
    return Range(wanted.first and wanted.first + _MIDNIGHT, wanted.last and wanted.last + "9" * 12)


def instant_check(date_tag: str, time_tag: str, wanted: Sequence[Range], clocks: Clocks) -> Check:
    """Return the check of a date and its time as one instant.

    Without a time, only a day that is wholly in or wholly out is known to be so.
    """

    def check(row: Row) -> Answer:
        attribute = row.get(date_tag)
        if attribute is None:
            return Answer.UNKNOWN
        times = _values(row, time_tag)
        spans = (
            _span(row, value, times[at] if at < len(times) else None, clocks)
            for at, value in enumerate(_values(row, date_tag))
        )
        return any_of(_overlap(span, wanted) if span else Answer.UNKNOWN for span in spans)

    return check


def any_of(answers: Iterable[Answer]) -> Answer:
    """Return what several values, or items, say together: one that matches is enough."""
    best = Answer.NO
    for answer in answers:
        if answer is Answer.YES:
            return answer
        if answer is Answer.UNKNOWN:
            best = answer
    return best


def _values(row: Row, tag: str) -> Sequence[Any]:
    attribute = row.get(tag)
    return attribute.get("Value", ()) if attribute else ()


def _span(row: Row, date: Any, time: Any, clocks: Clocks) -> tuple[str, str] | None:
    """Return the first and the last instant that a date and its time may mean; None when the date is none."""
    day = moment("DA", str(date))
    if day is None:
        return None
    clock = moment("TM", str(time)) if time is not None else None
    if clock:
        instant = clocks.instant(row, day.first, clock.first)
        return instant, instant
    return clocks.instant(row, day.first, _MIDNIGHT), clocks.instant(row, day.first, _LAST_MOMENT)


def _overlap(span: tuple[str, str], wanted: Sequence[Range]) -> Answer:
    first, last = span
    answer = Answer.NO
    for instants in wanted:
        if instants.holds(first) and instants.holds(last):
            return Answer.YES
        if (not instants.first or instants.first <= last) and (not instants.last or first <= instants.last):
            answer = Answer.UNKNOWN
    return answer


def time_check(tag: str, date_tag: str, wanted: Sequence[Range], clocks: Clocks) -> Check:
    """Return the check of a time of day as the caller's clocks show it, midnight included (PS3.4 C.2.2.2.5.2)."""

    def instants(row: Row) -> Iterator[str | None]:
        dates = _values(row, date_tag)
        for at, value in enumerate(_values(row, tag)):
            clock = moment("TM", str(value))
            day = moment("DA", str(dates[at])) if at < len(dates) else None
            offset = local_offset(row, clocks.zone, day and day.first, clock.first) if clock else None
            if clock is None or (offset is None and clocks.zone):
                yield None
            else:
                minutes = 0 if offset is None or clocks.caller is None else clocks.caller - offset
                yield shifted((day.first if day else _ANY_DAY) + clock.first, minutes)

    return _instants_check(tag, instants, lambda instant: any(times.holds(instant[8:]) for times in wanted))


def date_time_check(tag: str, wanted: Sequence[Range], clocks: Clocks) -> Check:
    """Return the check of a DT, whose own offset comes before the row's and the region's (PS3.4 C.2.2.2.5.3)."""

    def instants(row: Row) -> Iterator[tuple[str, int | None] | None]:
        for value in _values(row, tag):
            at = moment("DT", str(value))
            if at is None:
                yield None
            elif at.utc is None:
                yield at.first, local_offset(row, clocks.zone, at.first[:8], at.first[8:])
            else:
                yield at.first, at.utc

    return _instants_check(tag, instants, lambda instant: any(times.holds(*instant) for times in wanted))


def _instants_check(tag: str, read: Callable[[Row], Iterator[Any]], holds: Callable[[Any], bool]) -> Check:
    def check(row: Row) -> Answer:
        if tag not in row:
            return Answer.UNKNOWN
        return any_of(Answer.UNKNOWN if instant is None else Answer(holds(instant)) for instant in read(row))

    return check
