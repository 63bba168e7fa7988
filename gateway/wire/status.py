"""Status codes and their classes (PS3.7 Annex C, PS3.4 B.2.3, C.4)."""

from enum import Enum
from typing import Final

SUCCESS: Final = 0x0000
CANCEL: Final = 0xFE00
PENDING: Final = 0xFF00
PENDING_WITH_WARNING: Final = 0xFF01
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
NO_SUCH_SOP_INSTANCE: Final = 0x0112
INVALID_ARGUMENT_VALUE: Final = 0x0115
NO_SUCH_SOP_CLASS: Final = 0x0118
CLASS_INSTANCE_CONFLICT: Final = 0x0119
NO_SUCH_ACTION: Final = 0x0123
DUPLICATE_TRANSACTION_UID: Final = 0x0131
UNRECOGNIZED_OPERATION: Final = 0x0211
RESOURCE_LIMITATION: Final = 0x0213
OUT_OF_RESOURCES: Final = 0xA700


class StatusClass(Enum):
    """What a status means for the operation (PS3.7 C.1 to C.5)."""

    SUCCESS = "Success"
    PENDING = "Pending"
    WARNING = "Warning"
    CANCEL = "Cancel"
    FAILURE = "Failure"


_TEXTS: Final = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0111: "duplicate SOP Instance",
    0x0112: "no such SOP Instance",
    0x0115: "invalid argument value",
    0x0117: "invalid SOP Instance",
    0x0118: "no such SOP Class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP Class not supported",
    0x0123: "no such action",
    0x0124: "not authorized",
    0x0131: "duplicate Transaction UID",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA700: "out of resources",
    0xA701: "out of resources: number of matches unknown",
    0xA702: "out of resources: sub-operations not performed",
    0xA801: "Move Destination unknown",
    0xA900: "Identifier or Data Set does not match the SOP Class",
    0xB000: "sub-operations complete, one or more failed",
    0xB006: "elements discarded",
    0xB007: "Data Set does not match the SOP Class",
}


def status_class(status: int) -> StatusClass:
    """Tell the class of a status code; one that no table lists is a Failure."""
    if status == SUCCESS:
        return StatusClass.SUCCESS
    if status in {PENDING, PENDING_WITH_WARNING}:
        return StatusClass.PENDING
    if status == CANCEL:
        return StatusClass.CANCEL
    if status in {0x0001, 0x0107, 0x0116} or status >> 12 == 0xB:
        return StatusClass.WARNING
    return StatusClass.FAILURE


def describe(status: int) -> str:
    """Return a status for the eyes of a person: its code and, where the standard gives it one, its meaning."""
    text = _TEXTS.get(status) or ("cannot process" if status >> 12 == 0xC else "")
    return f"{status:04X}H ({text})" if text else f"{status:04X}H"
