"""A TCP proxy between the gateway and a peer that knows where PDUs begin and misbehaves on command.

async with fault_proxy(archive.port) as proxy:
    proxy.to_client.after_pdu(4).rst()        # the A-ASSOCIATE-AC and three matches pass, then the line is cut
    ...
    assert proxy.to_server.saw(pdus.C_CANCEL_RQ)
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from tests.kit.pdus import Pdu

Transform = Callable[[bytes], bytes | None]
Pace = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]
Ending = Callable[["_Connection", asyncio.StreamWriter], Awaitable[None]]


class Toxics:
    """What can be done to one direction, from its n-th PDU on (the first `after` PDUs pass untouched)."""

    def __init__(self, lane: "Lane", after: int) -> None:
        self._lane, self._after = lane, after

    # --- pace: the last one armed rules

    def latency(self, seconds: float) -> None:
        """Hold each PDU back."""

        async def pace(writer: asyncio.StreamWriter, data: bytes) -> None:
            await asyncio.sleep(seconds)
            writer.write(data)

        self._lane.paces.append((self._after, pace))

    def throttle(self, bytes_per_second: float) -> None:
        """Let bytes through at this rate, about fifty pieces a second."""
        size = max(1, int(bytes_per_second / 50))
        self._pieces(size, size / bytes_per_second)

    def drip(self, seconds: float) -> None:
        """Let one byte through each time so many seconds have gone."""
        self._pieces(1, seconds)

    def split(self, size: int) -> None:
        """Cut PDUs into TCP segments of this many bytes."""
        self._pieces(size, 0)

    def freeze(self) -> None:
        """Let nothing through until `Lane.thaw()`."""

        async def pace(writer: asyncio.StreamWriter, data: bytes) -> None:
            await self._lane.thawed.wait()
            writer.write(data)

        self._lane.thawed.clear()
        self._lane.paces.append((self._after, pace))

    def _pieces(self, size: int, seconds: float) -> None:
        async def pace(writer: asyncio.StreamWriter, data: bytes) -> None:
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
                await writer.drain()
                await asyncio.sleep(seconds)

        self._lane.paces.append((self._after, pace))

    # --- content

    def corrupt(self, offset: int, mask: int = 0xFF) -> None:
        """Flip bits of the byte at this offset in the next PDU."""

        def flip(data: bytes) -> bytes:
            return data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1 :]

        self._lane.transforms.append((self._after, _once(flip)))

    def replace_pdu(self, replace: Callable[[Pdu], bytes | None]) -> None:
        """Put what the function returns in the place of each PDU; None drops it."""
        self._lane.transforms.append((self._after, lambda data: replace(Pdu(data[0], data[6:]))))

    def drop_pdu(self, kind: int, nth: int = 1) -> None:
        """Drop the n-th PDU of this type."""
        seen = 0

        def drop(pdu: Pdu) -> bytes | None:
            nonlocal seen
            seen += pdu.type == kind
            return None if pdu.type == kind and seen == nth else pdu.encoded

        self.replace_pdu(drop)

    # --- endings: once, when so many PDUs have passed

    def inject(self, data: bytes) -> None:
        """Send bytes that the other end never wrote."""

        async def act(connection: "_Connection", writer: asyncio.StreamWriter) -> None:
            writer.write(data)

        self._lane.endings.append((self._after, act))

    def half_close(self) -> None:
        """Send FIN in this direction; the other goes on."""

        async def act(connection: "_Connection", writer: asyncio.StreamWriter) -> None:
            writer.write_eof()
            raise _CutError

        self._lane.endings.append((self._after, act))

    def rst(self) -> None:
        """Reset the connection at this lane's receiver and close the other side."""

        async def act(connection: "_Connection", writer: asyncio.StreamWriter) -> None:
            await writer.drain()
            connection.reset(writer)
            raise _CutError

        self._lane.endings.append((self._after, act))

    def truncate(self, size: int) -> None:
        """Send the first `size` bytes of the next PDU, then FIN, and nothing more in this direction."""
        self._lane.transforms.append((self._after, _once(lambda data: data[:size])))
        Toxics(self._lane, self._after + 1).half_close()


class _CutError(Exception):
    """A toxic ended this direction."""


def _once(transform: Transform) -> Transform:
    done = False

    def apply(data: bytes) -> bytes | None:
        nonlocal done
        if done:
            return data
        done = True
        return transform(data)

    return apply


class Lane(Toxics):
    """One direction of the proxy: its toxics and what its sender wrote, over all connections."""

    def __init__(self) -> None:
        super().__init__(self, 0)
        self.pdus: list[Pdu] = []
        self.transforms: list[tuple[int, Transform]] = []
        self.paces: list[tuple[int, Pace]] = []
        self.endings: list[tuple[int, Ending]] = []
        self.thawed = asyncio.Event()
        self.thawed.set()
        self._news = asyncio.Event()

    def after_pdu(self, count: int) -> Toxics:
        """Return toxics that begin when `count` PDUs of a connection have passed."""
        return Toxics(self, count)

    def thaw(self) -> None:
        """Let what was frozen pass."""
        self.thawed.set()

    def cure(self) -> None:
        """Take every toxic away."""
        self.transforms.clear()
        self.paces.clear()
        self.endings.clear()
        self.thaw()

    def saw(self, command_field: int) -> bool:
        """Whether the sender wrote a command of this kind."""
        return any(pdu.command.get("command_field") == command_field for pdu in self.pdus)

    async def until(self, condition: Callable[["Lane"], bool], seconds: float = 30.0) -> None:
        """Return once the condition holds; it is asked after each PDU."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    def record(self, data: bytes) -> None:
        self.pdus.append(Pdu(data[0], data[6:]))
        self._news.set()


@dataclass
class _Connection:
    """A pair of streams."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def reset(self, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def abort(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()

    async def carry(self, lane: Lane, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction until its sender ends it or a toxic does."""
        passed = 0
        with contextlib.suppress(_CutError, ConnectionError):
            await self._endings(lane, writer, passed)
            async for data in _pdus(reader):
                lane.record(data)
                await self._forward(lane, writer, data, passed)
                passed += 1
                await self._endings(lane, writer, passed)
            if not writer.is_closing():
                writer.write_eof()

    @staticmethod
    async def _forward(lane: Lane, writer: asyncio.StreamWriter, data: bytes, passed: int) -> None:
        kept: bytes | None = data
        for after, transform in lane.transforms:
            if after <= passed and kept is not None:
                kept = transform(kept)
        if not kept:
            return
        paces = [pace for after, pace in lane.paces if after <= passed]
        if paces:
            await paces[-1](writer, kept)
        else:
            writer.write(kept)
        await writer.drain()

    async def _endings(self, lane: Lane, writer: asyncio.StreamWriter, passed: int) -> None:
        for after, act in list(lane.endings):
            if after == passed:
                await act(self, writer)


async def _pdus(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield each PDU whole; what follows the last whole one when the stream ends is yielded as it is."""
    head = b""
    try:
        while True:
            head = await reader.readexactly(6)
            yield head + await reader.readexactly(int.from_bytes(head[2:], "big"))
            head = b""
    except asyncio.IncompleteReadError as error:
        if rest := head + error.partial:
            yield rest


@dataclass
class FaultProxy:
    """A running proxy: `to_server` carries what our side writes, `to_client` what the peer answers."""

    port: int = 0
    to_server: Lane = field(default_factory=Lane)
    to_client: Lane = field(default_factory=Lane)
    connections: list[_Connection] = field(default_factory=list)


@contextlib.asynccontextmanager
async def fault_proxy(port: int, host: str = "127.0.0.1") -> AsyncIterator[FaultProxy]:
    """Run a proxy on the loopback interface in front of the peer at this port."""
    proxy = FaultProxy()
    async with asyncio.TaskGroup() as group:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                peer_reader, peer_writer = await asyncio.open_connection(host, port)
            except OSError:
                writer.transport.abort()
                return
            connection = _Connection(writer, peer_writer)
            proxy.connections.append(connection)
            try:
                async with asyncio.TaskGroup() as lanes:
                    lanes.create_task(connection.carry(proxy.to_server, reader, peer_writer))
                    lanes.create_task(connection.carry(proxy.to_client, peer_reader, writer))
            finally:
                writer.close()
                peer_writer.close()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            running.add(group.create_task(serve(reader, writer)))

        running: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            for task in running:
                task.cancel()
            for connection in proxy.connections:
                connection.abort()
