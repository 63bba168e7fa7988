"""A region that speaks DIMSE: search, retrieve and verify over its associations."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager

from gateway.config.settings import Settings
from gateway.dataset.identifier import find_identifier
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Level, Query, Row, Selection
from gateway.deadline import Deadline
from gateway.dimse.echo import echo
from gateway.dimse.find import find
from gateway.dimse.pool import AssociationPool
from gateway.dimse.requestor import Peer
from gateway.dimse.sop_classes import COMMON_STORAGE
from gateway.dimse.suboperations import SubOperations
from gateway.errors import DatasetError, Stalled
from gateway.events import CircuitChanged, Observer
from gateway.region.breaker import Breaker
from gateway.region.contexts import FIND, QUERY_CONTEXTS
from gateway.region.inbox import Inbox, Receiver
from gateway.region.outcome import ANSWERED, BROKEN
from gateway.region.profile import Profile
from gateway.region.transfer import Transfer
from gateway.wire.limits import Limits

STUDY, SERIES, SOP_CLASS, SOP_CLASSES_IN_STUDY = "0020000D", "0020000E", "00080016", "00080062"

BREAKER_PATIENCE = 2.0
"""Seconds. A caller that waits less than this proves nothing about the region by giving up."""


class Region:
    """One region of the province, made dependable.

    Attributes:
        profile: what is known of it.
    """

    def __init__(self, profile: Profile, settings: Settings, inbox: Inbox, observer: Observer, limits: Limits) -> None:
        self.profile = profile
        self.breaker = Breaker(profile.id, changed=lambda state: observer(CircuitChanged(profile.id, state)))
        peer = Peer(profile.host, profile.port, profile.ae_title, settings.dimse.ae_title)
        self._pool = AssociationPool(peer, size=profile.max_associations, limits=limits)
        self._transfer = Transfer(profile, settings, self._pool, inbox, self._sop_classes)
        self._max_matches = settings.search.max_matches_per_region

    async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        """Yield each match as the region gives it, undecodable ones left out (PS3.4 C.4.1).

        Raises:
            RegionError: the region failed; what it had yielded stands.
            LimitExceeded: it has more matches than are taken from one region.
            DatasetError: at the end, where a match could not be decoded.
        """
        malformed: DatasetError | None = None
        async with self._guarded(deadline), self._pool.acquire(QUERY_CONTEXTS, deadline) as association:
            syntax = association.transfer_syntax(FIND)
            identifier = find_identifier(query, syntax, character_set=self.profile.character_set)
            matches = find(association, FIND, identifier, deadline, max_matches=self._max_matches)
            async with aclosing(matches):
                async for match in matches:
                    try:
                        row = to_json_model(match, syntax, character_set=self.profile.character_set)
                    except DatasetError as error:
                        malformed = error
                        continue
                    yield row
        if malformed is not None:
            raise malformed

    async def retrieve(
        self, selection: Selection, receive: Receiver, deadline: Deadline, *, held_up: Callable[[], bool]
    ) -> SubOperations:
        """Have each selected instance handed to ``receive``, by C-MOVE or C-GET (PS3.4 C.4.2, C.4.3).

        Raises:
            RegionError: the region failed; what it had sent was handed on.
        """
        async with self._guarded(deadline):
            return await self._transfer.run(selection, receive, deadline, held_up)

    async def verify(self, deadline: Deadline) -> None:
        """Ask for a C-ECHO (PS3.4 A.4), past the circuit breaker; raises RegionError when it does not come."""
        async with self._pool.acquire(QUERY_CONTEXTS, deadline) as association:
            await echo(association, deadline)

    async def aclose(self) -> None:
        """Release all associations."""
        await self._pool.aclose()

    @asynccontextmanager
    async def _guarded(self, deadline: Deadline) -> AsyncIterator[None]:
        """Let an operation through the circuit breaker and tell it how that went."""
        began = time.monotonic()
        if self.breaker.check():
            await self._probe(deadline)
        try:
            yield
        except BROKEN as error:
            if not isinstance(error, Stalled) or time.monotonic() - began >= BREAKER_PATIENCE:
                self.breaker.fail()
            raise
        except ANSWERED:
            self.breaker.succeed()
            raise
        else:
            self.breaker.succeed()

    async def _probe(self, deadline: Deadline) -> None:
        """Try a region that was left alone with a C-ECHO; only an answer closes its circuit."""
        try:
            await self.verify(deadline)
        except BROKEN:
            self.breaker.fail()
            raise
        except BaseException:
            self.breaker.abandon()
            raise
        self.breaker.succeed()

    async def _sop_classes(self, selection: Selection, deadline: Deadline) -> Collection[str]:
        """Find the SOP Classes that a retrieve will meet: as the region tells, else by walking it.

        A region that does not tell at all may send any of the common ones.
        """
        include = frozenset({(SOP_CLASSES_IN_STUDY,)})
        studies = Query(Level.STUDY, keys={(STUDY,): selection.study}, include=include, bare=True)
        found = await self._values(studies, SOP_CLASSES_IN_STUDY, deadline)
        if found:
            return found
        series: Collection[str] = {selection.series} if selection.series else ()
        if not series:
            series = await self._values(Query(Level.SERIES, study=selection.study, bare=True), SERIES, deadline)
        for uid in series:
            include = frozenset({(SOP_CLASS,)})
            query = Query(Level.IMAGE, study=selection.study, series=uid, include=include, bare=True)
            found |= await self._values(query, SOP_CLASS, deadline)
        return found or COMMON_STORAGE

    async def _values(self, query: Query, tag: str, deadline: Deadline) -> set[str]:
        async with aclosing(self.search(query, deadline)) as rows:
            return {value async for row in rows for value in row.get(tag, {}).get("Value") or () if value}
