"""What a caller gets of a retrieve: instances, in the order in which they arrive."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from gateway.access.permit import Block
from gateway.deadline import Deadline
from gateway.errors import IncompleteRetrieve, RegionError, Stalled
from gateway.federation.completeness import Completeness, not_held
from gateway.federation.flights import Flight
from gateway.federation.permission import Standing
from gateway.federation.subscription import Subscription, wants
from gateway.spool.spool import Spool, Spooled


class Instance:
    """One SOP Instance as one caller reads it, from any place and as often as he likes, while it arrives or after.

    Attributes:
        region: id of the region it comes from.
        character_set: what its Data Set means where Specific Character Set is absent.
        series_instance_uid: of its series, where its Data Set says.
    """

    def __init__(self, spooled: Spooled, spool: Spool, subscription: Subscription, standing: Standing) -> None:
        facts = spooled.facts
        self.region = facts.region
        self.character_set = facts.character_set
        self.series_instance_uid = facts.series or None
        self.sop_class_uid = facts.sop_class
        self.sop_instance_uid = facts.uid
        self.transfer_syntax_uid = facts.transfer_syntax
        self._spooled = spooled
        self._spool = spool
        self._subscription = subscription
        self._standing = standing

    @property
    def complete(self) -> bool:
        """Whether all of it is here."""
        return self._spooled.content.complete

    @property
    def size(self) -> int | None:
        """Bytes of its Data Set, None while it arrives."""
        return self._spooled.content.size if self.complete else None

    async def bursts(self, offset: int = 0) -> AsyncIterator[list[memoryview]]:
        """Yield the Data Set as encoded by the region, from an offset on, each time all that is here.

        Where it breaks off and comes again, from whichever holder, with the same beginning, its rest follows as if
        nothing had happened.

        Raises:
            RegionError: it breaks off.
            NotFound, ConsentBlocked: it is not for this caller any more.
        """
        while True:
            spooled = self._spooled
            try:
                async with aclosing(spooled.content.bursts(offset)) as bursts:  # type: ignore[type-var]
                    async for burst in bursts:
                        if self._standing.in_doubt:
                            await self._standing.confirm()
                        yield burst
                        offset += sum(map(len, burst))
                        self._subscription.moved(offset)
            except RegionError:
                self._spooled = await self._subscription.again(spooled, offset)
            else:
                return

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        """Yield the same fragment by fragment."""
        async with aclosing(self.bursts()) as bursts:  # type: ignore[type-var]
            async for burst in bursts:
                for fragment in burst:
                    yield fragment

    async def whole(self) -> None:
        """Return once all of it is here; raises RegionError where it breaks off for good."""
        while True:
            spooled = self._spooled
            try:
                await spooled.content.whole()
            except RegionError:
                self._spooled = await self._subscription.again(spooled, 0)
            else:
                return

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of its Data Set that are here, fewer where there are no more; may look at the disk."""
        return self._spooled.content.read(offset, length)

    async def load(self, offset: int, length: int) -> bytes:
        """Return the same without holding up the event loop, for what may be large."""
        return await self._spooled.content.load(offset, length)

    def note(self, key: str) -> bytes | None:
        """Return a fact that was derived from it before, None where there is none."""
        return self._spool.note(self._spooled.facts, key)

    def keep(self, key: str, value: bytes) -> None:
        """Note a small fact derived from it, for as long as it is in the spool."""
        self._spool.keep_note(self._spooled.facts, key, value)


class Retrieval:
    """The instances of one selection, in the order in which they arrive.

    Iterating raises, at the end or as soon as nothing more can come: NotFound where there is no such series or
    instance, RegionMissing where one that did not answer may have it, the region's error where nothing arrived
    because of it, and IncompleteRetrieve where something did.

    Attributes:
        arrived: how many were given.
        standing: whether they may still be given.
    """

    def __init__(
        self,
        flight: Flight,
        subscription: Subscription,
        spool: Spool,
        first_by: Deadline,
        standing: Standing,
        refuse: Callable[[Block], Awaitable[None]],
    ) -> None:
        self._flight = flight
        self._subscription = subscription
        self._spool = spool
        self._first_by = first_by
        self.arrived = 0
        self.standing = standing
        self._refuse = refuse

    @property
    def completeness(self) -> Completeness:
        """The state of each region, so far."""
        flight = self._flight
        if not self.standing.hidden:
            return flight.completeness
        hidden = {x.facts.uid: x.facts.region for x in flight.log if x.content.complete}.items()
        less = Counter(region for uid, region in hidden if uid in self.standing.hidden)
        counted = (x if x.count is None else replace(x, count=x.count - less[x.region]) for x in flight.states.values())
        return Completeness("instances", tuple(counted))

    @property
    def partial(self) -> bool:
        """Whether it is known now that an instance which exists will not come."""
        return bool(self._flight.failures) and not self._subscription.is_satisfied

    @property
    def at_hand(self) -> bool:
        """Whether it is known which instances there are, and all of them are here whole."""
        flight, wanted = self._flight, self._subscription.wanted
        known = self._subscription.is_satisfied or (flight.ended and not flight.failures)
        return known and all(x.content.complete for x in flight.log if wants(wanted, x.facts))

    async def __aiter__(self) -> AsyncIterator[Instance]:
        """Yield each instance once."""
        while (spooled := await self._next()) is not None:
            if self.standing.in_doubt:
                await self.standing.confirm()
            if await self.standing.withholds(spooled.facts.uid):
                continue
            self.arrived += 1
            yield Instance(spooled, self._spool, self._subscription, self.standing)
        if self.standing.withheld and not self.arrived:
            await self._refuse(next(iter(self.standing.withheld.values())))
        if self._subscription.is_satisfied:
            return
        failures = self._flight.failures
        if failures and self.arrived:
            raise IncompleteRetrieve("some instances did not arrive") from failures[0]
        if failures:
            raise failures[0].with_traceback(None)
        if not self.arrived:
            raise not_held("it", self.completeness)

    async def _next(self) -> Spooled | None:
        if self.arrived:
            return await self._subscription.next()
        try:
            async with self._first_by.timeout():
                return await self._subscription.next()
        except TimeoutError:
            raise Stalled("no instance arrived in time") from None
