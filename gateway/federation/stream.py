"""Rows of a search in the order in which they arrive, for callers that read line by line."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gateway.access.permit import Permit
from gateway.alongside import alongside
from gateway.dataset.attributes import first
from gateway.dataset.matching import matcher
from gateway.dataset.query import Level, Query, Row
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.errors import (
    GatewayError,
    IdentityUnavailable,
    LimitExceeded,
    NoRegionAnswered,
    PartlyAnswered,
    RequestError,
    Stalled,
)
from gateway.events import RegionOperation
from gateway.federation.asking import Guard, Regions, SearchableRegion, first_match
from gateway.federation.completeness import COMPLETE, LIMITED, Completeness, RegionState
from gateway.federation.derive import STUDY_INSTANCE_UID
from gateway.federation.identity import BIRTH_DATE, ISSUER, OTHER_PATIENT_IDS, PATIENT_ID, PATIENT_NAME, SEX
from gateway.federation.merge import RETRIEVE_AE_TITLE, Holder, one_patient
from gateway.federation.ownership import Ownership
from gateway.federation.patients import Patients
from gateway.federation.release import Release, check_override
from gateway.federation.remarks import Remarks
from gateway.region.profile import Profile

if TYPE_CHECKING:
    from gateway.federation.redaction import Redaction

AHEAD = 256
"""Rows that wait for the reader; a region with more waits, too."""

OF_A_PATIENT = (PATIENT_NAME, PATIENT_ID, ISSUER, BIRTH_DATE, SEX, OTHER_PATIENT_IDS)


@dataclass(frozen=True, slots=True)
class _Arrived:
    profile: Profile
    row: Row


class _Ended:
    """A region has no more, or, with an error, the search cannot go on."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


class RowStream:
    """Yields each row once, from the first region that gives it; the rows of its other holders are suppressed.

    Attributes:
        states: of each region, in profile order; final once the iteration has ended.
        unavailable: why identifiers could not be resolved, where they could not; known before the first row.
    """

    def __init__(
        self,
        regions: Regions,
        ownership: Ownership,
        patients: Patients,
        query: Query,
        deadline: Deadline,
        permit: Permit,
        release: Release,
    ) -> None:
        self.states = {id_: RegionState(id_, COMPLETE, 0) for id_ in regions.by_id}
        self.unavailable: IdentityUnavailable | None = None
        self._regions = regions
        self._ownership = ownership
        self._patients = patients
        self._limit = query.limit
        self._query = replace(query, offset=0, limit=None)
        self._deadline = deadline
        self._remarks = Remarks(regions.observer, query.warnings)
        self._arrivals: asyncio.Queue[_Arrived | _Ended] = asyncio.Queue(AHEAD)
        self._under_way = 0
        self._shown: set[str] = set()
        self._repeated: dict[str, list[str]] = {}
        """Regions that gave an entity again, behind the first."""
        self._owners: dict[str, Holder] = {}
        self._permit = permit
        self._release = release
        self._left: dict[str, tuple[str, Collection[str]]] = {}
        """Of what is withheld, or not told as it is: who gave it first, and who has something of it that is not."""
        self._gone: set[str] = set()
        self._seen: set[str] = set()
        """Studies of which something was withheld, and of which something was shown."""
        self._redactions: dict[int, Redaction] = {}
        self._notices: dict[str, None] = {}
        self._first_at: dict[str, float] = {}

    @property
    def completeness(self) -> Completeness:
        """The state of each region, so far, without what is withheld."""
        if not self._left:
            return Completeness("matches", tuple(self.states.values()))
        less = Counter(
            region
            for uid, (giver, left) in self._left.items()
            for region in (giver, *self._repeated.get(uid, ()))
            if region not in left
        )
        counted = ((x, None if x.count is None else x.count - less[x.region]) for x in self.states.values())
        return Completeness("matches", tuple(replace(state, count=count) for state, count in counted))

    @property
    def notices(self) -> tuple[str, ...]:
        """What the caller should hear of what is withheld from him, so far."""
        return tuple(self._notices)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the caller should hear, so far."""
        emptied = {state.region for state in self.completeness.states if not state.count} if self._left else ()
        told = (*self._remarks.warnings(self._gone - self._seen, emptied), *self._notices)
        repeated = sum(self._is_of_several(uid) for uid in self._repeated)
        if not repeated or self._query.level is Level.IMAGE:
            return told
        rows = "1 row is" if repeated == 1 else f"{repeated} rows are"
        return (*told, f"{rows} of more than one region: counts and RetrieveAETitle are of the one that answered first")

    def _is_of_several(self, uid: str) -> bool:
        """Whether what is shown of an entity is of several regions."""
        if uid not in self._left:
            return True
        giver, left = self._left[uid]
        return len({giver, *self._repeated[uid]}.intersection(left)) > 1

    async def start(self) -> list[Coroutine[Any, Any, None]]:
        """Find out whom to ask, and return what brings their rows.

        Where rows do not say whose they are, only regions are asked that hold the study for one patient.
        """
        whose = self._permit.restricted
        check_override(self._query, self._permit)
        questions = await self._patients.questions(self._query, self._regions.profiles, self._deadline, whose=whose)
        self._remarks.texts += questions.warnings
        self.unavailable = questions.unavailable
        of: Mapping[str, Sequence[Query]] = questions.of
        if self._query.study and self._query.level is not Level.STUDY:
            of = await self._of_one_patient(self._query.study, of)
        asked = [(region, queries) for id_, region in self._regions.by_id.items() if (queries := of.get(id_))]
        self._under_way = len(asked)
        return [self._bring(region, queries, questions.admits) for region, queries in asked]

    async def __aiter__(self) -> AsyncIterator[Row]:
        """Yield rows until every region has ended, or as many as the query's limit.

        Raises:
            RequestError: a region cannot be asked this.
            NoRegionAnswered: not one region answered, and none had given a row before it failed.
            AuditUnavailable: what would be given cannot be recorded.
        """
        left = self._limit
        await self._record(())
        while self._under_way and left != 0:
            rows = (await self._batch())[:left]
            self._remarks.texts += await self._patients.present(rows, self._query, self._deadline)
            if rows:
                await self._record(rows)
            for row in rows:
                redaction = self._redactions.pop(id(row), None)
                yield row if redaction is None else redaction.applied(row, self._query.level)
            left = left if left is None else left - len(rows)
        if self.completeness.failed and not self._shown:
            raise NoRegionAnswered("no region answered", federation_status=self.completeness.header())

    async def _record(self, rows: Sequence[Row]) -> None:
        """Have the audit trail say what is asked, before anything comes, and then what does."""
        if self._permit.recorder is not None:
            key, title = UNIQUE_KEYS[self._query.level], RETRIEVE_AE_TITLE
            held_by = {first(row[key]): (self._regions.ids[first(row[title])],) for row in rows}
            await self._release.record(rows, held_by, self._query, self._permit, self._deadline)

    async def _batch(self) -> list[Row]:
        """Wait for a row, and take what else has arrived."""
        arrived = [await self._arrivals.get()]
        while not self._arrivals.empty():
            arrived.append(self._arrivals.get_nowait())
        rows: list[tuple[Profile, Row]] = []
        for item in arrived:
            if isinstance(item, _Ended):
                self._under_way -= 1
                if item.error is not None:
                    raise item.error
            elif await self._is_new(item.profile, item.row):
                titles = {"vr": "AE", "Value": [item.profile.ae_title]}
                rows.append((item.profile, {**item.row, RETRIEVE_AE_TITLE: titles}))
        return await self._allowed(rows) if self._permit.restricted else [row for _, row in rows]

    async def _allowed(self, rows: Sequence[tuple[Profile, Row]]) -> list[Row]:
        """Leave out what is withheld from the caller, as if it had not come."""
        key = UNIQUE_KEYS[self._query.level]
        held_by = {first(row[key]): (profile.id,) for profile, row in rows}
        told = [row for _, row in rows]
        subjects = await self._release.subjects(told, held_by, self._query, self._deadline)
        allowed = await self._release.of_rows(told, subjects, self._query, self._permit, self._deadline)
        shown = set(map(id, allowed.rows))
        for profile, row in rows:
            if (redaction := allowed.redactions.get(id(row))) is not None:
                self._redactions[id(row)] = redaction
                titles = redaction.holders(row, self._query.level)
                self._left[first(row[key])] = profile.id, [self._regions.ids[title] for title in titles]
            elif id(row) not in shown:
                self._left[first(row[key])] = profile.id, ()
        self._gone |= allowed.withheld
        self._seen |= {subject.study.study_instance_uid for subject in subjects} - allowed.withheld
        self._notices.update(dict.fromkeys(allowed.notices))
        return allowed.rows

    async def _is_new(self, profile: Profile, row: Row) -> bool:
        """Whether a row's entity was not shown yet, and its study is not shown for another patient (trap 2)."""
        uid = first(row.get(UNIQUE_KEYS[self._query.level]))
        if uid in self._shown and self._query.level is not Level.STUDY:
            self._repeated.setdefault(uid, []).append(profile.id)
            return False
        if not uid:
            return False
        study = self._query.study or first(row.get(STUDY_INSTANCE_UID))
        if study and not (self._query.study and self._query.level is not Level.STUDY):
            owner = self._owners.setdefault(study, (profile, {tag: row[tag] for tag in OF_A_PATIENT if tag in row}))
            if owner[0] is not profile and not await self._is_of(owner, (profile, row)):
                self._remarks.conflict(owner[0].id, profile.id, [study])
                return False
        if uid in self._shown:
            self._repeated.setdefault(uid, []).append(profile.id)
            return False
        self._shown.add(uid)
        return True

    async def _is_of(self, owner: Holder, other: Holder) -> bool:
        if not one_patient([owner, other])[1]:
            return True
        return not one_patient([owner, other], await self._ownership.links([owner, other], self._deadline))[1]

    async def _of_one_patient(self, study: str, of: Mapping[str, Sequence[Query]]) -> Mapping[str, Sequence[Query]]:
        same, others, told = await self._ownership.holders(study, self._deadline)
        for other in others:
            self._remarks.conflict(same[0].id, other.id, [study])
        for answer in told:
            if answer.state != COMPLETE:
                self.states[answer.profile.id] = RegionState(answer.profile.id, answer.state, parts=answer.parts)
        return {profile.id: of.get(profile.id, ()) for profile in same}

    async def _bring(self, region: SearchableRegion, queries: Sequence[Query], admits: Guard) -> None:
        """Put a region's rows in front of the reader; its first one must come while our patience lasts."""
        began, id_, error = time.monotonic(), region.profile.id, None
        self.states[id_] = RegionState(id_, LIMITED, 0)
        outcome, code, parts = COMPLETE, "", tuple[str, ...]()
        try:
            for query in queries:
                await self._bring_one(region, query, admits)
        except RequestError as refusal:
            outcome, error = refusal.slug, refusal
        except LimitExceeded:
            outcome = LIMITED
        except TimeoutError:
            outcome = Stalled.slug
        except PartlyAnswered as failure:
            outcome, parts = failure.slug, failure.parts
        except GatewayError as failure:
            outcome, code = failure.slug, failure.code
        count = self.states[id_].count
        self.states[id_] = RegionState(id_, outcome, count if count or outcome == COMPLETE else None, parts)
        seconds = time.monotonic() - began
        first_seconds = first_match(outcome, began, self._first_at.get(id_), seconds)
        self._regions.observer(RegionOperation(id_, "search", outcome, seconds, count or 0, first_seconds, code=code))
        await self._arrivals.put(_Ended(error))

    async def _bring_one(self, region: SearchableRegion, query: Query, admits: Guard) -> None:
        verdict_on, profile = matcher(query, ZoneInfo(region.profile.time_zone)), region.profile
        count = self.states[profile.id].count or 0
        seconds = None if region.walks(query) else region.patience
        async with asyncio.timeout(seconds) as patience, aclosing(region.search(query, self._deadline)) as rows:
            async for row in rows:
                patience.reschedule(None)
                verdict = verdict_on(row)
                if not verdict.matches or not admits(profile, row):
                    continue
                if count == self._regions.limit:
                    raise LimitExceeded("more matches than are taken from one region", limit="max_matches_per_region")
                if not count:
                    self._first_at[profile.id] = time.monotonic()
                count += 1
                self.states[profile.id] = RegionState(profile.id, LIMITED, count)
                self._remarks.unverified(profile.id, verdict.unverified)
                await self._arrivals.put(_Arrived(profile, row))


@asynccontextmanager
async def streaming(stream: RowStream) -> AsyncIterator[RowStream]:
    """Let the regions bring a stream's rows as long as the context lasts; leaving it stops them (C-CANCEL)."""
    async with alongside(*await stream.start()):
        yield stream
