"""A region that speaks DIMSE: search, retrieve and verify over its associations."""

import ssl
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing

from gateway.config.paths import path_of
from gateway.config.settings import Settings
from gateway.dataset.query import Level, Query, Row, Selection
from gateway.deadline import Deadline
from gateway.dimse.echo import echo
from gateway.dimse.pool import AssociationPool, Usage
from gateway.dimse.requestor import Peer
from gateway.dimse.sop_classes import COMMON_STORAGE
from gateway.dimse.suboperations import SubOperations
from gateway.dimse.tls import client_context
from gateway.events import CircuitChanged, Observer
from gateway.region.breaker import Breaker
from gateway.region.contexts import QUERY_CONTEXTS
from gateway.region.finder import STUDY, Finder, Session
from gateway.region.guard import Guard
from gateway.region.inbox import Inbox, Receiver
from gateway.region.profile import Profile
from gateway.region.searching import Searching
from gateway.region.split import ResultCap
from gateway.region.storing import Outgoing, Storing
from gateway.region.transfer import Transfer
from gateway.wire.limits import Limits

SERIES, SOP_CLASS, SOP_CLASSES_IN_STUDY = "0020000E", "00080016", "00080062"


class Region:
    """One region of the province, made dependable.

    Attributes:
        profile: what is known of it.
        patience: seconds that a search waits for it.
        usual: seconds that its searches take of late.
    """

    def __init__(self, profile: Profile, settings: Settings, inbox: Inbox, observer: Observer, limits: Limits) -> None:
        self.profile = profile
        self.breaker = Breaker(profile.id, changed=lambda state: observer(CircuitChanged(profile.id, state)))
        peer = Peer(profile.host, profile.port, profile.ae_title, settings.dimse.ae_title, _tls(profile))
        self._pool = AssociationPool(peer, size=profile.max_associations, limits=limits)
        self._transfer = Transfer(profile, settings, self._pool, inbox, self._sop_classes, observer)
        self._storing = Storing(self._pool)
        self._finder = Finder(
            profile,
            self._pool,
            max_matches=settings.search.max_matches_per_region,
            max_patients=settings.search.walk_studies,
        )
        self._guard = Guard(self.breaker, self.verify)
        self._cap = ResultCap(profile.result_cap)
        self._searching = Searching(profile, settings.search, self._finder, self._cap, self._guard)

    @property
    def patience(self) -> float:
        """How many seconds to wait for a search, from how long the last ones took (trap 11)."""
        return self._searching.latency.patience

    @property
    def usual(self) -> float:
        """How many seconds its searches take of late; 0 before anything is known."""
        return self._searching.latency.usual

    @property
    def associations(self) -> Usage:
        """How its associations are used now."""
        return self._pool.usage

    @property
    def certificate_end(self) -> float | None:
        """When its certificate ends, in seconds since 1970, as it was shown last; None where there is none."""
        return self._pool.certificate_end

    def walks(self, query: Query) -> bool:
        """Whether a query is answered level by level: it takes what it takes, and tells nothing of the region."""
        return self._searching.walks(query)

    def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        """Yield each match as the region gives it (PS3.4 C.4.1), and raise at the end as ``Searching.rows`` does."""
        return self._searching.rows(query, deadline)

    async def retrieve(
        self, selection: Selection, receive: Receiver, deadline: Deadline, *, held_up: Callable[[], bool]
    ) -> SubOperations:
        """Have each selected instance handed to ``receive``, by C-MOVE or C-GET (PS3.4 C.4.2, C.4.3).

        Raises:
            RegionError: the region failed; what it had sent was handed on.
        """
        async with self._guard.operation(deadline):
            return await self._transfer.run(selection, receive, deadline, held_up)

    async def store(self, instance: Outgoing, deadline: Deadline, *, stall_seconds: float) -> int:
        """Have the region keep an instance, and return the status: Success or a Warning (PS3.4 B.2.3).

        The deadline is for the association; an instance may take as long as it goes on moving.

        Raises:
            NotStorable: the region takes it in no Transfer Syntax that can be made of it.
            RegionError: the region refused it, or failed.
        """
        async with self._guard.operation(deadline):
            return await self._storing.run(instance, deadline, stall_seconds)

    async def verify(self, deadline: Deadline) -> None:
        """Ask for a C-ECHO (PS3.4 A.4), past the circuit breaker; raises RegionError when it does not come."""
        await self._pool.run(QUERY_CONTEXTS, deadline, lambda association: echo(association, deadline))

    async def examine(self, deadline: Deadline) -> None:
        """Verify it through its circuit breaker, which learns from that.

        Raises:
            OpenCircuit: it is to be left alone.
            RegionError: no C-ECHO came back.
        """
        async with self._guard.operation(deadline):
            await self.verify(deadline)

    async def aclose(self) -> None:
        """Release all associations."""
        await self._pool.aclose()

    async def _sop_classes(self, selection: Selection, deadline: Deadline) -> Collection[str]:
        """Find the SOP Classes that a retrieve will meet: as the region tells, else by walking it.

        A region that does not tell at all may send any of the common ones.
        """
        include = frozenset({(SOP_CLASSES_IN_STUDY,)})
        studies = Query(Level.STUDY, keys={(STUDY,): selection.study}, include=include, bare=True)
        async with self._finder.session(deadline) as session:
            found = await _values(session, studies, SOP_CLASSES_IN_STUDY)
            if found:
                return found
            series: Collection[str] = {selection.series} if selection.series else ()
            if not series:
                series = await _values(session, Query(Level.SERIES, study=selection.study, bare=True), SERIES)
            for uid in series:
                include = frozenset({(SOP_CLASS,)})
                query = Query(Level.IMAGE, study=selection.study, series=uid, include=include, bare=True)
                found |= await _values(session, query, SOP_CLASS)
            return found or COMMON_STORAGE


def _tls(profile: Profile) -> ssl.SSLContext | None:
    """Return what its associations are secured with; raises ConfigError where a file of it cannot be used."""
    if not profile.tls:
        return None
    ca, certificate, key = map(path_of, (profile.ca, profile.certificate, profile.key))
    return client_context(ca, certificate, key)


async def _values(session: Session, query: Query, tag: str) -> set[str]:
    async with aclosing(session.rows(query)) as rows:
        return {value async for row in rows for value in row.get(tag, {}).get("Value") or () if value}
