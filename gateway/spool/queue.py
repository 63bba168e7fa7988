"""Instances that were taken in and are not delivered yet: safe on the disk, or gone with the request."""

import asyncio
import fcntl
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, TypeVar

from gateway.errors import ConfigError, QueueFull
from gateway.spool.arrival import Arrival, read, storage_error
from gateway.spool.ledger import Delivery, Kept, Ledger

INSTANCES: Final = "instances"
LOCK: Final = "lock"

_THREADS: Final = 4

T = TypeVar("T")
Entry = tuple[Kept, Collection[str]]


class Queue:
    """The files of instances, and the ledger of those that are to survive a restart.

    Without a folder of its own it has no ledger: what cannot be delivered at once cannot be kept, and is refused.

    Attributes:
        durable: whether instances can be kept.
        size: bytes that are held, delivered soon or not.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int) -> None:
        self.durable = folder is not None
        self.size = 0
        self._max_bytes = max_bytes
        self._folder = folder
        self._instances = Path()
        self._ledger: Ledger | None = None
        self._stack = ExitStack()
        self._files = ThreadPoolExecutor(_THREADS, "queue-files")
        self._writer = ThreadPoolExecutor(1, "queue-ledger")
        self._to_keep: list[tuple[Sequence[Entry], asyncio.Future[None]]] = []
        self._keeping = asyncio.Lock()

    def open(self) -> None:
        """Take the folder into use, and clear it of what a gateway that was killed has left behind.

        Raises:
            ConfigError: it cannot be used, or another gateway uses it.
        """
        if self._folder is None:
            self._instances = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-store-")))
            return
        self._instances = self._folder / INSTANCES
        try:
            self._instances.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = self._stack.enter_context((self._folder / LOCK).open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f'"store.folder" {self._folder} is used by another gateway: give each its own') from None
        except OSError as error:
            raise ConfigError(f'"store.folder" {self._folder} cannot be used ({error.strerror})') from error
        self._ledger = self._stack.enter_context(Ledger(self._folder))
        needed = self._ledger.files()
        for path in self._instances.iterdir():
            if path.name not in needed:
                path.unlink()
        self.size = _size(self._instances)

    async def aclose(self) -> None:
        """Finish what is being written, and close the folder."""
        for threads in (self._writer, self._files):
            await asyncio.to_thread(threads.shutdown)
        self._stack.close()

    # --- files

    def arrive(self) -> Arrival:
        """Begin to write an instance.

        Raises:
            QueueFull: no more is taken until some of it is delivered.
        """
        if self.size >= self._max_bytes:
            self.size = _size(self._instances)  # the command line may have dropped some
        if self.size >= self._max_bytes:
            raise QueueFull(f"the store queue holds {self.size} bytes, and store.max_bytes allows no more")
        return Arrival(self._instances, self._files)

    def account(self, size: int) -> None:
        """Count the bytes of an instance that is written."""
        self.size += size

    def forget(self, file: str) -> None:
        """Remove the file of an instance that was never kept."""
        self._unlink([file])

    def read(self, file: str) -> AsyncIterator[bytes]:
        """Yield the Data Set of an instance."""
        return read(self._instances / file, self._files)

    def _unlink(self, files: Iterable[str]) -> None:
        for file in files:
            path = self._instances / file
            with suppress(FileNotFoundError):
                self.size -= path.stat().st_size
                path.unlink()

    # --- the ledger

    async def keep(self, entries: Sequence[Entry]) -> None:
        """Return when the instances, and to which regions they go, will survive a crash.

        What several callers want kept at the same time goes to the disk together.

        Raises:
            QueueFull: they cannot be kept.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._to_keep.append((entries, done))
        async with self._keeping:
            if self._to_keep and not done.done():
                batch, self._to_keep = self._to_keep, []
                await asyncio.shield(self._keep_all(batch))
        await done

    async def _keep_all(self, batch: list[tuple[Sequence[Entry], asyncio.Future[None]]]) -> None:
        failure: QueueFull | None = None
        try:
            self._unlink(await self._write(self._commit, [entry for entries, _ in batch for entry in entries]))
        except QueueFull as error:
            failure = error
        for _, done in batch:
            if done.done():
                continue
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(QueueFull(str(failure)))

    def _commit(self, ledger: Ledger, batch: list[Entry]) -> list[str]:
        """Bring files and rows to the disk; return the files that a delivery under way makes needless."""
        try:
            for kept, _ in batch:
                _sync(self._instances / kept.file)
            _sync(self._instances)
        except OSError as error:
            raise storage_error(error) from error
        entered = ledger.keep(batch)
        return [kept.file for kept, _ in batch if kept.file not in entered]

    async def due(self, region: str, *, longest: float, limit: int) -> list[Delivery]:
        """Return what a region is to be given now; see ``Ledger.due``."""
        if self._ledger is None:
            return []
        return await self._write(lambda ledger: ledger.due(region, longest=longest, limit=limit))

    async def delivered(self, kept: Kept, region: str) -> None:
        """Take out what a region has."""
        if self._ledger is not None:
            self._unlink(await self._write(lambda ledger: ledger.delivered(kept.file, region)))

    async def postpone(self, delivery: Delivery, next_at: float, reason: str) -> None:
        """Note when a delivery is tried again, and why."""
        await self._write(lambda ledger: ledger.postpone(delivery.number, next_at, reason))

    async def quarantine(self, delivery: Delivery, reason: str) -> None:
        """Try a delivery no more until somebody says so."""
        await self._write(lambda ledger: ledger.quarantine(delivery.number, reason))

    async def _write(self, change: Callable[..., T], *arguments: object) -> T:
        ledger = self._ledger
        if ledger is None:
            raise QueueFull("nothing can be kept: give store.folder a folder that survives a restart")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, change, ledger, *arguments)
        except sqlite3.Error as error:
            raise QueueFull(f"the ledger of the store queue cannot be written ({error})") from error

    async def counted(self) -> dict[tuple[str, str], int]:
        """Return how many deliveries there are, by region and state; none where nothing can be kept."""
        return {} if self._ledger is None else await self._write(lambda ledger: ledger.counted())

    async def version(self) -> int:
        """Return a number that changes when the command line changes the queue."""
        return await self._write(lambda ledger: ledger.version)


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
