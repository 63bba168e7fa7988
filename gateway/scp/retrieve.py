"""C-MOVE and C-GET, answered by the federation (PS3.4 C.4.2, C.4.3)."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.access.permit import Permit
from gateway.access.principal import Transaction
from gateway.alongside import alongside
from gateway.dataset.attributes import first
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Level, Query, Selection
from gateway.dataset.writer import from_json_model
from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.inbound import Inbound, Message
from gateway.dimse.requestor import Peer
from gateway.dimse.sop_classes import PATIENT_ROOT_GET, PATIENT_ROOT_MOVE
from gateway.errors import Cancelled, GatewayError, NotFound
from gateway.events import Observer, PeerOperation
from gateway.federation.completeness import Completeness
from gateway.scp import identifier
from gateway.scp.destination import Destination
from gateway.scp.gate import Gate
from gateway.scp.interruption import interruptible
from gateway.scp.outgoing import Forms, send
from gateway.scp.profile import PeerProfile
from gateway.scp.query import Answer, failure, missing
from gateway.wire.limits import Limits
from gateway.wire.status import CANCEL, PENDING, SUCCESS, describe

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance
    from gateway.federation.retrieve import FederatedRetrieve
    from gateway.federation.search import FederatedSearch

MOVE_DESTINATION_UNKNOWN: Final = 0xA801
SUB_OPERATIONS_NOT_PERFORMED: Final = 0xA702
SOME_FAILED: Final = 0xB000

_FAILED_SOP_INSTANCE_UID_LIST: Final = "00080058"
_COUNTS: Final = {Level.STUDY: "00201208", Level.SERIES: "00201209"}
_LONGEST_LIST: Final = 0xFFFE // 65
"""UIDs that fit into one value of VR UI with a 16-bit length."""

Sender: TypeAlias = Callable[["Instance"], Awaitable[int]]
"""Sends one instance, and returns the status of its C-STORE, as ``outgoing.send``; raises GatewayError where it
failed."""


@dataclass(slots=True)
class Tally:
    """The sub-operations of one C-MOVE or C-GET.

    Attributes:
        total: how many there are; None as long as that is not known.
        failed: SOP Instance UIDs of those that failed.
        unnamed: failed ones whose UIDs nobody could tell.
        comment: what went wrong first.
        remark: what the peer first had to say of an instance that it did not refuse.
    """

    total: int | None = None
    completed: int = 0
    warned: int = 0
    failed: dict[str, None] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    unnamed: int = 0
    comment: str = ""
    remark: str = ""
    missing: GatewayError | None = None

    @property
    def arrived(self) -> int:
        """How many the peer has taken."""
        return self.completed + self.warned

    def counters(self, *, remaining: bool) -> dict[str, int]:
        """Return the counters of a response; those of a final one say what remains only where it was cancelled."""
        failed = len(self.failed) + self.unnamed
        # Nobody has told how many there are: there may be one more.
        left = 1 if self.total is None else max(0, self.total - self.arrived - failed)
        return ({"number_of_remaining_suboperations": left} if remaining else {}) | {
            "number_of_completed_suboperations": self.completed,
            "number_of_failed_suboperations": failed,
            "number_of_warning_suboperations": self.warned,
        }

    def take(self, uid: str, status: int) -> None:
        """Count an instance that the peer has, by the status of its C-STORE."""
        self.sent.add(uid)
        if status == SUCCESS:
            self.completed += 1
        else:
            self.warned += 1
            self.remark = self.remark or f"C-STORE answered with {describe(status)}"

    def fail(self, error: GatewayError, uid: str | None = None) -> None:
        """Count a failure."""
        self.comment = self.comment or str(error)
        if uid is not None:
            self.failed[uid] = None

    def status(self) -> tuple[int, str]:
        """Return how it ended."""
        if self.failed or self.unnamed:
            return (SOME_FAILED if self.arrived else SUB_OPERATIONS_NOT_PERFORMED), self.comment
        if self.missing:
            return SOME_FAILED, str(self.missing)
        return (SOME_FAILED, self.remark) if self.warned else (SUCCESS, "")


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Answers the C-MOVEs and C-GETs of one peer.

    Attributes:
        destinations: where those that may be moved to take instances, by AE title.
        seconds: for a search, and for the first instance.
        strict: a missing region makes a warning of what is otherwise a Success.
        gate: decides what the peer may.
        forms: what may be made of instances for each of the peers, by AE title.
        receivers: the profiles of those that may be moved to, by AE title.
    """

    search: "FederatedSearch"
    retrieve: "FederatedRetrieve"
    peer: PeerProfile
    destinations: Mapping[str, Peer]
    observer: Observer
    limits: Limits
    seconds: float
    strict: bool
    gate: Gate
    forms: Mapping[str, Forms]
    receivers: Mapping[str, PeerProfile]

    async def move(self, association: Association, inbound: Inbound) -> None:
        """Answer one C-MOVE over an association of our own with its destination, which is never any but a known one."""
        if not isinstance(inbound, Message):
            return
        began, answer = time.monotonic(), Answer(association, inbound)
        permit = await self._permitted("move", association, answer, began)
        if permit is None:
            return
        destination = self.destinations.get(inbound.command.move_destination or "")
        if destination is None:
            answer.send(MOVE_DESTINATION_UNKNOWN, comment="the Move Destination is not one this peer may name")
            self._told("move", MOVE_DESTINATION_UNKNOWN, began, 0)
            return
        originator = association.calling_ae_title, answer.message_id
        receiver = self.receivers[destination.called_ae_title]
        if receiver != self.peer:
            permit = self.gate.sending(permit, receiver, destination.host)
        forms = self.forms.get(destination.called_ae_title, Forms())
        async with Destination(destination, self.limits, forms) as target:
            operation = _Operation(
                self, association, inbound, answer, permit, lambda instance: target.send(instance, originator)
            )
            operation.is_over = lambda: target.down is not None
            status = await operation.run()
            self._told("move", status, began, operation.tally.arrived)

    async def get(self, association: Association, inbound: Inbound) -> None:
        """Answer one C-GET, with its C-STOREs on the same association."""
        if not isinstance(inbound, Message):
            return
        began, answer = time.monotonic(), Answer(association, inbound)
        permit = await self._permitted("get", association, answer, began)
        if permit is None:
            return
        forms = self.forms.get(self.peer.ae_title, Forms())
        operation = _Operation(
            self, association, inbound, answer, permit, lambda instance: send(association, instance, forms)
        )
        operation.is_over = lambda: association.closed or association.draining
        status = await operation.run()
        self._told("get", status, began, operation.tally.arrived)

    async def _permitted(self, service: str, association: Association, answer: Answer, began: float) -> Permit | None:
        """Return what the peer may; where it may nothing, tell it so."""
        try:
            return await self.gate.permit(association, self.peer, Transaction.RETRIEVE)
        except GatewayError as error:
            status, comment = failure(error)
            answer.send(status, comment=comment)
            self._told(service, status, began, 0)
            return None

    def _told(self, service: str, status: int, began: float, count: int) -> None:
        self.observer(PeerOperation(self.peer.id, service, f"{status:04X}", time.monotonic() - began, count))


class _Operation:
    """One C-MOVE or C-GET under way.

    Attributes:
        is_over: whether no more can be sent.
    """

    def __init__(
        self,
        service: Retrieve,
        association: Association,
        request: Message,
        answer: Answer,
        permit: Permit,
        sender: Sender,
    ) -> None:
        self.tally = Tally()
        self.is_over: Callable[[], bool] = lambda: False
        self._service = service
        self._association = association
        self._request = request
        self._answer = answer
        self._sender = sender
        self._permit = permit

    async def run(self) -> int:
        """Send what is asked for, and the final response; return its status."""
        tally = self.tally
        cancelled = False
        try:
            selections = await self._selections()
            async with alongside(self._count(selections)):
                for selection in selections:
                    await self._deliver(selection)
            status, comment = tally.status()
        except Cancelled:
            status, comment, cancelled = CANCEL, "", True
        except GatewayError as error:
            if self._association.closed:
                raise
            status, comment = failure(error)
        self._answer.send(status, self._failed(), comment=comment, counters=tally.counters(remaining=cancelled))
        return status

    async def _selections(self) -> Sequence[Selection]:
        """Read the Identifier, and leave out what is not of the patient that it names."""
        service, context = self._service, self._association.contexts[self._request.context_id]
        by_patient = context.abstract_syntax in {PATIENT_ROOT_MOVE, PATIENT_ROOT_GET}
        model = identifier.PATIENT_ROOT if by_patient else identifier.STUDY_ROOT
        row = to_json_model(
            self._request.data or b"", context.transfer_syntax, character_set=service.peer.character_set
        )
        asked = identifier.retrieve(row, model, service.peer.issuer_of_patient_id)
        selections = asked.selections
        if asked.whose is not None:
            studies = [uid async for uid in self._found(asked.whose, identifier.STUDY)]
            of_patient = tuple(x for x in selections if x.study in studies)
            selections = of_patient if selections else tuple(map(Selection, studies))
        return selections

    async def _found(self, query: Query, tag: str) -> AsyncIterator[str]:
        """Yield the Unique Keys of a search."""
        async with (
            interruptible(self._association, self._answer.message_id),
            self._service.search.stream(query, Deadline.after(self._service.seconds), permit=self._permit) as rows,
        ):
            uids = [uid async for row in rows if (uid := first(row.get(tag)))]
        for uid in uids:
            yield uid

    async def _count(self, selections: Sequence[Selection]) -> None:
        """Find out how many instances there are, as the regions say."""
        with suppress(GatewayError):
            self.tally.total = sum([await self._size(selection) for selection in selections])

    async def _size(self, selection: Selection) -> int:
        if selection.instances:
            return len(selection.instances)
        tag = _COUNTS[selection.level]
        key, uid = (identifier.SERIES, selection.series) if selection.series else (identifier.STUDY, selection.study)
        study = selection.study if selection.series else None
        query = Query(selection.level, study, None, {(key,): uid}, frozenset({(tag,)}))
        deadline = Deadline.after(self._service.seconds)
        found = await self._service.search.search(query, deadline, permit=self._permit)
        counts = [first(row.get(tag)) for row in found.rows]
        return sum(int(count) for count in counts if str(count).isdecimal())

    async def _deliver(self, selection: Selection) -> None:
        """Send one selection's instances as they arrive; what should have come and did not has failed."""
        message_id = self._answer.message_id
        try:
            async with AsyncExitStack() as stack:
                async with interruptible(self._association, message_id):
                    deadline = Deadline.after(self._service.seconds)
                    opened = self._service.retrieve.retrieve(selection, deadline, permit=self._permit)
                    retrieval = await stack.enter_async_context(opened)
                instances = aiter(retrieval)
                while not self.is_over():
                    async with interruptible(self._association, message_id):
                        instance = await anext(instances, None)
                    if instance is None:
                        break
                    await self._send(instance)
                self._note(retrieval.completeness)
                if not self.is_over():
                    return
        except (Cancelled, NotFound) as error:
            if isinstance(error, Cancelled):
                raise
            return
        except GatewayError as error:
            if self._association.closed:
                raise
            self.tally.fail(error)
        await self._give_up(selection)

    async def _send(self, instance: "Instance") -> None:
        """Send one instance and tell the peer how far we are; one that fails is none of the others' business."""
        uid = instance.sop_instance_uid
        try:
            status = await self._sender(instance)
        except GatewayError as error:
            self._association.connection.check()
            self.tally.fail(error, uid)
        else:
            self.tally.take(uid, status)
        self._answer.send(PENDING, counters=self.tally.counters(remaining=True))
        await self._association.connection.writable()

    async def _give_up(self, selection: Selection) -> None:
        """Count as failed what a selection has and the peer has not."""
        tally = self.tally
        expected = selection.instances
        if not expected:
            query = Query(Level.IMAGE, selection.study, selection.series, bare=True)
            try:
                expected = tuple([uid async for uid in self._found(query, identifier.INSTANCE)])
            except Cancelled:
                raise
            except GatewayError:
                expected = ()
        before = len(tally.failed)
        tally.failed.update((uid, None) for uid in expected if uid not in tally.sent)
        if len(tally.failed) == before and not (before and self.is_over()):
            # What is missing is at a region that does not tell: at least one, or the retrieve had not failed.
            tally.unnamed += max(1, (tally.total or 0) - tally.arrived - len(tally.failed) - tally.unnamed)

    def _note(self, completeness: Completeness) -> None:
        if self._service.strict and completeness.missing:
            self.tally.missing = missing(completeness)

    def _failed(self) -> bytes | None:
        """Return the Identifier of a final response: Failed SOP Instance UID List (PS3.4 C.4.2.1.4.2)."""
        uids = list(self.tally.failed)[:_LONGEST_LIST]
        if not uids:
            return None
        syntax = self._association.contexts[self._request.context_id].transfer_syntax
        return from_json_model({_FAILED_SOP_INSTANCE_UID_LIST: {"vr": "UI", "Value": uids}}, syntax)
