"""Retrieves under way that any number of callers can join, late ones too."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from gateway.dataset.query import Selection
from gateway.dimse.incoming import IncomingStore
from gateway.errors import Aborted, GatewayError, LimitExceeded, RegionError
from gateway.events import InstanceConflict, Observer
from gateway.federation.completeness import Completeness, RegionState
from gateway.hops import hops
from gateway.region.profile import Profile
from gateway.spool.catalog import Facts
from gateway.spool.spool import Spool, Spooled

if TYPE_CHECKING:
    from gateway.access.permit import Subject
    from gateway.federation.permission import Standing

SUCCESS = 0x0000
CANNOT_TAKE = 0xA700
COMPARED_AT_ONCE = 1 << 20


class Instance:
    """One SOP Instance as one caller reads it, from any place and as often as he likes, while it arrives or after.

    Attributes:
        region: id of the region it comes from.
        character_set: what its Data Set means where Specific Character Set is absent.
        series_instance_uid: of its series, where its Data Set says.
    """

    def __init__(self, spooled: Spooled, spool: Spool, subscription: "Subscription", standing: "Standing") -> None:
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


class Flight:
    """One retrieve, and all it has brought so far: each SOP Instance once, in the order of arrival.

    Takes C-STOREs from any number of associations. It is over when all that set out to bring instances have said so.

    Attributes:
        selection: what it brings.
        log: its instances.
        states: the state of each region, once it is planned.
        subjects: whose the study is, once it is planned; more than one where regions that were asked now and regions
            that were asked before might differ.
        failures: why instances that exist will not come.
        error: why there is nothing to bring.
        planned: set once it is known who brings what.
        ended: whether no more will come.
        wanted: set when a caller comes for a single instance that is not here.
        absent: instances that were asked for and that no holder lists.
        delivered: whether a caller left with all he wanted while the rest was still to come.
        background: whether it set out for nobody.
        began_at: when it set out, on the monotonic clock.
        expected: how many instances it is to bring; None where nobody has counted.
        via: the gateways that asked for it: one that asks for us must not wait for itself.
    """

    def __init__(self, selection: Selection, spool: Spool, observer: Observer, *, background: bool = False) -> None:
        self.selection = selection
        self.log: list[Spooled] = []
        self.states: dict[str, RegionState] = {}
        self.subjects: tuple[Subject, ...] = ()
        self.failures: list[GatewayError] = []
        self.error: GatewayError | None = None
        self.planned = asyncio.Event()
        self.ended = False
        self.wanted = asyncio.Event()
        self.absent: set[str] = set()
        self.delivered = self.background = background
        self.began_at = time.monotonic()
        self.via = hops()
        self.expected: int | None = None
        self.task: asyncio.Task[None] | None = None
        self.subscriptions: set[Subscription] = set()
        self._spool = spool
        self._observer = observer
        self._by_uid: dict[str, Spooled] = {}
        self._aloft: dict[Spooled, IncomingStore] = {}
        self._closed = False

    # --- what brings instances

    async def receive(self, store: IncomingStore, series: str | None, profile: Profile) -> int:
        """Take one instance; returns once it is here whole, read or not.

        Raises:
            RegionError: the association ended before the instance did.
        """
        if self._closed or self.ended:
            store.discard()
            return CANNOT_TAKE
        known = self._by_uid.get(store.sop_instance_uid)
        if known is not None and known.content.error is None:
            return await self._pass_over(store, known, profile)
        facts = Facts(
            self.selection.study, series or self.selection.series or "", store.sop_instance_uid, profile.id,
            store.sop_class_uid, store.transfer_syntax_uid, profile.character_set,
        )  # fmt: skip
        spooled = self._spool.grow(facts, store.charge)
        self._aloft[spooled] = store
        self.publish(spooled)
        store.divert(spooled.content)
        try:
            await store.received()
        finally:
            self._aloft.pop(spooled, None)
            if spooled.content.complete and not self._closed:
                self._spool.keep(spooled)
            else:
                self._give_up(spooled)
        return SUCCESS

    def publish(self, spooled: Spooled) -> None:
        """Give an instance to all who want it."""
        self._by_uid[spooled.facts.uid] = spooled
        self.log.append(spooled)
        for subscription in self.subscriptions:
            subscription.offer(spooled)

    def has(self, uid: str) -> bool:
        """Whether an instance is here whole."""
        spooled = self._by_uid.get(uid)
        return spooled is not None and spooled.content.complete

    def count(self, region: str) -> int:
        """Return how many instances of a region are here whole."""
        return sum(x.facts.region == region and x.content.complete for x in self._by_uid.values())

    def size(self, uid: str) -> int:
        """Return the bytes of an instance that are here."""
        spooled = self._by_uid.get(uid)
        return 0 if spooled is None else spooled.content.size

    @property
    def arrived(self) -> tuple[int, int]:
        """How many instances are here whole, and the bytes of all that is here."""
        contents = [spooled.content for spooled in self._by_uid.values()]
        return sum(content.complete for content in contents), sum(content.size for content in contents)

    @property
    def held_up(self) -> bool:
        """Whether the regions may be waiting for room, so that their silence is not their fault."""
        return any(spooled.content.waiting for spooled in self._aloft)

    @property
    def is_in_vain(self) -> bool:
        """Whether all who read it wait for what is known not to be there."""
        return bool(self.subscriptions) and all(x.waits_in_vain for x in self.subscriptions)

    def wake(self) -> None:
        """Let everyone look again."""
        for subscription in self.subscriptions:
            subscription.wake()

    def failed(self, error: GatewayError) -> None:
        """Take note of why nothing, or nothing more, can be brought."""
        if self.planned.is_set():
            self.failures.append(error)
        else:
            self.error = error

    def end(self) -> None:
        """Take note that no more will come."""
        self.ended = True
        self.planned.set()
        self.wake()

    def close(self) -> None:
        """Take no more instances, and drop those on their way; who still reads learns that something is missing."""
        self._closed = True
        if not self.ended:
            self.failures.append(Aborted("the retrieve was given up"))
        for spooled, store in list(self._aloft.items()):
            store.discard()
            self._give_up(spooled)
        self.end()

    def _give_up(self, spooled: Spooled) -> None:
        self._spool.drop(spooled.content)
        spooled.content.fail(Aborted("the retrieve was given up"))

    async def _pass_over(self, store: IncomingStore, known: Spooled, profile: Profile) -> int:
        """Drop a second copy; one with other bytes is told of (promise R20, trap 3)."""
        offset, differs = 0, False
        async for fragment in store:
            if offset + len(fragment) <= known.content.size and not known.content.gone and not differs:
                differs = await known.content.load(offset, len(fragment)) != fragment
            offset += len(fragment)
        if differs or (known.content.complete and offset != known.content.size):
            self._observer(InstanceConflict(known.facts.region, profile.id))
        return SUCCESS

    # --- who reads

    def subscribe(self, wanted: Selection) -> "Subscription":
        """Begin to follow it, from its first instance on."""
        subscription = Subscription(self, wanted)
        for spooled in self.log:
            subscription.offer(spooled)
        self.subscriptions.add(subscription)
        if wanted.instances:
            self.wanted.set()
        return subscription

    def awaited(self) -> set[str]:
        """Return the single instances that callers wait for and of which nothing has come."""
        wanted = {uid for subscription in self.subscriptions for uid in subscription.wanted.instances}
        return wanted - self._by_uid.keys() - self.absent

    def can_be_joined(self, wanted: Selection) -> bool:
        """Whether it brings all of a selection, and still has what it brought of it."""
        mine = self.selection
        if self._closed or (mine.series is not None and mine.series != wanted.series):
            return False
        if mine.instances and not (wanted.instances and set(wanted.instances) <= set(mine.instances)):
            return False
        return not any(x.content.lost for x in self.log if wants(wanted, x.facts))

    @property
    def completeness(self) -> Completeness:
        """The state of each region, so far."""
        return Completeness("instances", tuple(self.states.values()))

    def cut_slow(self, before: float) -> None:
        """Give up the callers who have taken nothing since (promise H08)."""
        for subscription in list(self.subscriptions):
            if subscription.moved_at <= before and subscription.stands_still:
                subscription.cut(before)


def wants(selection: Selection, facts: Facts) -> bool:
    """Whether an instance is part of a selection of its study."""
    if selection.instances and facts.uid not in selection.instances:
        return False
    return selection.series is None or not facts.series or facts.series == selection.series


class Subscription:
    """What one caller wants of a flight, and how far he has come.

    Attributes:
        wanted: what he wants.
        moved_at: when he last took something, on the loop's clock.
    """

    def __init__(self, flight: Flight, wanted: Selection) -> None:
        self.wanted = wanted
        self.moved_at = 0.0
        self.is_cut = False
        self._flight = flight
        self._left = set(wanted.instances)
        self._queue: list[Spooled] = []
        self._position = 0
        self._seen: set[str] = set()
        self._reading: Spooled | None = None
        self._waits = False
        self._changed = asyncio.Event()
        self.moved()

    def offer(self, spooled: Spooled) -> None:
        """Take note of an instance of the flight."""
        if not self.is_cut and wants(self.wanted, spooled.facts):
            spooled.content.claim()
            self._queue.append(spooled)
            self._changed.set()

    def wake(self) -> None:
        """Look again."""
        self._changed.set()

    def moved(self, offset: int = 0) -> None:
        """Note that the caller took something, up to an offset into the instance that he reads."""
        self._offset = offset
        self.moved_at = asyncio.get_running_loop().time()

    @property
    def is_satisfied(self) -> bool:
        """Whether he has seen each single instance that he wanted."""
        return bool(self.wanted.instances) and not self._left

    @property
    def waits_in_vain(self) -> bool:
        """Whether what he still wants is known not to be there."""
        return bool(self._left) and self._left <= self._flight.absent

    @property
    def stands_still(self) -> bool:
        """Whether there is something that he could take."""
        return not self._waits and (self._reading is None or self._offset < self._reading.content.size)

    async def next(self) -> Spooled | None:
        """Return the next instance that he wants, None when no more will come."""
        self._done()
        while True:
            if self.is_cut:
                raise LimitExceeded("the reader took nothing for too long while others waited", limit="spool")
            while self._position < len(self._queue):
                spooled = self._queue[self._position]
                self._position += 1
                self._reading = spooled
                uid = spooled.facts.uid
                if uid not in self._seen and spooled.content.error is None:
                    self._seen.add(uid)
                    self._left.discard(uid)
                    self.moved()
                    return spooled
                self._done()
            if self._flight.ended or self.is_satisfied or self.waits_in_vain:
                return None
            self._changed.clear()
            self._waits = True
            try:
                await self._changed.wait()
            finally:
                self._waits = False

    async def again(self, broken: Spooled, offset: int) -> Spooled:
        """Return another copy of what broke off, with the same bytes up to an offset; raise why there is none."""
        uid, error = broken.facts.uid, broken.content.error or Aborted("the instance broke off")
        position = self._queue.index(broken) + 1  # a copy that came after it
        while True:
            while position < len(self._queue):
                other = self._queue[position]
                position += 1
                if other.facts.uid == uid and await _same_beginning(broken, other, offset):
                    return other
            if self._flight.ended or self.is_cut:
                raise error.with_traceback(None)
            self._changed.clear()
            await self._changed.wait()

    def leave(self) -> None:
        """Want nothing more."""
        self._flight.subscriptions.discard(self)
        self._drop()

    def cut(self, before: float) -> None:
        """Give up a caller who takes nothing: what waits for him only is let go."""
        reading = self._reading
        self.is_cut = True
        self._drop()
        if reading is not None:
            reading.content.cut_off(before)
        self._changed.set()

    def _done(self) -> None:
        """Let go of the instance that was read last."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.content.unclaim()

    def _drop(self) -> None:
        self._done()
        for spooled in self._queue[self._position :]:
            spooled.content.unclaim()
        self._queue.clear()
        self._position = 0


async def _same_beginning(one: Spooled, other: Spooled, size: int) -> bool:
    """Compare the first bytes of two copies, waiting for those of the other."""
    offset = 0
    try:
        async with aclosing(other.content.bursts()) as bursts:  # type: ignore[type-var]
            async for burst in bursts:
                for fragment in burst:
                    piece = fragment[: size - offset]
                    if await one.content.load(offset, len(piece)) != piece:
                        return False
                    offset += len(piece)
                if offset == size:
                    break
    except GatewayError:
        return False
    return offset == size
