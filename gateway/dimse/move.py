"""C-MOVE (PS3.7 9.1.4) in the role of SCU."""

from collections.abc import Callable

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.inbound import not_held_up
from gateway.dimse.operation import Operation
from gateway.dimse.suboperations import SubOperations, final, progress, sub_operations
from gateway.wire.command import MEDIUM_PRIORITY, Command, CommandField


async def move(
    association: Association,
    sop_class_uid: str,
    identifier: bytes,
    destination: str,
    deadline: Deadline,
    *,
    message_id: int | None = None,
    on_progress: Callable[[SubOperations], None] | None = None,
    between: float = 60.0,
    held_up: Callable[[], bool] = not_held_up,
) -> SubOperations:
    """Have the peer send instances to a Move Destination, and return how it went (PS3.4 C.4.2).

    Success and Warning (B000) are returned. Leaving early sends C-CANCEL and does not wait. ``held_up`` tells whether
    we keep the peer's C-STOREs waiting, so that its silence is not its fault.

    Raises:
        DimseFailure: the peer ended with a Failure or Cancel status.
        Stalled: nothing came for ``between`` seconds, or until the deadline.
        Aborted, Reset, Closed, Truncated, RemoteProtocolError: the association ended first.
    """
    command = Command(
        command_field=CommandField.C_MOVE_RQ,
        affected_sop_class_uid=sop_class_uid,
        message_id=message_id,
        priority=MEDIUM_PRIORITY,
        move_destination=destination,
    )
    with Operation(association, association.context(sop_class_uid), command) as operation:
        operation.pass_over_pending(progress(association, on_progress))
        operation.send(identifier)
        message, status = await operation.response(deadline, between, held_up)
        result = sub_operations(association, message, status)
    return final(association, "C-MOVE", result)
