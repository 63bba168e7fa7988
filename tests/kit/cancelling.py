"""Cancels a coroutine at each point where it waits, one run per point (P11)."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any


class CancelledAt:
    """Awaits a coroutine and cancels the current task the n-th time that it waits, counted from 1.

    Attributes:
        reached: whether it waited so often.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], point: int) -> None:
        self._coroutine = coroutine
        self._left = point
        self.reached = False

    def __await__(self) -> Generator[Any, None, Any]:
        error: BaseException | None = None
        while True:
            try:
                waited_for = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
            except StopIteration as result:
                return result.value
            self._left -= 1
            if not self._left:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()  # it takes effect at the yield below, as if the caller had cancelled just then
            try:
                yield waited_for
            except BaseException as caught:  # noqa: BLE001 - handed on to the coroutine, as the task would
                error = caught
            else:
                error = None


async def cancelled_at_every_point(
    scenario: Callable[[], Coroutine[Any, Any, Any]], check: Callable[[int], Awaitable[None]]
) -> int:
    """Run the scenario again and again, cancelled at its first wait, its second and so on, until it ends first.

    After each run `check` is awaited with the number of the point. Returns how many points there were.
    """
    point = 0
    while True:
        point += 1
        run = CancelledAt(scenario(), point)

        async def drive(run: CancelledAt = run) -> None:
            await run

        task = asyncio.ensure_future(drive())
        await asyncio.wait([task])
        if not run.reached:
            task.result()
            return point - 1
        if not task.cancelled():
            error = task.exception()
            assert error is None, f"cancelled at point {point}, it raised {error!r}"
        await check(point)
