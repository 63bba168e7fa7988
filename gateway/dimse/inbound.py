"""What arrives on an association: messages put together, and waited for."""

from collections import deque
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from gateway.deadline import Deadline
from gateway.dimse.connection import Connection
from gateway.dimse.incoming import IncomingStore
from gateway.errors import Stalled
from gateway.wire.command import Command, CommandField
from gateway.wire.limits import Limits
from gateway.wire.message import MessageReader, MessageStart
from gateway.wire.pdu import Fragment

if TYPE_CHECKING:
    import asyncio

_WEIGHT_OF_A_MESSAGE: Final = 1024  # what a queued message adds to its Data Set in the account of unread bytes
_LOOKS: Final = 8  # how often in a peer's silence we look whether it is its own


class Message(NamedTuple):
    """A whole DIMSE message other than a C-STORE request, which is an ``IncomingStore``."""

    context_id: int
    command: Command
    data: bytes | None = None


Inbound: TypeAlias = Message | IncomingStore


class Assembler:
    """Puts fragments together to messages, and passes those of a C-STORE on as they arrive."""

    def __init__(
        self, context_ids: Container[int], limits: Limits, incoming_store: Callable[[MessageStart], IncomingStore]
    ) -> None:
        self._reader = MessageReader(context_ids, limits)
        self._incoming_store = incoming_store
        self._start: MessageStart | None = None
        self._data = bytearray()
        self.arriving: IncomingStore | None = None

    @property
    def inside_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._reader.inside_message

    def take(self, fragment: Fragment) -> Inbound | None:
        """Return what the fragment completes: a message, or the beginning of a C-STORE.

        Raises:
            RemoteProtocolError: the peer broke PS3.7 or a limit.
        """
        item = self._reader.feed(fragment)
        if item is None:
            return None
        if type(item) is MessageStart:
            return self._begin(item)
        if self.arriving is not None:
            self.arriving.put(fragment.data, is_last=fragment.is_last)
            if fragment.is_last:
                self.arriving = None
            return None
        self._data += fragment.data
        if not fragment.is_last or self._start is None:
            return None
        return Message(self._start.context_id, self._start.command, bytes(self._data))

    def _begin(self, start: MessageStart) -> Inbound | None:
        if start.command.command_field == CommandField.C_STORE_RQ:
            self.arriving = self._incoming_store(start)
            return self.arriving
        if start.command.has_data_set:
            self._start = start
            self._data.clear()
            return None
        return Message(start.context_id, start.command)


class Unread:
    """The account of bytes that have arrived and are not read.

    While they are more than the high water, the connection does not read: the peer's socket fills.
    """

    def __init__(self, connection: Connection, high_water: int) -> None:
        self._connection = connection
        self._high_water = high_water
        self._size = 0
        self._is_closed = False

    def add(self, size: int) -> None:
        """Add to what is unread or, with a negative size, take from it."""
        self._size += size
        if self._is_closed:
            return
        if self._size > self._high_water:
            self._connection.pause_reading()
        elif self._connection.is_reading_paused and self._size <= self._high_water // 2:
            self._connection.resume_reading()

    def close(self) -> None:
        """Never hold up the connection again."""
        self._is_closed = True
        self._connection.resume_reading()


class Inbox:
    """Messages in the order of their arrival, for one reader."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._messages: deque[Inbound] = deque()
        self._waiter: asyncio.Future[bool] | None = None
        self.unread = Unread(connection, limits.high_water)
        self.intercepted = 0  # messages that were taken before they came here

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, inbound: Inbound) -> None:
        """Queue a message."""
        self._messages.append(inbound)
        self.unread.add(_weight(inbound))
        self.wake()

    def pop(self) -> Inbound:
        """Return the oldest message."""
        inbound = self._messages.popleft()
        self.unread.add(-_weight(inbound))
        return inbound

    async def wait(self, deadline: Deadline, patience: float, held_up: Callable[[], bool]) -> None:
        """Return when there is a message.

        Raises:
            Stalled: none came before the deadline, or for ``patience`` seconds of a silence that is the peer's own.
            GatewayError: what ended the association.
        """
        until = deadline.within(patience)
        while not self._messages:
            self._connection.check()
            pauses, intercepted = self._connection.pauses, self.intercepted
            try:
                await self.change(until.within(patience / _LOOKS))
            except Stalled:
                ours = held_up() or self._connection.is_reading_paused or self._connection.pauses != pauses
                if ours or self.intercepted != intercepted:
                    until = deadline.within(patience)
                if until.passed:
                    raise

    async def change(self, deadline: Deadline) -> None:
        """Return when something happened; raise what ended the association, or Stalled at the deadline."""
        self._connection.check()
        loop = self._connection.loop
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(deadline.remaining, _settle, waiter, False)
        try:
            if not await waiter:
                raise Stalled("the peer did not answer in time")
        finally:
            timer.cancel()
            self._waiter = None

    def wake(self) -> None:
        """Let whoever waits look again."""
        if self._waiter is not None:
            _settle(self._waiter, True)

    def renew_account(self) -> None:
        """Let what is under way no longer depend on who still reads what came before."""
        self.unread.close()
        self.unread = Unread(self._connection, self._limits.high_water)


def _settle(waiter: "asyncio.Future[bool]", happened: bool) -> None:
    if not waiter.done():
        waiter.set_result(happened)


def not_held_up() -> bool:
    """Tell that the peer never waits for us."""
    return False


def _weight(inbound: Inbound) -> int:
    data = inbound.data if isinstance(inbound, Message) else None
    return _WEIGHT_OF_A_MESSAGE + (len(data) if data else 0)
