"""The machine that walks PS3.8 Table 9-10: bytes in, PDUs and fragments out."""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from gateway.errors import LocalProtocolError, RemoteProtocolError
from gateway.wire.framing import ControlBody, Framer
from gateway.wire.limits import Limits
from gateway.wire.pdu import (
    Abort,
    AbortReason,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Buffer,
    ControlPdu,
    Fragment,
    PduType,
    ReleaseReply,
    ReleaseRequest,
    decode_control,
)
from gateway.wire.states import OTHERWISE, TRANSITIONS, Action, Event, Role, State

UpperLayerEvent: TypeAlias = ControlPdu | Fragment

_RECEIVED: Final[dict[int, Event]] = {
    PduType.ASSOCIATE_RQ: Event.ASSOCIATE_RQ_RECEIVED,
    PduType.ASSOCIATE_AC: Event.ASSOCIATE_AC_RECEIVED,
    PduType.ASSOCIATE_RJ: Event.ASSOCIATE_RJ_RECEIVED,
    PduType.P_DATA_TF: Event.P_DATA_TF_RECEIVED,
    PduType.RELEASE_RQ: Event.RELEASE_RQ_RECEIVED,
    PduType.RELEASE_RP: Event.RELEASE_RP_RECEIVED,
    PduType.ABORT: Event.ABORT_RECEIVED,
}
# The actions that hand what arrived to the user; all others keep it to themselves.
_INDICATE: Final = frozenset({
    Action.AE_3, Action.AE_4, Action.AE_6, Action.DT_2, Action.AR_2, Action.AR_3, Action.AR_6, Action.AR_8,
    Action.AR_10, Action.AA_3,
})  # fmt: skip
_VIOLATED: Final = frozenset({Action.AA_1, Action.AA_8})
_ARTIM_STARTS: Final = frozenset({Action.AE_5, Action.AE_8, Action.AR_4, Action.AA_1, Action.AA_7, Action.AA_8})
_ARTIM_STOPS: Final = frozenset({Action.AE_6, Action.AA_2, Action.AA_5, Action.AR_5})
_CLOSES: Final = frozenset({Action.AE_4, Action.AR_3, Action.AA_2, Action.AA_3})


class UpperLayer:
    """One association's Upper Layer protocol machine (PS3.8 9.2).

    The owner feeds it what the transport tells and what the user wants, and after each call takes
    ``data_to_send()``, ``should_close`` and ``artim_running`` and acts on them.
    """

    def __init__(self, role: Role, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self.role = role
        self.state = State.IDLE
        self.should_close = False
        self.artim_running = False
        self._limits = limits
        self._to_send: list[Buffer] = []
        self._request = b""
        self._framer = Framer(limits)
        self._indicates = False
        self._deaf = True

    # --- what the user wants

    def associate(self, request: AssociateRequest) -> None:
        """Request an association (Evt1); the A-ASSOCIATE-RQ goes out once the transport is open."""
        self._request = request.encode()
        self._step(Event.ASSOCIATE_REQUEST)

    def accept(self, accept: AssociateAccept) -> None:
        """Accept the peer's request (Evt7)."""
        self._step(Event.ACCEPT_RESPONSE)
        self._to_send.append(accept.encode())

    def reject(self, reject: AssociateReject) -> None:
        """Reject the peer's request (Evt8)."""
        self._step(Event.REJECT_RESPONSE)
        self._to_send.append(reject.encode())

    def send(self, pdus: Iterable[Buffer]) -> None:
        """Send encoded P-DATA-TF PDUs (Evt9)."""
        self._step(Event.P_DATA_REQUEST)
        self._to_send.extend(pdus)

    def release(self) -> None:
        """Request the release of the association (Evt11)."""
        self._step(Event.RELEASE_REQUEST)
        self._to_send.append(ReleaseRequest().encode())

    def confirm_release(self) -> None:
        """Answer the peer's A-RELEASE-RQ (Evt14)."""
        self._step(Event.RELEASE_RESPONSE)
        self._to_send.append(ReleaseReply().encode())

    def abort(self, source: int = 0, reason: int = 0) -> None:
        """Abort the association (Evt15); where there is none, the transport is all there is to end."""
        if self.state in {State.IDLE, State.AWAITING_CLOSE}:
            return
        if self.state is State.TRANSPORT_OPEN:
            self.should_close = True
        elif self._step(Event.ABORT_REQUEST) is Action.AA_1:
            self._to_send.append(Abort(source, reason).encode())
        self._indicates = False

    def fail(self, error: RemoteProtocolError) -> None:
        """Abort because of what the peer sent (Evt19)."""
        if self.state not in {State.IDLE, State.AWAITING_TRANSPORT}:
            # Table 9-10 lets Sta2 answer as service-user; the provider's reason tells the peer more.
            self._step(Event.INVALID_PDU_RECEIVED)
            self._to_send.append(Abort(error.abort_source, error.abort_reason).encode())
        self._indicates = False
        self._deaf = True

    # --- what the transport tells

    def transport_opened(self) -> None:
        """Take note that the transport is open (Evt2 as requestor, Evt5 as acceptor)."""
        self._deaf = False
        if self.role is Role.ACCEPTOR:
            self._step(Event.TRANSPORT_INDICATED)
        else:
            self._step(Event.TRANSPORT_CONFIRMED)
            self._to_send.append(self._request)

    def transport_closed(self) -> None:
        """Take note that the transport is gone (Evt17)."""
        if self.state != State.IDLE:
            self._step(Event.TRANSPORT_CLOSED)
        self._deaf = True

    def artim_expired(self) -> None:
        """Take note that the ARTIM timer ran out (Evt18)."""
        if self.artim_running:
            self._step(Event.ARTIM_EXPIRED)

    def receive_data(self, data: Buffer) -> Iterator[UpperLayerEvent]:
        """Yield what these bytes complete, a PDV in as many pieces as it arrives in, as views into ``data``.

        The iterator has to be exhausted before anything else is asked of the machine, answers excepted.

        Raises:
            RemoteProtocolError: at the first violation; the A-ABORT that answers it is in ``data_to_send()``, and
                nothing that follows is read.
        """
        if self._deaf:
            return
        try:
            for frame in self._framer.feed(data):
                if type(frame) is Fragment:
                    if self._indicates:
                        yield frame
                elif type(frame) is ControlBody:
                    pdu = self._take(frame)
                    if pdu is not None:
                        yield pdu
                else:
                    self._indicates = self._receive(PduType.P_DATA_TF) in _INDICATE
                if self._deaf:
                    return
        except RemoteProtocolError as error:
            self.fail(error)
            raise

    @property
    def inside_pdu(self) -> bool:
        """Whether the last byte received left a PDU unfinished."""
        return self._framer.inside_pdu

    @property
    def is_at_rest(self) -> bool:
        """Whether it wants nothing done: nothing sent or closed, and no timer run."""
        return not (self._to_send or self.should_close or self.artim_running)

    def data_to_send(self) -> list[Buffer]:
        """Return what has to be written, and forget it."""
        data, self._to_send = self._to_send, []
        return data

    # --- the table

    def _take(self, frame: ControlBody) -> ControlPdu | None:
        pdu = decode_control(frame.pdu_type, memoryview(frame.body), self._limits)
        action = self._receive(frame.pdu_type)
        if isinstance(pdu, AssociateRequest | AssociateAccept) and action in {Action.AE_3, Action.AE_6}:
            _check_max_length(pdu)
        if isinstance(pdu, AssociateRequest) and action is Action.AE_6 and not pdu.protocol_version & 1:
            self.state = OTHERWISE[action]
            self.artim_running = True
            self._to_send.append(AssociateReject(result=1, source=2, reason=2).encode())
            return None
        return pdu if action in _INDICATE else None

    def _receive(self, pdu_type: int) -> Action:
        event = _RECEIVED[pdu_type]
        action, _ = TRANSITIONS[event, self.state]
        if action in _VIOLATED:
            raise RemoteProtocolError(
                f"an unexpected PDU of type {pdu_type:02X}H", abort_reason=AbortReason.UNEXPECTED_PDU
            )
        self._step(event)
        if action is Action.AA_7:
            self._to_send.append(Abort(2, AbortReason.UNEXPECTED_PDU).encode())
        return action

    def _step(self, event: Event) -> Action:
        try:
            action, state = TRANSITIONS[event, self.state]
        except KeyError:
            raise LocalProtocolError(f"{event.name} in state {self.state.name} (PS3.8 Table 9-10)") from None
        if action is Action.AR_8 and self.role is Role.ACCEPTOR:
            state = OTHERWISE[action]
        self.state = state
        # In Sta6 the table says DT-2, Sta6: nearly every PDU there is, and nothing to do but to hand it on.
        self._indicates = self._indicates or state is State.ESTABLISHED
        self._framer.announces = state is not State.ESTABLISHED
        if action in _ARTIM_STARTS:
            self.artim_running = True
        elif action in _ARTIM_STOPS:
            self.artim_running = False
        if action in _CLOSES:
            self.should_close = self._deaf = True
        return action


def _check_max_length(pdu: AssociateRequest | AssociateAccept) -> None:
    # A PDU has to have room for a PDV header and two bytes, or no message could ever be sent.
    max_length = pdu.user_information.max_length
    if max_length is not None and 0 < max_length < 8:
        raise RemoteProtocolError(f"a Maximum Length of {max_length} bytes", abort_reason=AbortReason.INVALID_PARAMETER)
