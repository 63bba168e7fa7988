"""C-FIND of Study Root and Patient Root, answered by the federation (PS3.4 C.4.1)."""

import time
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.access.principal import Transaction
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Row
from gateway.dataset.writer import from_json_model
from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.inbound import Inbound, Message
from gateway.dimse.sop_classes import PATIENT_ROOT_FIND
from gateway.errors import GatewayError, LimitExceeded, NoRegionAnswered, RegionMissing
from gateway.events import Observer, PeerOperation
from gateway.federation.completeness import LIMITED, Completeness
from gateway.scp import identifier
from gateway.scp.gate import Gate
from gateway.scp.identifier import PATIENT_COUNTS
from gateway.scp.interruption import interruptible
from gateway.scp.patient_counts import PatientCounts
from gateway.scp.profile import PeerProfile
from gateway.wire.command import RESPONSE, Command
from gateway.wire.negotiation import AcceptedContext
from gateway.wire.status import PENDING, PENDING_WITH_WARNING, PROCESSING_FAILURE, SUCCESS

if TYPE_CHECKING:
    from gateway.federation.search import FederatedSearch
    from gateway.federation.stream import RowStream

REGION_MISSING: Final = 0xC001
"""Our own code of "unable to process": what came is good, and a region that may have more is missing."""

_LONGEST_COMMENT: Final = 64
_NO_COUNTERS: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Query:
    """Answers the C-FINDs of one peer.

    Attributes:
        seconds: hard limit of a search.
        strict: a missing region ends a C-FIND with a Failure instead of Success.
        gate: decides what the peer may.
    """

    search: "FederatedSearch"
    peer: PeerProfile
    ae_title: str
    observer: Observer
    seconds: float
    strict: bool
    gate: Gate

    async def serve(self, association: Association, inbound: Inbound) -> None:
        """Answer one C-FIND: Pending responses as the regions give matches, then how it ended."""
        if not isinstance(inbound, Message):
            return
        began, answer = time.monotonic(), Answer(association, inbound)
        try:
            async with interruptible(association, answer.message_id):
                status, comment = await self._answer(association, inbound, answer)
        except GatewayError as error:
            if association.closed:
                raise
            status, comment = failure(error)
        answer.send(status, comment=comment)
        took = time.monotonic() - began
        self.observer(PeerOperation(self.peer.id, "find", f"{status:04X}", took, answer.matches))

    async def _answer(self, association: Association, message: Message, answer: "Answer") -> tuple[int, str]:
        permit = await self.gate.permit(association, self.peer, Transaction.SEARCH)
        context = association.contexts[message.context_id]
        asked = self._read(message, context.transfer_syntax, context.abstract_syntax, context.extended)
        deadline = Deadline.after(self.seconds)
        above: Row = {}
        if asked.above is not None:
            found = await self.search.search(asked.above, deadline, permit=permit)
            if self.strict and found.completeness.missing:
                raise missing(found.completeness)
            if not found.rows:
                return SUCCESS, ""
            above = found.rows[0]
        wanted = asked.requested.keys() & set(PATIENT_COUNTS) if asked.level == identifier.PATIENT else set()
        to_count: list[Row] = []
        async with self.search.stream(asked.query, deadline, permit=permit) as rows:
            if self.strict and rows.unavailable is not None:
                raise rows.unavailable
            async with aclosing(_entities(rows, asked.level)) as entities:
                async for row in entities:
                    if wanted:  # once the stream has given back its associations
                        to_count.append(row)
                    else:
                        await self._show(answer, asked, {**above, **row}, context)
        counts = PatientCounts(self.search, frozenset(wanted), deadline, permit)
        for row in to_count:
            await self._show(answer, asked, {**row, **await counts.of(row)}, context)
        return self._ended(rows)

    async def _show(self, answer: "Answer", asked: identifier.Find, row: Row, context: AcceptedContext) -> None:
        """Send one match."""
        shown, complete = identifier.response(asked, row, self.ae_title)
        data = from_json_model(shown, context.transfer_syntax, text_in=self.peer.character_set)
        await answer.pending(data, complete=complete)

    def _read(self, message: Message, transfer_syntax: str, abstract_syntax: str, extended: bytes) -> identifier.Find:
        row = to_json_model(message.data or b"", transfer_syntax, character_set=self.peer.character_set)
        model = identifier.PATIENT_ROOT if abstract_syntax == PATIENT_ROOT_FIND else identifier.STUDY_ROOT
        negotiated = identifier.Negotiated.read(extended)
        return identifier.find(row, model, negotiated, self.peer.issuer_of_patient_id)

    def _ended(self, rows: "RowStream") -> tuple[int, str]:
        limited = [state.region for state in rows.completeness.states if state.state == LIMITED]
        if limited:
            return failure(LimitExceeded(f"narrow the search: limited at {', '.join(limited)}", limit="matches"))
        if self.strict and rows.completeness.missing:
            raise missing(rows.completeness)
        return SUCCESS, rows.notices[0] if rows.notices else ""


async def _entities(rows: AsyncIterable[Row], level: str) -> AsyncGenerator[Row, None]:
    """Yield what the rows are at a level: those of studies are made to patients, each once."""
    seen: set[tuple[str, str]] = set()
    async for row in rows:
        if level != identifier.PATIENT:
            yield row
        elif (patient := identifier.patient_of(row)) not in seen:
            seen.add(patient)
            yield identifier.of_a_patient(row)


class Answer:
    """The responses to one request of a peer.

    Attributes:
        matches: how many Pending ones with an Identifier were sent.
    """

    def __init__(self, association: Association, request: Message) -> None:
        self.matches = 0
        self.message_id = request.command.message_id or 0
        self._association = association
        self._context_id = request.context_id
        self._response = Command(
            command_field=request.command.command_field | RESPONSE,
            affected_sop_class_uid=request.command.affected_sop_class_uid,
            message_id_being_responded_to=request.command.message_id,
        )

    async def pending(self, data: bytes, *, complete: bool) -> None:
        """Send a match as fast as the peer takes it; without a requested attribute it is one with a warning (FF01)."""
        self.matches += 1
        self.send(PENDING if complete else PENDING_WITH_WARNING, data)
        await self._association.connection.writable()

    def send(
        self, status: int, data: bytes | None = None, *, comment: str = "", counters: Mapping[str, int] = _NO_COUNTERS
    ) -> None:
        """Send a response; the comment is cut to what VR LO holds."""
        text = comment.encode("latin-1", "replace").decode("latin-1")[:_LONGEST_COMMENT] or None
        response = self._response._replace(status=status, error_comment=text, **counters)  # type: ignore[arg-type]  # numbers only
        self._association.send_message(self._context_id, response, data)


def failure(error: GatewayError) -> tuple[int, str]:
    """Return the status and the Error Comment that tell an error; it never becomes a Success."""
    if isinstance(error, RegionMissing):
        return REGION_MISSING, str(error)
    if isinstance(error, NoRegionAnswered):
        return error.dimse_status, f"no answer: {error.federation_status}"
    return error.dimse_status or PROCESSING_FAILURE, str(error)


def missing(completeness: Completeness) -> RegionMissing:
    """Return the error that names the regions from which something may be missing."""
    regions = ", ".join(f"{state.region} ({state.state})" for state in completeness.missing)
    return RegionMissing(f"missing: {regions}", federation_status=completeness.header())
