"""How much of what has arrived is in memory only, over all instances."""

import asyncio
from typing import Protocol


class Debtor(Protocol):
    """Who keeps a region waiting because memory is short."""

    def repay(self) -> None:
        """Let the region go on."""


class Memory:
    """The account of bytes that are in memory and nowhere else.

    It never refuses: beyond the limit it says so, and whoever brings more keeps its source waiting until told that
    there is room again. An instance that is read while memory is short gives its own room back to its own source, so
    that one region that is waited for is not stopped by what another one has filled.

    Attributes:
        used: bytes held.
        limit: bytes that may be held.
        taken: bytes that were ever held.
        pressed: set when three quarters of the limit are taken.
    """

    def __init__(self, limit: int) -> None:
        self.used = 0
        self.limit = limit
        self.taken = 0
        self.pressed = asyncio.Event()
        self._owing: set[Debtor] = set()

    def take(self, size: int, debtor: Debtor) -> bool:
        """Hold more; return whether the debtor has to keep its source waiting for it."""
        self.used += size
        self.taken += size
        if self.used <= self.limit * 3 // 4:
            return False
        self.pressed.set()
        if self.used <= self.limit:
            return False
        self._owing.add(debtor)
        return True

    def give(self, size: int) -> None:
        """Hold less; whoever waits is let on when half of it is free."""
        self.used -= size
        if self._owing and self.used <= self.limit // 2:
            owing, self._owing = self._owing, set()
            for debtor in owing:
                debtor.repay()

    def relieved(self) -> None:
        """Be pressed again only by what still comes: all that could be done was done."""
        self.pressed.clear()

    def forget(self, debtor: Debtor) -> None:
        """Let someone go who keeps nobody waiting any more."""
        self._owing.discard(debtor)

    @property
    def is_short(self) -> bool:
        """Whether someone is kept waiting."""
        return bool(self._owing)
