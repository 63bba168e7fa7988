"""The associations with one region: few, shared, and never lost."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.incoming import StoreHandler
from gateway.dimse.requestor import Peer, connect
from gateway.errors import Busy, GatewayError, Saturated
from gateway.wire.limits import Limits
from gateway.wire.negotiation import ProposedContext

T = TypeVar("T")
Contexts: TypeAlias = frozenset[ProposedContext]


@dataclass(frozen=True, slots=True)
class Usage:
    """How the associations with a peer are used.

    Attributes:
        in_use: at work, being opened or being closed.
        idle: kept for the next who comes.
        waiting: operations that wait for one.
        cap: the most that there may be.
    """

    in_use: int
    idle: int
    waiting: int
    cap: int


@dataclass(slots=True, eq=False)
class _Waiter:
    contexts: Contexts
    # An association to reuse, or None: leave to open one.
    grant: asyncio.Future[Association | None]


class AssociationPool:
    """Up to ``size`` associations with one peer, those that are being opened or closed included.

    Every association is in exactly one of the sets below; ``_assign`` decides who gets what, and is called after every
    change. An idle association is reused for contexts it was opened with; it is released after ``idle_seconds``, or
    earlier to make room for other contexts. One that comes back dirty is aborted.

    A peer that is busy while others of ours are open has fewer to spare than ``size``: so many are opened from then
    on, and one more every ``GROWS_AFTER`` seconds.
    """

    GROWS_AFTER = 10.0

    def __init__(
        self,
        peer: Peer,
        *,
        size: int = 4,
        idle_seconds: float = 2.0,
        max_waiting: int = 64,
        wait_seconds: float = 2.0,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._peer = peer
        self._size = self._room = size
        self._growth: asyncio.TimerHandle | None = None
        self._idle_seconds = idle_seconds
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds
        self._limits = limits
        self._is_closed = False
        self._waiting: deque[_Waiter] = deque()
        self._opening = 0
        self._active: set[Association] = set()
        self._idle: dict[Association, asyncio.TimerHandle] = {}
        self._draining: set[Association] = set()
        self._closing: set[Association] = set()
        self._connected: set[Association] = set()
        self._certificate_end: float | None = None

    @property
    def usage(self) -> Usage:
        """How its associations are used now."""
        idle = len(self._idle)
        return Usage(self._taken - idle, idle, len(self._waiting), self._size)

    @property
    def certificate_end(self) -> float | None:
        """When the certificate that the peer showed last ends, in seconds since 1970; None where it showed none."""
        return self._certificate_end

    @asynccontextmanager
    async def acquire(
        self, contexts: Sequence[ProposedContext], deadline: Deadline, *, serve_store: StoreHandler | None = None
    ) -> AsyncIterator[Association]:
        """Lend an association that has these contexts for the length of the context.

        An association that was reused and found dead before any answer is ``stale``: acquire again, once.

        Raises:
            Saturated: all associations stay taken, or the queue for them is full.
            RegionError, RemoteProtocolError: none can be opened.
        """
        association = await self.take(contexts, deadline)
        association.serve_store = serve_store
        try:
            yield association
        finally:
            association.serve_store = None
            self.give_back(association)

    async def take(self, contexts: Sequence[ProposedContext], deadline: Deadline) -> Association:
        """Lend an association as ``acquire`` does, until ``give_back``."""
        for is_last in (False, True):
            association = await self._wait(frozenset(contexts), deadline)
            if association is not None:
                association.reused = True
                association.heard = False
                return association
            try:
                return await self._open(contexts, deadline)
            except Busy:
                if is_last or not self._makes_do:
                    raise
        raise self._saturated()

    def give_back(self, association: Association) -> None:
        """Take back what ``take`` lent."""
        self._active.discard(association)
        if association.draining:
            self._draining.add(association)
        elif association.clean and not self._is_closed:
            self._rest(association)
        else:
            association.abort()
        self._assign()

    async def run(
        self,
        contexts: Sequence[ProposedContext],
        deadline: Deadline,
        operation: Callable[[Association], Awaitable[T]],
        *,
        serve_store: StoreHandler | None = None,
    ) -> T:
        """Run an operation on an association; a reused one that proves dead before any answer is replaced, once.

        Raises what ``acquire`` and the operation do.
        """
        may_be_dead = True
        while True:
            async with self.acquire(contexts, deadline, serve_store=serve_store) as association:
                try:
                    return await operation(association)
                except GatewayError:
                    if not (may_be_dead and association.stale):
                        raise
            may_be_dead = False

    async def aclose(self) -> None:
        """Release what is idle, abort what is not, and wait until every socket is closed."""
        self._is_closed = True
        if self._growth is not None:
            self._growth.cancel()
        for waiter in self._waiting:
            if not waiter.grant.done():
                waiter.grant.set_exception(self._saturated())
        self._waiting.clear()
        for association in list(self._idle):
            self._release(association)
        for association in [*self._active, *self._draining]:
            association.abort()
        for association in list(self._connected):
            await association.connection.wait_closed()

    def __repr__(self) -> str:
        active = len(self._active) + len(self._draining) + len(self._closing)
        return (
            f"<AssociationPool {self._peer.called_ae_title} active={active} idle={len(self._idle)} "
            f"opening={self._opening} waiting={len(self._waiting)} size={self._size}>"
        )

    # --- decisions, without I/O

    def _assign(self) -> None:
        while self._waiting:
            waiter = self._waiting[0]
            if waiter.grant.done():  # cancelled, and not yet gone
                self._waiting.popleft()
                continue
            association = self._reusable(waiter.contexts)
            if association is None and self._taken >= self._room:
                if self._idle and not self._closing:
                    self._release(next(iter(self._idle)))
                return
            self._waiting.popleft()
            if association is None:
                self._opening += 1
            else:
                self._idle.pop(association).cancel()
                self._active.add(association)
            waiter.grant.set_result(association)

    def _reusable(self, contexts: Contexts) -> Association | None:
        return next((each for each in self._idle if each.clean and contexts <= each.proposed), None)

    @property
    def _taken(self) -> int:
        return self._opening + len(self._active) + len(self._idle) + len(self._draining) + len(self._closing)

    def _rest(self, association: Association) -> None:
        loop = association.connection.loop
        self._idle[association] = loop.call_later(self._idle_seconds, self._expire, association)

    def _expire(self, association: Association) -> None:
        self._release(association)
        self._assign()

    def _release(self, association: Association) -> None:
        self._idle.pop(association).cancel()
        self._closing.add(association)
        association.request_release(self._limits.cancel_seconds)

    def _changed(self, association: Association) -> None:
        if association.connection.is_closed:
            self._connected.discard(association)
        if association.closed:
            timer = self._idle.pop(association, None)
            if timer is not None:
                timer.cancel()
            self._draining.discard(association)
            self._closing.discard(association)
        elif association in self._draining:
            self._draining.discard(association)
            self.give_back(association)
        self._assign()

    # --- what waits

    async def _open(self, contexts: Sequence[ProposedContext], deadline: Deadline) -> Association:
        """Open an association in the place that was kept for it."""
        association = None
        try:
            association = await connect(self._peer, contexts, deadline, limits=self._limits)
        except Busy:
            self._shrink()
            raise
        finally:
            self._opening -= 1
            if association is None:
                self._assign()
        self._connected.add(association)
        self._active.add(association)
        self._certificate_end = association.connection.certificate_end
        association.on_change = lambda: self._changed(association)
        if self._is_closed:
            self.give_back(association)
            raise self._saturated()
        return association

    @property
    def _makes_do(self) -> bool:
        """Whether there is an association of ours to wait for where the peer has no other to spare."""
        return bool(self._active or self._idle or self._draining)

    def _shrink(self) -> None:
        """Open no more than the peer has been seen to have for us, and try one more from time to time."""
        self._room = max(1, self._taken - 1)
        self._schedule_growth()

    def _schedule_growth(self) -> None:
        if self._growth is not None:
            self._growth.cancel()
        seconds = self.GROWS_AFTER * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
        self._growth = asyncio.get_running_loop().call_later(seconds, self._grow)

    def _grow(self) -> None:
        self._room, self._growth = min(self._room + 1, self._size), None
        if self._room < self._size and not self._is_closed:
            self._schedule_growth()
        self._assign()

    async def _wait(self, contexts: Contexts, deadline: Deadline) -> Association | None:
        if self._is_closed:
            raise self._saturated()
        waiter = _Waiter(contexts, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._assign()
        if len(self._waiting) > self._max_waiting:
            self._waiting.remove(waiter)
            raise self._saturated()
        if waiter.grant.done():
            return waiter.grant.result()
        try:
            async with deadline.within(self._wait_seconds).timeout():
                return await waiter.grant
        except BaseException as error:
            self._withdraw(waiter)
            if isinstance(error, TimeoutError):
                raise self._saturated() from None
            raise

    def _withdraw(self, waiter: _Waiter) -> None:
        """Take a waiter out of the queue, or back what it was given while it was being cancelled."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        elif waiter.grant.done() and not waiter.grant.cancelled() and waiter.grant.exception() is None:
            association = waiter.grant.result()
            if association is None:
                self._opening -= 1
            else:
                self.give_back(association)
        self._assign()

    def _saturated(self) -> Saturated:
        return Saturated(f"all {self._size} associations with {self._peer} are taken: raise max_associations, or wait")
