"""C-ECHO (PS3.7 9.1.5), both roles."""

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.inbound import Inbound, Message
from gateway.dimse.operation import Operation
from gateway.dimse.sop_classes import VERIFICATION
from gateway.errors import DimseFailure
from gateway.wire.command import RESPONSE, Command, CommandField
from gateway.wire.status import SUCCESS, describe


async def echo(association: Association, deadline: Deadline) -> None:
    """Verify that the peer answers (PS3.4 A.4).

    Raises:
        DimseFailure: it answered with another status than Success.
        RegionError, RemoteProtocolError: the association ended first.
    """
    command = Command(command_field=CommandField.C_ECHO_RQ, affected_sop_class_uid=VERIFICATION)
    with Operation(association, association.context(VERIFICATION), command) as operation:
        operation.send()
        message, status = await operation.response(deadline, deadline.remaining)
    if status != SUCCESS:
        raise DimseFailure(
            f"{association.called_ae_title} answered C-ECHO with {describe(status)}",
            status=status,
            comment=message.command.error_comment or "",
        )


async def serve_echo(association: Association, inbound: Inbound) -> None:
    """Answer a C-ECHO request with Success."""
    if isinstance(inbound, Message):
        response = Command(
            command_field=CommandField.C_ECHO_RQ | RESPONSE,
            affected_sop_class_uid=inbound.command.affected_sop_class_uid,
            message_id_being_responded_to=inbound.command.message_id,
            status=SUCCESS,
        )
        association.send_message(inbound.context_id, response)
