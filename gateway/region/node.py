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
from gateway.errors import DatasetError, LimitExceeded
from gateway.events import CircuitChanged, Observer
from gateway.region.breaker import Breaker
from gateway.region.contexts import FIND, QUERY_CONTEXTS
from gateway.region.inbox import Inbox, Receiver
from gateway.region.outcome import ANSWERED, BROKEN, is_answer
from gateway.region.profile import Profile
from gateway.region.transfer import Transfer
from gateway.wire.limits import Limits

STUDY, SERIES, SOP_CLASS, SOP_CLASSES_IN_STUDY = "0020000D", "0020000E", "00080016", "00080062"

OF_THE_RESPONSE = ("00080005", "00080052")
"""What describes a C-FIND response, not the entity: how its text was encoded, and its Query/Retrieve Level."""

ISSUER = "00100021"
OF_THE_RESPONSE = ("00080005", "00080052")
"""What describes a C-FIND response, not the entity: how its text was encoded, and its Query/Retrieve Level."""

BREAKER_PATIENCE = 2.0
"""Seconds. A caller that waits less than this proves nothing about the region by giving up."""


class Region:
    """One region of the province, made dependable.

    Attributes:
        profile: what is known of it.
        patience: seconds that a search waits for it.
    """

    def __init__(self, profile: Profile, settings: Settings, inbox: Inbox, observer: Observer, limits: Limits) -> None:
        self.profile = profile
        self.breaker = Breaker(profile.id, changed=lambda state: observer(CircuitChanged(profile.id, state)))
        peer = Peer(profile.host, profile.port, profile.ae_title, settings.dimse.ae_title)
        self._pool = AssociationPool(peer, size=profile.max_associations, limits=limits)
        self._transfer = Transfer(profile, settings, self._pool, inbox, self._sop_classes)
        self._max_matches = settings.search.max_matches_per_region
        self.patience = settings.search.soft_seconds

    async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        """Yield each match as the region gives it, undecodable ones left out (PS3.4 C.4.1).

        Raises:
            RegionError: the region failed; what it had yielded stands.
            LimitExceeded: it has more matches than are taken from one region.
            DatasetError: at the end, where a match could not be decoded.
        """
        malformed = 0
        async with self._guarded(deadline), aclosing(self._matches(query, deadline)) as matches:
            async for syntax, match in matches:
                try:
                    row = to_json_model(match, syntax, character_set=self.profile.character_set)
                except (DatasetError, LimitExceeded):
                    malformed += 1
                    continue
                yield self._of_the_entity(row, query)
        if malformed:
            raise DatasetError(f"{malformed} matches of region {self.profile.id} could not be decoded")

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
        await self._pool.run(QUERY_CONTEXTS, deadline, lambda association: echo(association, deadline))

    async def aclose(self) -> None:
        """Release all associations."""
        await self._pool.aclose()

    def _of_the_entity(self, row: Row, query: Query) -> Row:
        """Leave out what describes the response; an issuer asked for and not said is the region's (trap 5)."""
        for tag in OF_THE_RESPONSE:
            row.pop(tag, None)
        asked = (ISSUER,) in query.include or (ISSUER,) in query.keys
        if asked and self.profile.issuer_of_patient_id and not row.get(ISSUER, {}).get("Value"):
            row[ISSUER] = {"vr": "LO", "Value": [self.profile.issuer_of_patient_id]}
        return row

    async def _matches(self, query: Query, deadline: Deadline) -> AsyncGenerator[tuple[str, bytes], None]:
        """Yield the transfer syntax and the bytes of each matching Identifier.

        An idle association may have died unnoticed: one that ends before it has said anything is replaced, once.
        """
        for may_be_dead in (True, False):
            async with self._pool.acquire(QUERY_CONTEXTS, deadline) as association:
                syntax = association.transfer_syntax(FIND)
                identifier = find_identifier(query, syntax, character_set=self.profile.character_set)
                try:
                    found = find(association, FIND, identifier, deadline, max_matches=self._max_matches)
                    async with aclosing(found):
                        async for match in found:
                            yield syntax, match
                except BROKEN:
                    if not (may_be_dead and association.stale):
                        raise
                else:
                    return

    @asynccontextmanager
    async def _guarded(self, deadline: Deadline) -> AsyncIterator[None]:
        """Let an operation through the circuit breaker and tell it how that went."""
        if self.breaker.check():
            await self._probe(deadline)
        began = time.monotonic()
        try:
            yield
        except (*BROKEN, *ANSWERED) as error:
            self._judge(error, deadline, began)
            raise
        else:
            self.breaker.succeed()

    async def _probe(self, deadline: Deadline) -> None:
        """Try a region that was left alone with a C-ECHO; only an answer closes its circuit."""
        began = time.monotonic()
        try:
            await self.verify(deadline)
        except BROKEN as error:
            self._judge(error, deadline, began)
            raise
        else:
            self.breaker.succeed()
        finally:
            self.breaker.abandon()

    def _judge(self, error: Exception, deadline: Deadline, began: float) -> None:
        """Tell the circuit breaker of an error, unless all it tells is that the caller was in a hurry."""
        if is_answer(error):
            self.breaker.succeed()
        elif not deadline.passed or time.monotonic() - began >= BREAKER_PATIENCE:
            self.breaker.fail()

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
        async with aclosing(self._matches(query, deadline)) as matches:
            rows = [to_json_model(match, syntax) async for syntax, match in matches]
        return {value for row in rows for value in row.get(tag, {}).get("Value") or () if value}
