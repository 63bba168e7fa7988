"""Move Destinations: our AE titles as one region knows them, lent to its C-MOVEs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle


class MoveDestinations:
    """A region's Move Destinations.

    While it is not known that the region names the originator in its C-STOREs, each destination serves one C-MOVE
    at a time; once it is, any number.
    """

    def __init__(self, ae_titles: Sequence[str]) -> None:
        self._originator_is_named = False
        self._in_turn = cycle(ae_titles)
        self._waiting = 0
        self._free: asyncio.Queue[str] = asyncio.Queue()
        for ae_title in ae_titles:
            self._free.put_nowait(ae_title)

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[str]:
        """Lend a destination, waiting for a free one where it must be held alone."""
        if self._originator_is_named:
            yield next(self._in_turn)
            return
        ae_title = await self._next_free()
        try:
            yield ae_title
        finally:
            self._free.put_nowait(ae_title)

    def originator_named(self) -> None:
        """Note that the region names the originator; who waits need not wait any more."""
        if not self._originator_is_named:
            self._originator_is_named = True
            for _ in range(self._waiting):
                self._free.put_nowait(next(self._in_turn))

    async def _next_free(self) -> str:
        self._waiting += 1
        try:
            return await self._free.get()
        finally:
            self._waiting -= 1
