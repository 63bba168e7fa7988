"""An event loop whose clock counts what the loop itself waited for, and next to nothing else.

Whatever a busy machine takes from the process, between two steps or in the middle of one, is nobody's time: a deadline
of 50 ms is met by who answers at its next turns, however late they come, and still ends who does not answer.
"""

import asyncio
import selectors
import socket
import time
from time import monotonic
from typing import Any, Final

TURN: Final = 0.0002
"""Seconds that a turn with something to do counts at the most: one that never waits has time pass all the same."""


class _Selector(selectors.DefaultSelector):
    """Counts how long there was nothing to do, and no more of it than was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self._seen = monotonic()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._count(TURN)
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            ready = super().select(timeout)
            self._count(timeout)
        return ready

    def _count(self, most: float | None) -> None:
        seen, self._seen = self._seen, monotonic()
        self.now += self._seen - seen if most is None else min(self._seen - seen, most)


class PatientLoop(asyncio.SelectorEventLoop):
    """Runs with a clock of its own, which is the monotonic clock of everyone as long as it runs."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    async def getaddrinfo(self, host: Any, port: Any, **how: int) -> Any:
        """Resolve at once: what tests ask for is the loopback interface, and a thread has its turn some day."""
        return socket.getaddrinfo(host, port, **how)

    def run_forever(self) -> Any:
        real = time.monotonic
        time.monotonic = self.time
        try:
            super().run_forever()
        finally:
            time.monotonic = real
