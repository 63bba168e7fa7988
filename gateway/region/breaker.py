"""A circuit breaker: a region that keeps failing is left alone, and asked again gently."""

import random
import time
from collections.abc import Callable
from enum import StrEnum

from gateway.errors import OpenCircuit


class CircuitState(StrEnum):
    """Closed lets everything through, open nothing, half-open one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Counts consecutive transport failures; opens on the fifth for 30 s, then 60 s, up to 300 s, give or take a fifth.

    A DIMSE status, however bad, is an answer: it closes the circuit like a success does.
    """

    THRESHOLD = 5
    FIRST_PAUSE = 30.0
    LONGEST_PAUSE = 300.0

    def __init__(
        self,
        region: str,
        *,
        changed: Callable[[CircuitState], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = CircuitState.CLOSED
        self._region = region
        self._changed = changed
        self._clock = clock
        self._failures = 0
        self._openings = 0
        self._until = 0.0

    @property
    def retry_after(self) -> float:
        """Seconds until a probe will be let through; 0 when the circuit is not open."""
        return max(0.0, self._until - self._clock()) if self.state is CircuitState.OPEN else 0.0

    def check(self) -> bool:
        """Let an operation through; True when it must begin with a probe.

        Raises:
            OpenCircuit: the region is to be left alone, or a probe is under way already.
        """
        if self.state is CircuitState.CLOSED:
            return False
        if self.state is CircuitState.OPEN and self._clock() >= self._until:
            self._enter(CircuitState.HALF_OPEN)
            return True
        raise OpenCircuit(f"region {self._region} failed repeatedly and is left alone for {self.retry_after:.0f} s")

    def succeed(self) -> None:
        """Note that the region answered."""
        self._failures = 0
        if self.state is not CircuitState.CLOSED:
            self._openings = 0
            self._enter(CircuitState.CLOSED)

    def fail(self) -> None:
        """Note that the region could not be reached or broke off."""
        self._failures += 1
        if self.state is CircuitState.HALF_OPEN or (
            self.state is CircuitState.CLOSED and self._failures >= self.THRESHOLD
        ):
            self._openings += 1
            pause = min(self.FIRST_PAUSE * self._openings, self.LONGEST_PAUSE)
            self._until = self._clock() + pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
            self._enter(CircuitState.OPEN)

    def abandon(self) -> None:
        """Note that a probe ended without telling anything, so that the next caller may probe."""
        if self.state is CircuitState.HALF_OPEN:
            self._until = self._clock()
            self._enter(CircuitState.OPEN)

    def _enter(self, state: CircuitState) -> None:
        self.state = state
        self._changed(state)
