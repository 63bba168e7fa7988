"""A C-STORE that is arriving."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

from gateway.errors import Aborted, GatewayError, LocalProtocolError
from gateway.wire.pdu import Buffer

# Fragments smaller than this are joined: a peer that sends single bytes must not fill our memory with views.
_SMALL: Final = 1024
_JOINED: Final = 64 * 1024


class StoreRequest(NamedTuple):
    """The Command Set of a C-STORE, and whom it came from (PS3.7 9.3.1.1)."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    message_id: int
    move_originator_ae_title: str | None
    move_originator_message_id: int | None


class Sink(Protocol):
    """Takes a Data Set as it arrives, without waiting."""

    def put(self, data: Buffer, *, is_last: bool) -> None:
        """Take the next fragment, which may be kept as it is."""

    def fail(self, error: GatewayError) -> None:
        """Learn that the rest will not come."""


def _unanswered(store: "IncomingStore", status: int) -> None:
    """Answer nobody: what came by the web has no C-STORE-RSP."""


class IncomingStore:
    """A C-STORE whose Data Set is read while it arrives, by one reader, fragment by fragment (PS3.7 9.1.1).

    The handler and the reader may be two tasks; the reader may go on after the handler returned and the association
    moved on. What has arrived and is not read counts against the association's high water, over all C-STOREs of one
    C-GET, or of one inbound association, that someone holds: read them in the order of their arrival, discard them, or
    let them go.
    """

    def __init__(
        self,
        request: StoreRequest,
        context_id: int,
        account: Callable[[int], None],
        high_water: int,
        answer: Callable[["IncomingStore", int], None] = _unanswered,
    ) -> None:
        self.calling_ae_title = request.calling_ae_title
        self.called_ae_title = request.called_ae_title
        self.address = request.address
        self.sop_class_uid = request.sop_class_uid
        self.sop_instance_uid = request.sop_instance_uid
        self.transfer_syntax_uid = request.transfer_syntax_uid
        self.message_id = request.message_id
        self.move_originator_ae_title = request.move_originator_ae_title
        self.move_originator_message_id = request.move_originator_message_id
        self.context_id = context_id
        self.buffered = 0
        self.is_complete = False
        self.is_answered = False
        self._account = account
        self._high_water = high_water
        self._answer = answer
        self._promised: int | None = None
        self._fragments: deque[memoryview | bytearray] = deque()
        self._error: GatewayError | None = None
        self._discarded = False
        self._sink: Sink | None = None
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()

    async def peek(self, size: int) -> bytes:
        """Return the first unread bytes, fewer if the Data Set ends before, and leave them unread.

        Raises:
            Aborted, Reset, Closed, Truncated, Stalled: the association ended first.
        """
        if size > self._high_water:
            raise LocalProtocolError("no more can be peeked at than is ever held")
        while self.buffered < size and not self.is_complete:
            await self._change()
        head = bytearray()
        for fragment in self._fragments:
            head += fragment[: size - len(head)]
            if len(head) == size:
                break
        return bytes(head)

    async def received(self) -> None:
        """Return once the last fragment is in, read or not.

        Raises:
            Aborted, Reset, Closed, Truncated, Stalled: the association ended first.
        """
        await self._ended.wait()
        if not self.is_complete and self._error is not None:
            raise self._error.with_traceback(None)

    def __aiter__(self) -> "IncomingStore":
        return self

    async def __anext__(self) -> memoryview:
        """Return the next fragment, a view that stays valid; raise as ``received`` does."""
        if self.is_complete and not self.is_answered:
            # The handler first: the C-STORE-RSP sets the peer to work on the next instance while this one is read.
            await asyncio.sleep(0)
        while not self._fragments:
            if self._discarded:  # never a clean end: what was read so far is not the instance
                raise Aborted("the C-STORE was discarded while it was read")
            if self.is_complete:
                raise StopAsyncIteration
            await self._change()
        fragment = self._fragments.popleft()
        self.buffered -= len(fragment)
        self._account(-len(fragment))
        return memoryview(fragment)

    def waiting(self) -> list[memoryview]:
        """Return the fragments that are here already; they count as read."""
        fragments = [memoryview(fragment) for fragment in self._fragments]
        self._fragments.clear()
        unread, self.buffered = self.buffered, 0
        self._account(-unread)
        return fragments

    def divert(self, sink: Sink) -> None:
        """Hand everything on as it arrives; whoever holds it tells ``charge`` what the association has to wait for."""
        for fragment in self.waiting():
            sink.put(fragment, is_last=False)
        if self.is_complete:
            sink.put(b"", is_last=True)
        elif self._error is not None:
            sink.fail(self._error)
        else:
            self._sink = sink

    def promise(self, status: int) -> None:
        """Have it answered with this as soon as its last fragment is in, before anyone is woken: the peer waits."""
        self._promised = status

    def charge(self, size: int) -> None:
        """Count bytes as unread, or with a negative size as read, although they were handed on."""
        self._account(size)

    def discard(self) -> None:
        """Drop what is unread and what is still to come; whoever reads on meets an error."""
        self._discarded = True
        self._sink = None
        self._fragments.clear()
        unread, self.buffered = self.buffered, 0
        self._account(-unread)
        self._changed.set()

    def __del__(self) -> None:
        # Nobody can read it any more: what it holds must not keep its association from reading on.
        if self._fragments:
            self.discard()

    def put(self, data: Buffer, *, is_last: bool) -> None:
        """Take the next fragment from the association."""
        self.is_complete = is_last
        if is_last:
            # Before the reader: the peer waits for the C-STORE-RSP before it sends the next instance.
            if self._promised is not None and not self._discarded:
                self._answer(self, self._promised)
            self._ended.set()
        if self._sink is not None:
            self._sink.put(data, is_last=is_last)
            return
        if data and not self._discarded:
            self._hold(data)
            self.buffered += len(data)
            self._account(len(data))
        self._changed.set()

    def fail(self, error: GatewayError) -> None:
        """Learn that the association ended."""
        self._error = error
        self._ended.set()
        if self._sink is not None:
            self._sink.fail(error)
        self._changed.set()

    def _hold(self, data: Buffer) -> None:
        if len(data) >= _SMALL:
            self._fragments.append(memoryview(data))
            return
        latest = self._fragments[-1] if self._fragments else None
        if isinstance(latest, bytearray) and len(latest) < _JOINED:
            latest += data
        else:
            self._fragments.append(bytearray(data))

    async def _change(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)
        self._changed.clear()
        await self._changed.wait()


StoreHandler: TypeAlias = Callable[[IncomingStore], Awaitable[int]]
"""Takes a C-STORE and returns its DIMSE status; the C-STORE-RSP goes out when the last fragment is in, too."""
