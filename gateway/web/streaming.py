"""Bodies that are sent while they come into being."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from starlette.types import Scope, Send

from gateway.dataset.sink import Buffer
from gateway.web.completeness import Header

T = TypeVar("T")
PIECES: Final = "gateway.body.pieces"
"""An ASGI extension: what writes body bytes in several pieces without joining them, where the server offers it."""


class Body:
    """Sends a response piece by piece, one ASGI message each: nothing is held, nothing copied.

    A body that is not ended makes the server drop the connection, which is how a client learns that something
    is missing.

    Attributes:
        begun: whether the status is on its way.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self.begun = False
        self._send = send
        self._pieces: Callable[..., Awaitable[None]] | None = scope.get("extensions", {}).get(PIECES)

    async def start(self, status: int, headers: Iterable[Header]) -> None:
        """Send status and header."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, *pieces: Buffer) -> None:
        """Send some bytes; waits while the client is slow."""
        if self._pieces is not None:
            await self._pieces(*pieces)
        else:
            await self._send({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})

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
