"""What is done for a request ends when its peer cancels it or is gone (PS3.7 9.3.2.3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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


def _stop(association: Association) -> None:
    association.connection.check()
    raise Cancelled("the peer cancelled its request") from None
