"""What happens in the gateway, told to whoever watches.

The core emits frozen events to an ``Observer``; logs, metrics and audit attach in ``assembly``. Events
carry no attribute value of a patient and no identifier of a study.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events."""


@dataclass(frozen=True, slots=True)
class RegionOperation(Event):
    """One region was asked for something and is done, well or not.

    Attributes:
        region: the region's name.
        verb: search, retrieve, store or verify.
        outcome: "complete", or the slug of the error that ended it.
        seconds: how long it took.
        count: rows or instances that arrived.
    """

    region: str
    verb: str
    outcome: str
    seconds: float
    count: int


@dataclass(frozen=True, slots=True)
class CircuitChanged(Event):
    """A region's circuit breaker opened, half-opened or closed."""

    region: str
    state: str


@dataclass(frozen=True, slots=True)
class StoreRefused(Event):
    """A C-STORE was refused because it belongs to no retrieve of ours (promise R18)."""

    calling_ae_title: str
    called_ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class AssociationRefused(Event):
    """An association was rejected: ``reason`` is "called-ae-title", "calling-ae-title", "address" or "certificate"."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerOperation(Event):
    """A peer asked us for something by DIMSE and has its final response.

    Attributes:
        peer: the peer's name.
        service: find, move, get, store or commit.
        status: DIMSE status of the final response, four hexadecimal digits.
        seconds: how long it took.
        count: matches or instances that it was given.
    """

    peer: str
    service: str
    status: str
    seconds: float
    count: int


@dataclass(frozen=True, slots=True)
class IdentityConflict(Event):
    """Two regions give one Study Instance UID to patients that do not cross-reference (trap 2)."""

    kept_region: str
    suppressed_region: str


@dataclass(frozen=True, slots=True)
class InstanceConflict(Event):
    """A SOP Instance came twice with different bytes; the first copy was kept (promise R20, trap 3)."""

    kept_region: str
    discarded_region: str


@dataclass(frozen=True, slots=True)
class DemographicsDiffer(Event):
    """Two regions state different birth dates or sexes for identifiers of one patient (trap 6)."""

    region: str
    other_region: str


@dataclass(frozen=True, slots=True)
class IdentitySourceFailed(Event):
    """The identity source did not answer: identifiers were taken as each region has them."""


@dataclass(frozen=True, slots=True)
class DeliveryQuarantined(Event):
    """An instance that was taken in is refused by its region: somebody has to look (``gateway queue list``).

    Attributes:
        region: the region's id.
        status: the DIMSE status with which it was refused.
    """

    region: str
    status: int


@dataclass(frozen=True, slots=True)
class AuditFailed(Event):
    """The audit log could not be written: what was to be released was not (promise P04)."""

    reason: str


@dataclass(frozen=True, slots=True)
class AuditAnchorFailed(Event):
    """The head of the audit log could not be anchored in its second place."""

    reason: str


@dataclass(frozen=True, slots=True)
class AuditFeedState(Event):
    """An audit feed brought records to its receiver, or could not.

    Attributes:
        feed: "syslog" or "fhir".
        outcome: "complete", or the slug of what keeps it.
        lag_seconds: age of the oldest record that its receiver does not have; 0 where it has all.
        detail: for people.
    """

    feed: str
    outcome: str
    lag_seconds: float
    detail: str = ""


class Observer(Protocol):
    """Receives every event, on the event loop; it returns at once and never raises."""

    def __call__(self, event: Event) -> None:
        """Take note of the event."""


def unobserved(event: Event) -> None:
    """Observe nothing: the default where no one watches."""
