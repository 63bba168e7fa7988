"""PDUs and Command Sets written by hand with struct (PS3.7 Annex E, PS3.8 9.3), strangers to `gateway.wire`.

What is written here is exactly what was asked for, legal or not: a hostile peer is made from the same pieces as a
good one.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

A_ASSOCIATE_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, P_DATA_TF, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT = range(1, 8)

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
C_GET_RQ, C_GET_RSP = 0x0010, 0x8010
C_FIND_RQ, C_FIND_RSP = 0x0020, 0x8020
C_MOVE_RQ, C_MOVE_RSP = 0x0021, 0x8021
C_ECHO_RQ, C_ECHO_RSP = 0x0030, 0x8030
C_CANCEL_RQ = 0x0FFF
N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP = 0x0100, 0x8100
N_ACTION_RQ, N_ACTION_RSP = 0x0130, 0x8130
NO_DATA_SET, DATA_SET = 0x0101, 0x0001


@dataclass(frozen=True, slots=True)
class Pdu:
    """One PDU as it was on the wire."""

    type: int
    body: bytes

    @property
    def encoded(self) -> bytes:
        return pdu(self.type, self.body)

    @property
    def pdvs(self) -> list["Pdv"]:
        """The PDVs of a P-DATA-TF (PS3.8 9.3.5)."""
        items, at = [], 0
        while self.type == P_DATA_TF and at < len(self.body):
            (length,) = struct.unpack_from(">I", self.body, at)
            items.append(Pdv(self.body[at + 4], self.body[at + 5], self.body[at + 6 : at + 4 + length]))
            at += 4 + length
        return items

    @property
    def command(self) -> dict[str, Any]:
        """The Command Set that lies whole in this PDU; empty when there is none."""
        data = b"".join(v.fragment for v in self.pdvs if v.is_command)
        return read_command(data) if data else {}


@dataclass(frozen=True, slots=True)
class Pdv:
    """One Presentation Data Value item."""

    context_id: int
    control: int
    fragment: bytes

    @property
    def is_command(self) -> bool:
        return bool(self.control & 1)

    @property
    def is_last(self) -> bool:
        return bool(self.control & 2)


# --- writing PDUs


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """Return a PDU; `length` lies about the size of its body."""
    return struct.pack(">BBI", kind, 0, len(body) if length is None else length) + body


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    """Return an item or sub-item of an A-ASSOCIATE PDU; `length` lies about its size."""
    return struct.pack(">BBH", kind, 0, len(body) if length is None else length) + body


def title(ae_title: str) -> bytes:
    return ae_title.encode("ascii").ljust(16)


def user_information(maximum_length: int | None = 16_384, *more: bytes) -> bytes:
    """Return item 50H with Maximum Length (unless None), Implementation Class UID and further sub-items."""
    parts = [] if maximum_length is None else [item(0x51, struct.pack(">I", maximum_length))]
    return item(0x50, b"".join([*parts, item(0x52, b"1.2.826.0.1.3680043.10.1337.9"), *more]))


def role_selection(sop_class: str, scu: int, scp: int) -> bytes:
    return item(0x54, struct.pack(">H", len(sop_class)) + sop_class.encode() + bytes([scu, scp]))


def proposed(context_id: int, abstract_syntax: str, transfer_syntaxes: Iterable[str]) -> bytes:
    syntaxes = b"".join(item(0x40, t.encode()) for t in transfer_syntaxes)
    return item(0x20, bytes([context_id, 0, 0, 0]) + item(0x30, abstract_syntax.encode()) + syntaxes)


def accepted(context_id: int, transfer_syntax: str = IMPLICIT_LE, result: int = 0) -> bytes:
    return item(0x21, bytes([context_id, 0, result, 0]) + item(0x40, transfer_syntax.encode()))


def associate(kind: int, called: str, calling: str, contexts: bytes, user: bytes, version: int = 1) -> bytes:
    head = struct.pack(">HH", version, 0) + title(called) + title(calling) + bytes(32)
    return pdu(kind, head + item(0x10, APPLICATION_CONTEXT.encode()) + contexts + user)


def associate_rq(
    contexts: Sequence[tuple[int, str, Sequence[str]]],
    called: str = "GATEWAY",
    calling: str = "SCRIPTED",
    user: bytes | None = None,
) -> bytes:
    """Return an A-ASSOCIATE-RQ that proposes (id, abstract syntax, transfer syntaxes)."""
    items = b"".join(proposed(*context) for context in contexts)
    return associate(A_ASSOCIATE_RQ, called, calling, items, user or user_information())


def associate_ac(
    contexts: Sequence[tuple[int, str, int]],
    called: str = "SCRIPTED",
    calling: str = "GATEWAY",
    user: bytes | None = None,
) -> bytes:
    """Return an A-ASSOCIATE-AC with (id, transfer syntax, result)."""
    items = b"".join(accepted(*context) for context in contexts)
    return associate(A_ASSOCIATE_AC, called, calling, items, user or user_information())


def associate_rj(result: int = 1, source: int = 1, reason: int = 1) -> bytes:
    return pdu(A_ASSOCIATE_RJ, bytes([0, result, source, reason]))


RELEASE_RQ = pdu(A_RELEASE_RQ, bytes(4))
RELEASE_RP = pdu(A_RELEASE_RP, bytes(4))


def abort(source: int = 2, reason: int = 0) -> bytes:
    return pdu(A_ABORT, bytes([0, 0, source, reason]))


def pdv(context_id: int, control: int, fragment: bytes, length: int | None = None) -> bytes:
    return struct.pack(">IBB", len(fragment) + 2 if length is None else length, context_id, control) + fragment


def p_data(context_id: int, fragment: bytes, *, command: bool = False, last: bool = True) -> bytes:
    """Return a P-DATA-TF of one PDV."""
    return pdu(P_DATA_TF, pdv(context_id, command | last << 1, fragment))


def message(context_id: int, command: Mapping[str, Any], data: bytes | None = None, chunk: int = 16_000) -> bytes:
    """Return the P-DATA-TF PDUs of a whole DIMSE message."""
    pieces = [p_data(context_id, command_set(command), command=True)]
    if data is not None:
        starts = range(0, max(len(data), 1), chunk)
        pieces += [p_data(context_id, data[at : at + chunk], last=at == starts[-1]) for at in starts]
    return b"".join(pieces)


# --- Command Sets


ELEMENTS = {
    "command_group_length": (0x0000, "UL"),
    "affected_sop_class_uid": (0x0002, "UI"),
    "requested_sop_class_uid": (0x0003, "UI"),
    "command_field": (0x0100, "US"),
    "message_id": (0x0110, "US"),
    "message_id_being_responded_to": (0x0120, "US"),
    "move_destination": (0x0600, "AE"),
    "priority": (0x0700, "US"),
    "command_data_set_type": (0x0800, "US"),
    "status": (0x0900, "US"),
    "error_comment": (0x0902, "LO"),
    "affected_sop_instance_uid": (0x1000, "UI"),
    "requested_sop_instance_uid": (0x1001, "UI"),
    "event_type_id": (0x1002, "US"),
    "action_type_id": (0x1008, "US"),
    "number_of_remaining_suboperations": (0x1020, "US"),
    "number_of_completed_suboperations": (0x1021, "US"),
    "number_of_failed_suboperations": (0x1022, "US"),
    "number_of_warning_suboperations": (0x1023, "US"),
    "move_originator_ae_title": (0x1030, "AE"),
    "move_originator_message_id": (0x1031, "US"),
}
_NAMES = {number: (name, vr) for name, (number, vr) in ELEMENTS.items()}


def element(number: int, value: bytes, length: int | None = None) -> bytes:
    """Return an element of group 0000 in Implicit VR Little Endian."""
    return struct.pack("<HHI", 0, number, len(value) if length is None else length) + value


def command_set(command: Mapping[str, Any]) -> bytes:
    """Return the Command Set, group length first (PS3.7 E.1); a given command_group_length is a lie that is kept."""
    body = b""
    for name, value in sorted(command.items(), key=lambda pair: ELEMENTS[pair[0]][0]):
        number, vr = ELEMENTS[name]
        if name != "command_group_length":
            body += element(number, _value(vr, value))
    length = command.get("command_group_length", len(body))
    return element(0, struct.pack("<I", length)) + body


def _value(vr: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if vr == "US":
        return struct.pack("<H", value)
    encoded = str(value).encode("latin-1")
    return encoded + (b"\0" if vr == "UI" else b" ") * (len(encoded) % 2)


def read_command(data: bytes) -> dict[str, Any]:
    """Read a Command Set; elements this table does not name are left out."""
    command: dict[str, Any] = {}
    at = 0
    while at + 8 <= len(data):
        _, number, length = struct.unpack_from("<HHI", data, at)
        value = data[at + 8 : at + 8 + length]
        at += 8 + length
        name, vr = _NAMES.get(number, ("", ""))
        if name:
            numeric = {"US": "<H", "UL": "<I"}.get(vr)
            command[name] = struct.unpack(numeric, value)[0] if numeric else value.rstrip(b"\0 ").decode("latin-1")
    return command


def response(request: Mapping[str, Any], status: int = 0, **more: Any) -> dict[str, Any]:
    """Return the response command that answers a request command; keywords replace or add."""
    return {
        "affected_sop_class_uid": request.get("affected_sop_class_uid", VERIFICATION),
        "command_field": request["command_field"] | 0x8000,
        "message_id_being_responded_to": request.get("message_id", 0),
        "command_data_set_type": NO_DATA_SET,
        "status": status,
        **more,
    }


def find_response(context_id: int, request: Mapping[str, Any], identifier: bytes | None = None, **more: Any) -> bytes:
    """Return one C-FIND response: Pending with an Identifier, the final Success without one."""
    if identifier is None:
        return message(context_id, response(request, **more))
    command = response(request, 0xFF00) | {"command_data_set_type": DATA_SET} | more
    return message(context_id, command, identifier)
