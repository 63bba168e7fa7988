"""The bytes of one Data Set, wherever they are."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gateway.errors import GatewayError, LimitExceeded, SpoolDamaged
from gateway.spool.memory import Memory

Buffer: TypeAlias = bytes | bytearray | memoryview

SMALL = 1024
JOINED = 64 * 1024
"""Fragments smaller than the one are joined up to the other: a peer that sends single bytes must not fill our memory
with views."""

READ_AT_ONCE = 1 << 20


class Place(Protocol):
    """Where in a file the bytes of one Data Set are, from its beginning."""

    @property
    def lost(self) -> bool:
        """Whether the file is gone."""

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes at an offset into the Data Set, all of them; may wait for the disk."""

    def read_cached(self, offset: int, length: int) -> bytes | None:
        """Return the same without waiting for the disk, None where that cannot be."""

    def hold(self) -> None:
        """Keep the file for one more reader."""

    def release(self) -> None:
        """Let it go for one reader."""


@dataclass(slots=True, eq=False)
class Reader:
    """How far someone has come."""

    offset: int
    moved_at: float


def no_charge(size: int) -> None:
    """Keep nobody waiting: what is at rest has no source."""


class Content:
    """A Data Set that grows, is at rest, or is on its way from the one to the other; any number of readers.

    What has arrived is in memory until it is written; a reader who is slower than that goes on from the file. Where
    it is not to be written, it stays in memory until all who claim it have read it.

    Attributes:
        size: bytes that have arrived.
        complete: whether that is all of them.
        error: why no more will come.
        stored: bytes from the beginning that are in the file.
        claims: how many callers will read it from its beginning, or are at it.
        writable: whether it is to be written; False makes it end with its last reader.
        gone: whether bytes were let go that are nowhere else.
        place: where its file is.
        checked_at: when its bytes were last known to be those that arrived, on the loop's clock.
    """

    __slots__ = (
        "_base", "_charge", "_charged", "_fragments", "_memory", "_readers", "_small", "_starts", "_waiters",
        "checked_at", "claims", "complete", "error", "gone", "place", "size", "stored", "writable",
    )  # fmt: skip

    def __init__(self, memory: Memory, charge: Callable[[int], None] = no_charge) -> None:
        self.size = 0
        self.complete = False
        self.error: GatewayError | None = None
        self.stored = 0
        self.claims = 0
        self.writable = True
        self.gone = False
        self.place: Place | None = None
        self.checked_at = 0.0
        self._memory = memory
        self._charge = charge
        self._charged = 0
        self._base = 0
        self._fragments: list[memoryview] = []
        self._starts: list[int] = []
        self._small = bytearray()
        self._readers: list[Reader] = []
        self._waiters: list[asyncio.Future[None]] = []

    @classmethod
    def at_rest(cls, memory: Memory, place: Place, size: int) -> "Content":
        """Make one that is in its file, whole."""
        content = cls(memory)
        content.place = place
        content.size = content.stored = content._base = size
        content.complete = True
        return content

    # --- arriving

    def put(self, data: Buffer, *, is_last: bool) -> None:
        """Take what has arrived."""
        size = len(data)
        if size:
            self._hold(data, size)
            self.size += size
            if self._memory.take(size, self):
                self._charged += size
                self._charge(size)
        if is_last:
            self.complete = True
            self._join()
        if not self.writable:
            self.let_go()
        self._wake()

    def fail(self, error: GatewayError) -> None:
        """Learn that no more will come; readers meet the error behind what has arrived."""
        if not self.complete and self.error is None:
            self.error = error
            if not self.claims:
                self.clear()
            self._wake()

    def clear(self) -> None:
        """Let go what is in memory of a Data Set that never became whole."""
        self._join()
        self.gone = self.gone or self._base < self.size
        self._drop(self.size)

    def repay(self) -> None:
        """Let the region go on."""
        charged, self._charged = self._charged, 0
        self._charge(-charged)

    @property
    def waiting(self) -> bool:
        """Whether a region is kept waiting for room."""
        return self._charged > 0

    def _hold(self, data: Buffer, size: int) -> None:
        if size >= SMALL:
            self._join()
            self._starts.append(self.size)
            self._fragments.append(memoryview(data))
            return
        self._small += data
        if len(self._small) >= JOINED:
            self._starts.append(self.size + size - len(self._small))
            self._fragments.append(memoryview(bytes(self._small)))
            self._small.clear()

    def _join(self) -> None:
        """Make what came in small pieces readable."""
        if self._small:
            self._starts.append(self.size - len(self._small))
            self._fragments.append(memoryview(bytes(self._small)))
            self._small.clear()

    # --- being written, and let go

    @property
    def unwritten(self) -> int:
        """Bytes that are in memory only."""
        return self.size - self._base

    def fragments(self) -> list[memoryview]:
        """Return what is in memory: the bytes from ``stored`` on."""
        self._join()
        return list(self._fragments)

    def settle(self, place: Place) -> None:
        """Learn which file it goes to."""
        self.place = place
        for _ in range(self.claims + len(self._readers)):
            place.hold()

    def written(self, upto: int) -> None:
        """Learn that the file has the bytes up to there."""
        self.stored = upto
        self._drop(upto)

    def let_go(self) -> None:
        """Drop from memory what nobody needs any more: what is not to be written and all have read (P03)."""
        if self.writable or self.claims > len(self._readers):
            return
        upto = min((reader.offset for reader in self._readers), default=self.size)
        if upto > self._base:
            self.gone = self.gone or upto > self.stored
            self._join()
            self._drop(upto)

    def _drop(self, upto: int) -> None:
        count = bisect_right(self._starts, upto) - 1 if upto < self.size - len(self._small) else len(self._starts)
        if count <= 0:
            return
        end = self._starts[count] if count < len(self._starts) else self.size - len(self._small)
        freed = end - self._base
        self._base = end
        del self._starts[:count], self._fragments[:count]
        repaid = min(freed, self._charged)
        self._charged -= repaid
        if repaid:
            self._charge(-repaid)
        if not self._charged:
            self._memory.forget(self)
        self._memory.give(freed)

    # --- being read

    async def bursts(self, offset: int = 0) -> AsyncIterator[list[memoryview]]:
        """Yield the bytes from an offset on, each time all that is here.

        Raises:
            RegionError: it breaks off.
            SpoolDamaged: what was written is not there any more.
        """
        reader = self._begin(offset)
        try:
            while True:
                if reader.offset < self._base:
                    burst = [await self._from_file(reader.offset)]
                else:
                    burst = self._from_memory(reader.offset)
                if burst:
                    yield burst
                    self._move(reader, sum(map(len, burst)))
                elif self.complete:
                    return
                elif self.error is not None:
                    raise self.error.with_traceback(None)
                else:
                    await self._change()
        finally:
            self._end(reader)

    async def whole(self) -> None:
        """Return once all of it is here; raise what made it break off."""
        while not self.complete:
            if self.error is not None:
                raise self.error.with_traceback(None)
            await self._change()

    @property
    def lost(self) -> bool:
        """Whether some of its bytes are nowhere any more."""
        return self.gone or (self._base > 0 and self.place is not None and self.place.lost)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes that have arrived, fewer where there are no more; may wait for the disk."""
        end = min(offset + length, self.size)
        pieces: list[Buffer] = []
        if offset < min(self._base, end):
            pieces.append(self._at().read(offset, min(self._base, end) - offset))
            offset = min(self._base, end)
        if offset < end:
            pieces += _cut(self._from_memory(offset), end - offset)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    async def load(self, offset: int, length: int) -> bytes:
        """Return the same without holding up the event loop."""
        end = min(offset + length, self.size)
        if offset >= min(self._base, end):
            return self.read(offset, length)
        place = self._at()
        stored = min(self._base, end) - offset
        data = place.read_cached(offset, stored)
        if data is None:
            place.hold()
            try:
                data = await asyncio.to_thread(place.read, offset, stored)
            finally:
                place.release()
        return data if offset + stored == end else data + self.read(offset + stored, end - offset - stored)

    def claim(self) -> None:
        """Reckon with one more caller who will read it from the beginning."""
        self.claims += 1
        if self.place is not None:
            self.place.hold()

    def unclaim(self) -> None:
        """Reckon with one less."""
        self.claims -= 1
        if self.place is not None:
            self.place.release()
        if self.error is not None and not self.claims:
            self.clear()
        self.let_go()

    def cut_off(self, before: float) -> None:
        """Give up readers who have not moved since; they meet LimitExceeded (H08)."""
        for reader in [x for x in self._readers if x.moved_at <= before]:
            self._readers.remove(reader)
        self.let_go()

    def _begin(self, offset: int) -> Reader:
        reader = Reader(offset, asyncio.get_running_loop().time())
        self._readers.append(reader)
        if self.place is not None:
            self.place.hold()
        return reader

    def _end(self, reader: Reader) -> None:
        if self.place is not None:
            self.place.release()
        if reader in self._readers:
            self._readers.remove(reader)
        self.let_go()

    def _move(self, reader: Reader, size: int) -> None:
        if reader not in self._readers:
            raise LimitExceeded("the reader took nothing for too long while others waited", limit="spool")
        reader.offset += size
        reader.moved_at = asyncio.get_running_loop().time()
        if not self.writable:
            self.let_go()

    def _from_memory(self, offset: int) -> list[memoryview]:
        self._join()
        starts = self._starts
        if offset >= self.size:
            return []
        if offset < self._base:
            raise SpoolDamaged("the bytes were let go")
        index = bisect_right(starts, offset) - 1
        burst = self._fragments[index:]
        skip = offset - starts[index]
        if skip:
            burst[0] = burst[0][skip:]
        return burst

    async def _from_file(self, offset: int) -> memoryview:
        return memoryview(await self.load(offset, min(READ_AT_ONCE, self._base - offset)))

    def _at(self) -> Place:
        if self.place is None or self.gone:
            raise SpoolDamaged("the bytes were let go")
        return self.place

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _wake(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


def _cut(fragments: list[memoryview], length: int) -> Iterator[memoryview]:
    for fragment in fragments:
        yield fragment[:length]
        length -= len(fragment)
        if length <= 0:
            return
