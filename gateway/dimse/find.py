"""C-FIND (PS3.7 9.1.2) in the role of SCU."""

from collections.abc import AsyncGenerator

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.operation import Operation
from gateway.errors import DimseFailure, LimitExceeded, RemoteProtocolError
from gateway.wire.command import DATA_SET, MEDIUM_PRIORITY, Command, CommandField
from gateway.wire.limits import MIB
from gateway.wire.status import StatusClass, describe, status_class


async def find(
    association: Association,
    sop_class_uid: str,
    identifier: bytes,
    deadline: Deadline,
    *,
    max_matches: int = 10_000,
    max_bytes: int = 64 * MIB,
    between: float = 10.0,
) -> AsyncGenerator[bytes, None]:
    """Yield each matching Identifier as encoded by the peer (PS3.4 C.4.1).

    Bytes are in the transfer syntax negotiated for the SOP class. Closing the iterator early sends C-CANCEL and does
    not wait: the association is clean again when the final response is in, or is aborted.

    Raises:
        DimseFailure: the peer ended with a Failure or Cancel status.
        LimitExceeded: there are more matches, or more bytes of them, than allowed; those yielded are good.
        Stalled: nothing came for ``between`` seconds, or until the deadline.
        Aborted, Reset, Closed, Truncated, RemoteProtocolError: the association ended first.
    """
    command = Command(
        command_field=CommandField.C_FIND_RQ,
        affected_sop_class_uid=sop_class_uid,
        message_id=association.next_message_id(),
        priority=MEDIUM_PRIORITY,
        command_data_set_type=DATA_SET,
    )
    matches = size = 0
    with Operation(association, association.context(sop_class_uid), command) as operation:
        operation.send(identifier)
        while True:
            message, status = await operation.response(deadline, between)
            if status_class(status) is not StatusClass.PENDING:
                break
            if message.data is None:
                raise RemoteProtocolError("a pending C-FIND response without an Identifier")
            matches += 1
            size += len(message.data)
            if matches > max_matches or size > max_bytes:
                limit = "max_matches" if matches > max_matches else "max_bytes"
                raise LimitExceeded(f"{association.called_ae_title} returns more than is allowed", limit=limit)
            yield message.data
    if status_class(status) in {StatusClass.FAILURE, StatusClass.CANCEL}:
        raise DimseFailure(
            f"{association.called_ae_title} ended C-FIND with {describe(status)}",
            status=status,
            comment=message.command.error_comment or "",
        )
