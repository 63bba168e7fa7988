"""How a region's instances are had: by C-MOVE or by C-GET, whichever works."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection
from itertools import cycle

from gateway.config.settings import Settings
from gateway.dataset.identifier import retrieve_identifier
from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.get import get
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.move import move
from gateway.dimse.pool import AssociationPool
from gateway.dimse.suboperations import SubOperations
from gateway.errors import DimseFailure, Rejected
from gateway.events import Observer, RetrieveAnswered, unobserved
from gateway.region.contexts import GET, MOVE, QUERY_CONTEXTS, get_contexts
from gateway.region.destinations import MoveDestinations
from gateway.region.inbox import Inbox, Lease, Receiver, fits
from gateway.region.outcome import BROKEN
from gateway.region.profile import Profile

SopClasses = Callable[[Selection, Deadline], Awaitable[Collection[str]]]
"""Finds the SOP Classes of a selection's instances at the region."""

CANNOT_SERVE = frozenset({0x0110, 0x0112, 0x0122, 0x0210, 0x0211, 0xA702, 0xA801, 0xA900, 0xC000})
"""Failures after which the other service may do better: it is not offered, or our Move Destination is not known."""


class Transfer:
    """Retrieves from one region, with the service that its profile names or that has been seen to work.

    One association of the region's cap is left to searches, so that a long retrieve does not stop them.
    """

    def __init__(
        self,
        profile: Profile,
        settings: Settings,
        pool: AssociationPool,
        inbox: Inbox,
        sop_classes: SopClasses,
        observer: Observer = unobserved,
    ) -> None:
        self._observer = observer
        self._profile = profile
        self._ae_title = settings.dimse.ae_title
        self._quiet_seconds = settings.retrieve.quiet_seconds
        self._pool = pool
        self._inbox = inbox
        self._sop_classes = sop_classes
        self._destinations = MoveDestinations(profile.move_destinations)
        self._at_once = asyncio.Semaphore(max(1, profile.max_associations - 1))
        self._message_ids = cycle(range(1, 1 << 16))
        self._services = retrieve_services(profile)

    async def run(
        self, selection: Selection, receive: Receiver, deadline: Deadline, held_up: Callable[[], bool]
    ) -> SubOperations:
        """Hand each selected instance to ``receive``; a service that brings nothing is passed over for the next.

        Raises:
            RegionError: the region failed.
        """
        arrived = False

        async def arriving(store: IncomingStore, series: str | None) -> int:
            nonlocal arrived
            arrived = True
            return await receive(store, series)

        async with self._at_once:
            services = self._services  # another retrieve may change the order meanwhile
            for service in services:
                bring = self._move if service == MOVE else self._get
                try:
                    result = await bring(selection, arriving, deadline, held_up)
                    self._tell(service, result.status, result.sent, result.failed)
                except (Rejected, DimseFailure) as error:
                    if isinstance(error, DimseFailure):
                        self._tell(service, error.status, 0, 0)
                    refused = not isinstance(error, DimseFailure) or error.status in CANNOT_SERVE
                    if arrived or not refused or service == services[-1]:
                        raise
                    continue
                if arrived:
                    self._services = (service, *(x for x in services if x != service))
                if arrived or not result.failed or service == services[-1]:
                    return result
        raise Rejected(f"region {self._profile.name}: no retrieve service is configured")

    def _tell(self, service: str, status: int, completed: int, failed: int | None) -> None:
        name = "c-move" if service == MOVE else "c-get"
        self._observer(RetrieveAnswered(self._profile.id, name, status, completed, failed or 0))

    async def _move(
        self, selection: Selection, receive: Receiver, deadline: Deadline, held_up: Callable[[], bool]
    ) -> SubOperations:
        async with self._destinations.borrow() as destination:
            message_id = next(self._message_ids)

            async def receiving(store: IncomingStore, series: str | None) -> int:
                if store.move_originator_message_id is not None:
                    self._destinations.originator_named()
                return await receive(store, series)

            async def moving(association: Association) -> SubOperations:
                identifier = retrieve_identifier(selection, association.transfer_syntax(MOVE))
                request = association, MOVE, identifier, destination, deadline
                return await move(*request, message_id=message_id, held_up=held_up)

            lease = Lease(destination, self._profile.ae_title, (self._ae_title, message_id), selection, receiving)
            with self._inbox.open(lease):
                try:
                    result = await self._pool.run(QUERY_CONTEXTS, deadline, moving)
                except BROKEN:
                    if lease.arrived or lease.under_way:
                        # Its sub-operations may go on all the same, and what they bring is ours (promise R17).
                        await lease.settle(sys.maxsize, self._quiet_seconds, held_up)
                    raise
                await lease.settle(result.sent, self._quiet_seconds, held_up)
                return result

    async def _get(
        self, selection: Selection, receive: Receiver, deadline: Deadline, held_up: Callable[[], bool]
    ) -> SubOperations:
        contexts = get_contexts(await self._sop_classes(selection, deadline))

        async def receiving(store: IncomingStore) -> int:
            found = await self._inbox.study_and_series(store)
            asked_for = not selection.instances or store.sop_instance_uid in selection.instances
            if not asked_for or not fits(selection, found):
                return self._inbox.refuse(store)
            return await receive(store, found[1])

        async def getting(association: Association) -> SubOperations:
            identifier = retrieve_identifier(selection, association.transfer_syntax(GET))
            return await get(association, GET, identifier, deadline, held_up=held_up)

        return await self._pool.run(contexts, deadline, getting, serve_store=receiving)


def retrieve_services(profile: Profile) -> tuple[str, ...]:
    """Return the retrieve services to try, in order."""
    by_move = (MOVE,) if profile.move_destinations and profile.retrieve != "c-get" else ()
    return by_move if profile.retrieve == "c-move" else (*by_move, GET)
