"""A search of one region, by as many questions as it takes, however they are put."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import Protocol
from zoneinfo import ZoneInfo

from gateway.config.settings import SearchSettings
from gateway.dataset.identifier import has_short_name
from gateway.dataset.query import Level, Query, Row
from gateway.dataset.zones import upstream
from gateway.deadline import Deadline
from gateway.errors import DimseFailure, GatewayError, Stalled
from gateway.region.guard import Guard
from gateway.region.latency import Latency
from gateway.region.profile import Profile
from gateway.region.split import ResultCap, Split, entity, names_one_study
from gateway.region.walk import Walk, is_hierarchical
from gateway.wire.status import OUT_OF_RESOURCES

LEAST_PATIENCE = 2.0
"""Seconds. No region is given up sooner, however quick it was."""


class Session(Protocol):
    """The questions of one search, one after the other."""

    @property
    def relational(self) -> bool:
        """Whether the region takes keys of several levels at once, and has not shown that it cannot."""

    def rows(self, query: Query, *, relational: bool = False, as_typed: bool = False) -> AsyncGenerator[Row, None]:
        """Yield each row of one question; ``as_typed`` asks for names without wildcards for accents."""

    def complaint(self) -> GatewayError | None:
        """Return what is the matter with the answers so far, although they came to their end."""


class Finder(Protocol):
    """Lends sessions, and remembers what they learn of the region.

    Attributes:
        relational: whether relational queries are worth trying where they are granted.
        granted: whether the region granted them when it was asked last; None before that.
    """

    relational: bool
    granted: bool | None

    @property
    def zone(self) -> ZoneInfo:
        """The region's time zone."""

    def session(self, deadline: Deadline) -> AbstractAsyncContextManager[Session]:
        """Return a context for the questions of one search."""


class Searching:
    """Searches one region.

    Attributes:
        latency: how long that took of late.
    """

    def __init__(self, profile: Profile, limits: SearchSettings, finder: Finder, cap: ResultCap, guard: Guard) -> None:
        self.latency = Latency(LEAST_PATIENCE, limits.soft_seconds)
        self._profile = profile
        self._limits = limits
        self._finder = finder
        self._cap = cap
        self._guard = guard

    def walks(self, query: Query) -> bool:
        """Whether a query is answered level by level: it takes what it takes, and tells nothing of the region."""
        return not (is_hierarchical(query) or (self._finder.relational and self._finder.granted))

    async def rows(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        """Yield each match as the region gives it, undecodable ones left out (PS3.4 C.4.1).

        A query that the region cannot answer as it is, is answered level by level; an answer that the region cuts
        short is asked again in parts. Leaving early cancels what is under way.

        Raises:
            RegionError: the region failed; what it had yielded stands.
            TooBroad: the query has to be answered level by level, and meets too much.
            LimitExceeded: it has more matches than are taken from one region, or than it can be brought to tell.
            DatasetError: at the end, where a match could not be decoded.
            PartlyAnswered: at the end, where the region is a federation, and a part of it did not answer.
        """
        began = time.monotonic()
        try:
            async with (
                self._guard.operation(deadline, walking=self.walks(query)),
                self._finder.session(deadline) as session,
                aclosing(self._rows(session, query)) as rows,
            ):
                async for row in rows:
                    yield row
        except Stalled:
            if not self.walks(query):
                self.latency.given_up(time.monotonic() - began)
            raise
        if not self.walks(query):
            self.latency.finished(time.monotonic() - began)
        if complaint := session.complaint():
            raise complaint

    def _rows(self, session: Session, query: Query) -> AsyncGenerator[Row, None]:
        """Yield the rows of a search, by as many questions as it takes."""
        if is_hierarchical(query):
            return self._ask(session, query)
        return self._relational(session, query) if session.relational else self._walk(session, query)

    def _ask(self, session: Session, query: Query) -> AsyncGenerator[Row, None]:
        """Ask what every archive must be able to answer, for the days that may be the caller's (trap 8)."""
        query = upstream(query, self._finder.zone)
        return self._studies(session, query) if query.level is Level.STUDY else session.rows(query)

    def _studies(self, session: Session, query: Query) -> AsyncGenerator[Row, None]:
        if has_short_name(query) and not self._profile.ignores_accents:
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
