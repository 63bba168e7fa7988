"""The Command Set and its codec: Implicit VR Little Endian, group 0000 (PS3.7 6.3, 9.3, 10.3, Annex E)."""

import struct
from enum import IntEnum
from operator import attrgetter
from typing import Final, NamedTuple

from gateway.errors import LocalProtocolError, RemoteProtocolError
from gateway.wire.pdu import Buffer

NO_DATA_SET: Final = 0x0101
DATA_SET: Final = 0x0001
RESPONSE: Final = 0x8000
MEDIUM_PRIORITY: Final = 0x0000


class CommandField(IntEnum):
    """What a message asks for or answers (PS3.7 E.1)."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    C_CANCEL_RQ = 0x0FFF


class Command(NamedTuple):
    """A Command Set (PS3.7 9.3, 10.3); an element that is absent or empty is None."""

    command_field: int
    command_data_set_type: int = NO_DATA_SET
    affected_sop_class_uid: str | None = None
    message_id: int | None = None
    message_id_being_responded_to: int | None = None
    move_destination: str | None = None
    priority: int | None = None
    status: int | None = None
    error_comment: str | None = None
    affected_sop_instance_uid: str | None = None
    number_of_remaining_suboperations: int | None = None
    number_of_completed_suboperations: int | None = None
    number_of_failed_suboperations: int | None = None
    number_of_warning_suboperations: int | None = None
    move_originator_ae_title: str | None = None
    move_originator_message_id: int | None = None
    requested_sop_class_uid: str | None = None
    requested_sop_instance_uid: str | None = None
    event_type_id: int | None = None
    action_type_id: int | None = None

    @property
    def has_data_set(self) -> bool:
        """Whether a Data Set follows (PS3.7 E.1: anything but 0101H)."""
        return self.command_data_set_type != NO_DATA_SET

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return self.command_field & RESPONSE != 0


# Element number, VR and field, in ascending order: the order in which they are sent.
_ELEMENTS: Final = (
    (0x0002, "UI", "affected_sop_class_uid"),
    (0x0003, "UI", "requested_sop_class_uid"),
    (0x0100, "US", "command_field"),
    (0x0110, "US", "message_id"),
    (0x0120, "US", "message_id_being_responded_to"),
    (0x0600, "AE", "move_destination"),
    (0x0700, "US", "priority"),
    (0x0800, "US", "command_data_set_type"),
    (0x0900, "US", "status"),
    (0x0902, "LO", "error_comment"),
    (0x1000, "UI", "affected_sop_instance_uid"),
    (0x1001, "UI", "requested_sop_instance_uid"),
    (0x1002, "US", "event_type_id"),
    (0x1008, "US", "action_type_id"),
    (0x1020, "US", "number_of_remaining_suboperations"),
    (0x1021, "US", "number_of_completed_suboperations"),
    (0x1022, "US", "number_of_failed_suboperations"),
    (0x1023, "US", "number_of_warning_suboperations"),
    (0x1030, "AE", "move_originator_ae_title"),
    (0x1031, "US", "move_originator_message_id"),
)
_VALUES: Final = attrgetter(*(name for _, _, name in _ELEMENTS))
_BY_NUMBER: Final = {number: (vr, name) for number, vr, name in _ELEMENTS}
_PADDING: Final = {"UI": b"\0", "AE": b" ", "LO": b" "}

_GROUP_LENGTH: Final = struct.Struct("<HHII")
_ELEMENT: Final = struct.Struct("<HHI")
_US: Final = struct.Struct("<HHIH")


def encode(command: Command) -> bytes:
    """Return the Command Set, its group length first (PS3.7 6.3.1)."""
    parts = []
    for (number, vr, _), value in zip(_ELEMENTS, _VALUES(command), strict=True):
        if value is None:
            continue
        if vr == "US":
            parts.append(_US.pack(0, number, 2, value))
        else:
            content = _text(value, vr)
            parts.append(_ELEMENT.pack(0, number, len(content)) + content)
    body = b"".join(parts)
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def decode(data: Buffer) -> Command:
    """Read a Command Set; elements that we have no service for are passed over.

    Raises:
        RemoteProtocolError: it is malformed, or lacks its Command Field or Command Data Set Type.
    """
    content = bytes(data)
    size = len(content)
    values: dict[str, int | str] = {}
    offset = 0
    while offset < size:
        start = offset + 8
        if start > size:
            raise RemoteProtocolError("a Command Set that ends inside an element")
        group, number, length = _ELEMENT.unpack_from(content, offset)
        offset = start + length
        if group or offset > size:
            raise RemoteProtocolError("a Command Set with an element that is not of group 0000, or too long")
        if length and number in _BY_NUMBER:
            vr, name = _BY_NUMBER[number]
            if vr != "US":
                value = content[start:offset]
                if vr == "UI" and not value.isascii():  # it could not be repeated in an answer
                    raise RemoteProtocolError("a Command Set with a UID that is not ASCII")
                # Everything a peer writes can be read as Latin-1, and nothing here is compared but UIDs and AE titles.
                values[name] = value.decode("latin-1").strip("\0 ")
            elif length == 2:
                values[name] = content[start] | content[start + 1] << 8
            else:
                raise RemoteProtocolError("a Command Set with an unsigned short that is not two bytes")
    if "command_field" not in values or "command_data_set_type" not in values:
        raise RemoteProtocolError("a Command Set without Command Field or Command Data Set Type")
    return Command(**values)  # type: ignore[arg-type]  # _ELEMENTS names only fields, each with its type


def _text(value: str, vr: str) -> bytes:
    try:
        content = value.encode("ascii" if vr == "UI" else "latin-1")
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"a value of VR {vr} that its character repertoire cannot hold") from error
    return content + _PADDING[vr] if len(content) % 2 else content
