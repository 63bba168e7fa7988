"""N-EVENT-REPORT (PS3.7 10.1.1) in the role of the one who reports: the SCP of its service."""

from dataclasses import dataclass

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.operation import Operation
from gateway.wire.command import DATA_SET, Command, CommandField


@dataclass(frozen=True, slots=True)
class Event:
    """What is reported of a SOP Instance; the Data Set that goes with it is encoded for the association."""

    sop_class_uid: str
    sop_instance_uid: str
    event_type_id: int

    def command(self, message_id: int | None = None) -> Command:
        """Return the Command Set (PS3.7 10.3.1.1)."""
        return Command(
            command_field=CommandField.N_EVENT_REPORT_RQ,
            command_data_set_type=DATA_SET,
            affected_sop_class_uid=self.sop_class_uid,
            message_id=message_id,
            affected_sop_instance_uid=self.sop_instance_uid,
            event_type_id=self.event_type_id,
        )


async def event_report(association: Association, event: Event, data: bytes, deadline: Deadline) -> int:
    """Report on an association that has nothing else to do, and return the status of the response.

    Raises:
        Rejected: the peer accepted no context for the SOP Class.
        Stalled, Aborted, Reset, Closed, Truncated, RemoteProtocolError: no response will come.
    """
    with Operation(association, association.context(event.sop_class_uid), event.command()) as operation:
        operation.send(data)
        _, status = await operation.response(deadline, deadline.remaining)
    return status


def send_event_report(association: Association, event: Event, data: bytes) -> int:
    """Report on an association that the peer opened and keeps; return the Message ID of which the response speaks.

    The response comes to the services of the acceptor, since the peer's own requests may come before it.

    Raises:
        Rejected: the association has no context for the SOP Class.
        LocalProtocolError: the association ended.
    """
    context = association.context(event.sop_class_uid)
    message_id = association.next_message_id()
    association.send_message(context.context_id, event.command(message_id), data)
    return message_id
