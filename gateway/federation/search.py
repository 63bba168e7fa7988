"""A Search transaction over all regions (PS3.18 10.6)."""

import math
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import fields, replace
from functools import partial
from itertools import repeat
from operator import attrgetter
from types import TracebackType
from typing import Self

from gateway.access.permit import UNRESTRICTED, Permit
from gateway.dataset.attributes import first
from gateway.dataset.matching import matcher
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.errors import NoRegionAnswered
from gateway.events import Observer
from gateway.federation import counted
from gateway.federation.asking import Answer, Regions, SearchableRegion, completeness
from gateway.federation.completeness import Completeness
from gateway.federation.counted import Counted
from gateway.federation.derive import DERIVED, Derivation, lacks
from gateway.federation.findings import Findings, SearchLimits, SearchResult
from gateway.federation.identity import ORIGINAL_ATTRIBUTES, UNLINKED
from gateway.federation.issued import Issued
from gateway.federation.issuers import Issuers
from gateway.federation.merge import MODALITIES_IN_STUDY, Merged, merge
from gateway.federation.ownership import Ownership
from gateway.federation.paging import ordered, page
from gateway.federation.patients import NoIdentitySource, Patients
from gateway.federation.questions import Questions
from gateway.federation.release import Release, narrowed
from gateway.federation.remarks import Remarks
from gateway.federation.shared import Shared
from gateway.federation.snapshots import Snapshots
from gateway.federation.stream import RowStream, streaming
from gateway.hops import hops
from gateway.region.together import together

MODALITIES_KEY: TagPath = (MODALITIES_IN_STUDY,)
OF_THE_QUESTION = attrgetter(
    *(field.name for field in fields(Query) if field.name not in {"keys", "offset", "limit", "warnings"})
)
"""What makes two searches the same question, beside the keys; the rest says which part of the answer is wanted."""


class FederatedSearch:
    """Asks every region at once and makes one ordered answer of what they say.

    It is a context, and searches only inside of it: searches that are the same share their questions, which live as
    long as one of their callers waits and no longer than the context.
    """

    def __init__(
        self,
        regions: Sequence[SearchableRegion],
        observer: Observer,
        *,
        patients: Patients | None = None,
        limits: SearchLimits | None = None,
    ) -> None:
        limits = limits or SearchLimits()
        self._regions = Regions(regions, limits.max_matches_per_region, observer)
        self._patients = patients or Patients(NoIdentitySource(), Issuers())
        self._ownership = Ownership(self._regions, self._patients)
        self._issued = Issued(self._patients)
        self._release = Release(self._ownership, self._patients, self._regions.profiles, self.search)
        self._limits = limits
        self._counted = Counted()
        self._flights: Shared[Hashable, Findings] = Shared()
        self._snapshots: Snapshots[Findings] = Snapshots(limits.snapshot_seconds, limits.snapshot_rows)

    async def __aenter__(self) -> Self:
        await self._flights.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._snapshots.clear()
        await self._flights.__aexit__(kind, error, traceback)

    async def search(
        self, query: Query, deadline: Deadline, *, caller: str = "", permit: Permit = UNRESTRICTED
    ) -> SearchResult:
        """Return one page of the province's matches; a later page continues what the caller was shown before.

        What the permit does not allow is left out before anything is counted. All callers share what the regions were
        asked, and nobody what another may see.

        Raises:
            RequestError: a region cannot be asked this.
            NoRegionAnswered: not one region answered, and none had given a row before it failed.
            AuditUnavailable: what would be shown cannot be recorded.
        """
        query, whose = narrowed(query, permit), permit.restricted
        question = _question(query), whose
        snapshot = (caller, question)
        found = self._snapshots.get(snapshot) if query.offset else None
        continued = found is not None
        if found is None:
            # Who waits less than another gets another answer, so they are not the same search. And who asks for us
            # would wait for himself.
            key = (question, math.ceil(deadline.remaining), hops())
            found = await self._flights.run(key, lambda: self._find(query, deadline, whose=whose))
        while True:
            generation = permit.generation
            shown = await self._release.allowed(found, query, permit, deadline) if whose else found
            rows, remaining = page(shown.rows, query.offset, query.limit, self._limits.max_results)
            await self._complete(shown, rows, query, deadline)
            if permit.recorder is not None:
                await self._release.record_page(shown, rows, query, permit, deadline)
            if permit.generation == generation:
                break  # or a directive was placed while this was made ready
        # All of it is kept: what may be shown of it is decided for each page.
        if remaining and not continued:
            self._snapshots.keep(snapshot, found)
        elif not continued:
            self._snapshots.drop(snapshot)
        told = (*query.warnings, *shown.warnings, *shown.remarks, *shown.gaps.warnings(rows, query.level))
        if less := shown.redactions:
            rows = [less[id(x)].applied(x, query.level) if id(x) in less else x for x in rows]
        estimated = frozenset(shown.gaps.estimated)
        return SearchResult(rows, remaining, shown.completeness, told, shown.unavailable, estimated, shown.notices)

    def stream(
        self, query: Query, deadline: Deadline, *, permit: Permit = UNRESTRICTED
    ) -> AbstractAsyncContextManager[RowStream]:
        """Return a context of the matches in the order in which they arrive, each once; ``offset`` has no meaning here.

        Raises:
            RequestError: a region cannot be asked this.
        """
        asked = narrowed(query, permit)
        return streaming(
            RowStream(self._regions, self._ownership, self._patients, asked, deadline, permit, self._release)
        )

    async def _find(self, query: Query, deadline: Deadline, *, whose: bool) -> Findings:
        """Ask the regions, and merge and order all that they give."""
        query = replace(query, offset=0, limit=None, warnings=())
        questions, asked = await self._asked(query, deadline, whose=whose)
        answers = self._regions.each(asked)
        merged = await self._merged(query, answers, deadline)
        states = completeness(answers)
        if states.failed and not any(answer.rows for answer in answers):
            raise NoRegionAnswered("no region answered", federation_status=states.header())
        remarks = Remarks(self._regions.observer, questions.warnings)
        for (kind, shown, other), studies in merged.contradictions.items():
            note = remarks.conflict if kind == "patient" else remarks.difference
            note(shown, other, studies)
        for answer in answers:
            remarks.unverified(answer.profile.id, answer.unverified)
        rows = ordered(merged.rows, query.level)
        if query.level is Level.STUDY and query.keys.get(MODALITIES_KEY) and not query.bare:
            rows = await self._of_the_modalities(query, rows, merged.held_by, states, deadline, remarks)
        return Findings(rows, merged.held_by, states, remarks, questions.unavailable, merged.told)

    async def _asked(self, query: Query, deadline: Deadline, *, whose: bool) -> tuple[Questions, list[Answer]]:
        """Ask the regions; whose the rows are, too, where that matters, or only if it was not told of late."""
        put = partial(self._patients.questions, query, self._regions.profiles, deadline, of_every_row=False)
        memorable, question = whose and query.level is Level.STUDY, _question(query)
        if memorable and self._issued.knows(question):
            questions = await put(whose=True, issued=True)
            if not questions.stated:
                asked = await self._regions.ask(questions.of, deadline, questions.admits)
                if self._issued.give(question, asked):
                    return questions, asked
        questions = await put(whose=whose)
        asked = await self._regions.ask(questions.of, deadline, questions.admits)
        if memorable:
            self._issued.keep(question, asked)
        return questions, asked

    async def _merged(self, query: Query, answers: Sequence[Answer], deadline: Deadline) -> Merged:
        """Merge the regions' rows, each study's of one patient only."""
        if query.level is Level.STUDY:
            links = await self._ownership.identify(answers, deadline)
            return merge(query.level, [(answer.profile, answer.rows) for answer in answers], links)
        parted = await self._ownership.part(query, answers, deadline)
        merged = merge(query.level, parted.rows, UNLINKED)
        merged.contradictions.update(parted.contradictions)
        return merged

    async def _of_the_modalities(
        self,
        query: Query,
        rows: list[Row],
        held_by: Mapping[str, tuple[str, ...]],
        states: Completeness,
        deadline: Deadline,
        remarks: Remarks,
    ) -> list[Row]:
        """Apply the key Modalities in Study to rows whose regions do not tell it, once it is derived (trap 21)."""
        silent = [row for row in rows if lacks(row, MODALITIES_IN_STUDY)]
        if not silent:
            return rows
        await self._derivation(states, deadline).studies(silent, held_by, {MODALITIES_IN_STUDY})
        verdict_on = matcher(replace(query, keys={MODALITIES_KEY: query.keys[MODALITIES_KEY]}))
        remarks.settled(MODALITIES_KEY)
        for row in silent:
            if lacks(row, MODALITIES_IN_STUDY):
                for id_ in held_by[first(row[UNIQUE_KEYS[query.level]])]:
                    remarks.unverified(id_, [MODALITIES_KEY])
        return [row for row in rows if verdict_on(row).matches]

    async def _complete(self, found: Findings, rows: Sequence[Row], query: Query, deadline: Deadline) -> None:
        """Derive what the rows of a page lack and show whose they are, once for all who are shown them."""
        if not _incomplete(found, rows):
            return
        async with found.completing:
            new = _incomplete(found, rows)
            wanting = _wanting(new, query, found.held_by)
            issued = self._ownership.issue(new, query, found.held_by, deadline)
            if wanting:
                told, _ = await together([issued, self._derive(found, wanting, query, deadline)])
            else:
                told = await issued
            shown = await self._patients.present(new, query, deadline)
            found.remarks.update(dict.fromkeys((*(told or ()), *shown)))
            for row in new:
                row.pop(ORIGINAL_ATTRIBUTES, None)
            found.completed.update(map(id, new))

    async def _derive(self, found: Findings, wanting: Sequence[Row], query: Query, deadline: Deadline) -> None:
        """Derive what rows lack, and the counts of what several regions hold."""
        derivation = self._derivation(found.completeness, deadline)
        if query.level is Level.STUDY:
            estimated = await self._derive_studies(found, wanting, derivation)
        else:
            estimated = await derivation.series(wanting, found.held_by, query.study)
        found.gaps.estimated |= estimated
        found.gaps.leave_empty(wanting, query.level)

    async def _derive_studies(self, found: Findings, rows: Sequence[Row], derivation: Derivation) -> set[str]:
        """Complete study rows, from memory where their holders tell the same as a while ago."""
        new: list[tuple[Row, str, Hashable]] = []
        for row in rows:
            uid = first(row[UNIQUE_KEYS[Level.STUDY]])
            key = counted.key(row, found.held_by[uid], found.told.get(uid))
            if not self._counted.recall(row, key):
                new.append((row, uid, key))
        estimated = await derivation.studies([row for row, _, _ in new], found.held_by, DERIVED[Level.STUDY])
        for row, uid, key in new:
            if uid not in estimated:
                self._counted.keep(row, key)
        return estimated

    def _derivation(self, states: Completeness, deadline: Deadline) -> Derivation:
        limits = self._limits
        return Derivation(self._regions, states, deadline, studies=limits.derived_studies, series=limits.derived_series)


def _incomplete(found: Findings, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if id(row) not in found.completed]


def _wanting(rows: Sequence[Row], query: Query, held_by: Mapping[str, tuple[str, ...]]) -> list[Row]:
    """Return the rows of which something has to be derived."""
    unique_key, derived = UNIQUE_KEYS[query.level], DERIVED[query.level]
    if query.bare or not derived:
        return []
    return [row for row in rows if len(held_by[first(row[unique_key])]) > 1 or any(map(lacks, repeat(row), derived))]


def _question(query: Query) -> Hashable:
    return frozenset(query.keys.items()), OF_THE_QUESTION(query)
