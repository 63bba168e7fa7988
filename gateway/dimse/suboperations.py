"""The sub-operations of C-MOVE and C-GET, as their responses count them (PS3.4 C.4.2.1, C.4.3.1)."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.dimse.association import Association
from gateway.dimse.inbound import Message
from gateway.errors import DimseFailure
from gateway.wire.status import PENDING, StatusClass, describe, status_class

_IMPLICIT_VR_LE: Final = "1.2.840.10008.1.2"
_EXPLICIT_VR_BE: Final = "1.2.840.10008.1.2.2"
_FAILED_SOP_INSTANCE_UID_LIST: Final = (0x0008, 0x0058)
_LONG_VRS: Final = frozenset({b"OB", b"OW", b"UN", b"SQ", b"UT", b"OF", b"OD", b"OL", b"OV", b"UC", b"UR"})


@dataclass(frozen=True, slots=True)
class SubOperations:
    """How far a C-MOVE or C-GET has come; a counter that the peer leaves out is None."""

    status: int = PENDING
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    failed_sop_instance_uids: tuple[str, ...] = ()
    comment: str = ""

    @property
    def sent(self) -> int:
        """Instances that the peer says arrived, with a warning or without."""
        return (self.completed or 0) + (self.warning or 0)


def sub_operations(association: Association, message: Message, status: int) -> SubOperations:
    """Read a C-MOVE or C-GET response."""
    command = message.command
    failed: tuple[str, ...] = ()
    if message.data:
        failed = failed_sop_instance_uids(message.data, association.contexts[message.context_id].transfer_syntax)
    return SubOperations(
        status,
        command.number_of_remaining_suboperations,
        command.number_of_completed_suboperations,
        command.number_of_failed_suboperations,
        command.number_of_warning_suboperations,
        failed,
        command.error_comment or "",
    )


def progress(
    association: Association, on_progress: Callable[[SubOperations], None] | None
) -> Callable[[Message, int], None] | None:
    """Return what tells ``on_progress`` of each Pending response."""
    if on_progress is None:
        return None
    return lambda message, status: on_progress(sub_operations(association, message, status))


def final(association: Association, service: str, result: SubOperations) -> SubOperations:
    """Return the outcome of a retrieve, Success or Warning.

    Raises:
        DimseFailure: it is a Failure, or the peer cancelled it of its own accord.
    """
    if status_class(result.status) in {StatusClass.FAILURE, StatusClass.CANCEL}:
        raise DimseFailure(
            f"{association.called_ae_title} ended {service} with {describe(result.status)}",
            status=result.status,
            comment=result.comment,
        )
    return result


def failed_sop_instance_uids(identifier: bytes, transfer_syntax_uid: str) -> tuple[str, ...]:
    """Return Failed SOP Instance UID List (0008,0058) of a response Identifier; nothing if it cannot be read.

    The list is a hint for a retry: one that is malformed must not spoil a retrieve that went well.
    """
    order = ">" if transfer_syntax_uid == _EXPLICIT_VR_BE else "<"
    offset = 0
    while offset + 8 <= len(identifier):
        tag = struct.unpack_from(order + "HH", identifier, offset)
        vr = identifier[offset + 4 : offset + 6]
        if transfer_syntax_uid == _IMPLICIT_VR_LE:
            length, start = struct.unpack_from(order + "I", identifier, offset + 4)[0], offset + 8
        elif vr in _LONG_VRS and offset + 12 <= len(identifier):
            length, start = struct.unpack_from(order + "I", identifier, offset + 8)[0], offset + 12
        else:
            length, start = struct.unpack_from(order + "H", identifier, offset + 6)[0], offset + 8
        offset = start + length
        if tag == _FAILED_SOP_INSTANCE_UID_LIST and offset <= len(identifier):
            text = identifier[start:offset].decode("latin-1")
            return tuple(uid for uid in (part.strip("\0 ") for part in text.split("\\")) if uid)
    return ()
