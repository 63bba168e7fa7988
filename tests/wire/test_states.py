"""PS3.8 Table 9-10, written out again from the standard's text, event by event, and compared cell by cell (W02)."""

import pytest
from pynetdicom.fsm import TRANSITION_TABLE

from gateway.wire.states import OTHERWISE, TRANSITIONS, Action, Event, State

# "The states in which an association is or is about to be": what most rows of the table treat alike.
OPEN = {3, 5, 6, 7, 8, 9, 10, 11, 12}

# Evt -> {action: states}, as 9.2.3 describes the events; states that a row does not name cannot see the event.
TABLE_9_10: dict[int, dict[str, set[int]]] = {
    1: {"AE-1": {1}},
    2: {"AE-2": {4}},
    3: {"AA-1": {2}, "AE-3": {5}, "AA-8": OPEN - {5}, "AA-6": {13}},
    4: {"AA-1": {2}, "AE-4": {5}, "AA-8": OPEN - {5}, "AA-6": {13}},
    5: {"AE-5": {1}},
    6: {"AE-6": {2}, "AA-8": OPEN, "AA-7": {13}},
    7: {"AE-7": {3}},
    8: {"AE-8": {3}},
    9: {"DT-1": {6}, "AR-7": {8}},
    10: {"AA-1": {2}, "DT-2": {6}, "AR-6": {7}, "AA-8": OPEN - {6, 7}, "AA-6": {13}},
    11: {"AR-1": {6}},
    12: {"AA-1": {2}, "AR-2": {6}, "AR-8": {7}, "AA-8": OPEN - {6, 7}, "AA-6": {13}},
    13: {"AA-1": {2}, "AR-3": {7, 11}, "AR-10": {10}, "AA-8": OPEN - {7, 10, 11}, "AA-6": {13}},
    14: {"AR-4": {8, 12}, "AR-9": {9}},
    15: {"AA-1": OPEN, "AA-2": {4}},
    16: {"AA-2": {2, 13}, "AA-3": OPEN},
    17: {"AA-5": {2}, "AA-4": OPEN | {4}, "AR-5": {13}},
    18: {"AA-2": {2, 13}},
    19: {"AA-1": {2}, "AA-8": OPEN, "AA-7": {13}},
}

# Tables 9-6 to 9-9: the state each action leads to.
NEXT_STATE = {
    "AE-1": 4, "AE-2": 5, "AE-3": 6, "AE-4": 1, "AE-5": 2, "AE-6": 3, "AE-7": 6, "AE-8": 13,
    "DT-1": 6, "DT-2": 6,
    "AR-1": 7, "AR-2": 8, "AR-3": 1, "AR-4": 13, "AR-5": 1, "AR-6": 7, "AR-7": 8, "AR-8": 9, "AR-9": 11, "AR-10": 12,
    "AA-1": 13, "AA-2": 1, "AA-3": 1, "AA-4": 1, "AA-5": 1, "AA-6": 13, "AA-7": 13, "AA-8": 13,
}  # fmt: skip


def expected(event: int, state: int) -> str | None:
    """Return the action of one cell, or None where the table is empty."""
    return next((action for action, states in TABLE_9_10[event].items() if state in states), None)


@pytest.mark.parametrize("event", list(Event), ids=lambda event: f"Evt{event.value}")
def test_every_cell_of_a_row_is_what_the_standard_prints(event: Event) -> None:
    for state in State:
        action = expected(event, state)
        cell = TRANSITIONS.get((event, state))
        assert (cell and cell[0].title) == action, f"Evt{event.value} in Sta{state.value}"
        if cell is not None and action is not None:
            assert cell[1] == cell[0].next_state == NEXT_STATE[action], f"Evt{event.value} in Sta{state.value}"


def test_the_two_branching_actions_know_their_other_state() -> None:
    assert dict(OTHERWISE) == {
        Action.AE_6: State(13),  # "else" of AE-6: A-ASSOCIATE-RJ is issued
        Action.AR_8: State(10),  # release collision, association acceptor
    }


def test_pynetdicom_reads_the_same_table() -> None:
    theirs = {}
    for key, action in TRANSITION_TABLE.items():
        event, state = (int("".join(c for c in part if c.isdigit())) for part in key)
        theirs[event, state] = action
    ours = {(int(event), int(state)): action.title for (event, state), (action, _) in TRANSITIONS.items()}
    assert ours == theirs


def test_no_state_is_a_dead_end_and_none_is_out_of_reach() -> None:
    reached, frontier = {State(1)}, [State(1)]
    while frontier:
        state = frontier.pop()
        leads_to = {after for (_, before), (_, after) in TRANSITIONS.items() if before == state}
        leads_to |= {
            OTHERWISE[action]
            for (_, before), (action, _) in TRANSITIONS.items()
            if before == state and action in OTHERWISE
        }
        assert leads_to
        frontier += leads_to - reached
        reached |= leads_to
    assert reached == set(State)
