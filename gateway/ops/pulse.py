"""What the gateway does by itself to know how things are: a light C-ECHO now and then, and a look at its own loop."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.deadline import Deadline
from gateway.errors import GatewayError, OpenCircuit
from gateway.events import Observer, RegionOperation
from gateway.region.breaker import Breaker
from gateway.region.profile import Profile

ECHO_DEADLINE: Final = 5.0
FIRST_SECONDS: Final = 2.0
"""After the start, until the first region is asked."""

LAG_PERIOD: Final = 0.5
LAG_MEMORY: Final = int(60 / LAG_PERIOD)


class Examined(Protocol):
    """What is asked of a region."""

    @property
    def profile(self) -> Profile:
        """What is known of it."""

    @property
    def breaker(self) -> Breaker:
        """Its circuit breaker."""

    async def examine(self, deadline: Deadline) -> None:
        """Verify it through its circuit breaker."""


class Echoes:
    """Asks each region for a C-ECHO from time to time, one region after the other.

    A region that is at work for us says enough by that and is not disturbed, and one whose circuit is open is left
    alone; when its pause is over, this is the probe.
    """

    def __init__(self, regions: Sequence[Examined], observer: Observer, seconds: float) -> None:
        self._regions = regions
        self._observer = observer
        self._seconds = seconds

    async def run(self) -> None:
        """Ask until cancelled."""
        now = time.monotonic()
        due = {region.profile.id: now + FIRST_SECONDS for region in self._regions}
        while True:
            region = min(self._regions, key=lambda region: due[region.profile.id])
            await asyncio.sleep(due[region.profile.id] - time.monotonic())
            await self.ask(region)
            jitter = random.uniform(0.8, 1.2)  # noqa: S311 - not a secret
            due[region.profile.id] = time.monotonic() + self._seconds * jitter

    async def ask(self, region: Examined) -> None:
        """Ask one region, unless it is not to be disturbed."""
        usage = getattr(region, "associations", None)  # a region of DICOMweb has none
        if (usage is not None and (usage.in_use or usage.waiting)) or region.breaker.retry_after > 0:
            return
        outcome, code, began = "complete", "", time.monotonic()
        try:
            await region.examine(Deadline.after(ECHO_DEADLINE))
        except OpenCircuit:
            return  # somebody else has just begun to probe it
        except GatewayError as error:
            outcome, code = error.slug, error.code
        seconds = time.monotonic() - began
        self._observer(RegionOperation(region.profile.id, "verify", outcome, seconds, 0, code=code))


class Lag:
    """How late the event loop is: everybody waits that long."""

    def __init__(self) -> None:
        self._seen: deque[float] = deque([0.0], maxlen=LAG_MEMORY)

    @property
    def worst(self) -> float:
        """The longest of the last minute, in seconds."""
        return max(self._seen)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            expected = time.monotonic() + LAG_PERIOD
            await asyncio.sleep(LAG_PERIOD)
            self._seen.append(max(0.0, time.monotonic() - expected))
