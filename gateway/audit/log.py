"""The audit log: records of the same moment share one write to the disk, and each caller waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from gateway.audit.anchor import Anchor, Anchors
from gateway.audit.chain import dump
from gateway.audit.record import Event, Outcome, Record
from gateway.audit.segments import LONGEST_LINE
from gateway.audit.writer import LogWriter
from gateway.errors import AuditUnavailable
from gateway.events import AuditAnchorFailed, AuditFailed, AuditWritten, Observer, unobserved

MOST_WAITING: Final = 100_000
"""Records that no disk has yet; further ones are refused."""
LONGEST_RECORD: Final = LONGEST_LINE - 4096
"""In bytes; a longer one would not be read again."""
MOST_AT_ONCE: Final = 64
"""Records that are made into lines on the event loop, some microseconds each; more are left to the thread."""
RETRY_SECONDS: Final = 5.0
"""After a write that failed, when nobody asks for another one."""

_STOPPED: Final = Record(Event.STOP)
_WRITABLE_AGAIN: Final = dump(Record(Event.RECOVERY, reason="the log can be written again"))


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What the log does by itself; times in seconds.

    Attributes:
        anchor_seconds: how often the head is anchored.
        retention_seconds: segments that are older as a whole are removed; 0 keeps all.
        write_seconds: a disk that takes longer is given up for the records that wait for it.
    """

    anchor_seconds: float = 60.0
    retention_seconds: float = 0.0
    write_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A record on its way to the disk."""

    at: float
    record: bytes
    written: asyncio.Future[None]


class AuditLog:
    """Keeps records in a hash chain on the disk; it is an ``Auditor``.

    Attributes:
        is_writable: whether the last write reached the disk.
        needed: tells which record is the oldest that a feed still has to bring; retention leaves it.
    """

    def __init__(
        self,
        writer: LogWriter,
        *,
        anchors: Anchors | None = None,
        upkeep: Upkeep = Upkeep(),
        observe: Observer = unobserved,
        stopped: Record | None = _STOPPED,
    ) -> None:
        """Make a log of a writer's records; ``stopped`` is the last of them."""
        self._writer = writer
        self._stopped = stopped
        self._anchors = anchors
        self._upkeep = upkeep
        self._observe = observe
        self._waiting: list[_Waiting] = []
        self._wanted = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, "audit")
        self._anchored = 0
        self.is_writable = True
        self.needed: Callable[[], int] | None = None

    async def record(self, record: Record) -> None:
        """Return when the record is on disk.

        Cancelling the wait leaves the record: the log may tell too much, never too little.

        Raises:
            AuditUnavailable: it cannot be recorded, so nothing may be released.
        """
        if self._closing or len(self._waiting) >= MOST_WAITING:
            raise AuditUnavailable("the audit log takes no more records: nothing is released without one")
        dumped = dump(record)
        if len(dumped) > LONGEST_RECORD:
            raise AuditUnavailable("what would be released makes too long an audit record: ask for less at once")
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(time.time(), dumped, written))
        self._wanted.set()
        await written

    @asynccontextmanager
    async def running(self) -> AsyncIterator["AuditLog"]:
        """Write as long as the context lasts.

        Raises:
            ConfigError: the log cannot be written.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.open)
        failure: Exception | None = None
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(self._write())
            keeping = group.create_task(self._keep(stop))
            try:
                yield self
            except Exception as error:  # noqa: BLE001  (carried past the group, which would wrap it)
                failure = error
            finally:
                stop.set()
                await keeping
                await self._close(writing)
        if failure is not None:
            raise failure

    async def _close(self, writing: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        if self._stopped is not None:
            self._waiting.append(_Waiting(time.time(), dump(self._stopped), loop.create_future()))
        self._closing = True
        self._wanted.set()
        await writing
        await loop.run_in_executor(self._thread, self._anchor)
        self._writer.close()
        self._thread.shutdown(wait=False)

    async def _write(self) -> None:
        while self._waiting or not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self.is_writable else RETRY_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()
            if not (self._waiting or self.is_writable):
                # Nobody may ask any more because we are not ready: find out whether the disk is mended.
                self._waiting.append(_Waiting(time.time(), _WRITABLE_AGAIN, asyncio.Future()))
            if self._waiting:
                await self._write_batch(self._take())

    def _take(self) -> list[_Waiting]:
        batch, self._waiting = self._waiting, []
        return batch

    async def _write_batch(self, batch: list[_Waiting]) -> None:
        rows = [(one.at, one.record) for one in batch]
        # While this batch is on its way the next one gathers: that is all the grouping there is, without a delay.
        write = partial(self._writer.append, rows)
        if len(rows) <= MOST_AT_ONCE and self._writer.is_ready:
            # A thread that computes takes turns with the loop; one that only waits for the disk does not.
            write = partial(self._writer.commit, self._writer.lines(rows))
        writing = asyncio.get_running_loop().run_in_executor(self._thread, write)
        while not (await asyncio.wait((writing,), timeout=self._upkeep.write_seconds))[0]:
            self._refuse([*batch, *self._take()], "the disk does not answer")
        error = writing.exception()
        if error is None:
            self.is_writable = True
            self._observe(AuditWritten(self._writer.head.seq, len(self._waiting)))
            for one in batch:
                if not one.written.done():
                    one.written.set_result(None)
        elif isinstance(error, OSError):
            self._refuse(batch, str(error.strerror))
        else:
            raise error
        if self._waiting:
            self._wanted.set()

    def _refuse(self, batch: Iterable[_Waiting], why: str) -> None:
        self.is_writable = False
        self._observe(AuditFailed(why))
        for one in batch:
            if not one.written.done():
                one.written.set_exception(
                    AuditUnavailable(f"the audit log cannot be written ({why}): nothing is released until it can")
                )
                one.written.exception()  # whoever waited for it may have left

    async def _keep(self, stop: asyncio.Event) -> None:
        """Anchor the head, and remove what is older than the retention."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            await loop.run_in_executor(self._thread, self._anchor)
            await self._retain()
            try:
                async with asyncio.timeout(self._upkeep.anchor_seconds):
                    await stop.wait()
            except TimeoutError:
                continue

    def _anchor(self) -> None:
        head = self._writer.head
        if self._anchors is None or head.seq == self._anchored:
            return
        at = datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
        try:
            self._anchors.add(Anchor(self._writer.folder.name, at, head))
        except OSError as error:
            self._observe(AuditAnchorFailed(str(error.strerror)))
        else:
            self._anchored = head.seq

    async def _retain(self) -> None:
        if not self._upkeep.retention_seconds:
            return
        keep = self.needed() if self.needed else self._writer.head.seq + 1
        first, last = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._writer.removable, time.time() - self._upkeep.retention_seconds, keep
        )
        if not last:
            return
        try:
            await self.record(Record(Event.RETENTION, Outcome.SUCCESS, reason=f"removed: {first} to {last}"))
            await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.remove, last)
        except (AuditUnavailable, OSError) as error:
            self._observe(AuditFailed(str(error)))
