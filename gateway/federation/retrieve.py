"""A Retrieve transaction over all regions (PS3.18 10.4)."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from types import TracebackType
from typing import Self

from gateway.access.permit import UNRESTRICTED, Block, Permit
from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.errors import GatewayError, Gone, IncompleteRetrieve, NotFound, RegionMissing, SpoolFull, Stalled
from gateway.events import Observer, RetrieveBegun
from gateway.federation.bringing import Bringing, RetrievableRegion
from gateway.federation.flights import Flight
from gateway.federation.holdings import Holdings
from gateway.federation.issuers import Issuers
from gateway.federation.locations import Plan, Planner
from gateway.federation.patients import NoIdentitySource, Patients
from gateway.federation.permission import Standing, allow, blocked, told
from gateway.federation.retrieval import Retrieval
from gateway.federation.subscription import wants
from gateway.hops import hops
from gateway.spool.spool import Spool, Spooled

SLOW_SECONDS = 60.0
"""How long a caller may take nothing while others wait for the memory that he holds (promise H08)."""

WATCH_SECONDS = 5.0

SILENT = "no region said in time what it holds"


class FederatedRetrieve:
    """Retrieves what the province holds of a study, series or instance, each SOP Instance once.

    One retrieve upstream serves every caller that wants any part of it. What is in the spool whole is served from
    there, for a short while unasked, later once its holders list the same instances. Whoever asks for one instance
    gets it first and makes its whole series come, and when he has it the rest of its study.
    """

    def __init__(
        self,
        regions: Sequence[RetrievableRegion],
        observer: Observer,
        spool: Spool,
        *,
        soft_seconds: float = 8.0,
        longest_seconds: float = 4 * 3600.0,
        fresh_seconds: float = 60.0,
        background_instances: int = 0,
        patients: Patients | None = None,
    ) -> None:
        self._regions = {region.profile.id: region for region in regions}
        self._observer = observer
        self._spool = spool
        self._soft_seconds = soft_seconds
        self._longest_seconds = longest_seconds
        self._background_instances = background_instances
        self._patients = patients or Patients(NoIdentitySource(), Issuers())
        self._flights: list[Flight] = []
        self._holdings = Holdings(fresh_seconds)
        self._tasks = asyncio.TaskGroup()
        self._watch: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> Sequence[Flight]:
        """The retrieves that go on now."""
        return self._flights

    @property
    def spool(self) -> Spool:
        """Where instances are kept for a while."""
        return self._spool

    async def __aenter__(self) -> Self:
        """Begin to serve."""
        await self._tasks.__aenter__()
        self._watch = self._tasks.create_task(self._watch_readers())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give up what is under way."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for flight in list(self._flights):
            self._ground(flight)
        await self._tasks.__aexit__(None, None, None)

    @asynccontextmanager
    async def retrieve(
        self, selection: Selection, deadline: Deadline, *, permit: Permit = UNRESTRICTED, event: str = "retrieve"
    ) -> AsyncIterator[Retrieval]:
        """Have a selection from the spool, from a retrieve under way, or from its holders.

        Wherever it comes from, whose it is was said by the regions that it came from, and is held against the permit
        before anything of it is given.

        The deadline is that of the first instance; those behind it come as long as the regions keep sending. Leaving
        the context stops what nobody else wants, and has the audit trail say how much was given, as the event.

        Raises:
            NotFound: no region holds the study.
            RegionMissing: those that answered do not.
            NoRegionAnswered: none answered.
            SpoolFull: there is no room to begin another retrieve.
            AccessDenied: its patient does not consent, and the caller is to know it.
            AuditUnavailable: the release cannot be recorded.
        """
        flight, source = await self._from_spool(selection), "spool"
        if flight is None:
            flight, source = self._under_way(selection), "joined"
        if flight is None:
            flight, source = self._depart(selection), "region"
        self._observer(RetrieveBegun(source))
        subscription = flight.subscribe(selection)
        retrieval: Retrieval | None = None
        try:
            try:
                await _planned(flight, deadline)
            except NotFound as error:
                if await self._may_know(selection.study, permit):
                    text = "the regions that held this study hold it no more"
                    raise Gone(text, federation_status=error.federation_status) from None
                raise
            standing = Standing(flight, permit, permit.generation)
            standing.hidden = await self._allow(flight, permit, deadline, at_hand=source != "region")
            refuse = partial(self._refuse, selection, deadline)
            if selection.instances and all([await standing.withholds(uid) for uid in selection.instances]):
                await refuse(standing.hidden[selection.instances[0]])
            retrieval = Retrieval(flight, subscription, self._spool, deadline, standing, refuse)
            yield retrieval
        finally:
            subscription.leave()
            flight.delivered = flight.delivered or subscription.is_satisfied
            if not flight.subscriptions and not flight.ended and not self._goes_on(flight):
                await self._given_up(flight)
            if retrieval is not None:
                await told(flight, permit, retrieval.arrived, whole=subscription.is_satisfied, event=event)

    async def _may_know(self, study: str, permit: Permit) -> bool:
        """Whether a study that no region holds was there, and this caller might have had it."""
        subject = self._holdings.last_of(study)
        if subject is None or permit.breaking is not None:
            return False
        if not permit.restricted:
            return True
        return not any(await permit.blocks((subject,))) and not any(await permit.hidden((subject,)))

    async def _allow(self, flight: Flight, permit: Permit, deadline: Deadline, *, at_hand: bool) -> Mapping[str, Block]:
        """Do as ``allow`` does; a study that is said not to be there takes as long to be not found as any other."""
        try:
            return await allow(flight, permit)
        except (NotFound, RegionMissing):
            if at_hand:  # the regions would be asked for a study that is not here, and may be down by now
                await self._look_for_nothing(deadline)
            raise

    async def _refuse(self, selection: Selection, deadline: Deadline, block: Block) -> None:
        """Raise what a caller is told of a selection of which all is withheld: that it is, or that it is not there."""
        if block.notice:
            raise blocked(block.notice)
        nobodys = f"2.25.{uuid.uuid4().int}"
        absent = Selection(nobodys)
        if selection.series:  # a series of its own: what is under way of this one tells of what is withheld
            absent = Selection(selection.study, nobodys, (nobodys,) if selection.instances else ())
        async with self.retrieve(absent, deadline) as nothing:
            async for _ in nothing:
                pass

    async def _look_for_nothing(self, deadline: Deadline) -> None:
        """Ask the regions for a study that nobody has; raise what becomes of that."""
        planner = Planner(list(self._regions.values()), deadline, self._soft_seconds, self._observer, self._patients)
        try:
            async with deadline.timeout():
                await planner.plan(Selection(f"2.25.{uuid.uuid4().int}"))
        except TimeoutError:
            raise Stalled(SILENT) from None

    # --- what there is already

    async def _from_spool(self, selection: Selection) -> Flight | None:
        """Return a flight that has landed, where all is in the spool and was looked up a moment ago."""
        found = self._holdings.at_rest(selection, self._spool.at_hand(selection.study))
        if found is None:
            return None
        holding, wanted = found
        sound = await self._spool.sound(wanted)
        if len(sound) < len(wanted) or any(x.content.lost for x in sound):
            return None
        flight = Flight(selection, self._spool, self._observer)
        flight.states, flight.subjects = holding.counted(wanted), holding.subjects
        for spooled in sound:
            flight.publish(spooled)
        flight.end()
        return flight

    def _under_way(self, selection: Selection) -> Flight | None:
        for flight in self._flights:
            if flight.selection.study != selection.study or flight.ended or not flight.can_be_joined(selection):
                continue
            if flight.via != hops():
                continue
            if selection.series is None or not flight.background or flight.subscriptions:
                return flight
        return None

    # --- flights

    def _depart(self, selection: Selection, *, background: bool = False) -> Flight:
        """Begin a retrieve: of a whole series where some of its instances are wanted."""
        if self._spool.is_full:
            raise SpoolFull("the spool has no room for another retrieve: ask again later, or enlarge [spool] max_bytes")
        scope = Selection(selection.study, selection.series)
        for other in self._flights:
            if other.background and not other.subscriptions:
                self._ground(other)  # what somebody waits for overtakes what nobody does
        flight = Flight(scope, self._spool, self._observer, background=background)
        self._flights.append(flight)
        flight.task = self._tasks.create_task(self._fly(flight, selection.instances))
        return flight

    async def _fly(self, flight: Flight, first: Sequence[str]) -> None:
        try:
            await self._bring(flight, first)
        except GatewayError as error:
            flight.failed(error)
        except Exception as error:  # noqa: BLE001 - a defect ends one retrieve, not all of them
            flight.failed(IncompleteRetrieve("the retrieve failed"))
            report = {"message": "a retrieve failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(report)
        finally:
            flight.end()
            self._flights.remove(flight)

    async def _bring(self, flight: Flight, first: Sequence[str]) -> None:
        selection = flight.selection
        stored = [x for x in (await self._spool.study(selection.study)).values() if wants(selection, x.facts)]
        deadline = Deadline.after(self._longest_seconds)
        planner = Planner(list(self._regions.values()), deadline, self._soft_seconds, self._observer, self._patients)
        with held(stored):  # their time may be over before they are given to those who wait
            kept = {x.facts.uid: x for x in await self._spool.sound(stored)}
            plan = await planner.plan(selection, {uid: x.facts for uid, x in kept.items()})
            self._spool.forget(selection.study, kept.keys() - set(plan.confirmed))
            flight.states = {state.region: state for state in plan.completeness.states}
            flight.subjects = self._holdings.whose(selection.study, planner.subject)
            for spooled in (x for uid, x in kept.items() if uid in plan.confirmed):
                state = flight.states.get(spooled.facts.region)
                if state is not None and not state.missing:
                    spooled.confirmed_at = time.monotonic()
                flight.publish(spooled)
        flight.expected = _expected(plan, planner.instances if selection.series is None else None)
        flight.planned.set()
        bringing = Bringing(self._regions, planner, flight, self._observer, self._longest_seconds)
        await bringing.run(plan, [uid for uid in first if uid not in plan.confirmed])
        self._holdings.land(flight)
        if self._study_follows(flight, planner.instances):
            self._depart(Selection(selection.study), background=True)

    def _study_follows(self, flight: Flight, instances: int | None) -> bool:
        """Whether a viewer has opened a series whose study is small enough to be brought behind his back."""
        if not flight.delivered or flight.selection.series is None or flight.failures or self._spool.is_full:
            return False
        busy = self._watch is None or any(other is not flight for other in self._flights)
        return not busy and instances is not None and instances <= self._background_instances

    def _goes_on(self, flight: Flight) -> bool:
        """Whether a flight that nobody reads goes on: a viewer that has one instance will want its series."""
        return flight.delivered and not self._spool.is_full

    def _ground(self, flight: Flight) -> None:
        """Stop a flight."""
        flight.close()
        if flight.task is not None:
            flight.task.cancel()

    async def _given_up(self, flight: Flight) -> None:
        self._ground(flight)
        if flight.task is not None:
            await asyncio.wait([flight.task])

    async def _watch_readers(self) -> None:
        """Give up callers who stand still while regions wait for memory (promise H08)."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._spool.memory.is_short:
                before = asyncio.get_running_loop().time() - SLOW_SECONDS
                for flight in self._flights:
                    flight.cut_slow(before)


def _expected(plan: Plan, counted: int | None) -> int | None:
    """Return how many instances a plan will have brought, as far as its holders have counted."""
    known = sum(part.known for part in plan.parts) + len(plan.confirmed)
    if not any(part.unlisted for part in plan.parts):
        return known
    return counted if counted is not None and counted >= known else None


@contextmanager
def held(instances: Sequence[Spooled]) -> Iterator[None]:
    """Keep the bytes of instances as long as the context lasts."""
    for spooled in instances:
        spooled.content.claim()
    try:
        yield
    finally:
        for spooled in instances:
            spooled.content.unclaim()


async def _planned(flight: Flight, deadline: Deadline) -> None:
    """Wait until it is known who brings what; raise why nobody does."""
    try:
        async with deadline.timeout():
            await flight.planned.wait()
    except TimeoutError:
        raise Stalled(SILENT) from None
    if flight.error is not None:
        raise flight.error.with_traceback(None)
