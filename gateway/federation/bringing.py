"""How the parts of a plan are brought, and what is done about what does not come."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from gateway.dataset.query import Level, Selection
from gateway.deadline import Deadline
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.suboperations import SubOperations
from gateway.errors import GatewayError, IncompleteRetrieve, PartlyAnswered
from gateway.events import Observer, RegionOperation, RetrieveRepeated
from gateway.federation.asking import MOST_UIDS, SearchableRegion
from gateway.federation.completeness import COMPLETE, RegionState
from gateway.federation.flights import Flight
from gateway.federation.locations import Holders, Part, Plan, Planner, by_instance
from gateway.region.inbox import Receiver

HURRY_SECONDS = 1.0
"""How long a caller waits for a single instance of a series under way before it is asked for by itself."""


class RetrievableRegion(SearchableRegion, Protocol):
    """What a retrieve needs of a region."""

    async def retrieve(
        self,
        selection: Selection,
        receive: Receiver,
        deadline: Deadline,
        *,
        held_up: Callable[[], bool],
    ) -> SubOperations:
        """Have each selected instance handed to ``receive``; raises GatewayError when the region fails.

        ``held_up`` tells that we keep the region waiting, so that its silence is not its fault.
        """


class Bringing:
    """Has all parts of a plan brought into a flight.

    What does not come is looked up, and asked for by UID: at the other holders, then once more at the same one.
    """

    def __init__(
        self,
        regions: Mapping[str, RetrievableRegion],
        planner: Planner,
        flight: Flight,
        observer: Observer,
        longest_seconds: float,
    ) -> None:
        self._regions = regions
        self._planner = planner
        self._flight = flight
        self._observer = observer
        self._longest_seconds = longest_seconds

    async def run(self, plan: Plan, first: Sequence[str] = ()) -> None:
        """Bring it all; the ``first`` instances before the rest of their series."""
        if first:
            await self._express(plan.parts, first)
            if self._flight.is_in_vain:
                return
        async with asyncio.TaskGroup() as group:
            overtaking = group.create_task(self._overtake(plan.parts))
            async with asyncio.TaskGroup() as parts:
                for part in plan.parts:
                    parts.create_task(self._bring(part))
            overtaking.cancel()

    async def _overtake(self, parts: Sequence[Part]) -> None:
        """Ask by themselves for single instances that callers have waited for a while."""
        asked: set[str] = set()
        while True:
            self._flight.wanted.clear()
            await self._flight.wanted.wait()
            await asyncio.sleep(HURRY_SECONDS)
            if uids := sorted(self._flight.awaited() - asked):
                asked.update(uids)
                await self._express(parts, uids[:MOST_UIDS])

    async def _express(self, parts: Sequence[Part], uids: Sequence[str]) -> None:
        """Bring single instances ahead of their series; one that its holder does not list is absent."""
        for part in parts:
            mine = [uid for uid in uids if part.unlisted or uid in part.holders]
            if part.selection.instances or not mine:
                continue
            alone = replace(part.selection, instances=tuple(mine))
            await self._ask(part.region, alone, len(mine))
            if not all(map(self._flight.has, mine)):
                listed = await self._planner.contents(part.region, part.selection)
                if listed is not None and len(parts) == 1:
                    self._flight.absent.update(uid for uid in mine if uid not in listed)
                    self._flight.wake()

    async def _bring(self, part: Part) -> None:
        """Bring one part, from wherever it can be had, and tell how it went."""
        before = len(self._flight.log)
        counted = self._planner.instances if part.unlisted and part.selection.level is Level.STUDY else None
        failure = await self._ask(part.region, part.selection, counted or part.known)
        came = len(self._flight.log) > before
        if failure is None and not came and not any(map(self._flight.has, part.selection.instances)):
            failure = IncompleteRetrieve(f"region {part.region} says that it is done and has sent nothing")
        if failure is not None:
            failure = await self._make_good(part, failure, again=came or isinstance(failure, IncompleteRetrieve))
        if failure is not None:
            self._flight.failures.append(failure)
        self._tell(part.region, failure)

    async def _make_good(self, part: Part, failure: GatewayError, *, again: bool) -> GatewayError | None:
        """Bring what is missing of a part; return what is the matter if that does not succeed."""
        listed, fully = part.holders, not part.unlisted
        if part.unlisted and again:
            found = await self._planner.contents(part.region, part.selection)
            listed, fully = (part.holders, False) if found is None else ({**part.holders, **found}, True)
        others = dict.fromkeys(region for _, regions in listed.values() for region in regions)
        for region in [*(x for x in others if x != part.region), *([part.region] if again else [])]:
            holder = "same" if region == part.region else "other"
            await self._bring_missing(region, part.selection.study, listed, holder)
        whole = fully and all(map(self._flight.has, listed))
        return None if whole and (listed or isinstance(failure, IncompleteRetrieve)) else failure

    async def _bring_missing(self, region: str, study: str, listed: Holders, holder: str) -> None:
        """Ask a region by UID for those of the listed instances that it holds and that are not here."""
        series: dict[str, dict[str, tuple[str, Sequence[str]]]] = {}
        for uid, (of, regions) in listed.items():
            if region in regions and not self._flight.has(uid):
                series.setdefault(of, {})[uid] = of, regions
        for of, holders in series.items():
            for part in by_instance(region, Selection(study, of), holders):
                self._observer(RetrieveRepeated(region, holder))
                await self._ask(region, part.selection, part.known)
                self._tell(region, None)

    async def _ask(self, name: str, selection: Selection, known: int) -> GatewayError | None:
        """Ask one region once; return what went wrong."""
        arrived: list[str] = []
        size = 0
        region = self._regions[name]

        async def receive(store: IncomingStore, series: str | None) -> int:
            nonlocal size
            status = await self._flight.receive(store, series, region.profile)
            arrived.append(store.sop_instance_uid)
            size += self._flight.size(store.sop_instance_uid)
            return status

        failure: GatewayError | None = None
        began = time.monotonic()
        try:
            deadline = Deadline.after(self._longest_seconds)
            result = await region.retrieve(selection, receive, deadline, held_up=lambda: self._flight.held_up)
            failure = shortfall(name, known, result, arrived)
        except PartlyAnswered as error:
            # A federation that lacked the same parts when it was searched has sent all that it told of.
            is_told = bool(error.parts) and set(error.parts) <= set(self._flight.states[name].parts)
            failure = shortfall(name, known, SubOperations(), arrived) if is_told else error
        except GatewayError as error:
            failure = error
        outcome, code = (COMPLETE, "") if failure is None else (failure.slug, failure.code)
        seconds, count = time.monotonic() - began, len(set(arrived))
        self._observer(RegionOperation(name, "retrieve", outcome, seconds, count, size=size, code=code))
        return failure

    def _tell(self, region: str, failure: GatewayError | None) -> None:
        """Write the state of a region down."""
        state = self._flight.states[region]
        word = state.state if failure is None else failure.slug
        parts = failure.parts if isinstance(failure, PartlyAnswered) else state.parts if failure is None else ()
        self._flight.states[region] = RegionState(region, word, self._flight.count(region), parts)
        self._flight.wake()


def shortfall(region: str, known: int, result: SubOperations, arrived: Sequence[str]) -> GatewayError | None:
    """Compare what a region says it sent with what arrived (promise R16); None when nothing is missing.

    What a region sent twice counts once, unless that is how the region counts.
    """
    distinct = len(set(arrived))
    counted = len(arrived) if len(arrived) == result.sent else distinct
    if result.failed or counted < result.sent or distinct < known:
        reported = f"it reports {result.sent} sent and {result.failed or 0} failed"
        return IncompleteRetrieve(f"{distinct} instances of region {region} arrived: {reported}")
    return None
