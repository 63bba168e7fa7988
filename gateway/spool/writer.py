"""Writes what has arrived behind the backs of those who wait for it: late, in large pieces, by one thread."""

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.spool.content import Content
from gateway.spool.memory import Memory
from gateway.spool.packs import Extent, Pack
from gateway.spool.room import Room

T = TypeVar("T")

RETRY_SECONDS = 5.0
"""How long after the disk was full it is tried again."""


@dataclass(slots=True)
class Batch:
    """What is written in one go: runs of buffers that lie one behind the other, and how far each Data Set then is."""

    runs: list[tuple[Pack, int, list[memoryview]]] = field(default_factory=list)
    reached: dict[Content, int] = field(default_factory=dict)
    size: int = 0
    _end: tuple[Pack, int] | None = None

    def add(self, pack: Pack, offset: int, content: Content) -> None:
        """Add what is in memory of a Data Set."""
        fragments, size = content.fragments(), content.unwritten
        if self._end == (pack, offset):
            self.runs[-1][2].extend(fragments)
        else:
            self.runs.append((pack, offset, fragments))
        self._end = pack, offset + size
        self.reached[content] = content.size
        self.size += size

    def write(self) -> None:
        """Write it; raises OSError. Runs in a thread."""
        for pack, offset, buffers in self.runs:
            pack.write(offset, buffers)


class Writer:
    """The Data Sets that are in memory only, in the order of their arrival, and the thread that writes them.

    Attributes:
        written: told of each Data Set that is whole and written.
        given_up: told of each for which there was no room: it is kept for those only who read it already.
    """

    def __init__(
        self, memory: Memory, room: Room, written: Callable[[Content], None], given_up: Callable[[Content], None]
    ) -> None:
        self._memory = memory
        self._room = room
        self._written = written
        self._given_up = given_up
        self._waiting: dict[Content, None] = {}
        self._thread = ThreadPoolExecutor(1, "spool")
        self._full_until = float("-inf")
        self.waiting_since = float("inf")

    @property
    def is_full(self) -> bool:
        """Whether there was no room on the disk a moment ago (promise P03)."""
        return time.monotonic() < self._full_until

    def add(self, content: Content) -> None:
        """Write this one, once it is whole or memory is short."""
        if not self._waiting:
            self.waiting_since = time.monotonic()
        self._waiting[content] = None

    def drop(self, content: Content) -> None:
        """Do not write this one."""
        self._waiting.pop(content, None)

    async def relieve(self) -> None:
        """Write until half of the memory is free: what is whole first, what still grows only if that is not enough."""
        half = self._memory.limit // 2
        await self._write(self._batch(lambda content: content.complete, self._memory.used - half))
        if self._memory.used > half:
            await self._write(self._batch(lambda content: content.unwritten > 0, self._memory.used - half))

    async def flush(self) -> None:
        """Write all that is whole."""
        self.waiting_since = time.monotonic()
        while batch := self._batch(lambda content: content.complete, self._memory.limit // 2):
            await self._write(batch)

    def _batch(self, chosen: Callable[[Content], bool], most: int) -> Batch | None:
        batch = Batch()
        for content in list(self._waiting):
            if chosen(content) and not self._plan(batch, content):
                self.give_up([content])
            if batch.size >= most:
                break
        return batch if batch.runs else None

    def _plan(self, batch: Batch, content: Content) -> bool:
        """Give a Data Set its place; False when there is none."""
        size, place = content.unwritten, content.place
        if place is None:
            place = self._room.place(size, time.monotonic(), alone=not content.complete)
            if place is None:
                return False
            content.settle(place)
        elif not isinstance(place, Extent) or not self._room.extend(place, size):
            return False
        batch.add(place.pack, place.offset + content.stored, content)
        if content.complete:
            del self._waiting[content]
        return True

    async def _write(self, batch: Batch | None) -> None:
        if batch is None:
            return
        packs = [pack for pack, _, _ in batch.runs]
        for pack in packs:
            pack.hold()
        try:
            await self.run(batch.write)
        except OSError:
            self.give_up(batch.reached)
            return
        finally:
            for pack in packs:
                pack.touch(time.monotonic())
                pack.release()
        for content, size in batch.reached.items():
            content.written(size)
            if content.complete and content.stored == content.size:
                self._written(content)

    def give_up(self, contents: Iterable[Content]) -> None:
        """Keep these in memory for those who read them, and nowhere."""
        self._full_until = time.monotonic() + RETRY_SECONDS
        for content in contents:
            self._waiting.pop(content, None)
            content.writable = False
            self._given_up(content)
            content.let_go()

    async def run(self, work: Callable[[], T]) -> T:
        """Run something in the thread, behind what was given to it before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def submit(self, work: Callable[[], None]) -> None:
        """Have something run in the thread that nobody waits for."""
        self._thread.submit(work)

    def close(self) -> None:
        """End the thread, once all that it was given is done."""
        self._thread.shutdown()
