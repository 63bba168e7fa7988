"""A region that speaks DIMSE: search, retrieve and verify over its associations."""

import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

from gateway.config.settings import Settings
from gateway.dataset.identifier import has_short_name
from gateway.dataset.query import Level, Query, Row, Selection
from gateway.dataset.zones import upstream
from gateway.deadline import Deadline
from gateway.dimse.echo import echo
from gateway.dimse.pool import AssociationPool, Usage
from gateway.dimse.requestor import Peer
from gateway.dimse.sop_classes import COMMON_STORAGE
from gateway.dimse.suboperations import SubOperations
from gateway.dimse.tls import client_context
from gateway.errors import DatasetError, DimseFailure, Stalled
from gateway.events import CircuitChanged, Observer
from gateway.region.breaker import Breaker
from gateway.region.contexts import QUERY_CONTEXTS
from gateway.region.finder import STUDY, Finder, Session
from gateway.region.inbox import Inbox, Receiver
from gateway.region.latency import Latency
from gateway.region.outcome import ANSWERED, BROKEN, is_answer
from gateway.region.profile import Profile
from gateway.region.split import ResultCap, Split, entity, names_one_study
from gateway.region.storing import Outgoing, Storing
from gateway.region.transfer import Transfer
from gateway.region.walk import Walk, is_hierarchical
from gateway.wire.limits import Limits
from gateway.wire.status import OUT_OF_RESOURCES

SERIES, SOP_CLASS, SOP_CLASSES_IN_STUDY = "0020000E", "00080016", "00080062"

LEAST_PATIENCE = 2.0
"""Seconds. No region is given up sooner, however quick it was."""

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
        peer = Peer(profile.host, profile.port, profile.ae_title, settings.dimse.ae_title, _tls(profile))
        self._pool = AssociationPool(peer, size=profile.max_associations, limits=limits)
        self._transfer = Transfer(profile, settings, self._pool, inbox, self._sop_classes, observer)
        self._storing = Storing(self._pool)
        self._limits = settings.search
        self._finder = Finder(
            profile,
            self._pool,
            max_matches=settings.search.max_matches_per_region,
            max_patients=settings.search.walk_studies,
        )
        self._cap = ResultCap(profile.result_cap)
        self._latency = Latency(LEAST_PATIENCE, settings.search.soft_seconds)

    @property
    def patience(self) -> float:
        """How many seconds to wait for a search, from how long the last ones took (trap 11)."""
        return self._latency.patience

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
        return not (is_hierarchical(query) or (self._finder.relational and self._finder.granted))

    async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        """Yield each match as the region gives it, undecodable ones left out (PS3.4 C.4.1).

        A query that the region cannot answer as it is, is answered level by level; an answer that the region cuts
        short is asked again in parts. Leaving early cancels what is under way.

        Raises:
            RegionError: the region failed; what it had yielded stands.
            TooBroad: the query has to be answered level by level, and meets too much.
            LimitExceeded: it has more matches than are taken from one region, or than it can be brought to tell.
            DatasetError: at the end, where a match could not be decoded.
        """
        began = time.monotonic()
        try:
            async with (
                self._guarded(deadline, walking=self.walks(query)),
                self._finder.session(deadline) as session,
                aclosing(self._rows(session, query)) as rows,
            ):
                async for row in rows:
                    yield row
        except Stalled:
            if not self.walks(query):
                self._latency.given_up(time.monotonic() - began)
            raise
        if not self.walks(query):
            self._latency.finished(time.monotonic() - began)
        if session.malformed:
            raise DatasetError(f"{session.malformed} matches of region {self.profile.id} could not be decoded")

    async def retrieve(
        self, selection: Selection, receive: Receiver, deadline: Deadline, *, held_up: Callable[[], bool]
    ) -> SubOperations:
        """Have each selected instance handed to ``receive``, by C-MOVE or C-GET (PS3.4 C.4.2, C.4.3).

        Raises:
            RegionError: the region failed; what it had sent was handed on.
        """
        async with self._guarded(deadline):
            return await self._transfer.run(selection, receive, deadline, held_up)

    async def store(self, instance: Outgoing, deadline: Deadline, *, stall_seconds: float) -> int:
        """Have the region keep an instance, and return the status: Success or a Warning (PS3.4 B.2.3).

        The deadline is for the association; an instance may take as long as it goes on moving.

        Raises:
            NotStorable: the region takes it in no Transfer Syntax that can be made of it.
            RegionError: the region refused it, or failed.
        """
        async with self._guarded(deadline):
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
        async with self._guarded(deadline):
            await self.verify(deadline)

    async def aclose(self) -> None:
        """Release all associations."""
        await self._pool.aclose()

    def _rows(self, session: Session, query: Query) -> AsyncGenerator[Row, None]:
        """Yield the rows of a search, by as many C-FINDs as it takes."""
        if is_hierarchical(query):
            return self._ask(session, query)
        return self._relational(session, query) if session.relational else self._walk(session, query)

    def _ask(self, session: Session, query: Query) -> AsyncGenerator[Row, None]:
        """Ask what every archive must be able to answer, for the days that may be the caller's (trap 8)."""
        query = upstream(query, self._finder.zone)
        return self._studies(session, query) if query.level is Level.STUDY else session.rows(query)

    def _studies(self, session: Session, query: Query) -> AsyncGenerator[Row, None]:
        if has_short_name(query) and not self.profile.ignores_accents:
            return self._of_a_short_name(session, query)
        if names_one_study(query):
            return session.rows(query)  # that no cap of a region cuts short
        return self._split(session.rows).rows(query)

    def _split(self, ask: Callable[[Query], AsyncGenerator[Row, None]]) -> Split:
        limits = self._limits
        return Split(ask, self._cap, max_searches=limits.split_searches, max_rows=limits.max_matches_per_region)

    async def _of_a_short_name(self, session: Session, query: Query) -> AsyncGenerator[Row, None]:
        """Ask for studies of the name as it is typed, and only then for all that may be meant."""
        seen = set[tuple[str, str]]()
        for as_typed in (True, False):
            async with aclosing(self._split(partial(session.rows, as_typed=as_typed)).rows(query)) as rows:
                async for row in rows:
                    if entity(row) not in seen:
                        yield row
                    if as_typed:
                        seen.add(entity(row))

    async def _relational(self, session: Session, query: Query) -> AsyncGenerator[Row, None]:
        """Ask a region that grants relational queries; one that fails at the first is not asked so again."""
        is_told = False
        try:
            async with aclosing(session.rows(upstream(query, self._finder.zone), relational=True)) as rows:
                async for row in rows:
                    is_told = True
                    yield row
        except DimseFailure as error:
            if is_told or error.status == OUT_OF_RESOURCES:
                raise
            self._finder.relational = False
        else:
            return
        async with aclosing(self._walk(session, query)) as rows:
            async for row in rows:
                yield row

    def _walk(self, session: Session, query: Query) -> AsyncGenerator[Row, None]:
        limits = self._limits
        walk = Walk(partial(self._ask, session), self._finder.zone, limits.walk_studies, limits.walk_series)
        return walk.rows(query)

    @asynccontextmanager
    async def _guarded(self, deadline: Deadline, *, walking: bool = False) -> AsyncIterator[None]:
        """Let an operation through the circuit breaker and tell it how that went.

        A region that is ``walking`` when the deadline passes was answering all the time.
        """
        if self.breaker.check():
            await self._probe(deadline)
        began = time.monotonic()
        try:
            yield
        except (*BROKEN, *ANSWERED) as error:
            if not (walking and deadline.passed):
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
    ca, certificate, key = (Path(name) if name else None for name in (profile.ca, profile.certificate, profile.key))
    return client_context(ca, certificate, key)


async def _values(session: Session, query: Query, tag: str) -> set[str]:
    async with aclosing(session.rows(query)) as rows:
        return {value async for row in rows for value in row.get(tag, {}).get("Value") or () if value}
