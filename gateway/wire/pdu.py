"""The seven PDUs (PS3.8 9.3) and their encoding."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from gateway.errors import LocalProtocolError, RemoteProtocolError
from gateway.wire.items import (
    PresentationContext,
    PresentationContextResult,
    UserInformation,
    ae_title,
    items,
    uid,
    with_header,
)
from gateway.wire.limits import Limits

Buffer: TypeAlias = bytes | bytearray | memoryview

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"

_HEADER: Final = struct.Struct(">BxI")
_ASSOCIATE: Final = struct.Struct(">H2x16s16s32x")
_PDV: Final = struct.Struct(">IBB")


class PduType(IntEnum):
    """First byte of a PDU (PS3.8 9.3.1)."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


_P_DATA_TF: Final = int(PduType.P_DATA_TF)
_ASSOCIATES: Final = frozenset({PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC})
_FIXED: Final = frozenset({PduType.ASSOCIATE_RJ, PduType.RELEASE_RQ, PduType.RELEASE_RP, PduType.ABORT})


class AbortReason(IntEnum):
    """Reason/Diag. of an A-ABORT whose source is the service-provider (PS3.8 9.3.8)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""

    called_ae_title: str
    calling_ae_title: str
    presentation_contexts: tuple[PresentationContext, ...]
    user_information: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1

    def encode(self) -> bytes:
        """Return the whole PDU."""
        return _associate(PduType.ASSOCIATE_RQ, self)


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC (PS3.8 9.3.3); the AE titles repeat the request's and mean nothing."""

    called_ae_title: str
    calling_ae_title: str
    presentation_contexts: tuple[PresentationContextResult, ...]
    user_information: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1

    def encode(self) -> bytes:
        """Return the whole PDU."""
        return _associate(PduType.ASSOCIATE_AC, self)


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4, Table 9-21).

    Attributes:
        result: 1 permanent, 2 transient.
        source: 1 service-user, 2 service-provider (ACSE), 3 service-provider (presentation).
        reason: depends on the source.
    """

    result: int
    source: int
    reason: int

    def encode(self) -> bytes:
        """Return the whole PDU."""
        return _pdu(PduType.ASSOCIATE_RJ, bytes((0, self.result, self.source, self.reason)))


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""

    def encode(self) -> bytes:
        """Return the whole PDU."""
        return _pdu(PduType.RELEASE_RQ, bytes(4))


@dataclass(frozen=True, slots=True)
class ReleaseReply:
    """A-RELEASE-RP (PS3.8 9.3.7)."""

    def encode(self) -> bytes:
        """Return the whole PDU."""
        return _pdu(PduType.RELEASE_RP, bytes(4))


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (PS3.8 9.3.8).

    Attributes:
        source: 0 service-user, 2 service-provider.
        reason: an ``AbortReason`` when the source is the service-provider.
    """

    source: int
    reason: int

    def encode(self) -> bytes:
        """Return the whole PDU."""
        return _pdu(PduType.ABORT, bytes((0, 0, self.source, self.reason)))


class Fragment(NamedTuple):
    """A Presentation Data Value, or a piece of one that has arrived so far (PS3.8 9.3.5.1, Annex E).

    Attributes:
        context_id: the Presentation Context.
        is_command: whether the bytes belong to a Command Set rather than to a Data Set.
        is_last: whether these bytes end that Command Set or Data Set.
        data: a view into the received buffer.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: Buffer


@dataclass(frozen=True, slots=True)
class DataTransfer:
    """P-DATA-TF (PS3.8 9.3.5), whole; on the way in it is handed on fragment by fragment instead."""

    fragments: tuple[Fragment, ...]

    def encode(self) -> bytes:
        """Return the whole PDU."""
        body = b"".join(
            _PDV.pack(len(f.data) + 2, f.context_id, f.is_command | f.is_last << 1) + bytes(f.data)
            for f in self.fragments
        )
        return _pdu(PduType.P_DATA_TF, body)


ControlPdu: TypeAlias = AssociateRequest | AssociateAccept | AssociateReject | ReleaseRequest | ReleaseReply | Abort
Pdu: TypeAlias = ControlPdu | DataTransfer


def data_header(context_id: int, size: int, *, is_command: bool, is_last: bool) -> bytes:
    """Return what precedes the data of a P-DATA-TF that holds one PDV of ``size`` bytes (PS3.8 9.3.5)."""
    return _HEADER.pack(PduType.P_DATA_TF, size + 6) + _PDV.pack(size + 2, context_id, is_command | is_last << 1)


def decode(data: Buffer, limits: Limits = Limits()) -> Pdu:  # noqa: B008 - frozen
    """Read one whole PDU (PS3.8 9.3).

    Raises:
        RemoteProtocolError: it is not one; the error says how to abort.
    """
    view = memoryview(data)
    if len(view) < _HEADER.size:
        raise RemoteProtocolError("a PDU shorter than its header", abort_reason=AbortReason.INVALID_PARAMETER)
    pdu_type, length = _HEADER.unpack_from(view)
    check_header(pdu_type, length, limits)
    body = view[_HEADER.size :]
    if length != len(body):
        raise RemoteProtocolError("a PDU of another length than it says", abort_reason=AbortReason.INVALID_PARAMETER)
    if pdu_type == PduType.P_DATA_TF:
        return DataTransfer(tuple(_fragments(body)))
    return decode_control(pdu_type, body, limits)


def decode_control(pdu_type: int, body: memoryview, limits: Limits) -> ControlPdu:
    """Read the body of any PDU but P-DATA-TF, its header having been checked.

    Raises:
        RemoteProtocolError: it is malformed; the error says how to abort.
    """
    if pdu_type == PduType.ASSOCIATE_RJ:
        return AssociateReject(result=body[1], source=body[2], reason=body[3])
    if pdu_type == PduType.ABORT:
        return Abort(source=body[2], reason=body[3])
    if pdu_type in _FIXED:
        return ReleaseRequest() if pdu_type == PduType.RELEASE_RQ else ReleaseReply()
    return _decode_associate(pdu_type, body, limits)


def check_header(pdu_type: int, length: int, limits: Limits) -> None:
    """Check a PDU's type and length before a byte of its body is taken (PS3.8 9.3.1).

    Raises:
        RemoteProtocolError: such a PDU is not read; the error says how to abort.
    """
    if pdu_type == _P_DATA_TF:
        shortest, longest = _PDV.size, limits.max_pdu_accepted
    elif pdu_type in _ASSOCIATES:
        shortest, longest = _ASSOCIATE.size, limits.max_control_pdu
    elif pdu_type in _FIXED:
        shortest = longest = 4
    else:
        raise RemoteProtocolError(
            f"a PDU of the unknown type {pdu_type:02X}H", abort_reason=AbortReason.UNRECOGNIZED_PDU
        )
    if not shortest <= length <= longest:
        raise RemoteProtocolError(
            f"a PDU of type {pdu_type:02X}H with {length} bytes", abort_reason=AbortReason.INVALID_PARAMETER
        )


def _pdu(pdu_type: PduType, body: bytes) -> bytes:
    return _HEADER.pack(pdu_type, len(body)) + body


def _associate(pdu_type: PduType, pdu: AssociateRequest | AssociateAccept) -> bytes:
    titles = [title.encode("latin-1").ljust(16) for title in (pdu.called_ae_title, pdu.calling_ae_title)]
    if any(len(title) > 16 for title in titles):
        raise LocalProtocolError("an AE title has at most 16 characters (PS3.5 6.2)")
    return _pdu(
        pdu_type,
        _ASSOCIATE.pack(pdu.protocol_version, *titles)
        + with_header(0x10, pdu.application_context.encode("ascii"))
        + b"".join(context.encode() for context in pdu.presentation_contexts)
        + pdu.user_information.encode(),
    )


def _decode_associate(pdu_type: int, body: memoryview, limits: Limits) -> AssociateRequest | AssociateAccept:
    version, called, calling = _ASSOCIATE.unpack_from(body)
    application_context = ""
    user_information = UserInformation()
    contexts: list[PresentationContext] = []
    results: list[PresentationContextResult] = []
    ids: set[int] = set()
    syntaxes = 0
    for kind, value in items(body[_ASSOCIATE.size :]):  # an unknown item is skipped (PS3.8 9.3.1)
        if kind == 0x10:
            application_context = uid(value)
        elif kind == 0x50:
            user_information = UserInformation.decode(value)
        elif kind == 0x20 and pdu_type == PduType.ASSOCIATE_RQ:
            context = PresentationContext.decode(value)
            contexts.append(context)
            syntaxes += len(context.transfer_syntaxes)
            _check_counts(context.context_id, ids, syntaxes, limits)
        elif kind == 0x21 and pdu_type == PduType.ASSOCIATE_AC:
            result = PresentationContextResult.decode(value)
            results.append(result)
            _check_counts(result.context_id, ids, 0, limits)
    titles = ae_title(called), ae_title(calling)
    if pdu_type == PduType.ASSOCIATE_RQ:
        return AssociateRequest(*titles, tuple(contexts), user_information, application_context, version)
    return AssociateAccept(*titles, tuple(results), user_information, application_context, version)


def _check_counts(context_id: int, ids: set[int], syntaxes: int, limits: Limits) -> None:
    """Judge one more Presentation Context beside those whose ids are known."""
    if len(ids) == limits.max_presentation_contexts:
        raise RemoteProtocolError("too many Presentation Contexts", abort_reason=AbortReason.INVALID_PARAMETER)
    if context_id in ids:
        raise RemoteProtocolError("a Presentation Context ID used twice", abort_reason=AbortReason.INVALID_PARAMETER)
    if syntaxes > limits.max_transfer_syntax_items:
        raise RemoteProtocolError("too many Transfer Syntax items", abort_reason=AbortReason.INVALID_PARAMETER)
    ids.add(context_id)


def _fragments(body: memoryview) -> Iterator[Fragment]:
    offset = 0
    while offset < len(body):
        if len(body) - offset < _PDV.size:
            raise RemoteProtocolError("a PDV without its header", abort_reason=AbortReason.INVALID_PARAMETER)
        length, context_id, control = _PDV.unpack_from(body, offset)
        if not 2 <= length <= len(body) - offset - 4:
            raise RemoteProtocolError("a PDV of an impossible length", abort_reason=AbortReason.INVALID_PARAMETER)
        data = body[offset + 6 : offset + 4 + length]
        yield Fragment(context_id, bool(control & 1), bool(control & 2), data)
        offset += 4 + length
