"""uvicorn's httptools protocol, made safe to expose: deadlines, caps and one request at a time.

uvicorn waits for ever for a request that never ends and for a reader that never reads, and takes headers
of any size. What httptools lets through of the ambiguous framings is refused here too.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from struct import pack
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.dataset.sink import Buffer
from gateway.web.disconnect import DISCONNECT, Leaving
from gateway.web.problem import document
from gateway.web.streaming import PIECES, SENT

TARGET: Final = re.compile(rb"/(?!/)(?:[^%\\]|%(?!2f|5c|00))*", re.IGNORECASE)
"""A request target in origin form: no authority, and nothing encoded that could pass for a separator."""

SLUGS: Final = {
    HTTPStatus.BAD_REQUEST: "bad-request",
    HTTPStatus.REQUEST_TIMEOUT: "request-timeout",
    HTTPStatus.REQUEST_URI_TOO_LONG: "uri-too-long",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "request-header-fields-too-large",
}
"""What each refusal is called; the phrases of the statuses differ between versions of Python."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one HTTP connection may take.

    Attributes:
        header_seconds: from the first byte of a request, or from the start of the connection, to the end of its header.
        keep_alive_seconds: an idle connection is kept after a response.
        write_stall_seconds: a reader that takes nothing for so long is cut off.
        header_bytes: request line and header fields together.
        header_lines: header fields.
        target_bytes: the request target.
        write_buffer_bytes: how much waits for a slow reader before the producer has to wait.
    """

    header_seconds: float = 10.0
    keep_alive_seconds: int = 15
    write_stall_seconds: float = 60.0
    header_bytes: int = 32 * 1024
    header_lines: int = 100
    target_bytes: int = 8 * 1024
    write_buffer_bytes: int = 512 * 1024


class _Stop(Exception):
    """Parsing ends here; what to answer is already decided."""


class _Joined:
    """A transport that sends the header of a response together with what follows it within this turn of the loop.

    It knows nothing of its request: the two would be garbage that only the collector finds, at a tenth of the whole
    cost of a small search.

    Attributes:
        sent: bytes of pieces that were written.
        is_cut: whether the rest of the response is not wanted.
    """

    __slots__ = ("_flow", "_head", "_is_begun", "_loop", "_transport", "is_cut", "sent")

    def __init__(self, transport: asyncio.Transport, flow: FlowControl, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._flow = flow
        self._loop = loop
        self._head = b""
        self._is_begun = False
        self.sent = 0
        self.is_cut = False

    def write(self, data: bytes) -> None:
        if self._is_begun:
            self.writelines((data,))
        else:
            self._is_begun = True
            self._head = data
            self._loop.call_soon(self.flush)

    def writelines(self, pieces: Iterable[Buffer]) -> None:
        head, self._head = self._head, b""
        self._transport.writelines((head, *pieces) if head else pieces)

    async def pieces(self, *pieces: Buffer) -> None:
        """Write pieces of a chunked body, as uvicorn's ``send`` does but without joining them first."""
        if self._flow.write_paused and not self._is_lost:
            await self._flow.drain()
        size = sum(map(len, pieces))
        if size and not self._is_lost:
            self.sent += size
            self.writelines((b"%x\r\n" % size, *pieces, b"\r\n"))

    @property
    def _is_lost(self) -> bool:
        return self.is_cut or self._transport.is_closing()

    def flush(self) -> None:
        if self._head and not self._transport.is_closing():
            self.writelines(())

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


MALFORMED: Final = (
    "the request is not valid HTTP/1.1; in an address, percent-encode what is not ASCII, e.g. B%C3%A9langer"
)
"""What the parser refuses without a reason of its own: mostly a name that was typed as it is."""


class GuardedHttpToolsProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection under ``HttpLimits``.

    A request that arrives before the previous one is answered is not served: the connection closes after
    the running response, and the client sends it again on another (RFC 9112 9.3.2). One that follows an answer
    which the client has whole, and which only the application has not ended, waits for that end.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: HttpLimits | None = None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits or HttpLimits()
        self._period = min(self._limits.header_seconds, self._limits.write_stall_seconds) / 8
        self._lost = lost
        self._watch: asyncio.TimerHandle | None = None
        self._refusal = (HTTPStatus.BAD_REQUEST, MALFORMED)
        self._deaf = False
        self._header_since: float | None = None
        self._unparsed = 0  # bytes since the parser last told of a header or a piece of body
        self._taken_at = 0.0
        self._unsent = 0
        self._drained = False
        self._early = b""
        self._output: _Joined | None = None
        self._leaving = Leaving()

    # --- the connection and its deadlines

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(self._limits.write_buffer_bytes)
        self._header_since = self._taken_at = self.loop.time()
        self._watch = self.loop.call_later(self._period, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching; tell the server."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._leaving()
        self._lost()

    def resume_writing(self) -> None:
        """Note that the reader took enough for the producer to go on."""
        self._drained = True
        super().resume_writing()

    def _look(self) -> None:
        """Enforce both deadlines; runs a few times within the shorter of them (H01, H08)."""
        soon = self.loop.time() + self._period
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent or self._drained:
            self._taken_at = soon - self._period
        self._unsent, self._drained = unsent, False
        if soon > self._taken_at + self._limits.write_stall_seconds:
            self._cut()
        elif self._header_since is not None and soon > self._header_since + self._limits.header_seconds:
            self._time_out()
        self._watch = self.loop.call_later(self._period, self._look)

    def _cut(self) -> None:
        """Reset the connection, so that the kernel keeps nothing for the reader either."""
        connection: socket.socket = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        self.transport.abort()

    def _time_out(self) -> None:
        self._header_since = None
        if self._deaf:
            self.transport.abort()
        elif self._unparsed:
            self._refusal = (HTTPStatus.REQUEST_TIMEOUT, "the request header did not arrive in time")
            self.send_400_response("")
        else:
            self.transport.close()

    # --- the request

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _is_sent(self) -> bool:
        """Whether the client has all of a response that is not ended: one of known length, or without a body."""
        cycle = self.cycle
        if self._idle or cycle.more_body or not (cycle.response_started and cycle.keep_alive):
            return False
        return cycle.scope["method"] == "HEAD" or not (cycle.chunked_encoding or cycle.expected_content_length)

    def data_received(self, data: bytes) -> None:
        """Parse within the limits; what follows a request under way is left unread."""
        if self._deaf or self.transport.is_closing():
            return
        if self._is_sent:
            self._early += data
            self.flow.pause_reading()
            return
        if self._header_since is None and self._idle:
            self._header_since = self.loop.time()
            self._unparsed = 0
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > self._limits.header_bytes and not self._deaf:
            self._refusal = (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request header is too large")
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin a request, unless one is still being served."""
        if not self._idle:
            self.cycle.keep_alive = False
            self._deaf = True
            raise _Stop
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Collect the request target."""
        super().on_url(url)
        if len(self.url) > self._limits.target_bytes:
            most = self._limits.target_bytes
            text = f"the URL is longer than {most} bytes: a search may be sent as a form, by POST"
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, text)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header field; trailers are not taken."""
        if self._header_since is None:
            self._refuse(HTTPStatus.BAD_REQUEST, "trailer fields behind a chunked body are not taken")
        super().on_header(name, value)
        if len(self.headers) > self._limits.header_lines:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {self._limits.header_lines} fields")

    def on_headers_complete(self) -> None:
        """Refuse what is ambiguous (H02, H03), else start the application."""
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self._limits.header_bytes:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request header is too large")
        names = [name for name, _ in self.headers]
        if names.count(b"host") != 1:
            self._refuse(HTTPStatus.BAD_REQUEST, "the request must have exactly one Host field")
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        plain = codings == [b"chunked"] and b"content-length" not in names and self.parser.get_http_version() == "1.1"
        if codings and not plain:
            self._refuse(HTTPStatus.BAD_REQUEST, "the length of the request's body is ambiguous")
        if not TARGET.fullmatch(self.url.partition(b"?")[0]):
            self._refuse(HTTPStatus.BAD_REQUEST, "the request target must be a plain absolute path")
        self._header_since = None
        self._unparsed = 0
        super().on_headers_complete()
        self._output = output = _Joined(self.transport, self.flow, self.loop)
        self.cycle.transport = cast("asyncio.Transport", output)
        extensions: dict[str, Any] = {PIECES: output.pieces, SENT: lambda: output.sent}
        if not codings and b"content-length" not in names:
            self._leaving = leaving = Leaving()
            extensions[DISCONNECT] = leaving.tell
        self.scope["extensions"] = extensions
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False  # the parser reads nothing more after the offer that we leave alone

    def on_body(self, body: bytes) -> None:
        """Hand on a piece of the request's body."""
        self._unparsed = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Keep the connection only when the request was read to its end."""
        if self._output is not None:
            self._output.flush()
        if self.cycle.more_body and not self._deaf:
            self._deaf = True
            self._linger()
        super().on_response_complete()
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    # --- the refusal

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        self._refusal = (status, detail)
        raise _Stop

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  (uvicorn's text says less than ours)
        """Answer what could not be parsed and hear nothing more; a response under way is not written into."""
        if self._deaf:
            return
        self._deaf = True
        if not self._idle:
            self.cycle.disconnected = True
            if self._output is not None:
                self._output.is_cut = True
            self.cycle.message_event.set()
            self._leaving()
            if self.cycle.response_started:
                self.transport.abort()
                return
        status, detail = self._refusal
        body = document(SLUGS[status], status, detail)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\ncache-control: private, no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self._linger()

    def _linger(self) -> None:
        """Close after the client has had time to read: closing at once on unread bytes would reset its connection."""
        if self.transport.can_write_eof():
            self._header_since = self.loop.time()
            self.transport.write_eof()
        else:
            self.transport.close()
