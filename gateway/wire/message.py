"""PDV fragments to and from DIMSE messages (PS3.7 6.3, 8.1; PS3.8 Annex E)."""

from collections.abc import Container, Iterator
from typing import Final, NamedTuple

from gateway.errors import LocalProtocolError, RemoteProtocolError
from gateway.wire import command as command_set
from gateway.wire.command import RESPONSE, Command, CommandField
from gateway.wire.limits import Limits
from gateway.wire.pdu import AbortReason, Buffer, Fragment, data_header

SMALLEST_PDU: Final = 8


class MessageStart(NamedTuple):
    """A whole Command Set has arrived; when it says so, its Data Set follows as fragments."""

    context_id: int
    command: Command


class MessageReader:
    """Puts Command Sets together and watches over the Data Sets that follow them.

    Data Set fragments are handed back as they are, checked and counted, never collected.
    """

    def __init__(self, context_ids: Container[int], limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self._context_ids = context_ids
        self._limits = limits
        self._context_id = 0
        self._command = bytearray()
        # The latest Command Set: a thousand pending responses differ in nothing.
        self._latest_bytes = b""
        self._latest: Command | None = None
        self._inside = False
        self._in_data_set = False
        self._data_left = 0
        self._empty = 0

    @property
    def inside_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._inside

    def feed(self, fragment: Fragment) -> MessageStart | Fragment | None:
        """Take the next fragment; return what it completes or, of a Data Set, itself.

        Raises:
            RemoteProtocolError: the peer broke PS3.7 or PS3.8 Annex E, or a limit; the error says how to abort.
        """
        context_id, is_command, is_last, data = fragment
        if not self._inside or context_id != self._context_id:
            self._begin(context_id)
        if is_command == self._in_data_set:
            raise RemoteProtocolError("a Command Set where a Data Set was announced, or the other way round")
        if not data:
            self._count_empty(is_last=is_last)
        if is_command:
            return self._take_command(data, is_last=is_last)
        self._data_left -= len(data)
        if self._data_left < 0:
            raise RemoteProtocolError("a Data Set longer than this association takes")
        if is_last:
            self._inside = self._in_data_set = False
        return fragment

    def _begin(self, context_id: int) -> None:
        if context_id not in self._context_ids:
            raise RemoteProtocolError(
                f"P-DATA on Presentation Context {context_id}, which was not accepted",
                abort_reason=AbortReason.INVALID_PARAMETER,
            )
        if self._inside:
            raise RemoteProtocolError("a message that changes its Presentation Context")
        self._inside = True
        self._context_id = context_id
        self._empty = 0

    def _count_empty(self, *, is_last: bool) -> None:
        self._empty += 1
        if self._empty > self._limits.max_empty_fragments and not is_last:
            raise RemoteProtocolError("a message of empty fragments")

    def _take_command(self, data: Buffer, *, is_last: bool) -> MessageStart | None:
        self._command += data
        if len(self._command) > self._limits.max_command_set:
            raise RemoteProtocolError("a Command Set longer than this association takes")
        if not is_last:
            return None
        if self._latest is None or self._command != self._latest_bytes:
            self._latest = command_set.decode(self._command)
            self._latest_bytes = bytes(self._command)
        command = self._latest
        self._command.clear()
        self._inside = self._in_data_set = command.has_data_set
        if command.has_data_set:
            is_instance = command.command_field == CommandField.C_STORE_RQ
            self._data_left = self._limits.max_instance if is_instance else self._limits.max_identifier
        return MessageStart(self._context_id, command)


def check_response(start: MessageStart, request: Command, context_id: int) -> int:
    """Return the status of a response, having checked that it answers our request (PS3.7 9.3).

    Raises:
        RemoteProtocolError: it answers something else, or says nothing.
    """
    command = start.command
    if command.command_field != request.command_field | RESPONSE:
        raise RemoteProtocolError(f"a message {command.command_field:04X}H where a response was due")
    if command.message_id_being_responded_to != request.message_id:
        raise RemoteProtocolError("a response to another Message ID than the one asked with")
    if start.context_id != context_id:
        raise RemoteProtocolError("a response on another Presentation Context than the one asked on")
    if command.status is None:
        raise RemoteProtocolError("a response without a status")
    return command.status


def command_pdus(context_id: int, command: Command, max_length: int) -> list[Buffer]:
    """Return the P-DATA-TF PDUs of a Command Set, none longer than the peer's Maximum Length."""
    data = command_set.encode(command)
    if len(data) <= max_length - 6:
        return [data_header(context_id, len(data), is_command=True, is_last=True) + data]
    writer = FragmentWriter(context_id, max_length, is_command=True)
    return [*writer.write(data), *writer.finish()]


class FragmentWriter:
    """Cuts a stream of buffers into P-DATA-TF PDUs of one PDV each, copying nothing.

    Every PDU but the last is as long as ``max_length`` allows and holds an even number of bytes, as DCMTK demands.
    """

    def __init__(self, context_id: int, max_length: int, *, is_command: bool = False) -> None:
        if max_length < SMALLEST_PDU:
            raise LocalProtocolError("no message fits into PDUs of less than eight bytes")
        self._context_id = context_id
        self._is_command = is_command
        self._size = (max_length - 6) & ~1
        self._held: list[Buffer] = []
        self._held_size = 0

    def write(self, data: Buffer) -> Iterator[Buffer]:
        """Yield the buffers of all PDUs that are full and known not to be the last."""
        view = memoryview(data)
        while self._held_size + len(view) > self._size:
            room = self._size - self._held_size
            yield data_header(self._context_id, self._size, is_command=self._is_command, is_last=False)
            yield from self._held
            if room:
                yield view[:room]
            self._held, self._held_size = [], 0
            view = view[room:]
        if len(view):
            self._held.append(view)
            self._held_size += len(view)

    def finish(self) -> Iterator[Buffer]:
        """Yield the buffers of the last PDU."""
        yield data_header(self._context_id, self._held_size, is_command=self._is_command, is_last=True)
        yield from self._held
        self._held, self._held_size = [], 0
