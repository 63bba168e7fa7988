"""Work that is done as long as something else is."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def alongside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do some work beside the body, no longer than it; what the body raises stays what it is.

    What the work itself raises cancels the body, and comes out in an ExceptionGroup.
    """
    stopped: Exception | None = None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        try:
            yield
        except Exception as error:  # noqa: BLE001 - carried past the group, which would wrap it
            stopped = error
        finally:
            for task in tasks:
                task.cancel()
    if stopped is not None:
        raise stopped
