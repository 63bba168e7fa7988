"""How long to wait for a region: no longer than it lately needed, and never too short for good (trap 11)."""

import time
from collections.abc import Callable


class Latency:
    """The recent times to finish of a region's searches, and the patience that follows from them; all in seconds.

    Patience is the mean and four mean deviations of what was observed, each weighted exponentially, like a TCP
    retransmission timeout (RFC 6298). A search that was given up took longer than anybody knows: for ``HELD`` after
    it, patience is at least twice what it had, so that quick searches in between do not shut slow ones out.
    """

    HELD = 300.0

    def __init__(self, least: float, most: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._least = min(least, most)
        self._most = most
        self._clock = clock
        self._mean: float | None = None
        self._deviation = 0.0
        self._widened = 0.0
        self._until = 0.0

    @property
    def patience(self) -> float:
        """How long to wait for the next search; ``most`` before anything is known."""
        if self._mean is None:
            return self._most
        widened = self._widened if self._clock() < self._until else 0.0
        return min(max(self._mean + 4 * self._deviation, widened, self._least), self._most)

    @property
    def usual(self) -> float:
        """How long searches take of late; 0 before anything is known."""
        return self._mean or 0.0

    def finished(self, seconds: float) -> None:
        """Note how long a search took that came to its end."""
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
        self._mean += (seconds - self._mean) / 8

    def given_up(self, seconds: float) -> None:
        """Note that a search was given up after so long."""
        held = self._widened if self._clock() < self._until else 0.0
        self._widened = min(max(2 * seconds, held), self._most)
        self._until = self._clock() + self.HELD
