"""Retrieves under way that any number of callers can join, late ones too."""

import asyncio
import time
from typing import TYPE_CHECKING

from gateway.dataset.query import Selection
from gateway.dimse.incoming import IncomingStore
from gateway.errors import Aborted, GatewayError
from gateway.events import InstanceConflict, Observer
from gateway.federation.completeness import Completeness, RegionState
from gateway.federation.subscription import Subscription, wants
from gateway.region.profile import Profile
from gateway.spool.catalog import Facts
from gateway.spool.spool import Spool, Spooled

if TYPE_CHECKING:
    from gateway.access.permit import Subject

SUCCESS = 0x0000
CANNOT_TAKE = 0xA700


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
        store.promise(SUCCESS)
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

    def subscribe(self, wanted: Selection) -> Subscription:
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
