"""What of a search's rows may be shown to a caller, and whose records it saw."""

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from gateway.access.permit import Block, Permit, StudyKey, Subject
from gateway.access.principal import Transaction
from gateway.dataset.attributes import first
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.errors import RequestError
from gateway.federation.completeness import COMPLETE, Completeness, RegionState
from gateway.federation.derive import MODALITY, SERIES_INSTANCES, STUDY_INSTANCE_UID
from gateway.federation.findings import Findings, SearchResult
from gateway.federation.identity import ISSUER, text
from gateway.federation.merge import Holder
from gateway.federation.ownership import Ownership
from gateway.federation.patients import Patients
from gateway.federation.questions import PATIENT_ID_KEY
from gateway.federation.redaction import INSTANCE, SERIES, Redaction, Remains, is_telling, titles_of
from gateway.region.profile import Profile
from gateway.region.together import together

ACCESSION_NUMBER: Final = "00080050"
LOOKED_AT_ONCE: Final = 4
"""Studies of which it is found out at the same time what they are without what is withheld."""


def narrowed(query: Query, permit: Permit) -> Query:
    """Return what a caller who is bound to one patient is meant to have asked: no more than is his is looked for."""
    patient = permit.principal.patient
    if patient is None or query.study is not None or query.keys.get(PATIENT_ID_KEY, "").strip("*"):
        return query
    return replace(query, keys={(ISSUER,): patient.issuer, **query.keys, PATIENT_ID_KEY: patient.value})


def subject_of(study: str, holders: Sequence[Holder], patients: Patients) -> Subject:
    """Return whose a study is, by the rows of the regions that hold it for one patient."""
    known = (patients.stated(row, profile) for profile, row in holders)
    accession = next((found for _, row in holders if (found := text(row, ACCESSION_NUMBER))), "")
    key = StudyKey(study, accession, tuple(profile.id for profile, _ in holders))
    return Subject(key, frozenset().union(*known))


@dataclass(frozen=True, slots=True)
class Allowed:
    """What of some rows a caller may have.

    Attributes:
        rows: those that he may see, as they were told.
        redactions: ids of these rows, as objects, to what may be told of them; most may be told as they are.
        withheld: studies of which he may see nothing.
        notices: what he is told of what is withheld.
        complete: whether nothing is.
    """

    rows: list[Row]
    redactions: Mapping[int, Redaction]
    withheld: frozenset[str]
    notices: tuple[str, ...]
    complete: bool


class Searching(Protocol):
    """Searches all regions, on nobody's behalf."""

    def __call__(self, query: Query, deadline: Deadline, /) -> Awaitable[SearchResult]:
        """Return one page, as ``FederatedSearch.search`` does."""


class Release:
    """Tells whose the rows of searches are, and leaves out those that their caller may not have.

    Args:
        search: asks all regions on nobody's behalf.
    """

    def __init__(
        self, ownership: Ownership, patients: Patients, profiles: Sequence[Profile], search: Searching
    ) -> None:
        self._ownership = ownership
        self._patients = patients
        self._profiles = {profile.id: profile for profile in profiles}
        self._ids = {profile.ae_title: profile.id for profile in profiles}
        self._search = search

    async def allowed(self, found: Findings, query: Query, permit: Permit, deadline: Deadline) -> Findings:
        """Return findings without what is withheld, counted anew, with what the caller is told of that."""
        check_override(query, permit)
        subjects = await self._whose(found, found.rows, found.whose, query, deadline)
        allowed = await self.of_rows(found.rows, subjects, query, permit, deadline)
        if allowed.complete:
            return found
        held_by = dict(found.held_by)
        for row in allowed.rows:
            if (redaction := allowed.redactions.get(id(row))) is not None:
                titles = redaction.titles(row, query.level)
                held_by[str(first(row[UNIQUE_KEYS[query.level]]))] = tuple(self._ids[title] for title in titles)
        counted = _recounted(found.completeness, held_by, allowed.rows, query.level)
        return replace(
            found,
            rows=allowed.rows,
            completeness=counted,
            remarks={},
            redactions=allowed.redactions,
            withheld=allowed.withheld,
            emptied={state.region for state in counted.states if not state.count},
            notices=allowed.notices,
        )

    async def of_rows(
        self,
        rows: Sequence[Row],
        subjects: Sequence[Subject],
        query: Query,
        permit: Permit,
        deadline: Deadline,
    ) -> Allowed:
        """Tell what of some rows a caller may have, once the audit trail has what he may not."""
        blocks = await permit.blocks(subjects)
        if any(blocks):
            await record_withheld(permit, subjects, blocks)
        elif not permit.directives.selective:
            return Allowed(list(rows), {}, frozenset(), (), complete=True)
        left = [at for at, block in enumerate(blocks) if block is None]
        hidden = await permit.hidden([subjects[at] for at in left])
        if not any(hidden):
            gone = _gone(subjects, left)
            return Allowed([rows[at] for at in left], {}, gone, notices(blocks), len(left) == len(rows))
        of = {subjects[at].study: documents for at, documents in zip(left, hidden, strict=True) if documents}
        telling = {subjects[at].study for at in left if is_telling(rows[at], query.level)}
        looked = await self._looked({study: x for study, x in of.items() if study in telling}, deadline)
        shown: list[int] = []
        redactions: dict[int, Redaction] = {}
        withheld: list[tuple[Subject, Block]] = []
        for at in left:
            row, study = rows[at], subjects[at].study
            documents, redaction = of.get(study, {}), looked.get(study)
            if redaction is None and (query.level is not Level.IMAGE or first(row.get(INSTANCE)) not in documents):
                shown.append(at)
                continue
            withheld += [(subjects[at], block) for block in documents.values()]
            if redaction is not None and redaction.keeps(row, query):
                shown.append(at)
                redactions[id(row)] = redaction
        await record_withheld(permit, [subject for subject, _ in withheld], [block for _, block in withheld])
        told = notices([*blocks, *(block for _, block in withheld)])
        complete = len(shown) == len(rows) and not redactions
        return Allowed([rows[at] for at in shown], redactions, _gone(subjects, shown), told, complete)

    async def _looked(
        self, of: Mapping[StudyKey, Mapping[str, Block]], deadline: Deadline
    ) -> dict[StudyKey, Redaction | None]:
        """Find out what is left of studies without their documents, some at a time."""
        gate = asyncio.Semaphore(LOOKED_AT_ONCE)

        async def one(study: StudyKey, documents: Mapping[str, Block]) -> Redaction | None:
            async with gate:
                uid = study.study_instance_uid
                return await _look(self._search, uid, documents.keys(), study.regions, deadline)

        found = await together([one(study, documents) for study, documents in of.items()]) if of else []
        return dict(zip(of, found, strict=True))

    async def subjects(
        self, rows: Sequence[Row], held_by: Mapping[str, Sequence[str]], query: Query, deadline: Deadline
    ) -> list[Subject]:
        """Return whose each row is; rows below STUDY level do not say, so that their regions are asked."""
        if query.level is Level.STUDY:
            return [self.of_row(row, held_by[str(first(row[STUDY_INSTANCE_UID]))]) for row in rows]
        studies = [query.study or str(first(row.get(STUDY_INSTANCE_UID)) or "") for row in rows]
        known = await self.of_studies(studies, deadline)
        return [known[study] for study in studies]

    def of_row(self, row: Row, regions: Sequence[str]) -> Subject:
        """Return whose the row of a study is."""
        study = str(first(row[STUDY_INSTANCE_UID]))
        key = StudyKey(study, text(row, ACCESSION_NUMBER), tuple(regions))
        return Subject(key, self._patients.stated(row, self._profiles[regions[0]]))

    async def of_studies(self, studies: Sequence[str], deadline: Deadline) -> dict[str, Subject]:
        """Return whose studies are; without an identifier where no region tells."""
        held = await self._ownership.owners(frozenset(filter(None, studies)), deadline)
        return {study: subject_of(study, held.get(study, ()), self._patients) for study in studies}

    async def record(
        self,
        rows: Sequence[Row],
        held_by: Mapping[str, Sequence[str]],
        query: Query,
        permit: Permit,
        deadline: Deadline,
    ) -> None:
        """Have the audit trail say what is about to be shown; a search that is part of something else is not told."""
        if permit.recorder is not None and permit.transaction is Transaction.SEARCH:
            subjects = await self.subjects(rows, held_by, query, deadline)
            await permit.record("search", subjects=subjects, query=asked(query))

    async def record_page(
        self, found: Findings, rows: Sequence[Row], query: Query, permit: Permit, deadline: Deadline
    ) -> None:
        """Do as ``record`` does for a page of findings, whose rows are complete."""
        if permit.recorder is not None and permit.transaction is Transaction.SEARCH:
            subjects = await self._whose(found, rows, found.shown_of, query, deadline)
            await permit.record("search", subjects=subjects, query=asked(query))

    async def _whose(
        self, found: Findings, rows: Sequence[Row], known: dict[int, Subject], query: Query, deadline: Deadline
    ) -> list[Subject]:
        """Return whose rows are, read once for all callers who share them; what follows from it is each caller's."""
        if query.level is not Level.STUDY:
            return await self.subjects(rows, found.held_by, query, deadline)
        if new := [row for row in rows if id(row) not in known]:
            told = await self.subjects(new, found.held_by, query, deadline)
            known.update(zip(map(id, new), told, strict=True))
        return [known[id(row)] for row in rows]


async def _look(
    search: Searching, study: str, documents: Collection[str], holders: Iterable[str], deadline: Deadline
) -> Redaction | None:
    """Find out what a study is without some documents; None where it has none of them.

    Where a region that holds something of the study does not say so now, nothing of the study is left: what it told a
    moment ago may tell of the documents.
    """
    unsure = Redaction(documents, {})
    key: dict[TagPath, str] = {(INSTANCE,): "\\".join(sorted(documents))}
    found = await search(Query(Level.IMAGE, study, keys=key, include=frozenset({(SERIES,)}), bare=True), deadline)
    if not _has_all(found, holders):
        return unsure
    if not found.rows:
        return None
    touched = {str(first(row.get(SERIES))) for row in found.rows}
    listed = await search(Query(Level.SERIES, study), deadline)
    if not _has_all(listed, holders):
        return unsure
    series: dict[str, Remains] = {}
    for row in listed.rows:
        uid, modality = str(first(row[SERIES])), str(first(row.get(MODALITY)) or "")
        if uid not in touched:
            count = first(row.get(SERIES_INSTANCES))
            series[uid] = Remains(modality, None if count is None else int(count), titles_of([row]))
            continue
        rest = await search(Query(Level.IMAGE, study, uid, bare=True), deadline)
        if not _has_all(rest, holders):
            return unsure
        if left := [row for row in rest.rows if first(row.get(INSTANCE)) not in documents]:
            series[uid] = Remains(modality, len(left), titles_of(left))
    return Redaction(documents, series)


def _has_all(found: SearchResult, holders: Iterable[str]) -> bool:
    """Whether all holders have said all that they hold."""
    states = {state.region: state.state for state in found.completeness.states}
    return not found.remaining and all(states.get(holder, COMPLETE) == COMPLETE for holder in holders)


def _gone(subjects: Sequence[Subject], shown: Sequence[int]) -> frozenset[str]:
    """Return the studies of which nothing is shown."""
    left = {subjects[at].study.study_instance_uid for at in shown}
    return frozenset(subject.study.study_instance_uid for subject in subjects) - left


def check_override(query: Query, permit: Permit) -> None:
    """Refuse to override whatever directive a search may meet: who overrides knows whose records he needs."""
    if permit.breaking is None or query.study is not None:
        return
    if not any(query.keys.get(path, "").strip("*") for path in (PATIENT_ID_KEY, (STUDY_INSTANCE_UID,))):
        raise RequestError("an override is of one patient's directives: name one by PatientID or StudyInstanceUID")


async def record_withheld(permit: Permit, subjects: Sequence[Subject], blocks: Sequence[Block | None]) -> None:
    """Have the audit trail say which directives withheld what, one record for each."""
    # For a picture of a study it is searched which instance to show; another retrieve tells itself what is withheld.
    if permit.recorder is None or permit.transaction not in {Transaction.SEARCH, Transaction.RENDERED}:
        return
    of: dict[Block, list[Subject]] = {}
    for subject, block in zip(subjects, blocks, strict=True):
        if block is not None and block.directive:
            of.setdefault(block, []).append(subject)
    for block, withheld in of.items():
        studies = list(dict.fromkeys(withheld))
        await permit.record("consent", "denied", subjects=studies, reason=block.level, directive=block.directive)


def notices(blocks: Sequence[Block | None]) -> tuple[str, ...]:
    """Return what the caller is told of what is withheld, each text once."""
    return tuple(dict.fromkeys(block.notice for block in blocks if block is not None and block.notice))


def asked(query: Query) -> str:
    """Write a query down for the audit trail; it goes nowhere else, since it may name a patient."""
    above = f"{query.study or ''}/{query.series or ''} " if query.study else ""
    keys = "&".join(f"{'.'.join(path)}={value}" for path, value in sorted(query.keys.items()))
    return f"{query.level} {above}{keys}".rstrip()


def _recounted(
    completeness: Completeness, held_by: Mapping[str, Sequence[str]], rows: Sequence[Row], level: Level
) -> Completeness:
    """Count what is left of each region's rows: the number of those withheld would tell that they are there."""
    left = dict.fromkeys((state.region for state in completeness.states), 0)
    for row in rows:
        for region in held_by[str(first(row[UNIQUE_KEYS[level]]))]:
            left[region] += 1
    states = (
        state if state.count is None else RegionState(state.region, state.state, left[state.region])
        for state in completeness.states
    )
    return replace(completeness, states=tuple(states))
