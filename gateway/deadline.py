"""A monotonic deadline that can only shrink."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, in seconds, by which something must be done.

    It is handed down from layer to layer; each may bring it forward, none may push it back. The wall
    clock never takes part, so a clock that jumps ends no request.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Make the deadline that lies this many seconds ahead."""
        return cls(time.monotonic() + seconds)

    def within(self, seconds: float) -> "Deadline":
        """Return the earlier of this deadline and the one this many seconds ahead."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    @property
    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return time.monotonic() >= self.at

    def timeout(self) -> asyncio.Timeout:
        """Return a context that raises ``TimeoutError`` when the deadline passes inside it."""
        return asyncio.timeout(self.remaining)
