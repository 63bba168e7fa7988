"""N-ACTION (PS3.7 10.1.4) in the role of SCP."""

from gateway.dimse.association import Association
from gateway.dimse.inbound import Message
from gateway.wire.command import RESPONSE, Command


def answer_action(association: Association, request: Message, status: int, comment: str = "") -> None:
    """Send the N-ACTION-RSP, which names again what was asked of whom (PS3.7 10.3.5.2)."""
    asked = request.command
    response = Command(
        command_field=asked.command_field | RESPONSE,
        affected_sop_class_uid=asked.requested_sop_class_uid,
        message_id_being_responded_to=asked.message_id,
        status=status,
        error_comment=comment[:64] or None,
        affected_sop_instance_uid=asked.requested_sop_instance_uid,
        action_type_id=asked.action_type_id,
    )
    association.send_message(request.context_id, response)
