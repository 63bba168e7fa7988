"""C-FIND, C-MOVE and C-GET as SCP (PS3.4 Annex C), on pynetdicom's associations."""

import logging
import socket
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from regions.elements import decode, encode
from regions.find import IdentifierError, Question, Search, question
from regions.index import Entry, Index
from regions.retrieve import Courier, Tally, contexts_for

LOGGER = logging.getLogger(__name__)

PATIENT_ROOT: Final = frozenset(
    (
        PatientRootQueryRetrieveInformationModelFind,
        PatientRootQueryRetrieveInformationModelGet,
        PatientRootQueryRetrieveInformationModelMove,
    )
)
STUDY_ROOT: Final = frozenset(
    (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
        StudyRootQueryRetrieveInformationModelMove,
    )
)


def _send_at_once(event: Any) -> None:
    """Turn Nagle's algorithm off: a small response would wait for the peer's delayed ACK."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _acknowledge_at_once(event: Any) -> None:
    """Ask for immediate ACKs after all that is sent: DCMTK leaves Nagle on, and waits 40 ms per C-STORE for one."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


PROMPT: Final = (
    (evt.EVT_CONN_OPEN, _send_at_once),
    (evt.EVT_DATA_SENT, _acknowledge_at_once),
)
"""Handlers that keep both ends of a connection from waiting for each other."""


class Exchange:
    """One request on one association, and the responses to it."""

    def __init__(self, association: Any, context: Any, request: Any) -> None:
        self.association, self.context, self.request = association, context, request
        self.syntax = context.transfer_syntax[0]
        self.patient_root = context.abstract_syntax in PATIENT_ROOT

    @property
    def identifier(self) -> Dataset:
        """The Identifier of the request."""
        return decode(self.request.Identifier.getvalue(), self.syntax)

    @property
    def going_on(self) -> bool:
        """Whether the peer is still there and has not sent C-CANCEL."""
        return self.alive and not self.cancelled

    @property
    def alive(self) -> bool:
        """Whether the association still stands."""
        return bool(self.association.is_established and not self.association.acse.is_aborted())

    @property
    def cancelled(self) -> bool:
        """Whether C-CANCEL for this request has arrived."""
        return self.request.MessageID in self.association.dimse.cancel_req

    def answer(
        self, status: int, identifier: bytes | None = None, *, tally: Tally | None = None, comment: str = ""
    ) -> None:
        """Send one response."""
        if not self.alive:
            return
        response = type(self.request)()
        response.MessageIDBeingRespondedTo = self.request.MessageID
        response.AffectedSOPClassUID = self.request.AffectedSOPClassUID
        response.Status = status
        if comment:
            response.ErrorComment = comment[:64]
        if identifier is not None:
            response.Identifier = BytesIO(identifier)
        if tally is not None:
            response.NumberOfCompletedSuboperations = tally.completed
            response.NumberOfFailedSuboperations = tally.failed
            response.NumberOfWarningSuboperations = tally.warning
            if status in {0xFF00, 0xFE00}:
                response.NumberOfRemainingSuboperations = tally.remaining
        self.association.dimse.send_msg(response, self.context.context_id)


class QueryRetrieve:
    """The Query/Retrieve services of one archive."""

    def __init__(self, ae: AE, folder: Path, index: Index, destinations: Mapping[str, tuple[str, int]]) -> None:
        """Join what they need; destinations maps each Move Destination known here to host and port."""
        self.ae, self.folder, self.index, self.destinations = ae, folder, index, destinations
        self._services: Mapping[type, Callable[[Exchange], None]] = {
            C_FIND: self.find,
            C_MOVE: self.move,
            C_GET: self.get,
        }

    def serve(self, association: Any, others: Callable[[Any, int], None]) -> Callable[[Any, int], None]:
        """What takes an association's requests: these services, and others for what is not theirs."""

        def take(request: Any, context_id: int) -> None:
            service = self._services.get(type(request))
            context = next((c for c in association.accepted_contexts if c.context_id == context_id), None)
            if service is None or context is None or not request.is_valid_request:
                others(request, context_id)
                return
            association.dimse.cancel_req = {}
            association._is_paused = True  # noqa: SLF001 - send_c_store waits for the reactor, which waits for us
            try:
                service(Exchange(association, context, request))
            except Exception:
                LOGGER.exception("%s failed", type(request).__name__)
                association.abort(block=False)
            finally:
                association._is_paused = False  # noqa: SLF001

        return take

    def find(self, exchange: Exchange) -> None:
        """C-FIND (PS3.4 C.4.1.3): Pending per match, FF01 where a key that was asked for is not supported."""
        try:
            search = Search(
                self.index, exchange.identifier, patient_root=exchange.patient_root, ae_title=self.ae.ae_title
            )
        except IdentifierError as error:
            exchange.answer(0xA900, comment=str(error))
            return
        pending = 0xFF01 if search.unsupported else 0xFF00
        for identifier in search.answers(exchange.syntax):
            if not exchange.going_on:
                break
            exchange.answer(pending, identifier)
        exchange.answer(0xFE00 if exchange.cancelled else 0x0000)

    def move(self, exchange: Exchange) -> None:
        """C-MOVE (PS3.4 C.4.2.3): sub-operations on an association to a destination that is known."""
        entries = self._selected(exchange)
        if entries is None:
            return
        destination = str(exchange.request.MoveDestination).strip()
        if destination not in self.destinations:
            exchange.answer(0xA801, comment=f"Move Destination {destination} is not known here")
            return
        if not entries:
            exchange.answer(0x0000, tally=Tally(0))
            return
        host, port = self.destinations[destination]
        outgoing = self.ae.associate(
            host,
            port,
            contexts_for(entries),
            ae_title=destination,
            max_pdu=self.ae.maximum_pdu_size,
            evt_handlers=list(PROMPT),
        )
        if not outgoing.is_established:
            exchange.answer(0xA702, tally=Tally(0, failed=len(entries)), comment=f"{destination} takes no association")
            return
        mover = str(exchange.association.requestor.ae_title), int(exchange.request.MessageID)
        try:
            self._deliver(exchange, Courier(outgoing, self.folder, move_originator=mover), entries)
        finally:
            outgoing.release()

    def get(self, exchange: Exchange) -> None:
        """C-GET (PS3.4 C.4.3.3): sub-operations on the same association."""
        entries = self._selected(exchange)
        if entries is not None:
            self._deliver(exchange, Courier(exchange.association, self.folder), entries)

    def _selected(self, exchange: Exchange) -> list[Entry] | None:
        """The instances that the Identifier names; None after answering that it names none properly."""
        try:
            asked: Question = question(exchange.identifier, patient_root=exchange.patient_root, retrieve=True)
        except IdentifierError as error:
            exchange.answer(0xA900, comment=str(error))
            return None
        return self.index.entries(asked.unique)

    def _deliver(self, exchange: Exchange, courier: Courier, entries: list[Entry]) -> None:
        """Run the sub-operations and report after each, until done, cancelled or left alone."""
        tally = Tally(len(entries))
        message_id = int(exchange.request.MessageID)
        with courier.on_its_way():
            for entry in entries:
                if not exchange.going_on:
                    break
                message_id = message_id % 0xFFFF + 1
                tally.count(entry.sop_instance_uid, courier.send(entry, message_id))
                if tally.remaining:
                    exchange.answer(0xFF00, tally=tally)
        status = 0xFE00 if tally.remaining else tally.status
        failed = None
        if status != 0x0000:
            dataset = Dataset()
            dataset.FailedSOPInstanceUIDList = tally.failed_uids
            failed = encode(dataset, exchange.syntax)
        exchange.answer(status, failed, tally=tally)
