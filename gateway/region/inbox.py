"""Which C-STORE belongs to which C-MOVE.

A C-MOVE makes a region send on an association of its own. Each move therefore holds a lease: the Move
Destination it named, its Move Originator AE title and Message ID, the region's AE title, and what was
asked for. A C-STORE that fits no lease is refused and kept nowhere (promise R18).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.dataset.peek import Peek
from gateway.dataset.query import Selection
from gateway.dimse.incoming import IncomingStore
from gateway.errors import DatasetError, LimitExceeded, UnsolicitedStore
from gateway.events import Observer, StoreRefused

Receiver: TypeAlias = Callable[[IncomingStore, str | None], Awaitable[int]]
"""Takes an instance that belongs to a retrieve, and its Series Instance UID where it has one; once the instance is here
whole, returns the status of its C-STORE-RSP."""

HEAD = 4 << 10
LONGEST_HEAD = 1 << 20
"""How far into a Data Set, in bytes, its Series Instance UID is looked for, mostly and at the most."""

STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = "0020000D", "0020000E"


@dataclass(slots=True, eq=False)
class Lease:
    """One C-MOVE under way, and what it may bring.

    Attributes:
        destination: the Move Destination it names, one of our AE titles.
        region_ae_title: Calling AE Title of the association that will bring its instances.
        originator: Move Originator AE Title and Message ID.
        selection: what was asked for.
        receive: takes its instances.
        arrived: instances received whole so far.
        under_way: instances that are being received and may be its own.
    """

    destination: str
    region_ae_title: str
    originator: tuple[str, int]
    selection: Selection
    receive: Receiver
    arrived: int = 0
    under_way: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def permits(self, store: IncomingStore) -> bool:
        """Whether the association and the command of a C-STORE fit.

        An absent originator fits, and one that names the region itself: pynetdicom fills it in so.
        """
        if (store.called_ae_title, store.calling_ae_title) != (self.destination, self.region_ae_title):
            return False
        if self.selection.instances and store.sop_instance_uid not in self.selection.instances:
            return False
        ours, message_id = self.originator
        known = {None, "", ours, self.region_ae_title}
        return store.move_originator_ae_title in known and store.move_originator_message_id in {None, message_id}

    def begin(self) -> None:
        """Keep from settling: an instance arrives that may be one of its own."""
        self.under_way += 1

    def end(self) -> None:
        """Take note that such an instance is here whole, is another's, or has broken off."""
        self.under_way -= 1
        self._changed.set()

    async def take(self, store: IncomingStore, series: str | None) -> int:
        """Hand one instance on and count it once it is here."""
        status = await self.receive(store, series)
        self.arrived += 1
        return status

    async def settle(self, expected: int, quiet_seconds: float, held_up: Callable[[], bool]) -> None:
        """Wait for what a C-MOVE's final response ran ahead of (promise R15), until nothing more seems to come."""
        while self.arrived < expected:
            self._changed.clear()
            try:
                async with asyncio.timeout(quiet_seconds):
                    await self._changed.wait()
            except TimeoutError:
                if not self.under_way and not held_up():
                    return


class Inbox:
    """The handler of C-STOREs from outside: finds the lease, checks, hands on."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._leases: list[Lease] = []
        self._peek = Peek((STUDY_INSTANCE_UID, SERIES_INSTANCE_UID))

    @contextmanager
    def open(self, lease: Lease) -> Iterator[None]:
        """Accept what fits the lease while the context lasts."""
        self._leases.append(lease)
        try:
            yield
        finally:
            self._leases.remove(lease)

    def expects(self, store: IncomingStore) -> bool:
        """Whether a C-STORE may belong to a retrieve of ours, as far as its command tells."""
        return any(lease.permits(store) for lease in self._leases)

    async def store(self, store: IncomingStore) -> int:
        """Answer one C-STORE (PS3.7 9.1.1)."""
        candidates = [lease for lease in self._leases if lease.permits(store)]
        if not candidates:
            return self.refuse(store)
        for lease in candidates:
            lease.begin()
        try:
            found = await self.study_and_series(store)
            for lease in candidates:
                if lease in self._leases and fits(lease.selection, found):
                    return await lease.take(store, found[1])
        finally:
            for lease in candidates:
                lease.end()
        return self.refuse(store)

    def refuse(self, store: IncomingStore) -> int:
        """Keep nothing of a C-STORE, tell the observer, and return the status that answers it."""
        store.discard()
        self._observer(StoreRefused(store.calling_ae_title, store.called_ae_title, store.address))
        return UnsolicitedStore.dimse_status

    async def study_and_series(self, store: IncomingStore) -> tuple[str | None, str | None]:
        """Study and Series Instance UID of an instance on its way, None for one that its head does not hold."""
        size = HEAD
        while True:
            head = await store.peek(size)
            try:
                study, series = self._peek.uids(head, store.transfer_syntax_uid)
            except (DatasetError, LimitExceeded):
                return None, None
            if series is not None or len(head) < size or size >= LONGEST_HEAD:
                return study, series
            size = min(size * 8, LONGEST_HEAD)


def fits(selection: Selection, found: tuple[str | None, str | None]) -> bool:
    """Whether an instance of that study and series is part of what was asked for."""
    study, series = found
    return study == selection.study and selection.series in {None, series}
