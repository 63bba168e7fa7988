"""A peer that does exactly what its script says: correct, wrong or hostile, as acceptor and as requestor.

async def hostile(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.recv(pdus.P_DATA_TF)
    await peer.send_half(pdus.abort())
    await peer.hold()

async with scripted_acceptor(hostile) as node: ...
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.kit import pdus
from tests.kit.pdus import Pdu

SECONDS = 60.0  # no step of a script takes longer unless the test is broken


class PeerGoneError(Exception):
    """The other end closed or reset the connection while the script waited for a PDU."""


@dataclass(frozen=True, slots=True)
class Message:
    """One DIMSE message as it was received."""

    context_id: int
    command: dict[str, Any]
    data: bytes


@dataclass
class ScriptedPeer:
    """One connection, driven step by step; `received` keeps every PDU."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: list[Pdu] = field(default_factory=list)
    contexts: dict[int, str] = field(default_factory=dict)  # id -> abstract syntax, as the requestor proposed
    written: int = 0

    # --- steps

    async def recv(self, kind: int | None = None) -> Pdu:
        """Return the next PDU; a type other than the one asked for fails the test."""
        try:
            async with asyncio.timeout(SECONDS):
                head = await self.reader.readexactly(6)
                number, _, length = struct.unpack(">BBI", head)
                pdu = Pdu(number, await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise PeerGoneError from error
        self.received.append(pdu)
        assert kind in {None, pdu.type}, f"expected PDU type {kind}, got {pdu.type}: {pdu.body[:80]!r}"
        return pdu

    async def recv_message(self) -> Message:
        """Return the next whole DIMSE message."""
        command, data = b"", b""
        while True:
            for pdv in (await self.recv(pdus.P_DATA_TF)).pdvs:
                if pdv.is_command:
                    command += pdv.fragment
                else:
                    data += pdv.fragment
                if not pdv.is_last:
                    continue
                parsed = pdus.read_command(command)
                if not pdv.is_command or parsed["command_data_set_type"] == pdus.NO_DATA_SET:
                    return Message(pdv.context_id, parsed, data)

    async def next_request(self) -> Message | None:
        """Return the next message but C-CANCEL, None at an A-RELEASE-RQ; an A-ABORT is met by closing."""
        command, data = b"", b""
        while True:
            pdu = await self.recv()
            if pdu.type == pdus.A_RELEASE_RQ:
                return None
            if pdu.type == pdus.A_ABORT:
                await self.close()
                await self.recv()
            for pdv in pdu.pdvs:
                if pdv.is_command:
                    command += pdv.fragment
                else:
                    data += pdv.fragment
                if not pdv.is_last:
                    continue
                parsed = pdus.read_command(command)
                if parsed["command_field"] == pdus.C_CANCEL_RQ:
                    command = b""
                elif not pdv.is_command or parsed["command_data_set_type"] == pdus.NO_DATA_SET:
                    return Message(pdv.context_id, parsed, data)

    async def send(self, *pieces: bytes) -> None:
        """Send bytes as they are and wait until the transport has room."""
        for piece in pieces:
            self.written += len(piece)
            self.writer.write(piece)
        with contextlib.suppress(ConnectionError):  # what was sent to a peer that is gone is lost, as in life
            await self.writer.drain()

    async def send_half(self, pdu: bytes) -> None:
        """Send the first half of a PDU."""
        await self.send(pdu[: len(pdu) // 2])

    async def half_close(self) -> None:
        """Send FIN but go on reading."""
        self.writer.write_eof()

    async def close(self) -> None:
        """Send what is buffered, then FIN."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def rst(self) -> None:
        """Reset the connection."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        await asyncio.sleep(0)

    async def hold(self) -> str:
        """Stay silent until the other end ends the connection: "fin" or "rst". What it sends meanwhile is recorded."""
        while True:
            try:
                await self.recv()
            except PeerGoneError as gone:
                return "rst" if isinstance(gone.__cause__, ConnectionError) else "fin"

    # --- usual sequences

    async def accept(self, transfer_syntax: str | None = None, user: bytes | None = None, **roles: Any) -> Pdu:
        """Receive an A-ASSOCIATE-RQ and accept every context, with its first transfer syntax or the one given."""
        request = await self.recv(pdus.A_ASSOCIATE_RQ)
        contexts = read_proposed(request)
        self.contexts = {number: abstract for number, abstract, _ in contexts}
        answers = [(number, transfer_syntax or syntaxes[0], 0) for number, _, syntaxes in contexts]
        calling, called = request.body[20:36].decode().strip(), request.body[4:20].decode().strip()
        await self.send(pdus.associate_ac(answers, called, calling, user))
        return request

    async def associate(self, contexts: Sequence[tuple[int, str, Sequence[str]]], **fields: Any) -> Pdu:
        """Propose contexts and return the A-ASSOCIATE-AC."""
        await self.send(pdus.associate_rq(contexts, **fields))
        self.contexts = {number: abstract for number, abstract, _ in contexts}
        return await self.recv(pdus.A_ASSOCIATE_AC)

    async def release(self) -> None:
        """Ask for release and wait for the answer."""
        await self.send(pdus.RELEASE_RQ)
        await self.recv(pdus.A_RELEASE_RP)

    # --- what a test asks

    @property
    def sent(self) -> int:
        """Bytes the kernel has taken from us."""
        return self.written - self.writer.transport.get_write_buffer_size()

    @property
    def commands(self) -> list[dict[str, Any]]:
        """Every Command Set received, in order."""
        return [pdu.command for pdu in self.received if pdu.command]

    def saw(self, command_field: int) -> bool:
        """Whether a command of this kind was received, e.g. a C-CANCEL."""
        return any(command["command_field"] == command_field for command in self.commands)


def read_proposed(request: Pdu) -> list[tuple[int, str, list[str]]]:
    """Return (id, abstract syntax, transfer syntaxes) of an A-ASSOCIATE-RQ."""
    contexts = []
    for kind, body in _items(request.body[68:]):
        if kind == 0x20:
            inner = _items(body[4:])
            names = [text.decode() for number, text in inner if number == 0x40]
            contexts.append((body[0], next(t.decode() for n, t in inner if n == 0x30), names))
    return contexts


def _items(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at + 4 <= len(data):
        kind, _, length = struct.unpack_from(">BBH", data, at)
        found.append((kind, data[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


Script = Callable[[ScriptedPeer], Awaitable[Any]]


@dataclass
class ScriptedNode:
    """A listening scripted acceptor; `peers` are its connections in order of arrival."""

    host: str
    port: int
    peers: list[ScriptedPeer] = field(default_factory=list)

    @property
    def peer(self) -> ScriptedPeer:
        """The latest connection."""
        return self.peers[-1]


@contextlib.asynccontextmanager
async def scripted_acceptor(*scripts: Script) -> AsyncIterator[ScriptedNode]:
    """Listen on the loopback interface: the n-th connection runs the n-th script, later ones the last script.

    A script's failed assertion fails the test; the other end going away ends the script quietly.
    """
    async with asyncio.TaskGroup() as group:
        node = ScriptedNode("127.0.0.1", 0)

        async def perform(peer: ScriptedPeer, script: Script) -> None:
            try:
                with contextlib.suppress(PeerGoneError):
                    await script(peer)
            finally:
                peer.writer.transport.abort() if peer.writer.is_closing() else peer.writer.close()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = ScriptedPeer(reader, writer)
            script = scripts[min(len(node.peers), len(scripts) - 1)]
            node.peers.append(peer)
            running.add(group.create_task(perform(peer, script)))

        running: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(connected, node.host, 0, backlog=1024)
        node.port = server.sockets[0].getsockname()[1]
        try:
            yield node
        finally:
            server.close()
            for task in running:
                task.cancel()
            for peer in node.peers:
                peer.writer.transport.abort()


@contextlib.asynccontextmanager
async def scripted_requestor(port: int, host: str = "127.0.0.1") -> AsyncIterator[ScriptedPeer]:
    """Connect to an acceptor of ours; the body of the `async with` is the script."""
    reader, writer = await asyncio.open_connection(host, port)
    peer = ScriptedPeer(reader, writer)
    try:
        yield peer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
