"""A Retrieve transaction over all regions (PS3.18 10.4)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.suboperations import SubOperations
from gateway.errors import GatewayError, IncompleteRetrieve, NotFound, Stalled
from gateway.events import Observer, RegionOperation
from gateway.federation.completeness import COMPLETE, Completeness, RegionState
from gateway.federation.flights import Flight, Instance
from gateway.federation.locations import Part, Plan, Planner
from gateway.federation.search import SearchableRegion
from gateway.region.inbox import Receiver


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


class Retrieval:
    """The instances of one selection, in the order in which they arrive.

    Iterating raises, at the end or as soon as nothing more can come: NotFound where there is no such series or
    instance, the region's error where nothing arrived because of it, and IncompleteRetrieve where something did.
    """

    def __init__(self, plan: Plan, flight: Flight, first_by: Deadline) -> None:
        self._states = {state.region: state for state in plan.completeness.states}
        self._flight = flight
        self._first_by = first_by
        self._failures: list[GatewayError] = []
        self._arrived = 0

    @property
    def completeness(self) -> Completeness:
        """The state of each region, so far."""
        return Completeness("instances", tuple(self._states.values()))

    @property
    def partial(self) -> bool:
        """Whether it is known now that an instance which exists will not come."""
        return bool(self._failures)

    async def __aiter__(self) -> AsyncIterator[Instance]:
        """Yield each instance once; the reader reads or discards one before it takes the next."""
        while (instance := await self._next()) is not None:
            self._arrived += 1
            yield instance
            instance.discard()
        if self._failures and self._arrived:
            raise IncompleteRetrieve("some instances did not arrive") from self._failures[0]
        if self._failures:
            raise self._failures[0]
        if not self._arrived:
            raise NotFound("no region that answered holds it", federation_status=self.completeness.header())

    async def _next(self) -> Instance | None:
        if self._arrived:
            return await self._flight.arrival()
        try:
            async with self._first_by.timeout():
                return await self._flight.arrival()
        except TimeoutError:
            raise Stalled("no instance arrived in time") from None

    def ended(self, part: Part, failure: GatewayError | None, instances: int) -> None:
        """Take note that a part has ended."""
        state = self._states[part.region]
        if failure is not None:
            self._failures.append(failure)
        word = state.state if failure is None else failure.slug
        self._states[part.region] = RegionState(part.region, word, (state.count or 0) + instances)
        self._flight.ended()


class FederatedRetrieve:
    """Retrieves what the province holds of a study, series or instance, each SOP Instance once."""

    def __init__(
        self,
        regions: Sequence[RetrievableRegion],
        observer: Observer,
        *,
        soft_seconds: float = 8.0,
        longest_seconds: float = 4 * 3600.0,
    ) -> None:
        self._regions = {region.profile.id: region for region in regions}
        self._observer = observer
        self._soft_seconds = soft_seconds
        self._longest_seconds = longest_seconds

    @asynccontextmanager
    async def retrieve(self, selection: Selection, deadline: Deadline) -> AsyncIterator[Retrieval]:
        """Find the holders and start their transfers; leaving the context stops what is still under way.

        The deadline is that of the first instance; those behind it come as long as the regions keep sending.

        Raises:
            NotFound: the regions that answered do not hold the study.
            NoRegionAnswered: none answered.
        """
        planner = Planner(list(self._regions.values()), deadline, self._soft_seconds, self._observer)
        plan = await planner.plan(selection)
        flight = Flight(len(plan.parts))
        retrieval = Retrieval(plan, flight, deadline)
        stopped: Exception | None = None
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._bring(part, flight, retrieval)) for part in plan.parts]
            try:
                yield retrieval
            except Exception as error:  # noqa: BLE001 - carried past the group, which would wrap it
                stopped = error
            finally:
                flight.close()
                for task in tasks:
                    task.cancel()
        if stopped is not None:
            raise stopped

    async def _bring(self, part: Part, flight: Flight, retrieval: Retrieval) -> None:
        """Run one part to its end and tell how it went."""
        arrived: list[str] = []
        region = self._regions[part.region]

        async def receive(store: IncomingStore, series: str | None) -> int:
            status = await flight.receive(store, series, region.profile)
            arrived.append(store.sop_instance_uid)
            return status

        failure: GatewayError | None = None
        began = time.monotonic()
        try:
            deadline = Deadline.after(self._longest_seconds)
            result = await region.retrieve(part.selection, receive, deadline, held_up=lambda: flight.held_up)
            failure = shortfall(part, result, arrived)
        except GatewayError as error:
            failure = error
        outcome = COMPLETE if failure is None else failure.slug
        count = len(set(arrived))
        self._observer(RegionOperation(part.region, "retrieve", outcome, time.monotonic() - began, count))
        retrieval.ended(part, failure, count)


def shortfall(part: Part, result: SubOperations, arrived: Sequence[str]) -> GatewayError | None:
    """Compare what a region says it sent with what arrived (promise R16); None when nothing is missing.

    What a region sent twice counts once, unless that is how the region counts.
    """
    distinct = len(set(arrived))
    counted = len(arrived) if len(arrived) == result.sent else distinct
    if result.failed or counted < result.sent or distinct < part.known:
        reported = f"it reports {result.sent} sent and {result.failed or 0} failed"
        return IncompleteRetrieve(f"{distinct} instances of region {part.region} arrived: {reported}")
    return None
