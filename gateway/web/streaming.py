"""Bodies that are sent while they come into being."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from starlette.types import Scope, Send

from gateway.dataset.sink import Buffer
from gateway.web.completeness import Header
from gateway.web.compression import CODED, Gzip

T = TypeVar("T")
PIECES: Final = "gateway.body.pieces"
"""An ASGI extension: what writes body bytes in several pieces without joining them, where the server offers it."""
SENT: Final = "gateway.body.sent"
"""An ASGI extension: tells how many bytes were written so."""


class Standing(Protocol):
    """Whether what was allowed still is."""

    @property
    def in_doubt(self) -> bool:
        """Whether it has to be decided again."""

    async def confirm(self) -> None:
        """Decide again; raises where it is not."""


class Body:
    """Sends a response piece by piece, one ASGI message each: nothing is held, nothing copied.

    A body that is not ended makes the server drop the connection, which is how a client learns that something
    is missing.

    Attributes:
        begun: whether the status is on its way.
        standing: whether the caller may still have it, asked before each piece; None where that cannot change.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        self.begun = False
        self.standing: Standing | None = None
        self._send = send
        self._gzip: Gzip | None = None
        self._pieces: Callable[..., Awaitable[None]] | None = scope.get("extensions", {}).get(PIECES)

    async def start(self, status: int, headers: Iterable[Header], *, gzip: bool = False) -> None:
        """Send status and header; what follows is compressed on its way where that is said."""
        if self.standing is not None and self.standing.in_doubt:
            await self.standing.confirm()
        self.begun = True
        told = list(headers)
        if gzip:
            self._gzip = Gzip()
            told.append(CODED)
        if any(name == b"content-length" for name, _ in told):
            self._pieces = None  # which writes chunks, that a body of known length has none of
        await self._send({"type": "http.response.start", "status": status, "headers": told})

    async def write(self, *pieces: Buffer) -> None:
        """Send some bytes; waits while the client is slow.

        Raises:
            NotFound, ConsentBlocked: they are not for the caller any more.
        """
        if self._gzip is not None:
            pieces = (await self._gzip.compressed(b"".join(pieces)),)
        if self.standing is not None and self.standing.in_doubt:
            await self.standing.confirm()
        if self._pieces is not None:
            await self._pieces(*pieces)
        else:
            await self._send({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last bytes; raises as ``write`` does."""
        if self._gzip is not None:
            data = await self._gzip.compressed(data, last=True)
        if self.standing is not None and self.standing.in_doubt:
            await self.standing.confirm()
        await self._send({"type": "http.response.body", "body": data, "more_body": False})


class _Reading(AbstractAsyncContextManager[AsyncIterator[T]]):
    __slots__ = ("_iterator",)

    def __init__(self, source: AsyncIterable[T]) -> None:
        self._iterator = aiter(source)

    async def __aenter__(self) -> AsyncIterator[T]:
        return self._iterator

    async def __aexit__(self, *_: object) -> None:
        if isinstance(self._iterator, AsyncGenerator):
            await self._iterator.aclose()


def reading(source: AsyncIterable[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """Iterate over a source, and close its iterator also when the rest is not wanted."""
    return _Reading(source)


@dataclass(slots=True)
class _Outcome(Generic[T]):
    """How a job went; its failure is raised when it is its turn, not when it happens."""

    results: Sequence[T]
    error: Exception | None = None

    @classmethod
    async def of(cls, job: Callable[[], Awaitable[T]]) -> "_Outcome[T]":
        try:
            return cls((await job(),))
        except Exception as error:  # noqa: BLE001 - raised by ``take``
            return cls((), error)

    def take(self) -> T:
        if self.error is not None:
            raise self.error
        return self.results[0]


@asynccontextmanager
async def ahead(jobs: Sequence[Callable[[], Awaitable[T]]], width: int = 4) -> AsyncIterator[AsyncIterator[T]]:
    """Iterate over the results of jobs, in order, while the next few are under way."""
    stopped: Exception | None = None
    async with asyncio.TaskGroup() as group:
        waiting: deque[asyncio.Task[_Outcome[T]]] = deque()

        async def results() -> AsyncIterator[T]:
            for job in jobs:
                waiting.append(group.create_task(_Outcome.of(job)))
                if len(waiting) >= width:
                    yield (await waiting.popleft()).take()
            while waiting:
                yield (await waiting.popleft()).take()

        try:
            async with reading(results()) as iterator:
                yield iterator
        except Exception as error:  # noqa: BLE001 - carried past the group, which would wrap it
            stopped = error
        finally:
            for task in waiting:
                task.cancel()
    if stopped is not None:
        raise stopped
