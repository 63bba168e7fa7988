"""C-GET (PS3.7 9.1.3) in the role of SCU."""

from collections.abc import Callable

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.inbound import not_held_up
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.operation import Operation
from gateway.dimse.store import serve_store
from gateway.dimse.suboperations import SubOperations, final, progress, sub_operations
from gateway.errors import LocalProtocolError, Stalled
from gateway.wire.command import MEDIUM_PRIORITY, Command, CommandField


async def get(
    association: Association,
    sop_class_uid: str,
    identifier: bytes,
    deadline: Deadline,
    *,
    on_progress: Callable[[SubOperations], None] | None = None,
    between: float = 60.0,
    held_up: Callable[[], bool] = not_held_up,
) -> SubOperations:
    """Have the peer send instances on this association, and return how it went (PS3.4 C.4.3).

    Each C-STORE goes to the association's ``serve_store``, one after the other. Success and Warning (B000) are
    returned. Leaving early sends C-CANCEL and does not wait. ``held_up`` tells when we keep
    the peer waiting, so that its silence is not its fault.

    Raises:
        DimseFailure: the peer ended with a Failure or Cancel status.
        Stalled: neither a response nor a C-STORE came for ``between`` seconds, or the deadline passed.
        Aborted, Reset, Closed, Truncated, RemoteProtocolError: the association ended first.
    """
    if association.serve_store is None:
        raise LocalProtocolError("C-GET needs someone who takes its C-STORE sub-operations")
    command = Command(
        command_field=CommandField.C_GET_RQ, affected_sop_class_uid=sop_class_uid, priority=MEDIUM_PRIORITY
    )
    with Operation(association, association.context(sop_class_uid), command) as operation:
        operation.pass_over_pending(progress(association, on_progress))
        operation.send(identifier)
        while isinstance(inbound := await operation.receive(deadline, between, held_up), IncomingStore):
            try:
                async with deadline.timeout():
                    await serve_store(association, inbound, association.serve_store)
            except TimeoutError:
                raise Stalled(f"{association.called_ae_title} did not end C-GET in time") from None
            del inbound  # an instance that nobody else holds is let go before the next is waited for
        result = sub_operations(association, *inbound)
    return final(association, "C-GET", result)
