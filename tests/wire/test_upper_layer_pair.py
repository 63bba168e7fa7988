"""Two machines and a wire between them: whatever their users do in whatever order, neither breaks the rules (W02)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.wire.pdu import Abort, AssociateAccept, AssociateReject, AssociateRequest, Fragment
from gateway.wire.states import TRANSITIONS, Event, Role, State
from gateway.wire.upper_layer import UpperLayer
from tests.kit import pdus
from tests.wire.machines import ACCEPT, REJECT, REQUEST, joined

OVER = {State.IDLE, State.AWAITING_CLOSE}


class Side:
    """One machine, the bytes on their way to it, and what its user has seen."""

    def __init__(self, role: Role) -> None:
        self.machine = UpperLayer(role)
        self.inbox = bytearray()
        self.sent: list[bytes] = []
        self.got = bytearray()
        self.asked = self.answered = False

    def may(self, event: Event) -> bool:
        return (event, self.machine.state) in TRANSITIONS

    def take(self, size: int) -> None:
        data, self.inbox = bytes(self.inbox[:size]), self.inbox[size:]
        for event in self.machine.receive_data(data):  # a RemoteProtocolError would fail the test: both are correct
            if isinstance(event, Fragment):
                self.got += event.data
            elif isinstance(event, AssociateRequest):
                self.asked = True
            elif isinstance(event, AssociateAccept | AssociateReject | Abort):
                self.answered = True


class TwoCorrectPeers(RuleBasedStateMachine):
    @initialize()
    def connect(self) -> None:
        self.sides = [Side(Role.REQUESTOR), Side(Role.ACCEPTOR)]
        self.sides[0].machine.associate(REQUEST)
        for side in self.sides:
            side.machine.transport_opened()
        self.open = True

    def carry(self) -> None:
        for side, other in (self.sides, self.sides[::-1]):
            data = joined(side.machine.data_to_send())
            if self.open:
                other.inbox += data

    sides_ = st.integers(0, 1)

    @rule(which=sides_, size=st.integers(1, 400))
    def bytes_arrive(self, which: int, size: int) -> None:
        self.sides[which].take(size)
        self.carry()

    @rule(accept=st.booleans())
    @precondition(lambda self: self.sides[1].may(Event.ACCEPT_RESPONSE))
    def answer(self, accept: bool) -> None:
        machine = self.sides[1].machine
        machine.accept(ACCEPT) if accept else machine.reject(REJECT)
        self.carry()

    @rule(which=sides_, data=st.binary(max_size=30))
    def send(self, which: int, data: bytes) -> None:
        side = self.sides[which]
        if side.may(Event.P_DATA_REQUEST):
            side.machine.send([pdus.p_data(1, data)])
            side.sent.append(data)
            self.carry()

    @rule(which=sides_)
    def release(self, which: int) -> None:
        if self.sides[which].may(Event.RELEASE_REQUEST):
            self.sides[which].machine.release()
            self.carry()

    @rule(which=sides_)
    def confirm(self, which: int) -> None:
        if self.sides[which].may(Event.RELEASE_RESPONSE):
            self.sides[which].machine.confirm_release()
            self.carry()

    @rule(which=sides_, seldom=st.integers(0, 9))
    def abort(self, which: int, seldom: int) -> None:
        if not seldom:
            self.sides[which].machine.abort()
            self.carry()

    @rule(which=sides_)
    @precondition(lambda self: any(side.machine.should_close for side in self.sides))
    def transport_closes(self, which: int) -> None:
        if self.sides[which].machine.should_close and not self.sides[1 - which].inbox:
            self.open = False
            for side in self.sides:
                side.machine.transport_closed()

    @invariant()
    def data_arrives_in_order(self) -> None:
        if hasattr(self, "sides"):
            for side, other in (self.sides, self.sides[::-1]):
                assert b"".join(side.sent).startswith(bytes(other.got))

    def teardown(self) -> None:
        if not hasattr(self, "sides"):
            return
        for _ in range(20):
            for side in self.sides:
                for event, act in (
                    (Event.REJECT_RESPONSE, lambda m: m.reject(REJECT)),
                    (Event.RELEASE_REQUEST, UpperLayer.release),
                    (Event.RELEASE_RESPONSE, UpperLayer.confirm_release),
                ):
                    if side.may(event):
                        act(side.machine)
                self.carry()
                side.take(len(side.inbox))
                self.carry()
        # A release, however it collides, leaves nobody waiting for more than the transport to close.
        assert all(side.machine.state in OVER for side in self.sides)
        if self.open:
            assert any(side.machine.should_close for side in self.sides) or all(
                side.machine.artim_running for side in self.sides
            )
        for side in self.sides:
            side.machine.transport_closed()
            assert side.machine.state is State.IDLE
            assert joined(side.machine.data_to_send()) == b""


TwoCorrectPeers.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestTwoCorrectPeers = TwoCorrectPeers.TestCase
