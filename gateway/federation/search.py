"""A Search transaction over all regions (PS3.18 10.6)."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from gateway.dataset.dictionary import keyword_of
from gateway.dataset.matching import matcher
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.errors import GatewayError, LimitExceeded, NoRegionAnswered
from gateway.events import IdentityConflict, Observer, RegionOperation
from gateway.federation import identity
from gateway.federation.completeness import COMPLETE, LIMITED, Completeness, RegionState
from gateway.federation.merge import Merged, merge
from gateway.federation.paging import first, ordered, page
from gateway.region.profile import Profile

STUDY_INSTANCE_UID = UNIQUE_KEYS[Level.STUDY]


class SearchableRegion(Protocol):
    """What a search needs of a region."""

    @property
    def profile(self) -> Profile:
        """What is known of the region."""

    def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        """Yield each row as the region gives it; raises GatewayError when the region fails or the deadline passes."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of the merged rows, and how far they can be trusted.

    Attributes:
        rows: merged, ordered, cut.
        remaining: matches behind this page.
        completeness: the state of each region.
        warnings: what the caller should hear, beside what completeness says.
    """

    rows: list[Row]
    remaining: int
    completeness: Completeness
    warnings: tuple[str, ...]


@dataclass(slots=True)
class Answer:
    """What one region gave: its rows up to the moment it ended, and how it ended.

    Attributes:
        profile: the region's.
        rows: those that match, with every key of the caller re-applied.
        unverified: keys that could not be re-applied because the region's rows lack the attribute.
        state: "complete", "limited" or an error's slug.
    """

    profile: Profile
    rows: list[Row]
    unverified: set[TagPath]
    state: str = COMPLETE


async def ask(region: SearchableRegion, query: Query, deadline: Deadline, limit: int, observer: Observer) -> Answer:
    """Search one region and re-apply the caller's keys to its rows (traps 20 and 23); a failure becomes a state."""
    answer = Answer(region.profile, [], set())
    verdict_on = matcher(query)
    began = time.monotonic()
    try:
        async with aclosing(region.search(query, deadline)) as rows:
            async for row in rows:
                verdict = verdict_on(row)
                if verdict.matches:
                    answer.rows.append(row)
                    answer.unverified.update(verdict.unverified)
                    if len(answer.rows) >= limit:
                        answer.state = LIMITED
                        break
    except LimitExceeded:
        answer.state = LIMITED
    except GatewayError as error:
        answer.state = error.slug
    seconds = time.monotonic() - began
    observer(RegionOperation(region.profile.id, "search", answer.state, seconds, len(answer.rows)))
    return answer


async def ask_all(
    regions: Sequence[SearchableRegion], query: Query, deadline: Deadline, limit: int, observer: Observer
) -> list[Answer]:
    """Search the regions at the same time; the answers are in the order of the regions."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(region, query, deadline, limit, observer)) for region in regions]
    return [task.result() for task in tasks]


def completeness(answers: Sequence[Answer]) -> Completeness:
    """Say of each region how it ended and how many matches it gave."""
    states = (
        RegionState(x.profile.id, x.state, len(x.rows) if x.rows or x.state == COMPLETE else None) for x in answers
    )
    return Completeness("matches", tuple(states))


class FederatedSearch:
    """Asks every region at once and makes one ordered answer of what they say."""

    def __init__(
        self,
        regions: Sequence[SearchableRegion],
        observer: Observer,
        *,
        soft_seconds: float = 8.0,
        max_results: int = 1000,
        max_matches_per_region: int = 10_000,
    ) -> None:
        self._regions = tuple(regions)
        self._observer = observer
        self._soft_seconds = soft_seconds
        self._max_results = max_results
        self._max_matches = max_matches_per_region

    async def search(self, query: Query, deadline: Deadline) -> SearchResult:
        """Return one page of the province's matches.

        Raises:
            NoRegionAnswered: not one region answered, and none had given a row before it failed.
        """
        soft = deadline.within(self._soft_seconds)
        answers = await ask_all(self._regions, query, soft, self._max_matches, self._observer)
        states = completeness(answers)
        if states.failed and not any(answer.rows for answer in answers):
            raise NoRegionAnswered("no region answered", federation_status=states.header())
        if query.level is Level.STUDY:
            await self._identify(answers, soft)
        merged = merge(query.level, [(answer.profile, answer.rows) for answer in answers])
        rows, remaining = page(ordered(merged.rows, query.level), query.offset, query.limit, self._max_results)
        for row in rows:
            row.pop(identity.ORIGINAL_ATTRIBUTES, None)
        return SearchResult(rows, remaining, states, tuple(self._warnings(query, answers, merged)))

    async def _identify(self, answers: Sequence[Answer], deadline: Deadline) -> None:
        """Add to each study that several regions hold what tells whose it is and which is a copy."""
        holders = Counter(first(row.get(STUDY_INSTANCE_UID)) for answer in answers for row in answer.rows)
        shared = {str(uid) for uid, count in holders.items() if uid and count > 1}
        if not shared:
            return
        keys: dict[TagPath, str] = {(STUDY_INSTANCE_UID,): "\\".join(sorted(shared))}
        query = Query(Level.STUDY, keys=keys, include=identity.PATIENT_KEYS | identity.RETURN_KEYS, bare=True)
        told = await ask_all(self._regions, query, deadline, len(shared), self._observer)
        for answer, more in zip(answers, told, strict=True):
            known = {first(row.get(STUDY_INSTANCE_UID)): row for row in more.rows}
            for row in answer.rows:
                identity.complete(row, known.get(first(row.get(STUDY_INSTANCE_UID)), {}))

    def _warnings(self, query: Query, answers: Sequence[Answer], merged: Merged) -> list[str]:
        warnings = list(query.warnings)
        for key in sorted(set().union(*(answer.unverified for answer in answers))):
            regions = ", ".join(answer.profile.id for answer in answers if key in answer.unverified)
            warnings.append(f"{_spelt(key)} is not in rows of {regions}: it could not be verified there")
        for kept, suppressed in dict.fromkeys(merged.conflicts):
            self._observer(IdentityConflict(kept, suppressed))
            warnings.append(
                f"identity conflict: studies of {suppressed} are left out because {kept} holds them for another patient"
            )
        return warnings


def _spelt(path: TagPath) -> str:
    """Return a key as a caller would write it, with the keywords of PS3.6."""
    return ".".join(keyword_of(tag) for tag in path)
