"""The DICOM Upper Layer state machine as data (PS3.8 9.2, Tables 9-2 to 9-10)."""

from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final


class Role(Enum):
    """Which side of the association we are (PS3.8 9.2)."""

    REQUESTOR = "requestor"
    ACCEPTOR = "acceptor"


class State(IntEnum):
    """Sta1 to Sta13 (PS3.8 Tables 9-1 to 9-5)."""

    IDLE = 1
    TRANSPORT_OPEN = 2
    AWAITING_LOCAL_ASSOCIATE_RESPONSE = 3
    AWAITING_TRANSPORT = 4
    AWAITING_ASSOCIATE_ANSWER = 5
    ESTABLISHED = 6
    AWAITING_RELEASE_RP = 7
    AWAITING_LOCAL_RELEASE_RESPONSE = 8
    COLLISION_REQUESTOR_AWAITING_LOCAL = 9
    COLLISION_ACCEPTOR_AWAITING_RP = 10
    COLLISION_REQUESTOR_AWAITING_RP = 11
    COLLISION_ACCEPTOR_AWAITING_LOCAL = 12
    AWAITING_CLOSE = 13


class Event(IntEnum):
    """Evt1 to Evt19 (PS3.8 Table 9-10, first column)."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRMED = 2
    ASSOCIATE_AC_RECEIVED = 3
    ASSOCIATE_RJ_RECEIVED = 4
    TRANSPORT_INDICATED = 5
    ASSOCIATE_RQ_RECEIVED = 6
    ACCEPT_RESPONSE = 7
    REJECT_RESPONSE = 8
    P_DATA_REQUEST = 9
    P_DATA_TF_RECEIVED = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ_RECEIVED = 12
    RELEASE_RP_RECEIVED = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT_RECEIVED = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU_RECEIVED = 19


class Action(Enum):
    """What to do in a transition, and the state it leads to (PS3.8 Tables 9-6 to 9-9)."""

    AE_1 = "AE-1", State.AWAITING_TRANSPORT
    AE_2 = "AE-2", State.AWAITING_ASSOCIATE_ANSWER
    AE_3 = "AE-3", State.ESTABLISHED
    AE_4 = "AE-4", State.IDLE
    AE_5 = "AE-5", State.TRANSPORT_OPEN
    AE_6 = "AE-6", State.AWAITING_LOCAL_ASSOCIATE_RESPONSE
    AE_7 = "AE-7", State.ESTABLISHED
    AE_8 = "AE-8", State.AWAITING_CLOSE
    DT_1 = "DT-1", State.ESTABLISHED
    DT_2 = "DT-2", State.ESTABLISHED
    AR_1 = "AR-1", State.AWAITING_RELEASE_RP
    AR_2 = "AR-2", State.AWAITING_LOCAL_RELEASE_RESPONSE
    AR_3 = "AR-3", State.IDLE
    AR_4 = "AR-4", State.AWAITING_CLOSE
    AR_5 = "AR-5", State.IDLE
    AR_6 = "AR-6", State.AWAITING_RELEASE_RP
    AR_7 = "AR-7", State.AWAITING_LOCAL_RELEASE_RESPONSE
    AR_8 = "AR-8", State.COLLISION_REQUESTOR_AWAITING_LOCAL
    AR_9 = "AR-9", State.COLLISION_REQUESTOR_AWAITING_RP
    AR_10 = "AR-10", State.COLLISION_ACCEPTOR_AWAITING_LOCAL
    AA_1 = "AA-1", State.AWAITING_CLOSE
    AA_2 = "AA-2", State.IDLE
    AA_3 = "AA-3", State.IDLE
    AA_4 = "AA-4", State.IDLE
    AA_5 = "AA-5", State.IDLE
    AA_6 = "AA-6", State.AWAITING_CLOSE
    AA_7 = "AA-7", State.AWAITING_CLOSE
    AA_8 = "AA-8", State.AWAITING_CLOSE

    def __init__(self, title: str, next_state: State) -> None:
        self.title = title
        self.next_state = next_state


# Two actions branch: AE-6 when the service-provider refuses the request itself, AR-8 by role.
OTHERWISE: Final[Mapping[Action, State]] = MappingProxyType(
    {Action.AE_6: State.AWAITING_CLOSE, Action.AR_8: State.COLLISION_ACCEPTOR_AWAITING_RP}
)

# Rows are Evt1 to Evt19, columns Sta1 to Sta13, as the standard prints them; a dot is an empty cell.
_TABLE_9_10: Final = """
    AE-1  .     .     .     .     .     .     .     .     .     .     .     .
    .     .     .     AE-2  .     .     .     .     .     .     .     .     .
    .     AA-1  AA-8  .     AE-3  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
    .     AA-1  AA-8  .     AE-4  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
    AE-5  .     .     .     .     .     .     .     .     .     .     .     .
    .     AE-6  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
    .     .     AE-7  .     .     .     .     .     .     .     .     .     .
    .     .     AE-8  .     .     .     .     .     .     .     .     .     .
    .     .     .     .     .     DT-1  .     AR-7  .     .     .     .     .
    .     AA-1  AA-8  .     AA-8  DT-2  AR-6  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
    .     .     .     .     .     AR-1  .     .     .     .     .     .     .
    .     AA-1  AA-8  .     AA-8  AR-2  AR-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
    .     AA-1  AA-8  .     AA-8  AA-8  AR-3  AA-8  AA-8  AR-10 AR-3  AA-8  AA-6
    .     .     .     .     .     .     .     AR-4  AR-9  .     .     AR-4  .
    .     .     AA-1  AA-2  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  .
    .     AA-2  AA-3  .     AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-2
    .     AA-5  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AR-5
    .     AA-2  .     .     .     .     .     .     .     .     .     .     AA-2
    .     AA-1  AA-8  .     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
"""


def _read(table: str) -> dict[tuple[Event, State], tuple[Action, State]]:
    actions = {action.title: action for action in Action}
    return {
        (event, state): (actions[cell], actions[cell].next_state)
        for event, row in zip(Event, table.strip().splitlines(), strict=True)
        for state, cell in zip(State, row.split(), strict=True)
        if cell != "."
    }


TRANSITIONS: Final[Mapping[tuple[Event, State], tuple[Action, State]]] = MappingProxyType(_read(_TABLE_9_10))
"""PS3.8 Table 9-10: (event, state) to (action, next state); what is absent cannot happen or is a local mistake."""
