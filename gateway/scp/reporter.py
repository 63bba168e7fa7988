"""Brings N-EVENT-REPORTs to peers: on the association they keep open, else on one of ours, again until they have it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self

from gateway.alongside import alongside
from gateway.config.settings import CommitmentSettings
from gateway.dataset import transfer_syntax as ts
from gateway.dataset.query import Row
from gateway.dataset.writer import from_json_model
from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.event_report import Event, event_report, send_event_report
from gateway.dimse.requestor import Peer, connect
from gateway.dimse.sop_classes import STORAGE_COMMITMENT
from gateway.errors import DimseFailure, GatewayError, QueueFull, Rejected, Unreachable
from gateway.events import CommitmentReported, Observer
from gateway.federation.commitment import Commitment, Custody, Reference
from gateway.federation.delivery import backoff
from gateway.spool.commitments import Commitments, Request
from gateway.wire.command import Command
from gateway.wire.limits import Limits
from gateway.wire.negotiation import ProposedContext
from gateway.wire.status import PROCESSING_FAILURE, StatusClass, describe, status_class

GRACE_SECONDS: Final = 0.5
"""A peer that wants its report on another association releases this one as soon as its request is answered."""
ANSWER_SECONDS: Final = 30.0
POLL_SECONDS: Final = 1.0
MOST_REPORTS: Final = 16
"""Under way at one time, over all peers."""
MOST_REQUESTS: Final = 1000
"""Of one peer, asked and not reported on."""

REPORT: Final = ProposedContext(STORAGE_COMMITMENT, (ts.EXPLICIT_VR_LE, ts.IMPLICIT_VR_LE), scp_role=True)


@dataclass(frozen=True, slots=True)
class Addressee:
    """A peer that is told.

    Attributes:
        id: its name in logs.
        address: where it is called; None where it is told on its own associations only.
    """

    id: str
    address: Peer | None


Compose = Callable[[Commitment, str], tuple[Event, Row]]
"""Makes a report of what is safe, for a Transaction UID."""


class Reporter:
    """Tells peers what became of their requests; a context as long as it does."""

    def __init__(
        self,
        requests: Commitments,
        custody: Custody,
        peers: Mapping[str, Addressee],
        compose: Compose,
        settings: CommitmentSettings,
        observer: Observer,
        limits: Limits,
    ) -> None:
        self._requests = requests
        self._custody = custody
        self._peers = peers
        self._compose = compose
        self._settings = settings
        self._observer = observer
        self._limits = limits
        self._under_way: set[int] = set()
        self._open: dict[tuple[str, str], Association] = {}
        self._awaited: dict[tuple[Association, int], asyncio.Future[int]] = {}
        self._news = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Report as long as the context lasts.

        Raises:
            ConfigError: there is nowhere to keep requests.
        """
        self._requests.open()
        try:
            async with alongside(self._run()):
                yield self
        finally:
            await self._requests.aclose()

    async def enter(
        self, association: Association, peer: str, transaction_uid: str, instances: Sequence[Reference]
    ) -> bool:
        """Keep a request, to be reported on; tell whether it is new.

        Raises:
            QueueFull: it cannot be kept.
        """
        key = peer, transaction_uid
        is_known = key in self._open
        self._open.setdefault(key, association)  # before the request can be seen by the task that reports
        number = None
        try:
            number = await self._requests.enter(peer, transaction_uid, instances, most=MOST_REQUESTS)
        finally:
            if number is None and not is_known:
                del self._open[key]
        self._news.set()
        return number is not None

    def answered(self, association: Association, response: Command) -> None:
        """Take the response to a report; one that comes too late has no meaning any more."""
        told = self._awaited.get((association, response.message_id_being_responded_to or 0))
        if told is not None and not told.done():
            told.set_result(PROCESSING_FAILURE if response.status is None else response.status)

    async def _run(self) -> None:
        longest = 2 * self._settings.longest_retry_seconds
        async with asyncio.TaskGroup() as group:
            while True:
                self._news.clear()
                room = MOST_REPORTS - len(self._under_way)
                with suppress(QueueFull):
                    for request in await self._requests.due(room, longest=longest, besides=self._under_way):
                        self._under_way.add(request.number)
                        group.create_task(self._report(request))
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._news.wait()

    async def _report(self, request: Request) -> None:
        """Give a request one attempt."""
        try:
            with suppress(QueueFull):  # that of the requests: nothing is lost, and it is tried again
                await self._attempt(request)
        except Exception as error:  # noqa: BLE001 - a defect ends one attempt, not the reporter
            report = {"message": "a Storage Commitment report failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(report)
        finally:
            self._under_way.discard(request.number)
            if not self._under_way:
                self._news.set()

    async def _attempt(self, request: Request) -> None:
        peer = self._peers.get(request.peer, Addressee(request.peer, None))
        key = request.peer, request.transaction_uid
        association = self._open.get(key)
        if association is not None and association.closed:
            association = None
            del self._open[key]
        try:
            commitment = await self._told(request, peer, association)
        except GatewayError as error:
            settings = self._settings
            if time.time() - request.asked_at < settings.give_up_seconds:
                wait = backoff(settings.retry_seconds, settings.longest_retry_seconds, request.attempts)
                await self._requests.postpone(request.number, time.time() + wait)
                return
            outcome, committed, failed = "refused" if isinstance(error, DimseFailure) else error.slug, 0, 0
        else:
            outcome, committed, failed = "complete", len(commitment.committed), len(commitment.failed)
        await self._requests.settle(request.number)
        self._open.pop(key, None)
        self._observer(CommitmentReported(peer.id, outcome, committed, failed))

    async def _told(self, request: Request, peer: Addressee, association: Association | None) -> Commitment:
        """Tell a peer what is safe by now; raise why it could not be told."""
        if association is not None:
            await asyncio.sleep(GRACE_SECONDS)
        commitment = await self._custody.commitment(request.instances)
        event, row = self._compose(commitment, request.transaction_uid)
        status = None
        if association is not None:
            status = await self._on_theirs(association, event, row)
        if status is None:
            status = await self._on_ours(peer, event, row)
        if status_class(status) not in {StatusClass.SUCCESS, StatusClass.WARNING}:
            raise DimseFailure(f"{peer.id} answered N-EVENT-REPORT with {describe(status)}", status=status)
        return commitment

    async def _on_theirs(self, association: Association, event: Event, row: Row) -> int | None:
        """Tell a peer on the association on which it asked; None where that is over, busy, or stays silent."""
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                if not association.idle:
                    return None
                data = from_json_model(row, association.transfer_syntax(event.sop_class_uid))
                told: asyncio.Future[int] = loop.create_future()
                key = association, send_event_report(association, event, data)
                self._awaited[key] = told
                try:
                    while not (told.done() or association.closed):
                        await asyncio.wait([told], timeout=GRACE_SECONDS)
                finally:
                    del self._awaited[key]
                return told.result() if told.done() else None
        return None

    async def _on_ours(self, peer: Addressee, event: Event, row: Row) -> int:
        """Tell a peer on an association of ours, of which we are the SCP (PS3.7 D.3.3.4)."""
        if peer.address is None:
            raise Unreachable(f"{peer.id} keeps no association open and has no address: give its profile a commitment")
        limits = self._limits
        deadline = Deadline.after(limits.connect_seconds + limits.artim_seconds)
        async with await connect(peer.address, [REPORT], deadline, limits=limits) as association:
            context = association.context(STORAGE_COMMITMENT)
            if not context.scp_role:
                raise Rejected(f"{peer.address} does not take us as the SCP of Storage Commitment", source=3, reason=0)
            data = from_json_model(row, context.transfer_syntax)
            return await event_report(association, event, data, Deadline.after(ANSWER_SECONDS))
