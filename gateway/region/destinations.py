"""Move Destinations: our AE titles as one region knows them, lent to its C-MOVEs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count


class MoveDestinations:
    """A region's Move Destinations.

    While it is not known that the region names the originator in its C-STOREs, each destination serves one C-MOVE
    at a time; once it is, any number.
    """

    def __init__(self, ae_titles: Sequence[str]) -> None:
        self.names_originator = False
        self._free: asyncio.Queue[str] = asyncio.Queue()
        self._in_turn = count()
        self._ae_titles = tuple(ae_titles)
        for ae_title in ae_titles:
            self._free.put_nowait(ae_title)

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[str]:
        """Lend a destination, waiting for a free one where it must be held alone."""
        if self.names_originator:
            yield self._ae_titles[next(self._in_turn) % len(self._ae_titles)]
            return
        ae_title = await self._free.get()
        try:
            yield ae_title
        finally:
            self._free.put_nowait(ae_title)
