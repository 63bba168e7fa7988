"""An event loop with a clock of its own."""

import asyncio
import selectors
import time
from typing import Any


class OwnClock(selectors.DefaultSelector):
    """Waits for sockets, and says what time it is.

    Attributes:
        now: seconds on the monotonic clock, as far as the tests are concerned.
    """

    now: float


class OwnClockLoop(asyncio.SelectorEventLoop):
    """Takes its time from its selector, which is the monotonic clock of everyone as long as it runs."""

    def __init__(self, clock: OwnClock) -> None:
        self._own = clock
        super().__init__(clock)

    def time(self) -> float:
        return self._own.now

    def run_forever(self) -> Any:
        real = time.monotonic
        time.monotonic = self.time
        try:
            super().run_forever()
        finally:
            time.monotonic = real
