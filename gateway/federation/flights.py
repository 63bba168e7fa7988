"""Instances on their way from regions to a reader.

What has arrived and is not read is bounded by the high-water mark of each association; beyond it the region waits.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from gateway.dimse.incoming import IncomingStore
from gateway.region.profile import Profile

SUCCESS = 0x0000
CANNOT_TAKE = 0xA700


class Instance:
    """One SOP Instance, readable once, fragment by fragment, while it arrives.

    Attributes:
        region: id of the region it comes from.
        character_set: what its Data Set means where Specific Character Set is absent.
        series_instance_uid: of its series, where its Data Set says.
    """

    def __init__(self, store: IncomingStore, series: str | None, profile: Profile, flight: "Flight") -> None:
        self.region = profile.id
        self.character_set = profile.character_set
        self.series_instance_uid = series
        self.sop_class_uid = store.sop_class_uid
        self.sop_instance_uid = store.sop_instance_uid
        self.transfer_syntax_uid = store.transfer_syntax_uid
        self._store = store
        self._flight = flight

    async def bursts(self) -> AsyncIterator[list[memoryview]]:
        """Yield the Data Set as encoded by the region, each time all that is here; RegionError where it breaks off."""
        async for fragment in self._store:
            yield [fragment, *self._store.waiting()]
        self._flight.landed(self)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        """Yield the same fragment by fragment."""
        async for burst in self.bursts():
            for fragment in burst:
                yield fragment

    @property
    def buffered(self) -> int:
        """Bytes that wait for the reader."""
        return self._store.buffered

    def discard(self) -> None:
        """Drop what was not read and what is still to come."""
        self._store.discard()
        self._flight.landed(self)


class Flight:
    """Takes C-STOREs from any number of associations; gives their instances to one reader, each SOP Instance once.

    It is over when all that set out to bring instances have said so.
    """

    def __init__(self, under_way: int) -> None:
        self._under_way = under_way
        self._seen: set[str] = set()
        self._ready: deque[Instance] = deque()
        self._aloft: list[Instance] = []
        self._arrival = asyncio.Event()
        self._landing = False

    async def receive(self, store: IncomingStore, series: str | None, profile: Profile) -> int:
        """Take one instance; returns once it is here whole, read or not.

        Raises:
            RegionError: the association ended before the instance did.
        """
        if self._landing:
            store.discard()
            return CANNOT_TAKE
        if store.sop_instance_uid in self._seen:
            store.discard()
            await store.received()
            return SUCCESS
        self._seen.add(store.sop_instance_uid)
        instance = Instance(store, series, profile, self)
        self._aloft.append(instance)
        self._ready.append(instance)
        self._arrival.set()
        await store.received()
        return SUCCESS

    @property
    def held_up(self) -> bool:
        """Whether the regions may be waiting for our reader, so that their silence is not their fault."""
        return any(instance.buffered for instance in self._aloft)

    def ended(self) -> None:
        """Take note that one of those who bring instances brings no more."""
        self._under_way -= 1
        self._arrival.set()

    async def arrival(self) -> Instance | None:
        """Return the next instance, None when no more will come."""
        while not self._ready and self._under_way:
            self._arrival.clear()
            await self._arrival.wait()
        return self._ready.popleft() if self._ready else None

    def landed(self, instance: Instance) -> None:
        """Forget an instance that the reader is done with."""
        if instance in self._aloft:
            self._aloft.remove(instance)

    def close(self) -> None:
        """Take no more instances and drop those on their way."""
        self._landing = True
        for instance in list(self._aloft):
            instance.discard()
