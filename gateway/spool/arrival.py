"""An instance that is being written to the disk."""

import asyncio
import errno
import hashlib
import hmac
import os
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.errors import QueueFull, SpoolDamaged
from gateway.spool.key import Key

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

    def __init__(self, folder: Path, threads: Executor, key: Key | None = None) -> None:
        self.file = secrets.token_hex(16)
        self.size = 0
        self._path = folder / self.file
        self._threads = threads
        self._digest = hashlib.sha256()
        self._key = key
        self._encryption = None if key is None else key.cipher(self.file).at(0)
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
        """Write what is left, and return the SHA-256 of it all, or a keyed digest where there is a key.

        Raises:
            QueueFull: the disk has no room for it.
        """
        await self._flush()
        self._close()
        digest = self._digest.digest()
        return digest if self._key is None else self._key.digest(digest)

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
                rest = view if self._encryption is None else memoryview(self._encryption.update(view))
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


async def decrypt(path: Path, threads: Executor, key: Key, digest: bytes) -> AsyncIterator[bytes]:
    """Yield what is encrypted in a file; its last piece only once all of it is known to be what was written.

    Raises:
        SpoolDamaged: it is not what the digest is of; without a digest nobody knows.
    """
    loop = asyncio.get_running_loop()
    context, found, held = key.cipher(path.name).at(0), hashlib.sha256(), b""

    def opened() -> bytes:
        piece = context.update(file.read(READ))
        found.update(piece)
        return piece

    with path.open("rb", buffering=0) as file:
        while piece := await loop.run_in_executor(threads, opened):
            if held:
                yield held
            held = piece
    if digest and not hmac.compare_digest(key.digest(found.digest()), digest):
        raise SpoolDamaged("an instance in the store queue is not what was written: its sender has to send it again")
    if held:
        yield held
