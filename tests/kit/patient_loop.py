"""An event loop whose clock counts what the loop waited for while nobody else had anything to do, and no more.

Whatever a busy machine takes from the process, between two steps or in the middle of one, is nobody's time, and what a
thread or a process of the test works at meanwhile is not either: a deadline of 50 ms is met by who answers at its next
turns, however late they come, and still ends who does not answer.
"""

import os
import selectors
import socket
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any, Final

from tests.kit.own_clock import OwnClock, OwnClockLoop

TURN: Final = 0.0002
"""Seconds that a turn with something to do counts at the most: one that never waits has time pass all the same."""

LOOK: Final = 0.01
LONG_LOOK: Final = 0.08
"""Seconds until the first look at who else is at work, twice as many until the next, and no more than these."""

WORK: Final = 60.0
"""Seconds that others may work in one wait before it counts: who works for ever has his time end as well."""


def others_work() -> bool:
    """Tell whether a thread of ours, or of a process that we started, has something to do: runs, or would, or writes.

    Who is waited for in vain sleeps, and so does who was stopped.
    """
    return any(_is_busy(stat) for stat in _threads("self", but=threading.get_native_id()))


def _threads(process: str, but: int = 0) -> Iterator[str]:
    """Yield what the kernel says of each thread of a process, and of all processes below it."""
    for thread in _listed(f"/proc/{process}/task"):
        folder = f"/proc/{process}/task/{thread}"
        if thread != str(but):
            yield _read(f"{folder}/stat")
        for child in _read(f"{folder}/children").split():
            yield from _threads(child)


def _is_busy(stat: str) -> bool:
    return stat.rpartition(") ")[2][:1] in {"R", "D"}


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - every 10 ms
    except OSError:  # it ended while we looked
        return []


def _read(path: str) -> str:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:  # it ended while we looked
        return ""
    try:
        return os.read(file, 4096).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(file)


class _Selector(OwnClock):
    """Counts how long there was nothing to do for anybody, and no more of it than was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self._seen = monotonic()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._count(TURN)
        ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            return self._wait(float("inf") if timeout is None else timeout)
        return ready

    def _wait(self, left: float) -> list[tuple[selectors.SelectorKey, int]]:
        patience, look = self._seen + WORK, LOOK
        while True:
            part = min(left, look)
            look = min(2 * look, LONG_LOOK)
            ready = super().select(part)
            if not ready and self._seen < patience and others_work():
                self._seen = monotonic()
                continue
            self._count(part)
            left -= part
            if ready or left <= 0:
                return ready

    def _count(self, most: float) -> None:
        seen, self._seen = self._seen, monotonic()
        self.now += min(self._seen - seen, most)


class PatientLoop(OwnClockLoop):
    """Runs by that clock."""

    def __init__(self) -> None:
        super().__init__(_Selector())

    async def getaddrinfo(self, host: Any, port: Any, **how: int) -> Any:
        """Resolve at once: what tests ask for is the loopback interface, and a thread has its turn some day."""
        return socket.getaddrinfo(host, port, **how)
