"""What happens in the gateway, told to whoever watches.

The core emits frozen events to an ``Observer``; logs, metrics and audit attach in ``assembly``. Events
carry no attribute value of a patient and no identifier of a study.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(slots=True)
class Request:
    """The request that the gateway is working for; what is done for it happens in its context.

    Attributes:
        id: as its caller gave it, or made up.
        trace_id: of the trace that it belongs to, 32 hexadecimal digits (W3C Trace Context 3.2.2.3).
        span_id: of its own span, 16 hexadecimal digits.
        parent_id: of the caller's span; empty where the trace begins with us.
        sampled: whether the caller wants the trace recorded.
        problem: slug of the error that answers it.
        via: the gateways that it came through (RFC 9110 7.6.3).
        limit: name of the limit that it went beyond, where it did.
    """

    id: str
    trace_id: str = ""
    span_id: str = ""
    parent_id: str = ""
    sampled: bool = True
    problem: str = ""
    via: tuple[str, ...] = ()
    limit: str = ""


REQUEST: Final[ContextVar[Request | None]] = ContextVar("request", default=None)
"""What is being worked for in this task and those it starts; None for what the gateway does by itself."""


def request_id() -> str:
    """Return the id of the request that is being answered; empty outside of one."""
    request = REQUEST.get()
    return request.id if request else ""


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
        first_seconds: how long the first match of a search took, or the answer that there is none; None elsewhere.
        size: bytes of the Data Sets of instances.
        code: what the error says in its protocol: a DIMSE status "A801", a rejection "1/3", or a word of ours.
    """

    region: str
    verb: str
    outcome: str
    seconds: float
    count: int
    first_seconds: float | None = None
    size: int = 0
    code: str = ""


@dataclass(frozen=True, slots=True)
class RetrieveAnswered(Event):
    """A region gave its final response to a C-MOVE or C-GET.

    Attributes:
        region: the region's name.
        service: "c-move" or "c-get".
        status: of the final response.
        completed: sub-operations that it counts as done.
        failed: those that it counts as failed.
    """

    region: str
    service: str
    status: int
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class RetrieveBegun(Event):
    """A retrieve of ours found its instances.

    Attributes:
        source: "spool" where all was there, "joined" where another retrieve brings it, "region" where one set out.
    """

    source: str


@dataclass(frozen=True, slots=True)
class RetrieveRepeated(Event):
    """A region was asked by UID for instances that should have come before (trap 1).

    Attributes:
        region: the region's name.
        holder: "other" where another one had not brought them, "same" where it had not itself.
    """

    region: str
    holder: str


@dataclass(frozen=True, slots=True)
class RequestHandled(Event):
    """An HTTP request has its response, or what there is of it.

    Attributes:
        request: its ids.
        method: its method, one of those that there are, or "other".
        route: the template of its path, with names for values; empty where there is no such resource.
        region: of a resource of one region alone, its name.
        keys: names, never values, of the attributes and parameters that it gives and that we know.
        subject: digest of who asked; empty where nobody said who he is.
        status: of the response; 499 where the client left before there was one.
        seconds: until the end of the response.
        first_seconds: until its first byte.
        size: bytes of its body, before compression.
        federation: the value of its Federation-Status field.
    """

    request: Request
    method: str
    route: str
    region: str
    keys: tuple[str, ...]
    subject: str
    status: int
    seconds: float
    first_seconds: float
    size: int
    federation: str


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
class CommitmentReported(Event):
    """A peer was told which of its instances are safe (PS3.4 J.3.3).

    Attributes:
        peer: the peer's name.
        outcome: "complete"; or the slug of the error for which it is tried no more, or "refused" by the peer.
        committed: instances for which the province answers.
        failed: those for which it does not.
    """

    peer: str
    outcome: str
    committed: int
    failed: int


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
class AuditWritten(Event):
    """Records of the audit log are on disk.

    Attributes:
        height: of the hash chain, which is the sequence number of its last record.
        waiting: records that came meanwhile.
    """

    height: int
    waiting: int


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
