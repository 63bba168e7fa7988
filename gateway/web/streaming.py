"""Bodies that are sent while they come into being."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.types import Send

from gateway.dataset.sink import Buffer
from gateway.web.completeness import Header

T = TypeVar("T")


class Body:
    """Sends a response piece by piece, one ASGI message each: nothing is held, nothing copied.

    A body that is not ended makes the server drop the connection, which is how a client learns that something
    is missing.

    Attributes:
        begun: whether the status is on its way.
    """

    def __init__(self, send: Send) -> None:
        self.begun = False
        self._send = send

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        """Send status and header."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, data: Buffer) -> None:
        """Send some bytes; waits while the client is slow."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last bytes."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})


@asynccontextmanager
async def reading(source: AsyncIterable[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Iterate over a source, and close its iterator also when the rest is not wanted."""
    iterator = aiter(source)
    try:
        yield iterator
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()
