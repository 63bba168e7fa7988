"""Every error the gateway raises, and what each front answers for it.

One tree: an error knows its slug (a stable word for logs, headers and problem documents), its HTTP
status (PS3.18 8.5), its DIMSE status (PS3.7 Annex C) and whether asking again may help. Texts are for
the person who can mend the fault and never hold an attribute value of a patient.
"""

from collections.abc import Sequence
from typing import ClassVar


class GatewayError(Exception):
    """The root: whatever else goes wrong in the gateway is a defect."""

    slug: ClassVar[str] = "gateway-error"
    http_status: ClassVar[int] = 500
    dimse_status: ClassVar[int] = 0x0110
    retryable: ClassVar[bool] = False
    federation_status: str = ""
    """Each region's state, as the ``Federation-Status`` header has it, where regions were asked."""
    code: str = ""
    """What tells errors of one slug apart, in few characters that no peer has chosen: a status, a reason, a word."""


# --- the Upper Layer and DIMSE protocols


class ProtocolError(GatewayError):
    """The DICOM protocol was broken (PS3.7, PS3.8)."""

    slug = "protocol-error"
    http_status = 502


class LocalProtocolError(ProtocolError):
    """We tried to send what the protocol does not allow: a defect of ours."""

    slug = "local-protocol-error"
    http_status = 500


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow.

    Attributes:
        abort_source: source field of the A-ABORT PDU that answers it (PS3.8 9.3.8).
        abort_reason: reason field of the same PDU.
    """

    slug = "remote-protocol-error"

    def __init__(self, message: str, *, abort_source: int = 2, abort_reason: int = 0) -> None:
        super().__init__(message)
        self.abort_source = abort_source
        self.abort_reason = abort_reason


# --- one region, seen from here


class RegionError(GatewayError):
    """A region did not do its part."""

    slug = "region-error"
    http_status = 502
    dimse_status = 0xC000


class Refused(RegionError):
    """Nothing listens at the region's address."""

    slug = "refused"
    retryable = True


class Unreachable(RegionError):
    """The region's address does not answer in time or cannot be resolved."""

    slug = "unreachable"
    http_status = 504
    retryable = True

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Reset(RegionError):
    """The TCP connection was reset by the region."""

    slug = "reset"
    retryable = True


class Closed(RegionError):
    """The region closed the TCP connection between PDUs without A-RELEASE."""

    slug = "closed"
    retryable = True


class Truncated(RegionError):
    """The TCP connection ended inside a PDU."""

    slug = "truncated"
    retryable = True


class Stalled(RegionError):
    """The region fell silent past its deadline."""

    slug = "timeout"
    http_status = 504
    retryable = True


class Aborted(RegionError):
    """The region sent A-ABORT (PS3.8 7.3, 7.4)."""

    slug = "aborted"
    retryable = True


class Rejected(RegionError):
    """The region answered A-ASSOCIATE-RJ (PS3.8 9.3.4), or accepted no Presentation Context that we need.

    Attributes:
        result: 1 permanent, 2 transient.
        source: 1 service-user, 2 service-provider (ACSE), 3 service-provider (presentation).
        reason: as PS3.8 Table 9-21 lists it for the source.
    """

    slug = "rejected"

    def __init__(self, message: str, *, result: int = 1, source: int = 1, reason: int = 1) -> None:
        super().__init__(message)
        self.result = result
        self.source = source
        self.reason = reason
        self.code = f"{source}/{reason}"


class Busy(Rejected):
    """A transient rejection: the region has no association to spare."""

    slug = "busy"
    http_status = 503
    dimse_status = 0xA700
    retryable = True


class DimseFailure(RegionError):
    """The region ended an operation with a Failure status (PS3.7 Annex C).

    Attributes:
        status: the DIMSE status code.
        comment: its Error Comment (0000,0902), as the region wrote it.
    """

    slug = "failed"

    def __init__(self, message: str, *, status: int, comment: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.comment = comment
        self.code = f"{status:04X}"


class OpenCircuit(RegionError):
    """The region failed so often that it is left alone for a while."""

    slug = "circuit-open"
    http_status = 503
    retryable = True


class Saturated(RegionError):
    """All our associations with the region are taken, and so is the queue for them."""

    slug = "saturated"
    http_status = 503
    dimse_status = 0xA700
    retryable = True


class NotStorable(Rejected):
    """The region accepts no Presentation Context in which the instance can be sent (PS3.8 7.1.1.13).

    Attributes:
        status: Failure Reason of PS3.18 Table I.2-1: the SOP Class or the Transfer Syntax is not supported.
    """

    slug = "not-storable"

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message, source=3, reason=0)
        self.status = status


class NoRegionAnswered(RegionError):
    """Every region that was asked failed."""

    slug = "no-region-answered"
    http_status = 503
    dimse_status = 0xA700
    retryable = True

    def __init__(self, message: str, *, federation_status: str = "") -> None:
        super().__init__(message)
        self.federation_status = federation_status


class RegionMissing(RegionError):
    """A region is missing that may hold what nobody else does, or whose part the caller will not do without."""

    slug = "region-missing"
    http_status = 503
    dimse_status = 0xA700
    retryable = True

    def __init__(self, message: str, *, federation_status: str) -> None:
        super().__init__(message)
        self.federation_status = federation_status


class PartlyAnswered(RegionError):
    """The region is a federation itself, and says that parts of it are missing from its answer.

    Attributes:
        parts: the names that it gives them.
    """

    slug = "partial"
    http_status = 503
    dimse_status = 0xA700
    retryable = True

    def __init__(self, message: str, *, parts: tuple[str, ...]) -> None:
        super().__init__(message)
        self.parts = parts


class IncompleteRetrieve(RegionError):
    """Instances that are known to exist did not arrive."""

    slug = "incomplete"
    dimse_status = 0xB000
    retryable = True


# --- data sets, limits, requests


class DatasetError(GatewayError):
    """A Data Set cannot be read as PS3.5 defines it."""

    slug = "malformed-dataset"
    http_status = 502
    dimse_status = 0xC000


class LimitExceeded(GatewayError):
    """A configured limit was reached.

    Attributes:
        limit: the name of the limit, as the configuration spells it.
    """

    slug = "limit-exceeded"
    http_status = 413
    dimse_status = 0xA700

    def __init__(self, message: str, *, limit: str, federation_status: str = "") -> None:
        super().__init__(message)
        self.limit = limit
        self.federation_status = federation_status


class QueueFull(GatewayError):
    """There is no room to take instances in: nothing of them is kept (promise P03)."""

    slug = "queue-full"
    http_status = 503
    dimse_status = 0xA700
    retryable = True


class WorkersBusy(GatewayError):
    """Too many jobs wait for a worker."""

    slug = "workers-busy"
    http_status = 503
    dimse_status = 0xA700
    retryable = True


class WorkFailed(GatewayError):
    """A job could not be done: it failed in a way nobody foresaw, took too long, or brought its process down."""

    slug = "work-failed"
    http_status = 500
    dimse_status = 0xC000


class SpoolFull(GatewayError):
    """There is no room to keep instances: a retrieve that has not begun is refused (promise P03)."""

    slug = "spool-full"
    http_status = 507
    dimse_status = 0xA700
    retryable = True


class SpoolDamaged(GatewayError):
    """What the spool keeps of an instance is not what arrived."""

    slug = "spool-damaged"
    retryable = True


class RequestError(GatewayError):
    """The caller's request cannot be served as it is written."""

    slug = "bad-request"
    http_status = 400
    dimse_status = 0xA900


class TooBroad(RequestError):
    """A search without a parent meets more studies or series than are walked: the caller can narrow it."""

    slug = "too-broad"
    dimse_status = 0xA700


class Cancelled(RequestError):
    """The caller wants no more of it (C-CANCEL)."""

    slug = "cancelled"
    dimse_status = 0xFE00


class NotFound(RequestError):
    """No region that answered holds what was asked for."""

    slug = "not-found"
    http_status = 404
    dimse_status = 0x0000

    def __init__(self, message: str, *, federation_status: str = "") -> None:
        super().__init__(message)
        self.federation_status = federation_status


class Gone(NotFound):
    """Regions held what was asked for, and all of them answered that they hold it no more (PS3.18 8.5)."""

    slug = "gone"
    http_status = 410


class MethodNotAllowed(RequestError):
    """The resource has no such method."""

    slug = "method-not-allowed"
    http_status = 405


class NotAcceptable(RequestError):
    """Nothing that the Accept header allows can be made (PS3.18 8.3.3)."""

    slug = "not-acceptable"
    http_status = 406


class RangeNotSatisfiable(RequestError):
    """The Range field asks for bytes that are not there (RFC 9110 14.4).

    Attributes:
        size: how many bytes there are.
    """

    slug = "range-not-satisfiable"
    http_status = 416

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class RequestTimeout(RequestError):
    """The body of the request did not arrive in time (RFC 9110 15.5.9)."""

    slug = "request-timeout"
    http_status = 408


class InvalidResource(RequestError):
    """A FHIR resource cannot be taken as it is (FHIR R4 http.html, 422).

    Attributes:
        issues: what is wrong, each with the FHIRPath of where.
    """

    slug = "invalid-resource"
    http_status = 422

    def __init__(self, message: str, issues: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.issues = tuple(issues)


class VersionConflict(RequestError):
    """A resource was changed since the caller read it (RFC 9110 13.1.1, If-Match)."""

    slug = "version-conflict"
    http_status = 412


class UnsupportedMediaType(RequestError):
    """The body of the request is of a media type that the resource does not take (PS3.18 8.5)."""

    slug = "unsupported-media-type"
    http_status = 415


class Inadmissible(RequestError):
    """An instance is not taken in; the others of its request may be.

    Attributes:
        status: Failure Reason (0008,1197) of PS3.18 Table I.2-1, a DIMSE status.
    """

    slug = "inadmissible"
    http_status = 409

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotCoercible(RequestError):
    """An instance cannot be given the identifiers that its receiver asks for, so it is not sent there."""

    slug = "not-coercible"
    http_status = 409
    dimse_status = 0x0110


class UnsolicitedStore(RequestError):
    """A C-STORE that belongs to no retrieve of ours."""

    slug = "unsolicited-store"
    http_status = 403
    dimse_status = 0x0124


# --- who may, who did, and how it was set up


class AccessDenied(GatewayError):
    """The caller may not do this (PS3.7 Annex C, Refused: Not authorized)."""

    slug = "access-denied"
    http_status = 403
    dimse_status = 0x0124


class Unauthenticated(AccessDenied):
    """The caller does not say who it is, or not so that it can be believed (RFC 6750 3.1).

    Attributes:
        code: ``error`` of the challenge: "invalid_token" or "insufficient_scope"; empty where no token was given.
        scope: the scope that would be enough.
    """

    slug = "unauthenticated"
    http_status = 401

    def __init__(self, message: str, *, code: str = "", scope: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.scope = scope


class ConsentBlocked(AccessDenied):
    """The patient has directed that the caller does not see it, and the caller is to know."""

    slug = "consent-block"


class ConsentUnavailable(GatewayError):
    """What patients have directed cannot be known, so nothing is released."""

    slug = "consent-unavailable"
    http_status = 503
    dimse_status = 0xA700
    retryable = True


class AccessClosed(AccessDenied):
    """Nobody is let in: it was not configured who may."""

    slug = "access-not-configured"
    http_status = 503


class IssuerUnavailable(GatewayError):
    """The keys of a token's issuer cannot be had, so that nobody can say whether it is good."""

    slug = "issuer-unavailable"
    http_status = 503
    retryable = True


class TooManyRequests(GatewayError):
    """A caller asks more often than it may (RFC 6585 4).

    Attributes:
        seconds: after which it may ask again.
    """

    slug = "too-many-requests"
    http_status = 429
    dimse_status = 0xA700
    retryable = True

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class IdentityUnavailable(GatewayError):
    """The identity source does not answer, or not in a way that can be used."""

    slug = "identity-unavailable"
    http_status = 503
    dimse_status = 0xA700
    retryable = True


class AuditUnavailable(GatewayError):
    """The audit trail cannot be written, so nothing is released."""

    slug = "audit-unavailable"
    http_status = 503
    dimse_status = 0xA700
    retryable = True


class ConfigError(GatewayError):
    """A configuration file cannot be used: which, where, and what to write instead."""

    slug = "invalid-configuration"
