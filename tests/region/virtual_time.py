"""An event loop whose clock jumps to the next moment at which anything is due: a promise of 30 s is kept in no time.

When every task waits and nothing is due, no test would ever end: the loop says so at once. While a thread works for the
loop, time stands still.
"""

import asyncio
import selectors
import time
from typing import Any

from tests.kit.own_clock import OwnClock, OwnClockLoop


class _Selector(OwnClock):
    """Skips what it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now = time.monotonic()
        self.working = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(30 if self.working and timeout != 0 else 0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits for another: this would never end")
            self.now += timeout
        return ready


class VirtualLoop(OwnClockLoop):
    """Runs by that clock."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def run_in_executor(  # type: ignore[override]  # the same, told with less types
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        self._clock.working += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _: object) -> None:
        self._clock.working -= 1


async def settled() -> None:
    """Let every task go as far as it can without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)
