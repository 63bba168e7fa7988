"""How often a caller may ask."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

MOST_CALLERS = 10_000


class Buckets:
    """A token bucket for each caller; one unheard of the longest makes room for a new one.

    Args:
        per_second: tokens that each gains; 0 sets no limit.
        burst: tokens that each holds at the most.
        clock: seconds, monotonic.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._held: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, caller: Hashable) -> float:
        """Take one token; return 0, or after how many seconds there will be one."""
        if not self._per_second:
            return 0.0
        now = self._clock()
        tokens, at = self._held.get(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_second)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._per_second
        self._held[caller] = (tokens if wait else tokens - 1), now
        self._held.move_to_end(caller)
        if len(self._held) > MOST_CALLERS:
            self._held.popitem(last=False)
        return wait
