"""The machine does in every state, on every event, what PS3.8 Table 9-10 says (W02), however bytes are cut (W01)."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import LocalProtocolError, RemoteProtocolError
from gateway.wire.limits import Limits
from gateway.wire.pdu import Abort, AssociateAccept, AssociateReject, AssociateRequest, ReleaseReply, ReleaseRequest
from gateway.wire.states import OTHERWISE, TRANSITIONS, Action, Event, Role, State
from gateway.wire.upper_layer import UpperLayer
from tests.kit import pdus
from tests.wire.machines import (
    AC,
    ACCEPT,
    DATA,
    REJECT,
    REQUEST,
    RJ,
    RQ,
    WAYS,
    acceptor,
    established,
    joined,
    machines,
    outcome,
    receive,
    requestor,
)

STRAY = pdus.pdu(0x08, bytes(4))

RECEIVED: dict[int, bytes] = {
    3: AC, 4: RJ, 6: RQ, 10: DATA, 12: pdus.RELEASE_RQ, 13: pdus.RELEASE_RP, 16: pdus.abort(0, 0), 19: STRAY,
}  # fmt: skip
PRIMITIVES: dict[int, Callable[[UpperLayer], Any]] = {
    1: lambda machine: machine.associate(REQUEST),
    2: UpperLayer.transport_opened,
    5: UpperLayer.transport_opened,
    7: lambda machine: machine.accept(ACCEPT),
    8: lambda machine: machine.reject(REJECT),
    9: lambda machine: machine.send([DATA]),
    11: UpperLayer.release,
    14: UpperLayer.confirm_release,
    15: UpperLayer.abort,
    17: UpperLayer.transport_closed,
    18: UpperLayer.artim_expired,
}
# Action -> types of the PDUs it sends.
SENDS = {
    "AE-2": [1], "AE-7": [2], "AE-8": [3], "DT-1": [4], "AR-1": [5], "AR-4": [6], "AR-7": [4], "AR-9": [6],
    "AA-1": [7], "AA-7": [7], "AA-8": [7],
}  # fmt: skip
# Action -> type of the event it hands to the user; "fragment" for data.
INDICATES: dict[str, Any] = {
    "AE-3": AssociateAccept, "AE-4": AssociateReject, "AE-6": AssociateRequest, "DT-2": "fragment",
    "AR-2": ReleaseRequest, "AR-3": ReleaseReply, "AR-6": "fragment", "AR-8": ReleaseRequest, "AR-10": ReleaseReply,
    "AA-3": Abort,
}  # fmt: skip
CLOSES = {"AE-4", "AR-3", "AA-2", "AA-3"}
STARTS_ARTIM = {"AE-5", "AE-8", "AR-4", "AA-1", "AA-7", "AA-8"}
STOPS_ARTIM = {"AE-6", "AA-2", "AA-5", "AR-5"}


def kinds(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        found.append(data[at])
        at += 6 + int.from_bytes(data[at + 2 : at + 6], "big")
    return found


@pytest.mark.parametrize("state", range(1, 14), ids=lambda state: f"Sta{state}")
@pytest.mark.parametrize("event", RECEIVED, ids=lambda event: f"Evt{event}")
def test_what_is_received(event: int, state: int) -> None:
    for machine in machines(state):
        cell = TRANSITIONS.get((Event(event), State(state)))
        before = machine.artim_running
        if cell is None:  # no transport, no bytes
            assert receive(machine, RECEIVED[event]) == []
            assert (machine.state, joined(machine.data_to_send())) == (State(state), b"")
            continue
        action = cell[0].title
        events, error, sent, *_ = outcome(machine, [RECEIVED[event]])
        violated = action in {"AA-1", "AA-8"} or (action == "AA-7" and event == 19)
        assert (error is not None) == violated
        indicated = INDICATES.get(action)
        assert [("fragment" if isinstance(e, list) else type(e)) for e in events] == ([indicated] if indicated else [])
        assert kinds(sent) == SENDS.get(action, [])
        follow(machine, cell[0], before=before)


@pytest.mark.parametrize("state", range(1, 14), ids=lambda state: f"Sta{state}")
@pytest.mark.parametrize("event", [1, 7, 8, 9, 11, 14], ids=lambda event: f"Evt{event}")
def test_what_the_user_asks_for(event: int, state: int) -> None:
    for machine in machines(state):
        cell = TRANSITIONS.get((Event(event), State(state)))
        before = machine.artim_running
        if cell is None:
            with pytest.raises(LocalProtocolError):
                PRIMITIVES[event](machine)
            assert (machine.state, joined(machine.data_to_send())) == (State(state), b"")
            continue
        PRIMITIVES[event](machine)
        assert kinds(joined(machine.data_to_send())) == SENDS.get(cell[0].title, [])
        follow(machine, cell[0], before=before)


@pytest.mark.parametrize("state", range(1, 14), ids=lambda state: f"Sta{state}")
@pytest.mark.parametrize("event", [15, 17, 18], ids=lambda event: f"Evt{event}")
def test_what_may_happen_at_any_time(event: int, state: int) -> None:
    """Abort, a transport that closes and a timer that runs out are never a mistake of the one who says so."""
    for machine in machines(state):
        cell = TRANSITIONS.get((Event(event), State(state)))
        before = machine.artim_running
        PRIMITIVES[event](machine)
        sent = kinds(joined(machine.data_to_send()))
        if cell is None:
            assert (machine.state, sent) == (State(state), [])
            continue
        assert sent == SENDS.get(cell[0].title, [])
        follow(machine, cell[0], before=before)


def follow(machine: UpperLayer, action: Action, *, before: bool) -> None:
    expected = action.next_state
    if action is Action.AR_8 and machine.role is Role.ACCEPTOR:
        expected = OTHERWISE[action]
    assert machine.state is expected
    assert machine.should_close is (action.title in CLOSES)
    running = (before or action.title in STARTS_ARTIM) and action.title not in STOPS_ARTIM
    assert machine.artim_running is running or action.title in {"AA-3", "AA-4"}


def test_the_transport_opens() -> None:
    opened = acceptor()
    assert (opened.state, opened.artim_running) == (State(2), True)
    asking = requestor()
    assert joined(asking.data_to_send()) == b""
    asking.transport_opened()
    assert (asking.state, joined(asking.data_to_send())) == (State(5), REQUEST.encode())


def test_a_version_of_the_protocol_that_is_not_ours_is_rejected() -> None:
    machine = acceptor()
    user = pdus.user_information()
    contexts = pdus.proposed(1, pdus.VERIFICATION, [pdus.IMPLICIT_LE])
    assert receive(machine, pdus.associate(1, "GATEWAY", "PEER", contexts, user, version=2)) == []
    assert joined(machine.data_to_send()) == pdus.associate_rj(1, 2, 2)
    assert (machine.state, machine.artim_running) == (State(13), True)


@pytest.mark.parametrize("version", [1, 3, 0xFFFF])
def test_only_bit_0_of_the_protocol_version_counts(version: int) -> None:
    user = pdus.user_information()
    contexts = pdus.proposed(1, pdus.VERIFICATION, [pdus.IMPLICIT_LE])
    events = receive(acceptor(), pdus.associate(1, "GATEWAY", "PEER", contexts, user, version=version))
    assert [type(event) for event in events] == [AssociateRequest]


@pytest.mark.parametrize(("maximum", "usable"), [(0, True), (1, False), (7, False), (8, True), (2**32 - 1, True)])
def test_a_maximum_length_too_short_for_any_message_is_refused(maximum: int, usable: bool) -> None:  # R14
    user = pdus.user_information(maximum)
    request = pdus.associate_rq([(1, pdus.VERIFICATION, [pdus.IMPLICIT_LE])], user=user)
    accept = pdus.associate_ac([(1, pdus.IMPLICIT_LE, 0)], user=user)
    asked = requestor()
    asked.transport_opened()
    for machine, data in ((acceptor(), request), (asked, accept)):
        machine.data_to_send()
        events, error, sent, *_ = outcome(machine, [data])
        assert (len(events), error is None, kinds(sent)) == ((1, True, []) if usable else (0, False, [7]))


# --- R09: what a PDU header may claim

LIMITS = Limits(max_pdu_accepted=1000, max_control_pdu=500)
INVALID, UNRECOGNIZED = pdus.abort(2, 6), pdus.abort(2, 1)


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        (pdus.pdu(4, b"", length=0xFFFFFFFF), INVALID),
        (pdus.pdu(4, b"", length=0), INVALID),
        (pdus.pdu(4, b"", length=3), INVALID),
        (pdus.pdu(4, b"", length=5), INVALID),
        (pdus.pdu(4, b"", length=6), b""),
        (pdus.pdu(4, b"", length=999), b""),
        (pdus.pdu(4, b"", length=1000), b""),
        (pdus.pdu(4, b"", length=1001), INVALID),
        (pdus.pdu(1, b"", length=499), b""),
        (pdus.pdu(1, b"", length=500), b""),
        (pdus.pdu(1, b"", length=501), INVALID),
        (pdus.pdu(1, b"", length=0xFFFFFFFF), INVALID),
        (pdus.pdu(5, b"", length=3), INVALID),
        (pdus.pdu(5, b"", length=5), INVALID),
        (pdus.pdu(7, b"", length=0xFFFFFFFF), INVALID),
        (pdus.pdu(0x00, b"", length=4), UNRECOGNIZED),
        (pdus.pdu(0x08, b"", length=4), UNRECOGNIZED),
        (pdus.pdu(0x16, b"\x03\x01", length=0xFFFFFFFF), UNRECOGNIZED),  # a TLS ClientHello
        (b"GET / ", UNRECOGNIZED),
    ],
)
def test_a_pdu_header_is_judged_before_a_byte_of_its_body_is_taken(header: bytes, answer: bytes) -> None:
    machine = established(Role.ACCEPTOR, LIMITS)
    machine.data_to_send()
    _, error, sent, *_ = outcome(machine, [header[:6]])
    assert sent == answer
    assert (error is not None) == bool(answer)


@pytest.mark.parametrize(
    "body",
    [
        pdus.pdv(1, 3, b"", length=0) + bytes(6),
        pdus.pdv(1, 3, b"", length=1) + bytes(6),
        pdus.pdv(1, 0, b"", length=1) + pdus.pdv(1, 3, b"data")[1:],  # well formed for who counts back
        pdus.pdv(1, 3, b"abc", length=6),
        pdus.pdv(1, 3, b"abc", length=0xFFFFFFFF),
        *(pdus.pdv(1, 3, b"abc") + bytes(rest) for rest in range(1, 6)),
        pdus.pdv(1, 3, b"abc") + bytes(6),
    ],
)
def test_a_pdv_that_does_not_fit_its_pdu_is_refused(body: bytes) -> None:
    data = pdus.pdu(4, body)
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        machine = established(Role.ACCEPTOR)
        machine.data_to_send()
        _, error, sent, *_ = outcome(machine, pieces)
        assert (error is not None, sent) == (True, INVALID)


def test_nothing_is_kept_of_a_pdu_that_is_refused() -> None:
    machine = established(Role.ACCEPTOR)
    with pytest.raises(RemoteProtocolError):
        receive(machine, pdus.pdu(4, b"", length=0xFFFFFFFF))
    machine.data_to_send()
    for _ in range(10):
        assert receive(machine, DATA * 100) == []
    assert joined(machine.data_to_send()) == b""


def test_an_unexpected_pdu_is_answered_as_such() -> None:
    machine = established(Role.REQUESTOR)
    machine.data_to_send()
    assert outcome(machine, [RQ])[2] == pdus.abort(2, 2)


def test_fragments_are_views_into_what_was_received() -> None:
    data = bytearray(pdus.p_data(1, bytes(100_000)))
    (fragment,) = receive(established(Role.ACCEPTOR), data)  # type: ignore[arg-type]
    assert fragment.data.obj is data
    assert (len(fragment.data), fragment.is_last) == (100_000, True)


def test_a_pdv_is_handed_on_before_it_is_whole() -> None:
    machine = established(Role.ACCEPTOR)
    pdu = pdus.p_data(1, b"0123456789")
    first = receive(machine, pdu[:15])
    assert [(bytes(f.data), f.is_last) for f in first] == [(b"012", False)]
    assert machine.inside_pdu
    second = receive(machine, pdu[15:])
    assert [(bytes(f.data), f.is_last) for f in second] == [(b"3456789", True)]
    assert not machine.inside_pdu


@pytest.mark.parametrize("cut", range(1, len(RQ)))
def test_inside_a_pdu_the_machine_says_so(cut: int) -> None:
    machine = acceptor()
    assert not machine.inside_pdu
    receive(machine, RQ[:cut])
    assert machine.inside_pdu
    receive(machine, RQ[cut:])
    assert not machine.inside_pdu


# --- W01: any bytes, cut anywhere

pieces_of_protocol = st.one_of(
    st.sampled_from([
        RQ, AC, RJ, DATA, pdus.RELEASE_RQ, pdus.RELEASE_RP, pdus.abort(), STRAY,
        pdus.p_data(1, b""), pdus.p_data(1, b"x" * 50, last=False), pdus.p_data(3, b"y" * 300),
        pdus.pdu(4, pdus.pdv(1, 0, b"abc") + pdus.pdv(1, 2, b"") + pdus.pdv(3, 3, b"de")),
        pdus.pdu(4, pdus.pdv(1, 3, b"abc", length=9)), pdus.pdu(4, pdus.pdv(1, 3, b"abc") + b"\0\0"),
        pdus.pdu(4, b"", length=0xFFFFFFFF), pdus.pdu(1, bytes(68)), pdus.pdu(2, bytes(68)),
    ]),
    st.binary(max_size=40),
)  # fmt: skip
streams = st.lists(pieces_of_protocol, min_size=1, max_size=6).map(b"".join)


def cut(data: bytes, at: set[int]) -> list[bytes]:
    edges = [0, *sorted(edge % (len(data) + 1) for edge in at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(
    st.sampled_from([(s, n) for s, ways in WAYS.items() for n in range(len(ways))]),
    streams,
    st.sets(st.integers(0, 999)),
)
@settings(max_examples=300)
def test_the_same_bytes_mean_the_same_in_one_piece_byte_by_byte_and_in_random_chunks(
    start: tuple[int, int], data: bytes, edges: set[int]
) -> None:
    state, way = start
    results = [
        outcome(machines(state)[way], pieces)
        for pieces in ([data], [data[i : i + 1] for i in range(len(data))], cut(data, edges))
    ]
    assert results[0] == results[1] == results[2]


@given(st.data())
def test_one_changed_byte_of_a_good_stream_parses_or_is_the_peers_mistake(data: st.DataObject) -> None:
    stream = bytearray(RQ + DATA + pdus.p_data(1, b"x" * 20) + pdus.RELEASE_RQ)
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    outcome(acceptor(), [bytes(stream)])
