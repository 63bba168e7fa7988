"""What stands before each operation on a region: its circuit breaker, and what the end of one tells it."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gateway.deadline import Deadline
from gateway.region.breaker import Breaker
from gateway.region.outcome import ANSWERED, BROKEN, is_answer

BREAKER_PATIENCE = 2.0
"""Seconds. A caller that waits less than this proves nothing about the region by giving up."""


class Guard:
    """Lets operations through the circuit breaker; one that was left alone is tried with ``verify`` first."""

    def __init__(self, breaker: Breaker, verify: Callable[[Deadline], Awaitable[None]]) -> None:
        self._breaker = breaker
        self._verify = verify

    @asynccontextmanager
    async def operation(self, deadline: Deadline, *, walking: bool = False) -> AsyncIterator[None]:
        """Let an operation through and tell the breaker how that went.

        A region that is ``walking`` when the deadline passes was answering all the time.

        Raises:
            OpenCircuit: the region is left alone.
            RegionError: it was to be tried first, and failed.
        """
        if self._breaker.check():
            await self._probe(deadline)
        began = time.monotonic()
        try:
            yield
        except (*BROKEN, *ANSWERED) as error:
            if not (walking and deadline.passed):
                self._judge(error, deadline, began)
            raise
        else:
            self._breaker.succeed()

    async def _probe(self, deadline: Deadline) -> None:
        """Try a region that was left alone; only an answer closes its circuit."""
        began = time.monotonic()
        try:
            await self._verify(deadline)
        except BROKEN as error:
            self._judge(error, deadline, began)
            raise
        else:
            self._breaker.succeed()
        finally:
            self._breaker.abandon()

    def _judge(self, error: Exception, deadline: Deadline, began: float) -> None:
        """Tell the circuit breaker of an error, unless all it tells is that the caller was in a hurry."""
        if is_answer(error):
            self._breaker.succeed()
        elif not deadline.passed or time.monotonic() - began >= BREAKER_PATIENCE:
            self._breaker.fail()
