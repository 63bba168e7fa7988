"""What searches found, kept for a while so that page 2 continues page 1 (PS3.18 8.3.4.4.1, trap 12)."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Hashable, Sized
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class _Kept(Protocol):
    @property
    def rows(self) -> Sized: ...


KeptT = TypeVar("KeptT", bound=_Kept)


@dataclass(frozen=True, slots=True)
class _Snapshot(Generic[KeptT]):
    kept: KeptT
    until: float


class Snapshots(Generic[KeptT]):
    """Keeps each answer some seconds after it was last used, all together no more than so many rows.

    The one unused the longest goes first; an answer that is larger than all of the room is not kept.
    """

    def __init__(self, seconds: float, most_rows: int) -> None:
        self._seconds = seconds
        self._most_rows = most_rows
        self._held: OrderedDict[Hashable, _Snapshot[KeptT]] = OrderedDict()
        self._rows = 0
        self._sweep: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable) -> KeptT | None:
        """Return what is kept under a key, unless its time is over; from now on it is kept as long again."""
        self._expire()
        held = self._held.pop(key, None)
        if held is None:
            return None
        self._held[key] = self._timed(held.kept)
        return held.kept

    def keep(self, key: Hashable, kept: KeptT) -> None:
        """Keep an answer, in place of any that is there."""
        self.drop(key)
        self._expire()
        self._held[key] = self._timed(kept)
        self._rows += len(kept.rows)
        while self._rows > self._most_rows:
            self.drop(next(iter(self._held)))
        self._arm()

    def drop(self, key: Hashable) -> None:
        """Forget the answer under a key."""
        held = self._held.pop(key, None)
        if held:
            self._rows -= len(held.kept.rows)

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._rows = 0
        if self._sweep:
            self._sweep.cancel()
            self._sweep = None

    def _timed(self, kept: KeptT) -> _Snapshot[KeptT]:
        return _Snapshot(kept, time.monotonic() + self._seconds)

    def _expire(self) -> None:
        now = time.monotonic()
        while self._held and (oldest := next(iter(self._held.items())))[1].until <= now:
            self.drop(oldest[0])

    def _arm(self) -> None:
        """See to it that an idle gateway, too, forgets what its time is over for: rows are of patients."""
        if self._held and self._sweep is None:
            soonest = next(iter(self._held.values())).until
            self._sweep = asyncio.get_running_loop().call_later(max(0.0, soonest - time.monotonic()), self._swept)

    def _swept(self) -> None:
        self._sweep = None
        self._expire()
        self._arm()
