"""The one who appends to a writer's segments: whole batches, on disk before anyone hears of them."""

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from gateway.audit.anchor import Anchors
from gateway.audit.chain import GENESIS, Link, dump, encode
from gateway.audit.record import Event, Outcome, Record
from gateway.audit.segments import Tail, entry_at, segment_path, segments, tail
from gateway.errors import ConfigError

_REPLICA: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_LOCK: Final = "lock"


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a segment is closed and another begun.

    Attributes:
        size: once it has so many bytes.
        seconds: once it is so old.
    """

    size: int = 64 << 20
    seconds: float = 86400.0


@dataclass(frozen=True, slots=True)
class Lines:
    """What is written at once, and the head of the chain behind it."""

    data: bytes
    head: Link


class LogWriter:
    """Appends records to a writer's chain; blocking, and for one thread at a time.

    Attributes:
        name: the replica and its life.
        folder: where its segments are.
        head: the last record that is on disk.
    """

    def __init__(
        self,
        folder: Path,
        replica: str,
        *,
        rotation: Rotation = Rotation(),
        anchors: Anchors | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not _REPLICA.fullmatch(replica):
            raise ConfigError(f'"audit.replica" cannot be {replica!r}: use letters, digits, "-", "_" and "."')
        self.name = f"{replica}/{secrets.token_hex(4)}"
        self.folder = folder / replica
        self.head = GENESIS
        self._rotation = rotation
        self._anchors = anchors
        self._clock = clock
        self._lock = self._file = -1
        self._end = 0
        self._began = 0.0
        self._doubt = False
        self._remarks: list[str] = []
        self._rest = b""

    def open(self) -> None:
        """Take the writer's folder over and find its end.

        Raises:
            ConfigError: it cannot be written, others can read it, or another process writes there.
        """
        try:
            self._take()
            self._resume_last()
        except OSError as error:
            self.close()
            raise ConfigError(
                f"{self.folder}: the audit log cannot be written ({error.strerror}): mend it, or change audit.folder"
            ) from error

    def close(self) -> None:
        """Let go of the folder."""
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def append(self, batch: Sequence[tuple[float, bytes]]) -> None:
        """Write records with the times at which they were made, and wait until the disk has them.

        Raises:
            OSError: it does not have all of them; none may be taken for recorded.
        """
        if self._doubt:
            self._resume_after_failure()
        if self._file < 0 or self._is_full():
            self._begin_segment()
        self.commit(self.lines(batch))

    @property
    def is_ready(self) -> bool:
        """Whether ``append`` would do no more than to ``commit`` the ``lines``."""
        return not (self._doubt or self._file < 0 or self._is_full())

    def lines(self, batch: Sequence[tuple[float, bytes]]) -> Lines:
        """Make the lines that come next, without waiting for anything."""
        lines, head = self._recovery()
        for at, record in batch:
            line, head = encode(record, at, self.name, head)
            lines.append(line)
        return Lines(b"".join(lines), head)

    def commit(self, lines: Lines) -> None:
        """Write the lines that were made last, and wait until the disk has them; raises as ``append`` does."""
        self._doubt = True
        _write(self._file, lines.data)
        os.fdatasync(self._file)
        self._doubt = False
        self.head = lines.head
        self._end += len(self._rest) + len(lines.data)
        self._rest = b""
        self._remarks.clear()

    def removable(self, moment: float, keep: int) -> tuple[int, int]:
        """Return the first and the last record of the segments that are older than a moment as a whole, or (0, 0).

        Args:
            moment: in seconds since 1970.
            keep: a record that stays, with all of its segment and all behind it, whatever its age.
        """
        there = segments(self.folder)
        last = 0
        for following, _ in there[1:]:
            # No record of a segment is younger than the first of the next one.
            begun = entry_at(self.folder, following, 0)
            if begun is None or datetime.fromisoformat(begun.at).timestamp() >= moment or following > keep:
                break
            last = following - 1
        return (there[0][0], last) if last else (0, 0)

    def remove(self, last: int) -> None:
        """Delete the segments up to the one that ends with a record.

        Raises:
            OSError: one cannot be deleted.
        """
        for (_, path), (following, _) in pairwise(segments(self.folder)):
            if following - 1 <= last:
                path.unlink()
        _sync_folder(self.folder)

    def _take(self) -> None:
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_mode & 0o077:
                raise ConfigError(f"{folder}: others can read the audit log: chmod 700 {folder}")
        self._lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ConfigError(
                f"{self.folder}: another process writes this audit log: give each replica its own audit.replica"
            ) from None

    def _resume_last(self) -> None:
        """Go on where the last life of this writer ended."""
        for first, path in reversed(segments(self.folder)):
            found = tail(path)
            if self._file < 0:
                self._open_segment(first, path, found)
            if found.head is not None:
                self.head = found.head
                break
        anchored = self._anchors.last(self.folder.name) if self._anchors else None
        if anchored is not None and anchored.link.seq > self.head.seq:
            self._remarks.append(f"missing: {self.head.seq + 1} to {anchored.link.seq}, anchored at {anchored.at}")

    def _open_segment(self, first: int, path: Path, found: Tail) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._end, self._rest = found.end, found.rest
        begun = entry_at(self.folder, first, 0)
        self._began = datetime.fromisoformat(begun.at).timestamp() if begun else path.stat().st_mtime

    def _resume_after_failure(self) -> None:
        """Find out what a write that failed has left."""
        left = tail(segments(self.folder)[-1][1], self._end)
        self._end, self._rest = left.end, left.rest
        if left.head is not None:
            self._remarks.append(f"unacknowledged: {self.head.seq + 1} to {left.head.seq}")
            self.head = left.head
        self._doubt = False

    def _recovery(self) -> tuple[list[bytes], Link]:
        """Make the lines that say what was found at the end, before anything else is written."""
        if not (self._rest or self._remarks):
            return [], self.head
        remarks = [unfinished(self._rest)] * bool(self._rest) + self._remarks
        record = Record(Event.RECOVERY, Outcome.FAILURE, reason="; ".join(remarks))
        line, head = encode(dump(record), self._clock(), self.name, self.head)
        return [b"\n"] * (bool(self._rest) and not self._rest.endswith(b"\n")) + [line], head

    def _is_full(self) -> bool:
        # A recovery stands behind what it recovers from.
        return not (self._remarks or self._rest) and (
            self._end >= self._rotation.size or self._clock() - self._began >= self._rotation.seconds
        )

    def _begin_segment(self) -> None:
        path = segment_path(self.folder, self.head.seq + 1)
        opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _sync_folder(self.folder)
        except BaseException:
            os.close(opened)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._end, self._began = opened, 0, self._clock()


def unfinished(rest: bytes) -> str:
    """Say in a recovery record what bytes it stands behind."""
    return f"unfinished: {len(rest)} bytes, SHA-256 {hashlib.sha256(rest).hexdigest()}"


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
