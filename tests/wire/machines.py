"""An UpperLayer in each of the thirteen states, brought there by bytes that the kit wrote."""

from collections.abc import Callable, Iterable
from typing import Any

from gateway.errors import RemoteProtocolError
from gateway.wire.limits import Limits
from gateway.wire.pdu import Fragment, decode
from gateway.wire.states import Role, State
from gateway.wire.upper_layer import UpperLayer
from tests.kit import pdus

RQ = pdus.associate_rq([(1, pdus.VERIFICATION, [pdus.IMPLICIT_LE])])
AC = pdus.associate_ac([(1, pdus.IMPLICIT_LE, 0)])
RJ = pdus.associate_rj()
DATA = pdus.p_data(1, b"data", command=True)
REQUEST: Any = decode(RQ)
ACCEPT: Any = decode(AC)
REJECT: Any = decode(RJ)


def requestor(limits: Limits = Limits()) -> UpperLayer:  # noqa: B008 - frozen
    """Return a requestor whose transport is being opened (Sta4)."""
    machine = UpperLayer(Role.REQUESTOR, limits)
    machine.associate(REQUEST)
    return machine


def acceptor(limits: Limits = Limits()) -> UpperLayer:  # noqa: B008 - frozen
    """Return an acceptor whose transport is open (Sta2)."""
    machine = UpperLayer(Role.ACCEPTOR, limits)
    machine.transport_opened()
    return machine


def established(role: Role, limits: Limits = Limits()) -> UpperLayer:  # noqa: B008 - frozen
    """Return a machine with an association (Sta6)."""
    if role is Role.REQUESTOR:
        machine = requestor(limits)
        machine.transport_opened()
        receive(machine, AC)
    else:
        machine = acceptor(limits)
        receive(machine, RQ)
        machine.accept(ACCEPT)
    return machine


def receive(machine: UpperLayer, data: bytes) -> list[Any]:
    """Feed bytes in one piece; return the events."""
    return list(machine.receive_data(data))


def _then(role: Role, *steps: Callable[[UpperLayer], Any]) -> UpperLayer:
    machine = established(role)
    for step in steps:
        step(machine)
    return machine


def _released(machine: UpperLayer) -> None:
    machine.release()


def _asked_for_release(machine: UpperLayer) -> None:
    receive(machine, pdus.RELEASE_RQ)


def _released_by_peer(machine: UpperLayer) -> None:
    receive(machine, pdus.RELEASE_RP)


REQUESTOR, ACCEPTOR = Role.REQUESTOR, Role.ACCEPTOR


def _requested() -> UpperLayer:
    machine = acceptor()
    receive(machine, RQ)
    return machine


def _awaiting_answer() -> UpperLayer:
    machine = requestor()
    machine.transport_opened()
    return machine


# State -> how to get there; where both roles can be, both ways.
WAYS: dict[int, list[Callable[[], UpperLayer]]] = {
    1: [lambda: UpperLayer(REQUESTOR), lambda: UpperLayer(ACCEPTOR)],
    2: [acceptor],
    3: [_requested],
    4: [requestor],
    5: [_awaiting_answer],
    6: [lambda: established(REQUESTOR), lambda: established(ACCEPTOR)],
    7: [lambda: _then(REQUESTOR, _released), lambda: _then(ACCEPTOR, _released)],
    8: [lambda: _then(REQUESTOR, _asked_for_release), lambda: _then(ACCEPTOR, _asked_for_release)],
    9: [lambda: _then(REQUESTOR, _released, _asked_for_release)],
    10: [lambda: _then(ACCEPTOR, _released, _asked_for_release)],
    11: [lambda: _then(REQUESTOR, _released, _asked_for_release, UpperLayer.confirm_release)],
    12: [lambda: _then(ACCEPTOR, _released, _asked_for_release, _released_by_peer)],
    13: [lambda: _then(REQUESTOR, UpperLayer.abort), lambda: _then(ACCEPTOR, UpperLayer.abort)],
}


def machines(state: int) -> list[UpperLayer]:
    """Return a machine in this state for every way there; what it had to send is taken away."""
    made = [way() for way in WAYS[state]]
    for machine in made:
        assert machine.state is State(state)
        machine.data_to_send()
    return made


def joined(buffers: Iterable[Any]) -> bytes:
    """Return buffers as one piece."""
    return b"".join(bytes(buffer) for buffer in buffers)


def coalesced(events: Iterable[Any]) -> list[Any]:
    """Return events with the pieces of each Command Set or Data Set joined, however they were cut."""
    result: list[Any] = []
    for event in events:
        if not isinstance(event, Fragment):
            result.append(event)
            continue
        held = result[-1] if result else None
        same = isinstance(held, list) and held[:2] == [event.context_id, event.is_command] and not held[2]
        if same and isinstance(held, list):
            held[2], held[3] = event.is_last, held[3] + bytes(event.data)
        elif event.data or event.is_last:
            result.append([event.context_id, event.is_command, event.is_last, bytes(event.data)])
    return result


def outcome(machine: UpperLayer, pieces: Iterable[bytes]) -> tuple[Any, ...]:
    """Feed pieces; return the joined events, the error if any, and what the machine is left with."""
    events: list[Any] = []
    error = None
    for piece in pieces:
        try:
            events.extend(machine.receive_data(piece))
        except RemoteProtocolError as caught:
            assert error is None, "a machine that has failed reads nothing more"
            error = (str(caught), caught.abort_source, caught.abort_reason)
    sent = joined(machine.data_to_send())
    return coalesced(events), error, sent, machine.state, machine.should_close, machine.artim_running
