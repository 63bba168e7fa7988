"""One request of ours, its responses, and what becomes of it when nobody waits for them any more (PS3.7 8.1)."""

from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.inbound import Inbound, Message, not_held_up
from gateway.dimse.incoming import IncomingStore
from gateway.errors import RemoteProtocolError
from gateway.wire.command import Command, CommandField
from gateway.wire.message import MessageStart, check_response
from gateway.wire.negotiation import AcceptedContext
from gateway.wire.status import PENDING, PENDING_WITH_WARNING, StatusClass, status_class

_PENDING: Final = frozenset({PENDING, PENDING_WITH_WARNING})
_CANCELLABLE: Final = frozenset({CommandField.C_FIND_RQ, CommandField.C_MOVE_RQ, CommandField.C_GET_RQ})


class Operation:
    """An operation in the role of SCU; it occupies its association from entry to the final response.

    When it is left before, it is abandoned: C-CANCEL goes out where the service knows it (PS3.7 9.3.2.3), what still
    arrives is dropped, and the association is clean again once the final response is in. A peer that takes longer
    than ``cancel_seconds`` is aborted. Leaving never waits.
    """

    def __init__(self, association: Association, context: AcceptedContext, command: Command) -> None:
        self._association = association
        self._context_id = context.context_id
        self.command = command
        if command.message_id is None:
            self.command = command._replace(message_id=association.next_message_id())
        self._finished = False
        self.is_sent = False

    def __enter__(self) -> Self:
        self._association.occupy()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, RemoteProtocolError):
            self._association.fail(error)
        elif not self._finished:
            self._abandon()

    def send(self, data: bytes | None = None) -> None:
        """Send the request with its Data Set."""
        self._association.send_message(self._context_id, self.command, data)
        self.is_sent = True

    def pass_over_pending(self, told: Callable[[Message, int], None] | None) -> None:
        """Check Pending responses as they arrive and wake nobody for them: an archive sends one an instance.

        ``told`` gets each of them with its status.
        """

        def taken(message: Message) -> bool:
            if message.command.status not in _PENDING:
                return False
            status = self._check(message)
            if told is not None:
                told(message, status)
            return True

        self._association.intercept(taken)

    async def receive(
        self, deadline: Deadline, patience: float, held_up: Callable[[], bool] = not_held_up
    ) -> tuple[Message, int] | IncomingStore:
        """Return the next response and its status, or a C-STORE sub-operation of a C-GET.

        ``patience`` and ``held_up`` are those of ``Association.receive``.

        Raises:
            Stalled, Aborted, Reset, Closed, Truncated, RemoteProtocolError: none will come.
        """
        inbound = await self._association.receive(deadline, patience=patience, held_up=held_up)
        if isinstance(inbound, IncomingStore):
            return inbound
        status = self._check(inbound)
        if self._finished:
            self._association.vacate()
        return inbound, status

    async def response(
        self, deadline: Deadline, patience: float, held_up: Callable[[], bool] = not_held_up
    ) -> tuple[Message, int]:
        """Return the next response and its status; raise as ``receive`` does."""
        inbound = await self.receive(deadline, patience, held_up)
        if isinstance(inbound, IncomingStore):
            raise RemoteProtocolError("a C-STORE where a response was due")
        return inbound

    def _check(self, message: Message) -> int:
        status = check_response(MessageStart(message.context_id, message.command), self.command, self._context_id)
        self._finished = status_class(status) is not StatusClass.PENDING
        return status

    def _abandon(self) -> None:
        association = self._association
        if not self.is_sent or not association.connection.is_established:
            association.abort()
            return
        if self.command.command_field in _CANCELLABLE:
            cancel = Command(
                command_field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=self.command.message_id
            )
            association.send_message(self._context_id, cancel)
        association.divert(self._drain)

    def _drain(self, inbound: Inbound) -> None:
        if isinstance(inbound, IncomingStore):
            inbound.discard()
            return
        try:
            self._check(inbound)
        except RemoteProtocolError as error:
            self._association.fail(error)
        if self._finished and not self._association.closed:
            self._association.vacate()
