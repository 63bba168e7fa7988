"""What one caller wants of a flight, and how far he has come."""

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from gateway.dataset.query import Selection
from gateway.errors import Aborted, GatewayError, LimitExceeded
from gateway.spool.catalog import Facts
from gateway.spool.spool import Spooled

if TYPE_CHECKING:
    from gateway.federation.flights import Flight


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

    def __init__(self, flight: "Flight", wanted: Selection) -> None:
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
