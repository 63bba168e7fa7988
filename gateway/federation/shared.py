"""Work that many want at the same time, done once (single-flight)."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ResultT = TypeVar("ResultT")


class _Flight(Generic[ResultT]):
    """One task, and those who wait for it."""

    __slots__ = ("task", "waiters")

    def __init__(self) -> None:
        self.waiters: set[asyncio.Future[ResultT]] = set()
        self.task: asyncio.Task[None] | None = None

    def land(self, result: ResultT) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(result)

    def fail(self, error: Exception) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)

    def stop(self, _: "asyncio.Task[None]") -> None:
        for waiter in self.waiters:
            waiter.cancel()  # does nothing to one that was told


class Shared(Generic[KeyT, ResultT]):
    """Runs one task for all who want the same; it lives as long as its context.

    Each waits for itself: one that leaves disturbs nobody, and when the last one leaves the task is cancelled.
    An error reaches everyone who waits.
    """

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._flights: dict[KeyT, _Flight[ResultT]] = {}

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for flight in self._flights.values():
            if flight.task is not None:
                flight.task.cancel()
        await self._group.__aexit__(None, None, None)  # it would wrap what ended the context

    async def run(self, key: KeyT, work: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
        """Return what the work under this key gives; it starts unless it is under way."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = self._group.create_task(self._fly(key, flight, work))
            # A task that is stopped before it began leaves nobody waiting either.
            flight.task.add_done_callback(flight.stop)
        waiter: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        flight.waiters.add(waiter)
        try:
            return await waiter
        finally:
            flight.waiters.discard(waiter)
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # it may have come when its caller was just leaving
            if not flight.waiters and flight.task is not None and not flight.task.done():
                await self._give_up(key, flight.task)

    async def _fly(self, key: KeyT, flight: _Flight[ResultT], work: Callable[[], Coroutine[Any, Any, ResultT]]) -> None:
        """Carry the outcome to those who wait, past the group, which an error would end."""
        try:
            flight.land(await work())
        except Exception as error:  # noqa: BLE001 - each who waits raises it
            flight.fail(error)
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _give_up(self, key: KeyT, task: "asyncio.Task[None]") -> None:
        """Stop what nobody waits for any more, and see it stopped; who comes now starts anew."""
        if (flight := self._flights.get(key)) and flight.task is task:
            del self._flights[key]
        task.cancel()
        await asyncio.wait([task])
