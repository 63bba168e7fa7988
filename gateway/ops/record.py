"""What the gateway has noticed of one region lately."""

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.events import RegionOperation, RetrieveAnswered

RECENT: Final = 60
"""How many first matches are remembered."""

RECENT_SECONDS: Final = 900.0

UNKNOWN_DESTINATION: Final = 0xA801

ABSENT: Final = frozenset(
    {"refused", "unreachable", "reset", "closed", "truncated", "timeout", "aborted", "rejected", "busy"}
    | {"remote-protocol-error"}
)
"""Outcomes after which nobody knows whether the region is there."""

OURS: Final = frozenset({"circuit-open", "saturated", "too-broad", "bad-request"})
"""Outcomes that say nothing about it: it was not asked."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One operation, as far as it tells how the region is.

    Attributes:
        at: seconds since 1970.
        service: search, retrieve, store or verify.
        outcome: "complete" or the slug of the error.
        code: that of the error.
        seconds: how long it took.
    """

    at: float
    service: str
    outcome: str
    code: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Destination:
    """What the last C-MOVE says of our Move Destination.

    Attributes:
        at: seconds since 1970.
        status: with which it ended.
    """

    at: float
    status: int

    @property
    def known(self) -> bool:
        """Whether the region knows it."""
        return self.status != UNKNOWN_DESTINATION


class RegionRecord:
    """What was noticed last, and how quick the last searches were.

    Attributes:
        answered: the last time that it answered, whatever it said.
        failure: the last thing that went wrong.
        echo: the last C-ECHO.
        destination: None where no C-MOVE has ended yet.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.answered: Contact | None = None
        self.failure: Contact | None = None
        self.echo: Contact | None = None
        self.destination: Destination | None = None
        self._clock = clock
        self._first_matches: deque[tuple[float, float]] = deque(maxlen=RECENT)

    def note(self, event: RegionOperation) -> None:
        """Take an operation down."""
        contact = Contact(self._clock(), event.verb, event.outcome, event.code, event.seconds)
        if event.verb == "verify":
            self.echo = contact
        if event.first_seconds is not None:
            self._first_matches.append((contact.at, event.first_seconds))
        if event.outcome in OURS:
            return
        is_answer = event.outcome not in ABSENT or (event.outcome == "rejected" and event.code == "3/0")
        if is_answer:
            self.answered = contact
        if event.outcome not in {"complete", "limited", "not-storable"}:
            self.failure = contact

    def moved(self, event: RetrieveAnswered) -> None:
        """Take down what the region made of our Move Destination."""
        if event.service == "c-move":
            self.destination = Destination(self._clock(), event.status)

    @property
    def absent(self) -> bool:
        """Whether the last that was heard of it is that it is not there."""
        failure, answered = self.failure, self.answered
        if failure is None or failure is answered:
            return False
        return answered is None or failure.at >= answered.at

    def failed_since(self, seconds: float) -> bool:
        """Whether anything went wrong within so many seconds."""
        return self.failure is not None and self._clock() - self.failure.at < seconds

    @property
    def first_matches(self) -> tuple[float, ...]:
        """How long the first match took in the last searches, in seconds."""
        since = self._clock() - RECENT_SECONDS
        return tuple(seconds for at, seconds in self._first_matches if at >= since)


def quantiles(values: tuple[float, ...]) -> tuple[float, float] | None:
    """Return the median and the 95th percentile; None of nothing."""
    if len(values) < 2:
        return (values[0], values[0]) if values else None
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[94]
