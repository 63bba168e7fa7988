"""What is done for a request ends when its peer cancels it or is gone (PS3.7 9.3.2.3)."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from gateway.dimse.association import Association
from gateway.errors import Cancelled


@asynccontextmanager
async def interruptible(association: Association, message_id: int) -> AsyncIterator[None]:
    """Stop the body as soon as the peer sends C-CANCEL for its request, or the association ends.

    Raises:
        Cancelled: the peer wants no more.
        GatewayError: what ended the association.
    """

    def interrupted() -> bool:
        return association.closed or message_id in association.cancelled

    if interrupted():
        _stop(association)
    try:
        async with asyncio.timeout(None) as scope:
            loop = asyncio.get_running_loop()
            association.on_interrupt = lambda: scope.reschedule(loop.time()) if interrupted() else None
            try:
                yield
            finally:
                association.on_interrupt = lambda: None
    except TimeoutError:
        if interrupted():
            _stop(association)
        raise


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do some work beside the body, no longer than it; what the body raises stays what it is."""
    stopped: Exception | None = None
    async with asyncio.TaskGroup() as group:
        working = group.create_task(work)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - carried past the group, which would wrap it
            stopped = error
        finally:
            working.cancel()
    if stopped is not None:
        raise stopped


def _stop(association: Association) -> None:
    association.connection.check()
    raise Cancelled("the peer cancelled its request") from None
