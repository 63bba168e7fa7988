"""An instance that is being written to the disk."""

import asyncio
import errno
import hashlib
import os
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.errors import QueueFull

BATCH: Final = 1 << 20
"""Bytes that go to the disk at once: a thread is woken for no less."""
READ: Final = 1 << 18

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Arrival:
    """One file while it is written, under a name of our own.

    Attributes:
        file: its name.
        size: bytes written so far.
    """

    def __init__(self, folder: Path, threads: Executor) -> None:
        self.file = secrets.token_hex(16)
        self.size = 0
        self._path = folder / self.file
        self._threads = threads
        self._digest = hashlib.sha256()
        self._waiting: list[memoryview] = []
        self._unwritten = 0
        self._descriptor: int | None = None

    async def write(self, data: memoryview) -> None:
        """Take the next bytes, a view that stays valid.

        Raises:
            QueueFull: the disk has no room for them.
        """
        self._waiting.append(data)
        self._unwritten += len(data)
        if self._unwritten >= BATCH:
            await self._flush()

    async def finish(self) -> bytes:
        """Write what is left, and return the SHA-256 of it all.

        Raises:
            QueueFull: the disk has no room for it.
        """
        await self._flush()
        self._close()
        return self._digest.digest()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._close()
        with suppress(FileNotFoundError):
            self._path.unlink()

    async def _flush(self) -> None:
        views, self._waiting, self._unwritten = self._waiting, [], 0
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._write, views)
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])  # its descriptor must not be closed, and used again, under it
            raise

    def _write(self, views: list[memoryview]) -> None:
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            for view in views:
                self._digest.update(view)
                rest = view
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
                self.size += len(view)
        except OSError as error:
            raise storage_error(error) from error

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def storage_error(error: OSError) -> QueueFull:
    """Return what the caller is told of a disk that does not take any more."""
    if error.errno in _FULL:
        return QueueFull("the disk of the store queue is full: make room in the folder that store.folder names")
    return QueueFull(
        f"the store queue cannot be written ({error.strerror}): look at the folder that store.folder names"
    )


async def read(path: Path, threads: Executor) -> AsyncIterator[bytes]:
    """Yield the bytes of a file, a quarter of a MiB at a time."""
    loop = asyncio.get_running_loop()
    with path.open("rb", buffering=0) as file:
        while piece := await loop.run_in_executor(threads, file.read, READ):
            yield piece
