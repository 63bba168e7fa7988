"""Who holds what, and so which region is asked for which instances."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from gateway.dataset.attributes import first
from gateway.dataset.query import Level, Query, Selection, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.errors import NoRegionAnswered
from gateway.events import IdentityConflict, Observer
from gateway.federation import identity
from gateway.federation.asking import MOST_UIDS, Answer, SearchableRegion, ask_all, completeness
from gateway.federation.completeness import CONFLICT, Completeness, RegionState, not_held
from gateway.federation.derive import STUDY_INSTANCES
from gateway.federation.merge import one_patient
from gateway.federation.patients import Patients
from gateway.federation.release import ACCESSION_NUMBER, subject_of
from gateway.spool.catalog import Facts

if TYPE_CHECKING:
    from gateway.access.permit import Subject

EMPTY: Mapping[str, Facts] = MappingProxyType({})
MOST_INSTANCES = 1_000_000


Holders: TypeAlias = Mapping[str, tuple[str, Sequence[str]]]
"""SOP Instance UID to its Series Instance UID and the ids of the regions that hold it, the best first."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one region is asked for; all parts together bring each instance once.

    Attributes:
        region: the region's id.
        selection: what it is asked for.
        known: how many of its instances are known to be there; 0 where nobody has counted.
        holders: of each instance that is known to be part of it, the regions that hold it and its series.
        unlisted: whether it has more than those.
    """

    region: str
    selection: Selection
    known: int = 0
    holders: Holders = field(default_factory=dict, compare=False, repr=False)
    unlisted: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a selection is had from the regions.

    Attributes:
        parts: none where all of it is at hand.
        completeness: the state of each region, so far.
        confirmed: what was at hand and is still there.
    """

    parts: list[Part]
    completeness: Completeness
    confirmed: Collection[str] = ()


class Planner:
    """Plans one retrieve, by C-FIND no deeper than is needed to part it between its holders.

    Attributes:
        states: id of each region to its state, "complete" as long as it answers.
        instances: of the study, at the holder that counts the most; None where none counts.
        subject: whose the study is, by the regions that it is brought from; None until they have said.
    """

    def __init__(
        self,
        regions: Sequence[SearchableRegion],
        deadline: Deadline,
        soft_seconds: float,
        observer: Observer,
        patients: Patients,
    ) -> None:
        self.states: dict[str, RegionState] = {}
        self.instances: int | None = None
        self.subject: Subject | None = None
        self._patients = patients
        self._listed: set[str] = set()
        self._regions = {region.profile.id: region for region in regions}
        self._deadline = deadline
        self._soft_seconds = soft_seconds
        self._observer = observer

    async def plan(self, selection: Selection, at_hand: Mapping[str, Facts] = EMPTY) -> Plan:
        """Decide which region brings what is not at hand; what is at hand is looked up again (trap 26).

        Raises:
            NotFound: no region holds the study.
            RegionMissing: those that answered do not.
            NoRegionAnswered: none answered.
        """
        holders = await self._holders(selection.study)
        if at_hand:
            parts = await self._split(selection, holders, at_hand)
            listed = self._listed | {uid for uid, x in at_hand.items() if not self._has_answered(x.region)}
            return Plan(parts, self._completeness(), at_hand.keys() & listed)
        parts = [Part(holders[0], selection, unlisted=True)]
        if len(holders) > 1:
            parts = await self._split(selection, holders, EMPTY) or parts
        return Plan(parts, self._completeness())

    async def contents(self, region: str, selection: Selection) -> Holders | None:
        """List what a region holds of a selection, None where it cannot tell."""
        series = [selection.series] if selection.series else []
        failed = not self._has_answered(region)
        if not series:
            found = await self._holdings([region], Query(Level.SERIES, study=selection.study, bare=True))
            series = list(found)
        holders: dict[str, tuple[str, Sequence[str]]] = {}
        for uid in series:
            for instance, regions in (await self._instances(selection.study, uid, [region])).items():
                if not selection.instances or instance in selection.instances:
                    holders[instance] = uid, regions
        return holders if failed or self._has_answered(region) else None

    def _has_answered(self, region: str) -> bool:
        state = self.states.get(region)
        return state is not None and not state.missing

    async def _holders(self, study: str) -> list[str]:
        """Find the regions that hold the study for one patient, the best first."""
        keys: dict[TagPath, str] = {(UNIQUE_KEYS[Level.STUDY],): study}
        include = identity.PATIENT_KEYS | identity.RETURN_KEYS | {(STUDY_INSTANCES,), (ACCESSION_NUMBER,)}
        answers = await self._ask(list(self._regions), Query(Level.STUDY, keys=keys, include=include, bare=True))
        found = [(answer.profile, answer.rows[0]) for answer in answers if answer.rows]
        if not found:
            if completeness(answers).failed:
                raise NoRegionAnswered("no region answered", federation_status=self._completeness().header())
            raise not_held("this study", self._completeness())
        counts = [first(row.get(STUDY_INSTANCES)) for _, row in found]
        self.instances = max((int(x) for x in counts if isinstance(x, int)), default=None)
        same, others = one_patient(found)
        self.subject = subject_of(study, same, self._patients)
        for profile, _ in others:
            self.states[profile.id] = RegionState(profile.id, CONFLICT)
            self._observer(IdentityConflict(same[0][0].id, profile.id))
        return [profile.id for profile, _ in same]

    async def _split(self, selection: Selection, holders: list[str], at_hand: Mapping[str, Facts]) -> list[Part]:
        """Part a selection by series, and by instance where two regions hold one series or some is at hand."""
        series = {selection.series or "": holders}
        if not selection.instances and (selection.series is None or len(holders) > 1):
            keys: dict[TagPath, str] = {(UNIQUE_KEYS[Level.SERIES],): selection.series} if selection.series else {}
            series = await self._holdings(holders, Query(Level.SERIES, study=selection.study, keys=keys, bare=True))
        parts: list[Part] = []
        for uid, regions in series.items():
            here = {name for name, facts in at_hand.items() if facts.series == uid}
            parts += await self._split_series(replace(selection, series=uid), regions, here)
        whole = not at_hand and not any(part.selection.level is Level.IMAGE for part in parts)
        for region in holders:
            if whole and all(part.region == region for part in parts):
                return [_joined(region, selection, parts)] if parts else []
        return parts

    async def _split_series(self, selection: Selection, holders: list[str], at_hand: Collection[str]) -> list[Part]:
        """Part one series: the first holder brings all it has, the others what only they have."""
        if len(holders) == 1 and not at_hand:
            return [Part(holders[0], selection, unlisted=True)]
        holdings = await self._instances(selection.study, selection.series or "", holders)
        self._listed.update(holdings)
        wanted = (set(selection.instances) or set(holdings)) - set(at_hand)
        parts: list[Part] = []
        for region in holders:
            held = {uid for uid, regions in holdings.items() if region in regions}
            mine = wanted & held
            wanted -= mine
            of = {uid: (selection.series or "", holdings[uid]) for uid in sorted(mine)}
            if mine == held and mine and not selection.instances:
                parts.append(Part(region, selection, len(mine), of))
            else:
                parts += by_instance(region, selection, of)
        if at_hand:
            return parts
        # A series that no holder lists now was listed a moment ago: the first is asked for all it has.
        return parts or [Part(holders[0], selection, unlisted=True)]

    async def _instances(self, study: str, series: str, regions: Sequence[str]) -> dict[str, list[str]]:
        """Map the instances of a series to the regions that hold them."""
        return await self._holdings(regions, Query(Level.IMAGE, study=study, series=series, bare=True))

    async def _holdings(self, regions: Sequence[str], query: Query) -> dict[str, list[str]]:
        """Map the Unique Key of each entity to the regions that hold it."""
        holdings: dict[str, list[str]] = {}
        for answer in await self._ask(regions, query):
            for row in answer.rows:
                uid = first(row.get(UNIQUE_KEYS[query.level]))
                if uid:
                    holdings.setdefault(uid, []).append(answer.profile.id)
        return holdings

    async def _ask(self, regions: Sequence[str], query: Query) -> list[Answer]:
        """Ask the regions; each question has a deadline of its own, so that one slow region does not cost the next."""
        asked = [self._regions[region] for region in regions]
        deadline = self._deadline.within(self._soft_seconds)
        answers = await ask_all(asked, query, deadline, MOST_INSTANCES, self._observer)
        for state in completeness(answers).states:
            if state.missing or state.region not in self.states:
                self.states[state.region] = state
        return answers

    def _completeness(self) -> Completeness:
        """Tell the regions' states; an instance count is known only where it is 0."""
        known = (self.states[region] for region in self._regions)
        return Completeness("instances", tuple(replace(x, count=0 if x.count == 0 else None) for x in known))


def by_instance(region: str, selection: Selection, holders: Holders) -> list[Part]:
    """Ask a region for single instances of a series, in as many parts as keep each list of UIDs short."""
    uids = list(holders)
    lists = [tuple(uids[at : at + MOST_UIDS]) for at in range(0, len(uids), MOST_UIDS)]
    return [
        Part(region, replace(selection, instances=some), len(some), {uid: holders[uid] for uid in some})
        for some in lists
    ]


def _joined(region: str, selection: Selection, parts: Sequence[Part]) -> Part:
    """Ask one region for all its parts at once."""
    holders = {uid: found for part in parts for uid, found in part.holders.items()}
    return Part(region, selection, holders=holders, unlisted=any(part.unlisted for part in parts))
