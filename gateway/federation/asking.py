"""Asking regions, all at the same time, each as long as its patience lasts or its walk takes."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from zoneinfo import ZoneInfo

from gateway.dataset.attributes import first
from gateway.dataset.matching import Verdict, matcher
from gateway.dataset.query import Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.errors import GatewayError, LimitExceeded, PartlyAnswered, RequestError
from gateway.events import Observer, RegionOperation
from gateway.federation.completeness import COMPLETE, LIMITED, Completeness, RegionState
from gateway.region.profile import Profile
from gateway.region.together import together

MOST_UIDS = 500
"""In one Identifier: an element in Explicit VR has a length of 16 bits (PS3.5 7.1.2), and a UID up to 64 characters."""


class SearchableRegion(Protocol):
    """What a search needs of a region."""

    @property
    def profile(self) -> Profile:
        """What is known of the region."""

    @property
    def patience(self) -> float:
        """Seconds that a search waits for it: its soft deadline, from its own recent latency."""

    @property
    def usual(self) -> float:
        """Seconds that its searches take of late; 0 before anything is known."""

    def walks(self, query: Query) -> bool:
        """Whether it can only answer by many questions, level by level, for which patience is no measure."""

    def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        """Yield each row as the region gives it; raises GatewayError when the region fails or the deadline passes."""


@dataclass(slots=True)
class Answer:
    """What one region gave: its rows up to the moment it ended, and how it ended.

    Attributes:
        profile: the region's.
        rows: those that match, with every key of the caller re-applied.
        unverified: keys that could not be re-applied because the region's rows lack the attribute.
        state: "complete", "limited" or an error's slug.
        parts: of a region that is a federation itself, the names of those that did not answer.
    """

    profile: Profile
    rows: list[Row]
    unverified: set[TagPath]
    state: str = COMPLETE
    parts: tuple[str, ...] = ()


Guard: TypeAlias = Callable[[Profile, Row], bool]
"""Whether a region's row may be shown, beyond what the keys say (trap 23)."""


def open_to_all(profile: Profile, row: Row) -> bool:  # noqa: ARG001
    """Admit every row: the guard where nobody's identity was asked for."""
    return True


class Verdicts:
    """The tests of rows for some questions: most often all regions are asked the same, and it is worked out once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[Query, Callable[[Row], Verdict]]] = {}

    def of(self, query: Query, profile: Profile) -> Callable[[Row], Verdict]:
        """Return the test of a region's rows: its dates and times are in its own zone, unless they say otherwise."""
        key = (id(query), profile.time_zone)
        if key not in self._known:
            self._known[key] = (query, matcher(query, ZoneInfo(profile.time_zone)))
        return self._known[key][1]


async def ask(
    region: SearchableRegion,
    query: Query,
    deadline: Deadline,
    limit: int,
    observer: Observer,
    verdict_on: Callable[[Row], Verdict],
    admits: Guard = open_to_all,
) -> Answer:
    """Search one region and re-apply the caller's keys to its rows (traps 20 and 23); a failure becomes a state.

    Raises:
        RequestError: the region cannot be asked this at all, and the caller should hear why.
    """
    answer = Answer(region.profile, [], set())
    began = time.monotonic()
    first_at: float | None = None
    code = ""
    try:
        async with aclosing(region.search(query, deadline)) as rows:
            async for row in rows:
                verdict = verdict_on(row)
                if not verdict.matches or not admits(answer.profile, row):
                    continue
                if len(answer.rows) == limit:
                    answer.state = LIMITED
                    break
                if first_at is None:
                    first_at = time.monotonic()
                answer.rows.append(row)
                answer.unverified.update(verdict.unverified)
    except RequestError:
        raise
    except LimitExceeded:
        answer.state = LIMITED
    except PartlyAnswered as error:
        answer.state, answer.parts = error.slug, error.parts
    except GatewayError as error:
        answer.state, code = error.slug, error.code
    seconds = time.monotonic() - began
    first_seconds = first_match(answer.state, began, first_at, seconds)
    count = len(answer.rows)
    observer(RegionOperation(region.profile.id, "search", answer.state, seconds, count, first_seconds, code=code))
    return answer


def first_match(state: str, began: float, first_at: float | None, seconds: float) -> float | None:
    """Return how long the first match took, or the answer that there is none; None where neither came."""
    if first_at is not None:
        return first_at - began
    return seconds if state == COMPLETE else None


async def ask_all(
    regions: Sequence[SearchableRegion], query: Query, deadline: Deadline, limit: int, observer: Observer
) -> list[Answer]:
    """Search the regions at the same time; the answers are in the order of the regions."""
    verdicts = Verdicts()
    return await together(
        [ask(region, query, deadline, limit, observer, verdicts.of(query, region.profile)) for region in regions]
    )


class Regions:
    """The regions behind one search.

    Attributes:
        all: each of them, in profile order.
        by_id: each under its profile's id.
        ids: that of each by its AE title.
        limit: rows taken from one region for one question.
        profiles: what is known of each.
        observer: hears of each question.
    """

    def __init__(self, regions: Sequence[SearchableRegion], limit: int, observer: Observer) -> None:
        self.all = tuple(regions)
        self.by_id = {region.profile.id: region for region in regions}
        self.ids = {region.profile.ae_title: region.profile.id for region in regions}
        self.profiles = tuple(region.profile for region in regions)
        self.limit = limit
        self.observer = observer

    async def ask(
        self, questions: Mapping[str, Sequence[Query]], deadline: Deadline, admits: Guard = open_to_all
    ) -> list[Answer]:
        """Ask each region its own questions; return one answer for each that was asked, in profile order.

        The slowest of late is asked first: the search takes as long as it does, and each question that goes out may
        hand our processor to who answers it.

        Raises:
            RequestError: a region cannot be asked this.
        """
        slowest_first = sorted(self.by_id.values(), key=lambda region: region.usual, reverse=True)
        asked = [(region, query) for region in slowest_first for query in questions.get(region.profile.id, ())]
        verdicts = Verdicts()
        answers = await together(
            [
                ask(
                    region,
                    query,
                    deadline if region.walks(query) else deadline.within(region.patience),
                    self.limit,
                    self.observer,
                    verdicts.of(query, region.profile),
                    admits,
                )
                for region, query in asked
            ]
        )
        united: dict[str, Answer] = {}
        for (region, query), answer in zip(asked, answers, strict=True):
            id_ = region.profile.id
            united[id_] = _united(united[id_], answer, UNIQUE_KEYS[query.level]) if id_ in united else answer
        return [united[id_] for id_ in self.by_id if id_ in united]

    def each(self, answers: list[Answer]) -> list[Answer]:
        """Return an answer of every region: one that was not asked has nothing, and is complete."""
        if len(answers) == len(self.all):
            return answers
        by_id = {answer.profile.id: answer for answer in answers}
        return [by_id.get(id_) or Answer(region.profile, [], set()) for id_, region in self.by_id.items()]


def _united(one: Answer, other: Answer, unique_key: str) -> Answer:
    """Join what one region gave to two questions, such as for two identifiers of one patient."""
    seen = {first(row.get(unique_key)) for row in one.rows}
    one.rows += [row for row in other.rows if first(row.get(unique_key)) not in seen]
    one.unverified |= other.unverified
    if one.state == COMPLETE:
        one.state, one.parts = other.state, other.parts
    return one


def completeness(answers: Sequence[Answer]) -> Completeness:
    """Say of each region how it ended and how many matches it gave."""
    states = (
        RegionState(x.profile.id, x.state, len(x.rows) if x.rows or x.state == COMPLETE else None, x.parts)
        for x in answers
    )
    return Completeness("matches", tuple(states))
