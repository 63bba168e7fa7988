"""The audit log: records of the same moment share one write to the disk, and each caller waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from gateway.audit.anchor import Anchor, Anchors
from gateway.audit.chain import dump
from gateway.audit.record import Event, Outcome, Record
from gateway.audit.segments import LONGEST_LINE
from gateway.audit.writer import LogWriter
from gateway.errors import AuditUnavailable
from gateway.events import AuditAnchorFailed, AuditFailed, AuditWritten, Observer, unobserved

T = TypeVar("T")

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
class _Batch:
    """Records that go to the disk together, with the times at which they were made, and who waits for each."""

    rows: list[tuple[float, bytes]] = field(default_factory=list)
    callers: list[asyncio.Future[None]] = field(default_factory=list)

    def done(self) -> None:
        for caller in self.callers:
            if not caller.done():
                caller.set_result(None)

    def refuse(self, why: str) -> None:
        for caller in self.callers:
            if not caller.done():
                caller.set_exception(
                    AuditUnavailable(f"the audit log cannot be written ({why}): nothing is released until it can")
                )
                caller.exception()  # whoever waited for it may have left


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
        self._waiting = _Batch()
        self._is_writing = self._closing = False
        self._alarm: asyncio.TimerHandle | None = None
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
        if self._closing or len(self._waiting.rows) >= MOST_WAITING:
            raise AuditUnavailable("the audit log takes no more records: nothing is released without one")
        dumped = dump(record)
        if len(dumped) > LONGEST_RECORD:
            raise AuditUnavailable("what would be released makes too long an audit record: ask for less at once")
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._take_in(dumped, written)
        await written

    @asynccontextmanager
    async def running(self) -> AsyncIterator["AuditLog"]:
        """Write as long as the context lasts.

        Raises:
            ConfigError: the log cannot be written.
        """
        failure: Exception | None = None
        stop = asyncio.Event()
        with self._thread:
            await self._in_thread(self._writer.open)
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(self._keep(stop))
                try:
                    yield self
                except Exception as error:  # noqa: BLE001  (carried past the group, which would wrap it)
                    failure = error
                finally:
                    stop.set()
                    await keeping
                    await self._close()
        if failure is not None:
            raise failure

    async def _close(self) -> None:
        """Write what waits, and last of all that this is the end."""
        if self._stopped is not None:
            self._take_in(dump(self._stopped))
        self._closing = True
        while self._is_writing:
            await self._in_thread(self._anchor)  # behind what is being written
        await self._in_thread(self._anchor)
        self._sleep()
        self._writer.close()

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    def _take_in(self, record: bytes, *callers: asyncio.Future[None]) -> None:
        """Have a record written together with those of the same turn of the loop, or behind what is being written."""
        self._waiting.rows.append((time.time(), record))
        self._waiting.callers.extend(callers)
        if not self._is_writing:
            self._is_writing = True
            # It is done for several requests, so in the context of none.
            asyncio.get_running_loop().call_soon(self._write, context=Context())

    def _write(self) -> None:
        """Have the thread write what waits; while it does, the next batch gathers: there is no other delay."""
        batch, self._waiting = self._waiting, _Batch()
        self._is_writing = bool(batch.rows)
        if self._is_writing:
            self._wake_in(self._upkeep.write_seconds, self._give_up, batch)
            loop = asyncio.get_running_loop()
            writing = self._thread.submit(self._writing(batch.rows))
            writing.add_done_callback(lambda done: loop.call_soon_threadsafe(self._written, batch, done))
        elif not self.is_writable:
            self._wake_in(RETRY_SECONDS, self._try_again)

    def _writing(self, rows: Sequence[tuple[float, bytes]]) -> Callable[[], None]:
        """Return what the thread has to do: one that computes takes turns with the loop, one that waits does not."""
        if len(rows) <= MOST_AT_ONCE and self._writer.is_ready:
            return partial(self._writer.commit, self._writer.lines(rows))
        return partial(self._writer.append, rows)

    def _written(self, batch: _Batch, writing: Future[None]) -> None:
        self._sleep()
        error = writing.exception()
        if error is None:
            self.is_writable = True
            self._observe(AuditWritten(self._writer.head.seq, len(self._waiting.rows)))
            batch.done()
        else:
            self._refuse(batch, str(error.strerror) if isinstance(error, OSError) else type(error).__name__)
        self._write()

    def _refuse(self, batch: _Batch, why: str) -> None:
        self.is_writable = False
        self._observe(AuditFailed(why))
        batch.refuse(why)

    def _give_up(self, batch: _Batch) -> None:
        """Refuse what has waited for too long; the thread goes on with it, as nobody can call it back."""
        waiting, self._waiting = self._waiting, _Batch()
        self._refuse(_Batch(callers=batch.callers + waiting.callers), "the disk does not answer")
        self._wake_in(self._upkeep.write_seconds, self._give_up, batch)

    def _try_again(self) -> None:
        """Find out whether the disk is mended: nobody may ask any more, because we are not ready."""
        if not (self._is_writing or self._closing):
            self._take_in(_WRITABLE_AGAIN)

    def _wake_in(self, seconds: float, call: Callable[..., None], *arguments: object) -> None:
        """Set the only alarm: a write takes too long, or nobody has tried one for too long."""
        self._sleep()
        self._alarm = asyncio.get_running_loop().call_later(seconds, call, *arguments)

    def _sleep(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    async def _keep(self, stop: asyncio.Event) -> None:
        """Anchor the head, and remove what is older than the retention."""
        while not stop.is_set():
            await self._in_thread(self._anchor)
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
        moment = time.time() - self._upkeep.retention_seconds
        first, last = await self._in_thread(self._writer.removable, moment, keep)
        if not last:
            return
        try:
            await self.record(Record(Event.RETENTION, Outcome.SUCCESS, reason=f"removed: {first} to {last}"))
            await self._in_thread(self._writer.remove, last)
        except (AuditUnavailable, OSError) as error:
            self._observe(AuditFailed(str(error)))
