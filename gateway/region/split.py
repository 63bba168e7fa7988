"""A region's own cap on its answers, found out and got around by asking again in windows (PS3.4 C.2.2.2.5)."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final, NamedTuple, TypeAlias

from gateway.dataset.dates import key_range, moment
from gateway.dataset.query import Attribute, Level, Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.errors import DimseFailure, LimitExceeded
from gateway.wire.status import OUT_OF_RESOURCES

STUDY, STUDY_DATE, STUDY_TIME, PATIENT_ID = UNIQUE_KEYS[Level.STUDY], "00080020", "00080030", "00100020"

LEAST_SUSPECT: Final = 100
"""Rows. A smaller answer is not taken for one that was cut, whatever its size."""

_ROUND: Final = 50
_FIRST_POWER: Final = 128
_DAY: Final = 86_400

Ask: TypeAlias = Callable[[Query], AsyncGenerator[Row, None]]
"""Runs one query and yields its rows."""


class ResultCap:
    """What is known of how many rows a region returns at the most; held in memory only.

    Attributes:
        cap: that number; 0 when none is known.
    """

    def __init__(self, configured: int = 0) -> None:
        self.cap = configured
        self._is_configured = configured > 0
        self._whole = 0

    def cuts(self, size: int) -> bool:
        """Whether an answer of this size is known to be cut."""
        if size > self.cap and not self._is_configured:
            self.cap = 0  # the region has changed its mind
        return bool(self.cap) and size >= self.cap

    def may_cut(self, size: int) -> bool:
        """Whether the size alone makes an answer suspect: a round number, and no whole one was larger."""
        is_round = size % _ROUND == 0 or (size >= _FIRST_POWER and size.bit_count() == 1)
        return not self.cap and size >= LEAST_SUSPECT and is_round and size > self._whole

    def found(self, size: int) -> None:
        """Note that an answer of this size was cut."""
        self.cap = size

    def refuted(self, size: int) -> None:
        """Note that an answer of this size was whole."""
        self._whole = max(self._whole, size)


class Span(NamedTuple):
    """Days as ordinals, or seconds of a day, both ends included; None is an open end."""

    first: int | None = None
    last: int | None = None

    def holds(self, point: int) -> bool:
        """Whether a day or second lies in it."""
        return (self.first is None or self.first <= point) and (self.last is None or point <= self.last)

    def halves(self, points: Sequence[int]) -> tuple["Span", "Span"] | None:
        """Cut it where as many of its points lie on either side; None when it cannot be cut."""
        if self.first is not None and self.first == self.last:
            return None
        inside = sorted(point for point in points if self.holds(point))
        if not inside:
            return None
        middle = inside[(len(inside) - 1) // 2]
        if self.last is not None:
            middle = min(middle, self.last - 1)
        return Span(self.first, middle), Span(middle + 1, self.last)


@dataclass(frozen=True, slots=True)
class Window:
    """Studies of some days; or of some seconds of one day."""

    days: Span
    seconds: Span | None = None

    def halves(self, answer: "Answer") -> Iterator["Window"]:
        """Yield the two halves to ask for, by day while there are several; none when it is not known where to cut."""
        days = self.days.halves(answer.days)
        if days:
            yield from (Window(half) for half in days)
        elif self.days.first is not None and self.days.first == self.days.last:
            seconds = self.seconds or Span(0, _DAY - 1)
            yield from (Window(self.days, half) for half in seconds.halves(answer.seconds) or ())

    def of(self, query: Query) -> Query:
        """Return the query for what is in the window."""
        keys: dict[TagPath, str] = {**query.keys, (STUDY_DATE,): "-".join(map(_day, self.days))}
        if self.days.first is not None and self.days.first == self.days.last:
            keys[STUDY_DATE,] = _day(self.days.first)
            keys.pop((STUDY_TIME,), None)  # the caller's is matched again
            if self.seconds:
                keys[STUDY_TIME,] = f"{_second(self.seconds.first)}-{_second(self.seconds.last)}.999999"
        return replace(query, keys=keys)


def _day(ordinal: int | None) -> str:
    return date.fromordinal(ordinal).strftime("%Y%m%d") if ordinal else ""


def _second(number: int | None) -> str:
    seconds = number or 0
    return f"{seconds // 3600:02}{seconds // 60 % 60:02}{seconds % 60:02}"


def _ordinal(text: str) -> int | None:
    """Return the day of a date as the DICOM text begins; None for one that no calendar has."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal()
    except ValueError:
        return None


@dataclass(slots=True)
class Answer:
    """What one C-FIND gave, as far as it matters here.

    Attributes:
        failure: the status that ended it, if it was A700 behind some rows.
    """

    failure: DimseFailure | None = None
    _at: list[tuple[Attribute | None, Attribute | None]] = field(default_factory=list)

    def note(self, row: Row) -> None:
        """Count a row; when its study was made is read only where an answer turns out to be cut."""
        self._at.append((row.get(STUDY_DATE), row.get(STUDY_TIME)))

    @property
    def size(self) -> int:
        """The number of its rows."""
        return len(self._at)

    @property
    def days(self) -> list[int]:
        """The days of its studies as ordinals, as far as they say."""
        days = (moment("DA", _first(date)) for date, _ in self._at)
        return [ordinal for day in days if day and (ordinal := _ordinal(day.first)) is not None]

    @property
    def seconds(self) -> list[int]:
        """The seconds of the day of its studies, as far as they say."""
        clocks = (time.first for _, at in self._at if (time := moment("TM", _first(at))))
        return [int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + int(clock[4:6]) for clock in clocks]


def _first(attribute: Attribute | None) -> str:
    values = attribute.get("Value") if attribute else None
    return str(values[0]) if values else ""


class Split:
    """One search at STUDY level, asked again in ever smaller windows of StudyDate while its answers are cut short.

    What the first answer had stands, also studies without a date; each study is yielded once.
    """

    def __init__(self, ask: Ask, cap: ResultCap, *, max_searches: int, max_rows: int) -> None:
        self._ask = ask
        self._cap = cap
        self._searches_left = max_searches
        self._max_rows = max_rows
        self._seen: set[tuple[str, str]] = set()

    async def rows(self, query: Query) -> AsyncGenerator[Row, None]:
        """Yield each study that the region holds, as it comes.

        Raises:
            LimitExceeded: it holds more than can be asked for within the limits; what was yielded is good.
        """
        query = replace(query, include=query.include | {(STUDY_DATE,), (STUDY_TIME,), (PATIENT_ID,)})
        first = Answer()
        async with aclosing(self._answer(query, first)) as rows:
            async for row in rows:
                self._seen.add(entity(row))
                yield row
        if _asked_for(query) and first.size >= _asked_for(query):
            return
        if not self._is_cut(first) and not self._cap.may_cut(first.size):
            self._cap.refuted(first.size)
            return
        async with aclosing(self._windows(query, first)) as rows:
            async for row in rows:
                yield row

    def _is_cut(self, answer: Answer) -> bool:
        return answer.failure is not None or self._cap.cuts(answer.size)

    async def _answer(self, query: Query, answer: Answer) -> AsyncGenerator[Row, None]:
        """Yield the rows of one C-FIND, and note them."""
        try:
            async with aclosing(self._ask(query)) as rows:
                async for row in rows:
                    answer.note(row)
                    yield row
        except DimseFailure as error:
            if error.status != OUT_OF_RESOURCES or not answer.size:
                raise
            answer.failure = error

    async def _new(self, query: Query, answer: Answer) -> AsyncGenerator[Row, None]:
        """Yield the rows of one C-FIND that no answer before it had."""
        if not self._searches_left:
            raise LimitExceeded("a region cuts its answers short: add a StudyDate range", limit="split_searches")
        self._searches_left -= 1
        async with aclosing(self._answer(query, answer)) as rows:
            async for row in rows:
                if entity(row) in self._seen:
                    continue
                if len(self._seen) >= self._max_rows:
                    raise LimitExceeded("a region returns more than is allowed", limit="max_matches")
                self._seen.add(entity(row))
                yield row

    async def _windows(self, query: Query, first: Answer) -> AsyncGenerator[Row, None]:
        """Yield what the two halves of the search have that the first answer had not, and so on while they are cut.

        The first new study proves the suspicion that the first answer was cut; none at all refutes it.
        """
        is_proven = self._is_cut(first)
        waiting = list(Window(_bounds(query)).halves(first))
        stuck = None if waiting else first
        while waiting and not stuck:
            part, answer = waiting.pop(), Answer()
            async with aclosing(self._new(part.of(query), answer)) as rows:
                async for row in rows:
                    if not is_proven:
                        self._cap.found(first.size)
                        is_proven = True
                    yield row
            halves = list(part.halves(answer)) if self._is_cut(answer) else []
            # Where StudyDate is ignored, no window would ever be smaller, and nothing is proved by it.
            if not all(map(part.days.holds, answer.days)) or (self._is_cut(answer) and not halves):
                stuck = answer
            waiting += halves
        if stuck and is_proven:
            raise _cannot_be_split(stuck)
        if not stuck and not is_proven:
            self._cap.refuted(first.size)


def entity(row: Row) -> tuple[str, str]:
    """Return what tells a row from others; a region may hold one Study Instance UID for two patients."""
    return _first(row.get(STUDY)), _first(row.get(PATIENT_ID))


def _cannot_be_split(answer: Answer) -> LimitExceeded:
    error = LimitExceeded("a region cuts its answers short, and no StudyDate parts them: add a key", limit="result_cap")
    error.__cause__ = answer.failure
    return error


def _bounds(query: Query) -> Span:
    """Return the days that the caller's own key allows."""
    wanted = key_range("DA", query.keys.get((STUDY_DATE,), ""))
    if wanted is None:
        return Span()
    first, last = _ordinal(wanted.first) if wanted.first else None, _ordinal(wanted.last) if wanted.last else None
    return Span(first, last)


def names_one_study(query: Query) -> bool:
    """Whether a query can find one study only."""
    return _asked_for(query) == 1


def _asked_for(query: Query) -> int:
    """Return how many studies a query names by UID; 0 when it names none."""
    key = query.keys.get((STUDY,), "")
    return len(key.split("\\")) if key.strip("*") else 0
