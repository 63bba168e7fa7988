"""An association: DIMSE messages over one connection (PS3.7 8, PS3.8 7)."""

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeAlias

from gateway.deadline import Deadline
from gateway.dimse.buffers import Buffers
from gateway.dimse.connection import Connection
from gateway.dimse.inbound import Assembler, Inbound, Inbox, Message, not_held_up
from gateway.dimse.incoming import IncomingStore, StoreHandler, StoreRequest
from gateway.errors import Aborted, Closed, GatewayError, LocalProtocolError, Rejected, RemoteProtocolError, Stalled
from gateway.wire.command import DATA_SET, Command, CommandField
from gateway.wire.limits import Limits
from gateway.wire.message import FragmentWriter, MessageStart, command_pdus
from gateway.wire.negotiation import AcceptedContext, ProposedContext, accepted_contexts, send_length
from gateway.wire.pdu import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Fragment,
    ReleaseReply,
    ReleaseRequest,
)
from gateway.wire.states import Role
from gateway.wire.status import OUT_OF_RESOURCES
from gateway.wire.upper_layer import UpperLayerEvent

AssociatePdu: TypeAlias = AssociateRequest | AssociateAccept | AssociateReject


def _ignore() -> None:
    """Do nothing."""


class Association:
    """One association in either role, from its first PDU to the closed socket.

    Leaving it as a context releases it when it is clean, and aborts it otherwise.

    Attributes:
        proposed: the contexts its Requestor proposed, when that is us.
        contexts: the Presentation Contexts in force, by id.
        max_length: bytes of the longest P-DATA-TF that the peer takes and we send.
        serve_store: who takes the C-STORE sub-operations of a C-GET.
        on_change: called when an operation ends, when the association does, and when its socket is closed.
        reused: whether it served someone before.
        heard: whether a message has arrived since this was last set to False.
        requested: Message IDs of the peer's requests that are not yet answered.
        cancelled: those of them that it wants cancelled.
        on_interrupt: called when the peer wants one of them cancelled, and when the association ends.
    """

    def __init__(
        self,
        role: Role,
        limits: Limits,
        on_request: Callable[["Association", AssociateRequest], None] | None = None,
        buffers: Buffers | None = None,
    ) -> None:
        self.calling_ae_title = ""
        self.called_ae_title = ""
        self.proposed: frozenset[ProposedContext] = frozenset()
        self.contexts: dict[int, AcceptedContext] = {}
        self.max_length = 0
        self.serve_store: StoreHandler | None = None
        self.on_change: Callable[[], None] = _ignore
        self.on_interrupt: Callable[[], None] = _ignore
        self.reused = False
        self.heard = False
        self.requested: set[int] = set()
        self.cancelled: set[int] = set()
        self.limits = limits
        self.connection = Connection(role, limits, self, buffers or Buffers(most=2))
        self._role = role
        self._on_request = on_request
        self._answer: AssociatePdu | None = None
        self._assembler = Assembler((), limits, self._incoming_store)
        self._inbox = Inbox(self.connection, limits)
        self._sink: Callable[[Inbound], None] | None = None
        self._intercept: Callable[[Message], bool] | None = None
        self._busy = False
        self._message_id = 0
        self._unanswered: IncomingStore | None = None
        self._cancel_timer: Callable[[], None] = _ignore

    # --- what it is

    @property
    def peer(self) -> str:
        """The peer's AE title, for people."""
        return self.calling_ae_title if self._role is Role.ACCEPTOR else self.called_ae_title

    @property
    def address(self) -> tuple[str, int]:
        """The peer's host and port."""
        return self.connection.peer_address

    @property
    def error(self) -> GatewayError | None:
        """What ended the association, if it is over."""
        return self.connection.error

    @property
    def closed(self) -> bool:
        """Whether the association is over; its socket may take a moment longer."""
        return self.connection.error is not None

    @property
    def clean(self) -> bool:
        """Whether a new operation can begin: established, and nothing under way in either direction."""
        return self.connection.is_established and not (self._busy or self._inbox or self.inside_message)

    @property
    def idle(self) -> bool:
        """Whether it is clean and every request of the peer is answered: what we send now cuts into nothing."""
        return self.clean and not self.requested and self._unanswered is None

    @property
    def draining(self) -> bool:
        """Whether an abandoned operation is coming to its end."""
        return self._sink is not None and not self.closed

    @property
    def stale(self) -> bool:
        """Whether it was reused and turned out dead before any answer: asking once more, on another, is safe."""
        return self.reused and self.closed and not self.heard

    @property
    def inside_message(self) -> bool:
        """Whether the peer has begun a message and not ended it."""
        return self._assembler.inside_message

    def context(self, abstract_syntax: str, *, transfer_syntax: str | None = None) -> AcceptedContext:
        """Return the first context in force for this abstract syntax, in any or the given transfer syntax.

        Raises:
            Rejected: the peer accepted none.
        """
        for context in self.contexts.values():
            if context.abstract_syntax == abstract_syntax and transfer_syntax in {None, context.transfer_syntax}:
                return context
        raise Rejected(f"{self.peer} accepts no Presentation Context for {abstract_syntax}", source=3, reason=0)

    def transfer_syntax(self, abstract_syntax: str) -> str:
        """Return the transfer syntax of the first context in force for this abstract syntax."""
        return self.context(abstract_syntax).transfer_syntax

    def next_message_id(self) -> int:
        """Return 1 to 65535, in turn (PS3.7 E.1 has sixteen bits; peers are known that take 0 for none)."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    # --- its life

    def establish(self, request: AssociateRequest, accept: AssociateAccept) -> None:
        """Put in force what both sides agreed on."""
        peer, is_acceptor = (request, True) if self._role is Role.ACCEPTOR else (accept, False)
        self.calling_ae_title = request.calling_ae_title
        self.called_ae_title = request.called_ae_title
        self.contexts = accepted_contexts(request, accept)
        self.max_length = send_length(peer.user_information, self.limits)
        self._assembler = Assembler(self.contexts.keys(), self.limits, self._incoming_store)
        if is_acceptor:
            self.connection.accept(accept)

    async def answer(self, deadline: Deadline) -> AssociatePdu:
        """Return the peer's answer to our A-ASSOCIATE-RQ; raise what ended the association, or Stalled."""
        while self._answer is None:
            await self._inbox.change(deadline)
        return self._answer

    def request_release(self, seconds: float) -> None:
        """Send A-RELEASE-RQ (PS3.8 7.2); a peer that does not answer in time is dropped."""
        if self.clean:
            self.connection.release()
            self._set_timer(seconds, self.connection.drop)
        else:
            self.abort()

    async def release(self, deadline: Deadline) -> None:
        """Release the association and wait until its socket is closed; abort it if it is not clean.

        A cancelled operation is given its time to come to its end.
        """
        with contextlib.suppress(Stalled):
            while self.draining:
                await self._inbox.change(deadline)
        if not self.closed:
            self.request_release(deadline.within(self.limits.cancel_seconds).remaining)
        await self.connection.wait_closed()

    def abort(self) -> None:
        """Send A-ABORT (PS3.8 7.3); the socket closes when the peer closed it, within ``linger_seconds``."""
        self.connection.abort(Aborted("the association was aborted by us"))

    def fail(self, error: RemoteProtocolError) -> None:
        """Abort as the service-provider, for what the peer sent (PS3.8 7.4)."""
        if not self.closed:
            self.connection.fail(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.release(Deadline.after(self.limits.cancel_seconds))

    # --- messages out

    def send_message(self, context_id: int, command: Command, data: bytes | None = None) -> None:
        """Send a message whose Data Set is at hand and small."""
        if data is not None and not command.has_data_set:
            command = command._replace(command_data_set_type=DATA_SET)
        pdus = command_pdus(context_id, command, self.max_length)
        if data is not None:
            writer = FragmentWriter(context_id, self.max_length)
            pdus += [*writer.write(data), *writer.finish()]
        self.connection.send(pdus)

    def answer_store(self, store: IncomingStore, status: int) -> None:
        """Send the C-STORE-RSP (PS3.7 9.3.1.2)."""
        store.is_answered = True
        if self._unanswered is store:
            self._unanswered = None
        response = Command(
            command_field=CommandField.C_STORE_RSP,
            affected_sop_class_uid=store.sop_class_uid,
            message_id_being_responded_to=store.message_id,
            status=status,
            affected_sop_instance_uid=store.sop_instance_uid,
        )
        self.send_message(store.context_id, response)

    # --- messages in

    async def receive(
        self, deadline: Deadline, *, patience: float | None = None, held_up: Callable[[], bool] = not_held_up
    ) -> Inbound:
        """Return the next message, however long ago it arrived.

        ``patience`` bounds the peer's silence, in seconds. While we do not read what it sends, or ``held_up`` tells
        that it waits for us elsewhere, its silence is not its fault.

        Raises:
            Stalled: none came in time; the association goes on.
            Aborted, Reset, Closed, Truncated, Stalled, RemoteProtocolError: the association ended.
        """
        if deadline.passed:
            raise Stalled(f"{self.peer} did not answer in time")
        if not self._inbox:
            await self._inbox.wait(deadline, deadline.remaining if patience is None else patience, held_up)
        return self._inbox.pop()

    def received(self, event: UpperLayerEvent) -> None:
        """Take what the connection brings."""
        if type(event) is Fragment:
            inbound = self._assembler.take(event)
            if inbound is not None:
                self._take(inbound)
            elif self._sink is not None:
                self._refuse_if_abandoned()
        elif isinstance(event, AssociateRequest | AssociateAccept | AssociateReject):
            self._take_associate(event)
        elif isinstance(event, ReleaseRequest):
            self.connection.answer_release()
            self.connection.end(Closed("the peer released the association"))
        elif isinstance(event, ReleaseReply):
            self.connection.answer_release()
            self.connection.end(Closed("the association was released"))
        elif isinstance(event, Abort):
            who = "service-user" if event.source == 0 else "service-provider"
            self.connection.end(Aborted(f"the peer aborted the association ({who}, reason {event.reason})"))

    def ended(self, error: GatewayError) -> None:
        """Tell everyone who waits that the association is over."""
        if self._assembler.arriving is not None:
            self._assembler.arriving.fail(error)
        self._inbox.wake()
        self.on_interrupt()
        self.on_change()

    def disconnected(self) -> None:
        """Tell who keeps associations that nothing is left of this one."""
        # Not before: a peer whose release met ours may leave it unanswered.
        self._set_timer(None)
        self.on_change()

    def _take_associate(self, pdu: AssociatePdu) -> None:
        if isinstance(pdu, AssociateRequest) and self._on_request is not None:
            self._on_request(self, pdu)
        else:
            self._answer = pdu
            self._inbox.wake()

    def _take(self, inbound: Inbound) -> None:
        self.heard = True
        if isinstance(inbound, IncomingStore):
            self._unanswered = inbound
        elif inbound.command.command_field == CommandField.C_CANCEL_RQ:
            self.cancelled |= self.requested & {inbound.command.message_id_being_responded_to or 0}
            self.on_interrupt()
            return
        elif not inbound.command.is_response:
            self.requested.add(inbound.command.message_id or 0)
        if self._sink is not None:
            self._sink(inbound)
        elif self._intercept is not None and type(inbound) is Message and self._intercept(inbound):
            self._inbox.intercepted += 1
        else:
            self._inbox.put(inbound)

    def _incoming_store(self, start: MessageStart) -> IncomingStore:
        context = self.contexts[start.context_id]
        command = start.command
        if not (context.scp_role if self._role is Role.REQUESTOR else context.scu_role):
            raise RemoteProtocolError("a C-STORE from a peer that has not the role of an SCU")
        sop_class_uid, sop_instance_uid = command.affected_sop_class_uid, command.affected_sop_instance_uid
        message_id = command.message_id
        if not command.has_data_set or not sop_class_uid or not sop_instance_uid or message_id is None:
            raise RemoteProtocolError("a C-STORE without a Data Set, a Message ID or a SOP Instance")
        request = StoreRequest(
            calling_ae_title=self.calling_ae_title,
            called_ae_title=self.called_ae_title,
            address=self.address[0],
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax,
            message_id=message_id,
            move_originator_ae_title=command.move_originator_ae_title,
            move_originator_message_id=command.move_originator_message_id,
        )
        account, high_water = self._inbox.unread.add, self.limits.high_water
        return IncomingStore(request, start.context_id, account, high_water, self._keep_promise)

    def _keep_promise(self, store: IncomingStore, status: int) -> None:
        if self.connection.is_established:
            self.answer_store(store, status)

    # --- operations

    def occupy(self) -> None:
        """Begin an operation; there is one at a time, as no asynchronous window is ever negotiated (PS3.7 D.3.3.3)."""
        self.connection.check()
        # A peer whose C-GET is served may send a C-CANCEL at any moment, so that its message may have begun.
        if self._busy if self._role is Role.ACCEPTOR else not self.clean:
            raise LocalProtocolError("an association runs one operation at a time")
        self._busy = True

    def vacate(self) -> None:
        """End the operation: its final response is in."""
        self._busy = False
        self._sink = self._intercept = None
        self._inbox.renew_account()
        self._set_timer(None)
        self._inbox.wake()
        self.on_change()

    def intercept(self, taken: Callable[[Message], bool]) -> None:
        """Show the messages of this operation to ``taken`` as they arrive; who waits for one gets what it leaves."""
        self._intercept = taken

    def divert(self, sink: Callable[[Inbound], None]) -> None:
        """Hand everything that still arrives for an abandoned operation to ``sink``, and refuse its sub-operations.

        The operation has ``cancel_seconds`` to come to its end.
        """
        self._sink = sink
        self._set_timer(self.limits.cancel_seconds, self.abort)
        while self._inbox:
            sink(self._inbox.pop())
        self._inbox.renew_account()
        if self._unanswered is not None:
            self._unanswered.discard()
            self._refuse_if_abandoned()

    def _set_timer(self, seconds: float | None, action: Callable[[], None] = _ignore) -> None:
        self._cancel_timer()
        self._cancel_timer = _ignore
        if seconds is not None:
            self._cancel_timer = self.connection.loop.call_later(seconds, action).cancel

    def _refuse_if_abandoned(self) -> None:
        store = self._unanswered
        if self._sink is not None and store is not None and store.is_complete and self.connection.is_established:
            self.answer_store(store, OUT_OF_RESOURCES)
