"""Tells a peer that is slow from one that has stopped."""

from gateway.wire.limits import Limits


class Progress:
    """Judges what is under way, a PDU or a message, by its silences and by its rate.

    A peer stalls when it falls silent for longer than allowed, or when what it sends in a window of that length is
    less than the lowest rate: a byte now and then is no sign of life.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._under_way = False
        self._patience = limits.idle_seconds
        self._last = now
        self._window_start = now
        self._window_bytes = 0

    def note(self, size: int, now: float, *, inside_pdu: bool, inside_message: bool) -> bool:
        """Take note of bytes received and where they ended; return whether anything is under way."""
        self._last = now
        self._patience = self._limits.stall_seconds if inside_pdu else self._limits.idle_seconds
        under_way = inside_pdu or inside_message
        if under_way and self._under_way:
            self._window_bytes += size
        else:
            self.restart(now)
        self._under_way = under_way
        return under_way

    def restart(self, now: float) -> None:
        """Forget the past: the peer was not free to send."""
        self._last = self._window_start = now
        self._window_bytes = 0

    def wait(self, now: float) -> float | None:
        """Return how long to wait before judging again, 0 when the peer has stalled, None when nothing is due."""
        if not self._under_way:
            return None
        elapsed = now - self._window_start
        if now - self._last >= self._patience:
            return 0.0
        if elapsed >= self._patience:
            if self._window_bytes < self._limits.min_bytes_per_second * elapsed:
                return 0.0
            self._window_start = now
            self._window_bytes = 0
        return max(0.001, min(self._last, self._window_start) + self._patience - now)
