"""An event loop whose clock counts what the loop itself waited for, and next to nothing else.

Whatever a busy machine takes from the process, between two steps or in the middle of one, is nobody's time: a deadline
of 50 ms is met by who answers at its next turns, however late they come, and still ends who does not answer.
"""

import selectors
import socket
from time import monotonic
from typing import Any, Final

from tests.kit.own_clock import OwnClock, OwnClockLoop

TURN: Final = 0.0002
"""Seconds that a turn with something to do counts at the most: one that never waits has time pass all the same."""


class _Selector(OwnClock):
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


class PatientLoop(OwnClockLoop):
    """Runs by that clock."""

    def __init__(self) -> None:
        super().__init__(_Selector())

    async def getaddrinfo(self, host: Any, port: Any, **how: int) -> Any:
        """Resolve at once: what tests ask for is the loopback interface, and a thread has its turn some day."""
        return socket.getaddrinfo(host, port, **how)
