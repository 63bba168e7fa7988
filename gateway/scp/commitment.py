"""Storage Commitment Push Model for peers (PS3.4 J.3): what they ask by N-ACTION, and what they are told."""

import time
from dataclasses import dataclass
from typing import Final

from gateway.access.principal import Transaction
from gateway.dataset.attributes import first
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Row
from gateway.dataset.uid import is_uid
from gateway.dimse.action import answer_action
from gateway.dimse.association import Association
from gateway.dimse.event_report import Event
from gateway.dimse.inbound import Inbound, Message
from gateway.dimse.sop_classes import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from gateway.errors import AccessDenied, AuditUnavailable, GatewayError, QueueFull, RequestError
from gateway.events import Observer, PeerOperation
from gateway.federation.commitment import Commitment, Reference
from gateway.scp.gate import Gate
from gateway.scp.profile import PeerProfile
from gateway.scp.reporter import Reporter
from gateway.wire.command import Command
from gateway.wire.status import (
    DUPLICATE_TRANSACTION_UID,
    INVALID_ARGUMENT_VALUE,
    NO_SUCH_ACTION,
    NO_SUCH_SOP_CLASS,
    NO_SUCH_SOP_INSTANCE,
    RESOURCE_LIMITATION,
    SUCCESS,
)

REQUEST: Final = 1
"""Action Type ID of "Request Storage Commitment" (PS3.4 J.3.2)."""
ALL_COMMITTED: Final = 1
SOME_FAILED: Final = 2
"""Event Type IDs (PS3.4 J.3.3)."""

_TRANSACTION, _RETRIEVE_AE_TITLE = "00081195", "00080054"
_REFERENCED, _FAILED, _REASON = "00081199", "00081198", "00081197"
_SOP_CLASS, _SOP_INSTANCE = "00081150", "00081155"


@dataclass(frozen=True, slots=True)
class CommitmentService:
    """Takes the Storage Commitment requests of one peer, and has it told later."""

    peer: PeerProfile
    gate: Gate
    reporter: Reporter
    observer: Observer

    async def request(self, association: Association, inbound: Inbound) -> None:
        """Answer one N-ACTION: with Success once the request will survive a crash (PS3.4 J.3.2.1.3)."""
        if not isinstance(inbound, Message):
            return
        began = time.monotonic()
        instances: tuple[Reference, ...] = ()
        status, comment = _objection(inbound.command)
        if status == SUCCESS:
            try:
                await self.gate.permit(association, self.peer, Transaction.STORE)
                transaction_uid, instances = self._read(association, inbound)
                is_new = await self.reporter.enter(association, self.peer.ae_title, transaction_uid, instances)
                if not is_new:
                    status, comment = DUPLICATE_TRANSACTION_UID, "this Transaction UID is not reported on yet"
            except (AccessDenied, AuditUnavailable) as error:
                status, comment = error.dimse_status, str(error)
            except QueueFull as error:
                status, comment = RESOURCE_LIMITATION, str(error)
            except GatewayError as error:
                status, comment = INVALID_ARGUMENT_VALUE, str(error)
        answer_action(association, inbound, status, comment)
        took = time.monotonic() - began
        self.observer(PeerOperation(self.peer.id, "commit", f"{status:04X}", took, len(instances)))

    async def reported(self, association: Association, inbound: Inbound) -> None:
        """Take the response to a report that went out on the peer's own association."""
        if isinstance(inbound, Message):
            self.reporter.answered(association, inbound.command)

    def _read(self, association: Association, message: Message) -> tuple[str, tuple[Reference, ...]]:
        syntax = association.contexts[message.context_id].transfer_syntax
        return read(to_json_model(message.data or b"", syntax, character_set=self.peer.character_set))


def _objection(command: Command) -> tuple[int, str]:
    """Return the status with which a request is refused as such, Success if it is one (PS3.7 10.1.4.1.10)."""
    if command.requested_sop_class_uid != STORAGE_COMMITMENT:
        return NO_SUCH_SOP_CLASS, "only Storage Commitment has an action here"
    if command.requested_sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
        return NO_SUCH_SOP_INSTANCE, f"the instance to ask is {STORAGE_COMMITMENT_INSTANCE}"
    if command.action_type_id != REQUEST:
        return NO_SUCH_ACTION, "the Action Type ID of a request is 1"
    return SUCCESS, ""


def read(row: Row) -> tuple[str, tuple[Reference, ...]]:
    """Return Transaction UID and instances of Action Information (PS3.4 Table J.3-1).

    Raises:
        RequestError: something of it is missing.
    """
    transaction_uid = str(first(row.get(_TRANSACTION)) or "")
    if not is_uid(transaction_uid):
        raise RequestError("Transaction UID is missing or no UID")
    items = (row.get(_REFERENCED) or {}).get("Value") or ()
    instances = tuple((_uid(item, _SOP_CLASS), _uid(item, _SOP_INSTANCE)) for item in items)
    if not instances:
        raise RequestError("Referenced SOP Sequence is missing or empty")
    return transaction_uid, instances


def _uid(item: Row | None, tag: str) -> str:
    uid = str(first((item or {}).get(tag)) or "")
    if not is_uid(uid):
        raise RequestError("Referenced SOP Sequence has an item without its UIDs")
    return uid


def report(commitment: Commitment, transaction_uid: str, ae_title: str) -> tuple[Event, Row]:
    """Return what a peer is told (PS3.4 Table J.3-2)."""
    row: Row = {_TRANSACTION: {"vr": "UI", "Value": [transaction_uid]}}
    if commitment.committed:
        row[_RETRIEVE_AE_TITLE] = {"vr": "AE", "Value": [ae_title]}
        row[_REFERENCED] = {"vr": "SQ", "Value": [_item(reference) for reference in commitment.committed]}
    if commitment.failed:
        failed = [_item(reference) | {_REASON: {"vr": "US", "Value": [why]}} for reference, why in commitment.failed]
        row[_FAILED] = {"vr": "SQ", "Value": failed}
    event_type_id = SOME_FAILED if commitment.failed else ALL_COMMITTED
    return Event(STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, event_type_id), row


def _item(reference: Reference) -> Row:
    sop_class, sop_instance = reference
    return {_SOP_CLASS: {"vr": "UI", "Value": [sop_class]}, _SOP_INSTANCE: {"vr": "UI", "Value": [sop_instance]}}
