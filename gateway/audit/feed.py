"""Bringing the log to a receiver: in order, every record, however long the receiver is away.

The log itself is the queue, and a place in it is all that is kept: nothing is copied, nothing can overflow, and what
a receiver lacks is at most what retention has not removed, which waits for it.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from gateway.alongside import alongside
from gateway.audit.chain import Entry
from gateway.audit.cursors import Cursors, Place
from gateway.audit.segments import Cursor, entries, writers
from gateway.errors import GatewayError
from gateway.events import AuditFeedState, Observer

BATCH: Final = 200
"""Records that are read and brought together."""


class FeedFailed(GatewayError):
    """A receiver does not take audit records now; they wait for it.

    Attributes:
        delivered: how many of those it was given it has nevertheless, counted from the first.
    """

    slug = "audit-feed-failed"

    def __init__(self, message: str, delivered: int = 0) -> None:
        super().__init__(message)
        self.delivered = delivered


class Receiver(Protocol):
    """Where a feed goes."""

    @property
    def name(self) -> str:
        """The feed's name: of its cursor's file, in events and metrics."""

    async def send(self, batch: Sequence[Entry]) -> None:
        """Return when the receiver has the records.

        Raises:
            FeedFailed: it has not all of them.
        """

    async def aclose(self) -> None:
        """Let go of the receiver."""


class Feed:
    """Brings every writer's records of a log to one receiver.

    Attributes:
        lag_seconds: age of the oldest record that the receiver does not have; 0 where it has all.
    """

    def __init__(
        self,
        folder: Path,
        receiver: Receiver,
        observe: Observer,
        *,
        poll_seconds: float = 1.0,
        retry_seconds: float = 1.0,
        longest_retry_seconds: float = 300.0,
    ) -> None:
        self.name = receiver.name
        self.lag_seconds = 0.0
        self._folder = folder
        self._receiver = receiver
        self._observe = observe
        self._poll = poll_seconds
        self._retry = retry_seconds
        self._longest = longest_retry_seconds
        self._cursors = Cursors(folder, receiver.name)
        self._failures = 0

    def needed(self, writer: str) -> int:
        """Return the oldest record of a writer that the receiver may not have."""
        return self._cursors.of(writer).seq + 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Feed"]:
        """Bring what there is and what comes as long as the context lasts."""
        await asyncio.to_thread(self._cursors.load)
        async with alongside(self._run()):
            yield self

    async def _run(self) -> None:
        try:
            while True:
                moved = False
                for folder in await asyncio.to_thread(writers, self._folder):
                    moved |= await self._bring(folder)
                if not moved:
                    self.lag_seconds = 0.0
                    await asyncio.sleep(self._poll)
        finally:
            await self._receiver.aclose()

    async def _bring(self, folder: Path) -> bool:
        """Bring some records of a writer; whether there were any."""
        place = self._cursors.of(folder.name)
        batch = await asyncio.to_thread(_read, folder, place.cursor)
        if not batch:
            return False
        self.lag_seconds = max(0.0, time.time() - datetime.fromisoformat(batch[0][0].at).timestamp())
        delivered, problem = len(batch), ""
        try:
            await self._receiver.send([entry for entry, _ in batch])
        except FeedFailed as failed:
            delivered, problem = failed.delivered, str(failed)
        if delivered:
            entry, cursor = batch[delivered - 1]
            try:
                await asyncio.to_thread(self._cursors.move, folder.name, Place(cursor, entry.link.seq))
            except OSError as error:
                # It goes on from memory; after a restart some are brought twice.
                self._observe(AuditFeedState(self.name, "cursor-not-kept", self.lag_seconds, str(error.strerror)))
        await (self._wait(problem) if problem else self._recovered())
        return True

    async def _wait(self, problem: str) -> None:
        """Tell of the failure, and wait: longer with each one, and never in step with other gateways."""
        self._observe(AuditFeedState(self.name, FeedFailed.slug, self.lag_seconds, problem))
        longest = min(self._longest, self._retry * 2 ** min(self._failures, 20))
        self._failures += 1
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311  (it hides nothing)

    async def _recovered(self) -> None:
        if self._failures:
            self._failures = 0
            self._observe(AuditFeedState(self.name, "complete", self.lag_seconds))


def _read(folder: Path, after: Cursor) -> list[tuple[Entry, Cursor]]:
    return list(islice(entries(folder, after), BATCH))
