"""A Search transaction over all regions (PS3.18 10.6)."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Sequence
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
from gateway.federation.identity import UNLINKED, Links, PatientIdentifier
from gateway.federation.issuers import Issuers
from gateway.federation.merge import Merged, merge, one_patient
from gateway.federation.paging import first, ordered, page
from gateway.federation.patients import NoIdentitySource, Patients, Questions
from gateway.region.profile import Profile

STUDY_INSTANCE_UID = UNIQUE_KEYS[Level.STUDY]

MOST_UIDS = 500
"""In one Identifier: an element in Explicit VR has a length of 16 bits (PS3.5 7.1.2), and a UID up to 64 characters."""


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


async def ask(
    region: SearchableRegion,
    query: Query,
    deadline: Deadline,
    limit: int,
    observer: Observer,
    questions: Questions | None = None,
) -> Answer:
    """Search one region and re-apply the caller's keys to its rows (traps 20 and 23); a failure becomes a state."""
    answer = Answer(region.profile, [], set())
    verdict_on = matcher(query)
    began = time.monotonic()
    try:
        async with aclosing(region.search(query, deadline)) as rows:
            async for row in rows:
                verdict = verdict_on(row)
                if not verdict.matches or (questions and not questions.admits(region.profile, row)):
                    continue
                if len(answer.rows) == limit:
                    answer.state = LIMITED
                    break
                answer.rows.append(row)
                answer.unverified.update(verdict.unverified)
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


async def ask_of(
    regions: Sequence[SearchableRegion], questions: Questions, deadline: Deadline, limit: int, observer: Observer
) -> list[Answer]:
    """Ask each region its own questions at the same time; who has none is complete without a match."""
    asked = [(region, query) for region in regions for query in questions.of.get(region.profile.id, ())]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(region, query, deadline, limit, observer, questions)) for region, query in asked]
    answers = {region.profile.id: Answer(region.profile, [], set()) for region in regions}
    for task in tasks:
        told = task.result()
        answer = answers[told.profile.id]
        answer.rows += told.rows
        answer.unverified |= told.unverified
        answer.state = told.state if answer.state == COMPLETE else answer.state
    return list(answers.values())


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
        patients: Patients | None = None,
        soft_seconds: float = 8.0,
        max_results: int = 1000,
        max_matches_per_region: int = 10_000,
    ) -> None:
        self._regions = tuple(regions)
        self._observer = observer
        self._patients = patients or Patients(NoIdentitySource(), Issuers())
        self._soft_seconds = soft_seconds
        self._max_results = max_results
        self._max_matches = max_matches_per_region

    async def search(self, query: Query, deadline: Deadline) -> SearchResult:
        """Return one page of the province's matches.

        Raises:
            NoRegionAnswered: not one region answered, and none had given a row before it failed.
        """
        soft = deadline.within(self._soft_seconds)
        questions = await self._patients.questions(query, [region.profile for region in self._regions], soft)
        answers = await ask_of(self._regions, questions, soft, self._max_matches, self._observer)
        links: Links = UNLINKED
        holders, conflicts = answers, list[tuple[str, str]]()
        if query.level is Level.STUDY:
            links = await self._identify(answers, deadline)
        elif query.study:
            holders, conflicts = await self._of_one_patient(query.study, answers, deadline)
        if completeness(answers).failed and not any(answer.rows for answer in answers):
            raise NoRegionAnswered("no region answered", federation_status=completeness(answers).header())
        merged = merge(query.level, [(answer.profile, answer.rows) for answer in holders], links)
        merged.conflicts += conflicts
        rows, remaining = page(ordered(merged.rows, query.level), query.offset, query.limit, self._max_results)
        for row in rows:
            row.pop(identity.ORIGINAL_ATTRIBUTES, None)
        shown = await self._patients.present(rows, query, deadline)
        warnings = (*questions.warnings, *self._warnings(query, answers, merged), *shown)
        return SearchResult(rows, remaining, completeness(answers), warnings)

    async def _identify(self, answers: Sequence[Answer], deadline: Deadline) -> Links:
        """Add to each study that several regions hold what tells whose it is and which is a copy."""
        if sum(bool(answer.rows) for answer in answers) < 2:
            return UNLINKED
        held = Counter(first(row.get(STUDY_INSTANCE_UID)) for answer in answers for row in answer.rows)
        shared = {str(uid) for uid, count in held.items() if uid and count > 1}
        rows = [
            (answer.profile, uid, row)
            for answer in answers
            for row in answer.rows
            if (uid := first(row.get(STUDY_INSTANCE_UID))) in shared
        ]
        told = await self._whose(shared, {profile.id for profile, _, _ in rows}, deadline)
        known = {(x.profile.id, first(row.get(STUDY_INSTANCE_UID))): row for x in told for row in x.rows}
        for profile, uid, row in rows:
            identity.complete(row, known.get((profile.id, uid), {}))
        named = (identity.identifiers(row, profile.namespace) for profile, _, row in rows)
        return await self._patients.linked(frozenset[PatientIdentifier]().union(*named), deadline)

    async def _of_one_patient(
        self, study: str, answers: Sequence[Answer], deadline: Deadline
    ) -> tuple[list[Answer], list[tuple[str, str]]]:
        """Rank those that hold something of a study, the best first, and leave out who has it for another patient.

        Rows below STUDY level do not say whose they are, so their regions are asked; one that cannot tell is left out.
        """
        holders = {answer.profile.id: answer for answer in answers if answer.rows}
        if len(holders) < 2:
            return list(holders.values()), []
        told = await self._whose([study], holders, deadline)
        for failed in (x for x in told if not x.rows):
            answer = holders[failed.profile.id]
            answer.rows, answer.state = [], failed.state
        found = [(x.profile, x.rows[0]) for x in told if x.rows]
        same, others = one_patient(found) if found else ([], [])
        return [holders[x.id] for x, _ in same], [(same[0][0].id, x.id) for x, _ in others]

    async def _whose(self, studies: Collection[str], regions: Collection[str], deadline: Deadline) -> list[Answer]:
        """Ask some regions whose some studies are, with a deadline of its own: who was silent before takes no part."""
        asked = [region for region in self._regions if region.profile.id in regions]
        include = identity.PATIENT_KEYS | identity.RETURN_KEYS
        uids, told = sorted(studies), list[Answer]()
        for at in range(0, len(uids), MOST_UIDS):
            keys: dict[TagPath, str] = {(STUDY_INSTANCE_UID,): "\\".join(uids[at : at + MOST_UIDS])}
            query = Query(Level.STUDY, keys=keys, include=include, bare=True)
            soft = deadline.within(self._soft_seconds)
            told += await ask_all(asked, query, soft, self._max_matches, self._observer)
        return told

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
