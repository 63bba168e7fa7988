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
from gateway.spool.arrival import Arrival, decrypt, read, storage_error
from gateway.spool.key import Key, claim
from gateway.spool.ledger import DELIVERED, Delivery, Holding, Kept, Ledger
from gateway.spool.private import private_file, private_folder

INSTANCES: Final = "instances"
LOCK: Final = "lock"

WEEK: Final = 7 * 86400.0

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

    def __init__(
        self, folder: Path | None, *, max_bytes: int, remember_seconds: float = WEEK, key: Key | None = None
    ) -> None:
        self.durable = folder is not None
        self.size = 0
        self._max_bytes = max_bytes
        self._remember_seconds = remember_seconds
        self._key = key
        self._delivered: list[tuple[str, str, str]] = []
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
            ConfigError: it cannot be used, or not with this key, or another gateway uses it.
        """
        if self._folder is None:
            self._instances = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-store-")))
            return
        self._instances = self._folder / INSTANCES
        try:
            private_folder(self._folder)
            private_folder(self._instances)
            lock = self._stack.enter_context(private_file(self._folder / LOCK).open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f'"store.folder" {self._folder} is used by another gateway: give each its own') from None
        except OSError as error:
            raise ConfigError(f'"store.folder" {self._folder} cannot be used ({error.strerror})') from error
        self._ledger = self._stack.enter_context(Ledger(self._folder, self._key))
        needed = self._ledger.files()
        claim(self._folder, self._key, "store.key_file", is_empty=not needed)
        for path in self._instances.iterdir():
            if path.name not in needed:
                path.unlink()
        self.size = _size(self._instances)

    async def aclose(self) -> None:
        """Finish what is being written, and close the folder."""
        with suppress(QueueFull):  # what is not noted is not claimed
            await self.remember()
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
        return Arrival(self._instances, self._files, self._key)

    def account(self, size: int) -> None:
        """Count the bytes of an instance that is written."""
        self.size += size

    def forget(self, file: str) -> None:
        """Remove the file of an instance that was never kept."""
        self._unlink([file])

    def read(self, file: str, digest: bytes = b"") -> AsyncIterator[bytes]:
        """Yield the Data Set of an instance.

        Raises:
            SpoolDamaged: it was encrypted, and is not what the digest is of.
        """
        path = self._instances / file
        if self._key is None:
            return read(path, self._files)
        return decrypt(path, self._files, self._key, digest)

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

    def note(self, kept: Kept, region: str) -> None:
        """Remember that a region has an instance, from the next ``remember`` on across a restart, too."""
        if self._ledger is not None:
            self._delivered.append((kept.sop_instance_uid, region, kept.sop_class_uid))

    async def remember(self) -> None:
        """Write down what was noted.

        Raises:
            QueueFull: it cannot be written, and is forgotten.
        """
        noted, self._delivered = self._delivered, []
        if noted:
            await self._write(lambda ledger: ledger.note(noted, seconds=self._remember_seconds))

    async def holdings(self, uids: Collection[str]) -> dict[str, list[Holding]]:
        """Return what is known of SOP Instances that were taken in; one whose file is not whole is not held.

        Raises:
            QueueFull: the ledger cannot be read.
        """
        if self._ledger is None:
            return {}
        await self.remember()
        return await self._write(lambda ledger: self._whole(ledger.holdings(uids)))

    def _whole(self, found: dict[str, list[Holding]]) -> dict[str, list[Holding]]:
        return {uid: [x for x in held if x.state == DELIVERED or self._is_whole(x)] for uid, held in found.items()}

    def _is_whole(self, holding: Holding) -> bool:
        try:
            return (self._instances / holding.file).stat().st_size == holding.size
        except OSError:
            return False

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
