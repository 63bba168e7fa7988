"""Which light a region has, by rule, and why."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.dimse.pool import Usage
from gateway.ops.record import RegionRecord, quantiles
from gateway.region.breaker import CircuitState

RECENT_FAILURE_SECONDS: Final = 300.0
SLOW_SECONDS: Final = 4.0
SHORT_DAYS: Final = 21
DAY: Final = 86_400.0


class Light(StrEnum):
    """Green works, amber works with something to mend, red does not work; grey was not asked yet."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"
    GREY = "grey"


class Reason(StrEnum):
    """What makes a light what it is; in the order of the rules, the first ones make it red."""

    LEFT_ALONE = "left-alone"
    ABSENT = "absent"
    CERTIFICATE_ENDED = "certificate-ended"
    UNKNOWN_DESTINATION = "unknown-destination"
    FAILED = "failed"
    CERTIFICATE_ENDS = "certificate-ends"
    SLOW = "slow"
    CROWDED = "crowded"
    ANSWERS = "answers"
    NOT_ASKED = "not-asked"


_RED: Final = frozenset({Reason.LEFT_ALONE, Reason.ABSENT, Reason.CERTIFICATE_ENDED})


@dataclass(frozen=True, slots=True)
class Facts:
    """What a light depends on.

    Attributes:
        circuit: of its circuit breaker.
        usage: of its associations; None for a region that has none.
        certificate_seconds: for how long its certificate is still good; None where it has none.
    """

    record: RegionRecord
    circuit: CircuitState
    usage: Usage | None = None
    certificate_seconds: float | None = None


def light(facts: Facts) -> tuple[Light, tuple[Reason, ...]]:
    """Return a region's light and all that makes it so."""
    record, left = facts.record, facts.certificate_seconds
    found = quantiles(record.first_matches)
    rules = {
        Reason.LEFT_ALONE: facts.circuit is not CircuitState.CLOSED,
        Reason.ABSENT: record.absent,
        Reason.CERTIFICATE_ENDED: left is not None and left <= 0,
        Reason.UNKNOWN_DESTINATION: record.destination is not None and not record.destination.known,
        Reason.FAILED: record.failed_since(RECENT_FAILURE_SECONDS) and not record.absent,
        Reason.CERTIFICATE_ENDS: left is not None and 0 < left < SHORT_DAYS * DAY,
        Reason.SLOW: found is not None and found[1] > SLOW_SECONDS,
        Reason.CROWDED: facts.usage is not None and facts.usage.waiting > 0,
    }
    reasons = tuple(reason for reason, holds in rules.items() if holds)
    if reasons:
        return (Light.RED if _RED.intersection(reasons) else Light.AMBER), reasons
    if record.answered is None:
        return Light.GREY, (Reason.NOT_ASKED,)
    return Light.GREEN, (Reason.ANSWERS,)
