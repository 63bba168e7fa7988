"""One TCP connection and the Upper Layer machine on it."""

import asyncio
import errno
import socket
from collections.abc import Iterable
from typing import Final, Protocol, cast

from gateway.dimse.buffers import Buffers
from gateway.dimse.progress import Progress
from gateway.dimse.tls import certificate_end, certificate_names
from gateway.errors import Aborted, Closed, GatewayError, RemoteProtocolError, Reset, Stalled, Truncated
from gateway.wire.limits import Limits
from gateway.wire.pdu import AssociateAccept, AssociateReject, AssociateRequest, Buffer
from gateway.wire.states import TRANSITIONS, Event, Role, State
from gateway.wire.upper_layer import UpperLayer, UpperLayerEvent

_SMALLEST_BUFFER: Final = 16 * 1024
_LARGEST_BUFFER: Final = 512 * 1024
_LEAST_ROOM: Final = 16 * 1024
_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
_WRITE_HIGH_WATER: Final = 256 * 1024
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 10_000))


class ConnectionUser(Protocol):
    """Who is told what the connection brings."""

    @property
    def inside_message(self) -> bool:
        """Whether a message has begun and not ended."""

    def received(self, event: UpperLayerEvent) -> None:
        """Take an event; raise RemoteProtocolError to abort."""

    def ended(self, error: GatewayError) -> None:
        """Learn that the association is over, once, and why."""

    def disconnected(self) -> None:
        """Learn that the socket is closed."""


class Connection(asyncio.BufferedProtocol):
    """Moves bytes between a socket and the Upper Layer machine, and watches the clock (PS3.8 9.1.4, 9.1.5)."""

    def __init__(self, role: Role, limits: Limits, user: ConnectionUser, buffers: Buffers) -> None:
        self.error: GatewayError | None = None
        self.peer_address: tuple[str, int] = ("", 0)
        self._upper_layer = UpperLayer(role, limits)
        self._limits = limits
        self._user = user
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._buffers = buffers
        self._memory = bytearray()
        self._buffer = memoryview(self._memory)
        self._filled = 0
        self._buffer_size = _SMALLEST_BUFFER
        self._saw_eof = False
        self.is_reading_paused = False
        self.pauses = 0
        self._progress = Progress(limits, self.loop.time())
        self._stall_timer: asyncio.TimerHandle | None = None
        self._artim: asyncio.TimerHandle | None = None
        self._artim_state = State.IDLE
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.Event()

    # --- what the association asks for

    @property
    def is_established(self) -> bool:
        """Whether messages can be sent (Sta6)."""
        return self.error is None and self._upper_layer.state is State.ESTABLISHED

    def associate(self, request: AssociateRequest) -> None:
        """Send the A-ASSOCIATE-RQ as soon as the transport is open."""
        self._upper_layer.associate(request)

    def accept(self, accept: AssociateAccept) -> None:
        """Answer with A-ASSOCIATE-AC."""
        self._upper_layer.accept(accept)
        self._act()

    def reject(self, reject: AssociateReject) -> None:
        """Answer with A-ASSOCIATE-RJ."""
        self._upper_layer.reject(reject)
        self.end(Aborted("we rejected the association"))

    def check(self) -> None:
        """Raise what ended the association, if it is over."""
        if self.error is not None:
            raise self.error.with_traceback(None)

    def send(self, pdus: Iterable[Buffer]) -> None:
        """Send P-DATA-TF PDUs; raise what ended the association if it is over."""
        self.check()
        self._upper_layer.send(pdus)
        self._act()

    async def writable(self) -> None:
        """Wait until the peer has taken most of what was sent; raise what ended the association if it is over."""
        await self._writable.wait()
        self.check()

    def release(self) -> None:
        """Send A-RELEASE-RQ."""
        self._upper_layer.release()
        self._act()

    def answer_release(self) -> None:
        """Send A-RELEASE-RP, when it is our turn to: requests that collide are answered in order (PS3.8 7.2.2)."""
        if (Event.RELEASE_RESPONSE, self._upper_layer.state) in TRANSITIONS:
            self._upper_layer.confirm_release()
            self._act()

    def fail(self, error: RemoteProtocolError) -> None:
        """Abort because of what the peer sent."""
        self._upper_layer.fail(error)
        self.end(error)

    def abort(self, error: GatewayError) -> None:
        """Send A-ABORT as the service-user, and be done with the association."""
        if self.error is None:
            self._upper_layer.abort()
            self.end(error)

    def end(self, error: GatewayError) -> None:
        """Be done with the association; the first reason given is the one that counts."""
        if self.error is None:
            self.error = error
            self._writable.set()
            self._user.ended(error)
            self.resume_reading()
        self._act()

    def drop(self) -> None:
        """Close the socket at once."""
        if self._transport is not None:
            self._transport.abort()
        self.end(Aborted("the connection was dropped by us"))
        if self._transport is None and not self.is_closed:
            self._closed.set()
            self._user.disconnected()

    def expect(self) -> None:
        """Give up a connection that was not made."""
        if self._transport is None:
            self.drop()

    @property
    def certificate_names(self) -> frozenset[str] | None:
        """The names on the peer's certificate, None where it showed none."""
        secured = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        return None if secured is None else certificate_names(secured)

    @property
    def certificate_end(self) -> float | None:
        """When the peer's certificate ends, in seconds since 1970; None where it showed none."""
        secured = None if self._transport is None else self._transport.get_extra_info("ssl_object")
        return None if secured is None else certificate_end(secured)

    @property
    def is_closed(self) -> bool:
        """Whether the socket is closed."""
        return self._closed.is_set()

    async def wait_closed(self) -> None:
        """Wait until the socket is closed."""
        if self._transport is not None:
            await self._closed.wait()

    def pause_reading(self) -> None:
        """Leave what the peer sends in its socket; its silence is not its fault until reading resumes."""
        if not self.is_reading_paused and self._transport is not None and not self._transport.is_closing():
            self.is_reading_paused = True
            self.pauses += 1
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.is_reading_paused and self._transport is not None:
            self.is_reading_paused = False
            self._progress.restart(self.loop.time())
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # --- what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up and begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        self.peer_address = (transport.get_extra_info("peername") or ("", 0))[:2]
        self._socket = _borrowed(transport)
        _set_up(self._socket)
        if self.error is not None:  # who wanted the connection is gone
            self._transport.abort()
            return
        self._upper_layer.transport_opened()
        self._act()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio always says -1
        """Return room that no view handed out before reaches into."""
        if len(self._buffer) - self._filled < _LEAST_ROOM:
            memory, self._memory = self._memory, bytearray()
            self._buffer = memoryview(b"")
            self._buffers.give(memory)
            del memory
            self._memory = self._buffers.take(self._buffer_size)
            self._buffer = memoryview(self._memory)
            self._filled = 0
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Feed what was read to the machine, and its events to the association."""
        data = self._buffer[self._filled : self._filled + nbytes]
        self._filled += nbytes
        if self._filled == len(self._buffer):
            self._buffer_size = min(2 * self._buffer_size, _LARGEST_BUFFER)
        self._acknowledge()
        received = self._user.received
        try:
            for event in self._upper_layer.receive_data(data):
                try:
                    received(event)
                except RemoteProtocolError as error:
                    self.fail(error)
        except RemoteProtocolError as error:
            self.end(error)
        if self._artim is not None or not self._upper_layer.is_at_rest:
            self._act()
        self._watch(nbytes)

    def eof_received(self) -> None:
        """Take note of the peer's FIN; asyncio closes the transport once everything is written."""
        self._saw_eof = True
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Find out how it ended, if that is not yet known."""
        self._upper_layer.transport_closed()
        if self.error is None:
            self.end(self._reason(exc))
        for timer in (self._artim, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._memory, self._buffer = bytearray(), memoryview(b"")
        self._socket = None
        self._closed.set()
        self._user.disconnected()

    def pause_writing(self) -> None:
        """Let senders wait: the peer does not take what we send."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self._writable.set()

    # --- inside

    def _act(self) -> None:
        """Do what the machine wants done."""
        transport = self._transport
        if transport is None:
            return
        data = self._upper_layer.data_to_send()
        if data and not transport.is_closing():
            transport.writelines(data)
        if self._upper_layer.should_close and not transport.is_closing():
            # What a peer does not take must not keep its socket open.
            transport.abort() if transport.get_write_buffer_size() else transport.close()
        self._set_artim()

    def _set_artim(self) -> None:
        state = self._upper_layer.state
        running = self._upper_layer.artim_running
        if self._artim is not None and (not running or state != self._artim_state):
            self._artim.cancel()
            self._artim = None
        if running and self._artim is None:
            over = state is State.AWAITING_CLOSE
            seconds = self._limits.linger_seconds if over else self._limits.artim_seconds
            self._artim_state = state
            self._artim = self.loop.call_later(seconds, self._artim_expired)

    def _artim_expired(self) -> None:
        self._artim = None
        self._upper_layer.artim_expired()
        self.end(Stalled("no A-ASSOCIATE-RQ arrived in time"))
        if self._transport is not None:
            self._transport.abort()

    def _watch(self, size: int) -> None:
        inside_pdu = self._upper_layer.inside_pdu
        inside_message = inside_pdu or self._user.inside_message
        under_way = self._progress.note(size, self.loop.time(), inside_pdu=inside_pdu, inside_message=inside_message)
        if under_way and self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self._limits.stall_seconds, self._judge)

    def _judge(self) -> None:
        self._stall_timer = None
        now = self.loop.time()
        if self.is_reading_paused:
            self._progress.restart(now)
        wait = self._progress.wait(now)
        if wait:
            self._stall_timer = self.loop.call_later(wait, self._judge)
        elif wait is not None:
            self.abort(Stalled("the peer fell silent in the middle of a PDU or message"))

    def _acknowledge(self) -> None:
        # DCMTK leaves Nagle on: without an immediate ACK each instance costs 40 ms. Linux forgets the option.
        if self._socket is not None and _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _reason(self, exc: Exception | None) -> GatewayError:
        if isinstance(exc, TimeoutError) or (isinstance(exc, OSError) and exc.errno == errno.ETIMEDOUT):
            return Stalled("the peer's host no longer answers")
        if exc is not None or not self._saw_eof:
            return Reset("the peer reset the connection")
        if self._upper_layer.inside_pdu:
            return Truncated("the peer closed the connection in the middle of a PDU")
        return Closed("the peer closed the connection without releasing the association")


class _Borrowed(socket.socket):
    """A socket that its transport owns: it is never closed from here.

    uvloop makes a socket anew for each option that is set by way of the transport, and an option is set at each read.
    """

    def __del__(self) -> None:
        self.detach()


def _borrowed(transport: asyncio.BaseTransport) -> socket.socket | None:
    owned = transport.get_extra_info("socket")
    return None if owned is None else _Borrowed(fileno=owned.fileno())


def _set_up(sock: socket.socket | None) -> None:
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
