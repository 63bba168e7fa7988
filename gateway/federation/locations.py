"""Who holds what, and so which region is asked for which instances."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.dataset.query import Level, Query, Selection, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.errors import NoRegionAnswered, NotFound
from gateway.events import IdentityConflict, Observer
from gateway.federation import identity
from gateway.federation.completeness import Completeness, RegionState
from gateway.federation.merge import one_patient
from gateway.federation.paging import first
from gateway.federation.search import MOST_UIDS, Answer, SearchableRegion, ask_all, completeness

CONFLICT = "identity-conflict"
MOST_INSTANCES = 1_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """What one region is asked for; all parts together bring each instance once.

    Attributes:
        region: the region's id.
        selection: what it is asked for.
        known: how many of its instances are known to be there; 0 where nobody has counted.
    """

    region: str
    selection: Selection
    known: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a selection is had from the regions.

    Attributes:
        parts: at least one.
        completeness: the state of each region, so far.
    """

    parts: list[Part]
    completeness: Completeness


class Planner:
    """Plans one retrieve, by C-FIND no deeper than is needed to part it between its holders.

    Attributes:
        states: id of each region to its state, "complete" as long as it answers.
    """

    def __init__(
        self, regions: Sequence[SearchableRegion], deadline: Deadline, soft_seconds: float, observer: Observer
    ) -> None:
        self.states: dict[str, RegionState] = {}
        self._regions = {region.profile.id: region for region in regions}
        self._deadline = deadline
        self._soft_seconds = soft_seconds
        self._observer = observer

    async def plan(self, selection: Selection) -> Plan:
        """Decide which region brings what.

        Raises:
            NotFound: the regions that answered do not hold the study.
            NoRegionAnswered: none answered.
        """
        holders = await self._holders(selection.study)
        parts = [Part(holders[0], selection)]
        if len(holders) > 1:
            parts = await self._split(selection, holders) or parts
        return Plan(parts, self._completeness())

    async def _holders(self, study: str) -> list[str]:
        """Find the regions that hold the study for one patient, the best first."""
        keys: dict[TagPath, str] = {(UNIQUE_KEYS[Level.STUDY],): study}
        include = identity.PATIENT_KEYS | identity.RETURN_KEYS
        answers = await self._ask(list(self._regions), Query(Level.STUDY, keys=keys, include=include, bare=True))
        found = [(answer.profile, answer.rows[0]) for answer in answers if answer.rows]
        if not found:
            status = self._completeness().header()
            if completeness(answers).failed:
                raise NoRegionAnswered("no region answered", federation_status=status)
            raise NotFound("no region that answered holds this study", federation_status=status)
        same, others = one_patient(found)
        for profile, _ in others:
            self.states[profile.id] = RegionState(profile.id, CONFLICT)
            self._observer(IdentityConflict(same[0][0].id, profile.id))
        return [profile.id for profile, _ in same]

    async def _split(self, selection: Selection, holders: list[str]) -> list[Part]:
        """Part a selection by series, and by instance where two regions hold one series."""
        series = {selection.series or "": holders}
        if not selection.instances:
            keys: dict[TagPath, str] = {(UNIQUE_KEYS[Level.SERIES],): selection.series} if selection.series else {}
            series = await self._holdings(holders, Query(Level.SERIES, study=selection.study, keys=keys, bare=True))
        parts: list[Part] = []
        for uid, regions in series.items():
            parts += await self._split_series(replace(selection, series=uid), regions)
        for region in holders:
            if all(part.region == region and part.selection.level is not Level.IMAGE for part in parts):
                return [Part(region, selection)] if parts else []
        return parts

    async def _split_series(self, selection: Selection, holders: list[str]) -> list[Part]:
        """Part one series: the first holder brings all it has, the others what only they have."""
        if len(holders) == 1:
            return [Part(holders[0], selection)]
        query = Query(Level.IMAGE, study=selection.study, series=selection.series, bare=True)
        holdings = await self._holdings(holders, query)
        wanted = set(selection.instances) or set(holdings)
        parts: list[Part] = []
        for region in holders:
            held = {uid for uid, regions in holdings.items() if region in regions}
            mine = wanted & held
            wanted -= mine
            if mine == held and mine and not selection.instances:
                parts.append(Part(region, selection, len(mine)))
            else:
                parts += _by_instance(region, selection, sorted(mine))
        # A series that no holder lists now was listed a moment ago: the first is asked for all it has.
        return parts or [Part(holders[0], selection)]

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


def _by_instance(region: str, selection: Selection, uids: Sequence[str]) -> list[Part]:
    """Ask a region for single instances, in as many parts as keep each list of UIDs short."""
    lists = [tuple(uids[at : at + MOST_UIDS]) for at in range(0, len(uids), MOST_UIDS)]
    return [Part(region, replace(selection, instances=some), len(some)) for some in lists]
