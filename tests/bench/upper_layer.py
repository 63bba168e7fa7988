"""A small blocking Upper Layer (PS3.8) and Command Set codec (PS3.7) for load generators.

It shares nothing with the gateway or with pynetdicom, checks nothing, and costs the sender next to no time, so
that a measurement of the receiver is one.
"""

import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

EXPLICIT_VR_LE = "1.2.840.10008.1.2.1"
IMPLICIT_VR_LE = "1.2.840.10008.1.2"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
QUICKACK = 12  # TCP_QUICKACK; Linux forgets it after a while, so it is set again after each read

C_STORE_RQ, C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0020, 0x0010, 0x0021, 0x0030, 0x0FFF
RESPONSE = 0x8000
PENDING = 0xFF00

Command: TypeAlias = dict[int, str | int]
UIDS = {0x0002, 0x1000}
TEXTS = {0x0600, 0x1030}


def encode_command(elements: Command) -> bytes:
    """Encode a Command Set (PS3.7 6.3), group length included; keys are element numbers of group 0000."""
    body = bytearray()
    for element, value in sorted(elements.items()):
        if isinstance(value, int):
            raw = struct.pack("<H", value)
        else:
            raw = value.encode() + (b"\0" if element in UIDS else b" ") * (len(value) % 2)
        body += struct.pack("<HHI", 0, element, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body)) + bytes(body)


def decode_command(data: bytes) -> Command:
    elements: Command = {}
    offset = 0
    while offset < len(data):
        _, element, length = struct.unpack_from("<HHI", data, offset)
        raw = data[offset + 8 : offset + 8 + length]
        offset += 8 + length
        if element in UIDS | TEXTS:
            elements[element] = raw.rstrip(b"\0 ").decode()
        elif length == 2:
            elements[element] = int.from_bytes(raw, "little")
    return elements


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def sub_items(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        kind, length = struct.unpack_from(">BxH", data, offset)
        yield kind, data[offset + 4 : offset + 4 + length]
        offset += 4 + length


@dataclass
class Association:
    """One association, whichever side opened it.

    Attributes:
        contexts: Presentation Context ID to (Abstract Syntax, Transfer Syntax) as accepted.
        max_pdu: the peer's maximum length, or our own bound for P-DATA-TF where it names none.
    """

    socket: socket.socket
    contexts: dict[int, tuple[str, str]] = field(default_factory=dict)
    max_pdu: int = 131_072
    calling_ae_title: str = ""
    _message_id: int = 0

    # --- PDUs

    def read_exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view, filled = memoryview(data), 0
        while filled < size:
            count = self.socket.recv_into(view[filled:])
            if not count:
                raise ConnectionError("the peer closed the connection")
            filled += count
        self.socket.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
        return bytes(data)

    def read_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self.read_exactly(6))
        return kind, self.read_exactly(length)

    def read_message(self) -> tuple[int, Command, bytes]:
        """Return the Presentation Context ID, Command Set and Data Set of the next DIMSE message.

        Raises:
            ConnectionError: the peer released, aborted or closed; a release is answered.
        """
        parts = {1: bytearray(), 0: bytearray()}
        command: Command = {}
        while True:
            kind, body = self.read_pdu()
            if kind == 5:
                self.socket.sendall(struct.pack(">BxII", 6, 4, 0))
            if kind != 4:
                raise ConnectionError(f"PDU type {kind}")
            offset = 0
            while offset < len(body):
                length, context, flags = struct.unpack_from(">IBB", body, offset)
                parts[flags & 1] += body[offset + 6 : offset + 4 + length]
                offset += 4 + length
                if flags == 3:
                    command = decode_command(bytes(parts[1]))
                if flags & 2 and (flags == 2 or command.get(0x0800) == 0x0101):
                    return context, command, bytes(parts[0])

    def fragments(self, context: int, flags: int, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Yield P-DATA-TF PDUs with one PDV each: header, then payload without a copy."""
        step = self.max_pdu - 6
        view = memoryview(data)
        for start in range(0, max(len(view), 1), step):
            piece = view[start : start + step]
            last = 2 if start + step >= len(view) else 0
            yield struct.pack(">BxIIBB", 4, len(piece) + 6, len(piece) + 2, context, flags | last)
            yield piece

    def send_message(self, context: int, command: Command, *data: bytes) -> None:
        elements = {**command, 0x0800: 0x0001 if data else 0x0101}
        buffers = list(self.fragments(context, 1, encode_command(elements)))
        for piece in data:
            buffers += self.fragments(context, 0, piece)
        self.send(buffers)

    def send(self, buffers: list[bytes | memoryview]) -> None:
        """Send the buffers with as few system calls as the kernel allows, and empty the list."""
        for start in range(0, len(buffers), 512):
            waiting = [memoryview(b) for b in buffers[start : start + 512]]
            while waiting:
                sent = self.socket.sendmsg(waiting)
                while waiting and sent >= len(waiting[0]):
                    sent -= len(waiting.pop(0))
                if sent:
                    waiting[0] = waiting[0][sent:]
        buffers.clear()

    # --- services

    @property
    def next_message_id(self) -> int:
        self._message_id = self._message_id % 65_535 + 1
        return self._message_id

    def context_for(self, abstract_syntax: str) -> int:
        return next(number for number, (name, _) in self.contexts.items() if name == abstract_syntax)

    def store(self, sop_class_uid: str, sop_instance_uid: str, data: bytes, originator: Command | None = None) -> int:
        """Send one instance and return the status of its response (PS3.7 9.1.1)."""
        self.send_message(
            self.context_for(sop_class_uid), self.store_command(sop_class_uid, sop_instance_uid, originator), data
        )
        _, response, _ = self.read_message()
        return int(response[0x0900])

    def store_command(self, sop_class_uid: str, sop_instance_uid: str, originator: Command | None = None) -> Command:
        return {
            0x0002: sop_class_uid,
            0x0100: C_STORE_RQ,
            0x0110: self.next_message_id,
            0x0700: 0,
            0x1000: sop_instance_uid,
            **(originator or {}),
        }

    def find(self, sop_class_uid: str, identifier: bytes) -> Iterator[bytes]:
        """Yield the Identifiers that match (PS3.7 9.1.2)."""
        context = self.context_for(sop_class_uid)
        command: Command = {0x0002: sop_class_uid, 0x0100: C_FIND_RQ, 0x0110: self.next_message_id, 0x0700: 0}
        self.send_message(context, command, identifier)
        while True:
            _, response, row = self.read_message()
            if int(response[0x0900]) not in {0xFF00, 0xFF01}:
                return
            yield row

    def release(self) -> None:
        self.socket.sendall(struct.pack(">BxII", 5, 4, 0))
        self.read_pdu()
        self.socket.close()


# --- A-ASSOCIATE


def associate_body(called: str, calling: str, contexts: Iterable[bytes], max_pdu: int, extra: bytes = b"") -> bytes:
    user = item(0x51, struct.pack(">I", max_pdu)) + item(0x52, b"1.2.826.0.1.3680043.10.1561.9") + extra
    return (
        struct.pack(">H2x16s16s32x", 1, called.ljust(16).encode(), calling.ljust(16).encode())
        + item(0x10, APPLICATION_CONTEXT.encode())
        + b"".join(contexts)
        + item(0x50, user)
    )


def connect(
    port: int,
    called: str,
    calling: str,
    abstract_syntaxes: Sequence[str],
    *,
    transfer_syntax: str = EXPLICIT_VR_LE,
    max_pdu: int = 131_072,
) -> Association:
    """Open an association; each Abstract Syntax is proposed with one Transfer Syntax."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    proposed = [
        item(0x20, bytes((2 * n + 1, 0, 0, 0)) + item(0x30, name.encode()) + item(0x40, transfer_syntax.encode()))
        for n, name in enumerate(abstract_syntaxes)
    ]
    body = associate_body(called, calling, proposed, max_pdu)
    connection.sendall(struct.pack(">BxI", 1, len(body)) + body)
    association = Association(connection, calling_ae_title=calling)
    kind, answer = association.read_pdu()
    if kind != 2:
        raise ConnectionError(f"association not accepted: PDU type {kind} {answer!r}")
    for number, content in sub_items(answer[68:]):
        if number == 0x21 and content[2] == 0:
            syntax = dict(sub_items(content[4:]))[0x40].decode()
            association.contexts[content[0]] = (abstract_syntaxes[content[0] // 2], syntax)
        elif number == 0x50:
            association.max_pdu = peer_max_pdu(content, association.max_pdu)
    return association


def peer_max_pdu(user_information: bytes, bound: int) -> int:
    (advertised,) = struct.unpack(">I", dict(sub_items(user_information))[0x51])
    return min(advertised, bound) if advertised else bound


def accept(connection: socket.socket, max_pdu: int = 131_072) -> Association:
    """Accept what is proposed, each context with the first Transfer Syntax we know, in both roles."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    association = Association(connection)
    _, request = association.read_pdu()
    association.calling_ae_title = request[20:36].decode().strip()
    accepted, roles = [], b""
    for kind, content in sub_items(request[68:]):
        if kind == 0x20:
            names = [(k, v.decode()) for k, v in sub_items(content[4:])]
            offered = [v for k, v in names if k == 0x40]
            syntax = EXPLICIT_VR_LE if EXPLICIT_VR_LE in offered else IMPLICIT_VR_LE
            result = 0 if syntax in offered else 4
            accepted.append(item(0x21, bytes((content[0], 0, result, 0)) + item(0x40, syntax.encode())))
            if not result:
                association.contexts[content[0]] = (names[0][1], syntax)
        elif kind == 0x50:
            association.max_pdu = peer_max_pdu(content, association.max_pdu)
            roles = b"".join(item(0x54, body) for k, body in sub_items(content) if k == 0x54)
    body = associate_body(request[4:20].decode(), association.calling_ae_title, accepted, max_pdu, roles)
    connection.sendall(struct.pack(">BxI", 2, len(body)) + body)
    return association
