"""Work that many want at the same time, done once (single-flight)."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ResultT = TypeVar("ResultT")


@dataclass(slots=True, eq=False)
class _Flight(Generic[ResultT]):
    task: asyncio.Task[None]
    outcome: asyncio.Future[ResultT]
    waiting: int = 0


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
            flight.task.cancel()
        await self._group.__aexit__(None, None, None)  # it would wrap what ended the context

    async def run(self, key: KeyT, work: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
        """Return what the work under this key gives; it starts unless it is under way."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = self._started(key, work)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.outcome)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                await self._given_up(key, flight)

    def _started(self, key: KeyT, work: Callable[[], Coroutine[Any, Any, ResultT]]) -> _Flight[ResultT]:
        outcome: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        task = self._group.create_task(self._fly(key, work, outcome))
        task.add_done_callback(lambda _: outcome.cancel())  # a task that was stopped leaves nobody waiting
        return _Flight(task, outcome)

    async def _fly(
        self, key: KeyT, work: Callable[[], Coroutine[Any, Any, ResultT]], outcome: "asyncio.Future[ResultT]"
    ) -> None:
        """Carry the outcome to those who wait, past the group, which an error would end."""
        try:
            result = await work()
        except Exception as error:  # noqa: BLE001 - each who waits raises it
            outcome.set_exception(error)
        else:
            outcome.set_result(result)
        finally:
            if (flight := self._flights.get(key)) and flight.outcome is outcome:
                del self._flights[key]

    async def _given_up(self, key: KeyT, flight: _Flight[ResultT]) -> None:
        """Stop what nobody waits for any more, and see it stopped; who comes now starts anew."""
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.task.cancel()
        await asyncio.wait([flight.task])
        if flight.outcome.done() and not flight.outcome.cancelled():
            flight.outcome.exception()  # it came too late for anyone to hear
