"""C-STORE (PS3.7 9.1.1), both roles."""

import asyncio
import math
from collections.abc import AsyncIterable, AsyncIterator, Iterable

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.incoming import IncomingStore, StoreHandler
from gateway.dimse.operation import Operation
from gateway.errors import DimseFailure, GatewayError, Stalled
from gateway.wire.command import DATA_SET, MEDIUM_PRIORITY, Command, CommandField
from gateway.wire.message import FragmentWriter, command_pdus
from gateway.wire.negotiation import AcceptedContext
from gateway.wire.pdu import Buffer
from gateway.wire.status import PROCESSING_FAILURE, StatusClass, describe, status_class


async def store(
    association: Association,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    data: Iterable[Buffer] | AsyncIterable[Buffer],
    deadline: Deadline,
    *,
    patience: float = math.inf,
    move_originator: tuple[str, int] | None = None,
) -> int:
    """Send one instance, and return the status: Success or a Warning such as B000 (PS3.4 B.2.3).

    ``data`` is the Data Set in the transfer syntax, in pieces of any size; it is sent as fast as the peer takes it.
    ``patience`` bounds, in seconds, how long it may take nothing, and how long it may leave what it took unanswered.

    Raises:
        DimseFailure: the peer refused the instance.
        Rejected: it accepts no context for the SOP class in this transfer syntax.
        Stalled: it did not take the instance or answer in time.
        Aborted, Reset, Closed, Truncated, RemoteProtocolError: the association ended first.
    """
    context = association.context(sop_class_uid, transfer_syntax=transfer_syntax_uid)
    originator, originator_message_id = move_originator or (None, None)
    command = Command(
        command_field=CommandField.C_STORE_RQ,
        command_data_set_type=DATA_SET,
        affected_sop_class_uid=sop_class_uid,
        priority=MEDIUM_PRIORITY,
        affected_sop_instance_uid=sop_instance_uid,
        move_originator_ae_title=originator,
        move_originator_message_id=originator_message_id,
    )
    with Operation(association, context, command) as operation:
        try:
            async with deadline.timeout():
                await _send(association, context, operation.command, data, patience)
        except TimeoutError:
            raise Stalled(f"{association.peer} did not take the instance in time") from None
        operation.is_sent = True
        try:
            message, status = await operation.response(deadline, patience)
        except Stalled:
            raise Stalled(f"{association.peer} did not answer C-STORE in time") from None
    if status_class(status) not in {StatusClass.SUCCESS, StatusClass.WARNING}:
        raise DimseFailure(
            f"{association.peer} answered C-STORE with {describe(status)}",
            status=status,
            comment=message.command.error_comment or "",
        )
    return status


async def _send(
    association: Association,
    context: AcceptedContext,
    command: Command,
    data: Iterable[Buffer] | AsyncIterable[Buffer],
    patience: float,
) -> None:
    connection = association.connection
    connection.send(command_pdus(context.context_id, command, association.max_length))
    writer = FragmentWriter(context.context_id, association.max_length)
    async for piece in _pieces(data):
        connection.send(writer.write(piece))
        async with Deadline.after(patience).timeout():
            await connection.writable()
    connection.send(writer.finish())
    async with Deadline.after(patience).timeout():
        await connection.writable()


async def _pieces(data: Iterable[Buffer] | AsyncIterable[Buffer]) -> AsyncIterator[Buffer]:
    if isinstance(data, AsyncIterable):
        async for piece in data:
            yield piece
    else:
        for piece in data:
            yield piece


async def serve_store(association: Association, incoming: IncomingStore, handler: StoreHandler) -> None:
    """Let the handler take a C-STORE, and answer it once it is taken and the last fragment is in (PS3.7 9.1.1.3).

    An error that the handler raises is the status it carries; what is not read of a refused instance is dropped. What
    the handler promised is answered without it.
    """
    try:
        status = await handler(incoming)
    except GatewayError as error:
        status = error.dimse_status or PROCESSING_FAILURE  # an error never becomes a Success
    except Exception as error:  # noqa: BLE001 - a defect of one handler ends one C-STORE, not the association
        report = {"message": "a C-STORE handler failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(report)
        status = PROCESSING_FAILURE
    if status_class(status) is StatusClass.FAILURE:
        incoming.discard()
    await incoming.received()
    if not incoming.is_answered:
        association.answer_store(incoming, status)
