"""The spool's files: packs of Data Sets, one behind the other, in a folder that is nobody else's."""

import contextlib
import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from zlib import crc32

from gateway.errors import ConfigError, SpoolDamaged
from gateway.spool.key import PROOF, FileCipher, Key
from gateway.spool.private import private_folder

SUFFIX = ".pack"
INDEX = "index.sqlite"
LOCK = "lock"
PREFIX = "gateway-spool-"
"""How a folder that was made for one run is called."""

MOST_BUFFERS = min(os.sysconf("SC_IOV_MAX"), 1024)
AT_ONCE = 1 << 20


class Pack:
    """One file.

    Attributes:
        name: of the file, random: nothing from the wire is ever part of a path.
        size: bytes that are spoken for.
        born_at: on the loop's clock.
        used_at: when it was last read or written, on the same.
        users: those who read or write it now.
        unlinked: whether its name is gone; who holds it reads on.
    """

    __slots__ = (
        "_cipher",
        "_fd",
        "_made",
        "_path",
        "_stamp",
        "born_at",
        "name",
        "size",
        "unlinked",
        "used_at",
        "users",
    )

    def __init__(self, folder: Path, name: str, size: int, born_at: float, key: Key | None = None) -> None:
        self.name = name
        self.size = size
        self.born_at = self.used_at = born_at
        self.users = 0
        self.unlinked = False
        self._path = folder / name
        self._cipher = None if key is None else key.cipher(name)
        self._made = size > 0
        self._stamp: tuple[int, int] | None = None
        self._fd = -1

    @classmethod
    def new(cls, folder: Path, now: float, key: Key | None = None) -> "Pack":
        """Name one; its file is made with its first bytes."""
        return cls(folder, secrets.token_hex(16) + SUFFIX, 0, now, key)

    def hold(self) -> None:
        """Keep it for one more user."""
        self.users += 1

    def release(self) -> None:
        """Let it go for one user; the last one closes the file."""
        self.users -= 1
        if self.users == 0:
            self.close()

    def touch(self, now: float) -> None:
        """Note that it was written to by us, and how its file looks since."""
        self.used_at = now
        self._stamp = self._look()

    @property
    def lost(self) -> bool:
        """Whether its bytes are gone: its name is, and nobody held it then."""
        return self.unlinked and self._fd < 0

    @property
    def untouched(self) -> bool:
        """Whether its file looks as we left it, in this run."""
        return self._stamp is not None and self._stamp == self._look()

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.fstat(self._fd) if self._fd >= 0 else self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def open(self) -> int:
        """Return a descriptor; the first one makes the file. Raises OSError."""
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if self._made else os.O_CREAT | os.O_EXCL)
            self._fd = os.open(self._path, flags, 0o600)
            self._made = True
            if self.unlinked:  # it expired before its first bytes
                self._path.unlink(missing_ok=True)
        return self._fd

    def write(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Write all the buffers there, once and for all; raises OSError."""
        fd = self.open()
        if self._cipher is not None:
            _write_encrypted(fd, self._cipher, offset, buffers)
            return
        pending = list(buffers)
        while pending:
            done = os.pwritev(fd, pending[:MOST_BUFFERS], offset)
            offset += done
            pending = _rest(pending, done)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes, all of them.

        Raises:
            SpoolDamaged: they are not there.
        """
        data = self._read(offset, length)
        return data if self._cipher is None else self._cipher.at(offset).update(data)

    def _read(self, offset: int, length: int) -> bytes:
        try:
            data = os.pread(self.open(), length, offset)
            while len(data) < length:
                more = os.pread(self.open(), length - len(data), offset + len(data))
                if not more:
                    raise SpoolDamaged("a file of the spool is shorter than it was")
                data += more
        except OSError as error:
            raise SpoolDamaged(f"a file of the spool cannot be read ({error.strerror})") from error
        return data

    def read_cached(self, offset: int, length: int) -> bytes | None:
        """Return bytes that the disk need not be asked for, else None."""
        data = bytearray(length)
        try:
            done = os.preadv(self.open(), [data], offset, os.RWF_NOWAIT)
        except OSError:
            return None
        if done < length:
            return None
        if self._cipher is not None:
            return self._cipher.at(offset).update(data)
        return data  # type: ignore[return-value]  # joined or viewed, never hashed

    def checksum(self, offset: int, length: int) -> bytes:
        """Return the CRC-32 of a range, or its keyed digest where there is a key; raises SpoolDamaged."""
        pieces = (self._read(at, min(AT_ONCE, offset + length - at)) for at in range(offset, offset + length, AT_ONCE))
        if self._cipher is not None:
            return self._cipher.digest(offset, length, pieces)
        value = 0
        for piece in pieces:
            value = crc32(piece, value)
        return value.to_bytes(4, "big")

    def unlink(self) -> None:
        """Take the name away; the bytes go with the last user."""
        if self.users and self._made:
            with contextlib.suppress(OSError):  # who holds it reads on, also who has not begun to
                self.open()
        self.unlinked = True
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def close(self) -> None:
        """Close the file; reading opens it again as long as it has its name."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@dataclass(frozen=True, slots=True)
class Extent:
    """Where one Data Set is."""

    pack: Pack
    offset: int

    @property
    def lost(self) -> bool:
        """Whether the file is gone."""
        return self.pack.lost

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes at an offset into the Data Set; raises SpoolDamaged."""
        return self.pack.read(self.offset + offset, length)

    def read_cached(self, offset: int, length: int) -> bytes | None:
        """Return the same without waiting for the disk, None where that cannot be."""
        return self.pack.read_cached(self.offset + offset, length)

    def hold(self) -> None:
        """Keep the file for one more reader."""
        self.pack.hold()

    def release(self) -> None:
        """Let it go for one reader."""
        self.pack.release()


def _write_encrypted(fd: int, cipher: FileCipher, offset: int, buffers: Sequence[memoryview]) -> None:
    """Write at most ``AT_ONCE`` bytes, or one buffer, at a time: what is encrypted is in memory twice."""
    context = cipher.at(offset)
    pending = bytearray()
    for number, buffer in enumerate(buffers, 1):
        pending += context.update(buffer)
        if len(pending) < AT_ONCE and number < len(buffers):
            continue
        rest = memoryview(pending)
        while rest:
            done = os.pwrite(fd, rest, offset)
            offset += done
            rest = rest[done:]
        pending = bytearray()


def _rest(buffers: list[memoryview], done: int) -> list[memoryview]:
    for number, buffer in enumerate(buffers):
        if done < len(buffer):
            return [buffer[done:], *buffers[number + 1 :]]
        done -= len(buffer)
    return []


class Folder:
    """The spool's folder, locked: readable by nobody else (0700), used by no other gateway.

    Attributes:
        path: where it is.
        passing: whether it was made for this run and goes with it.
    """

    def __init__(self, path: Path | None) -> None:
        self.passing = path is None
        if path is None:
            _sweep(Path(tempfile.gettempdir()))
            path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.path = path
        self._lock = -1

    def open(self) -> None:
        """Make and lock it.

        Raises:
            ConfigError: it cannot be used; the text says what to do.
        """
        try:
            private_folder(self.path)
            self._lock = _locked(self.path)
        except BlockingIOError as error:
            raise ConfigError(
                f"the spool folder {self.path} is used by another gateway: give each its own [spool] folder"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"the spool folder {self.path} cannot be used ({error.strerror}): "
                "choose another [spool] folder or let the gateway's user write there"
            ) from error

    def packs(self) -> dict[str, int]:
        """Return the names and sizes of the files that are there."""
        return {x.name: x.stat().st_size for x in self.path.glob(f"*{SUFFIX}")}

    def clear(self) -> None:
        """Remove what an earlier run has left."""
        for pattern in (f"*{SUFFIX}", f"{INDEX}*", PROOF):
            for file in self.path.glob(pattern):
                file.unlink()

    def close(self) -> None:
        """Unlock it, and remove it where it was for this run only."""
        if self.passing:
            rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _locked(path: Path) -> int:
    fd = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _sweep(parent: Path) -> None:
    """Remove the folders of runs that ended without doing so: nothing outlives a gateway that was killed for long."""
    for left in parent.glob(f"{PREFIX}*"):
        try:
            if left.stat().st_uid != os.getuid() or left.is_symlink() or time.time() - left.stat().st_mtime < 1:
                continue
            fd = _locked(left)
        except OSError:
            continue
        rmtree(left, ignore_errors=True)
        os.close(fd)
