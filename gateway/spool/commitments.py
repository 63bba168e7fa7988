"""Storage Commitment requests that are not reported on yet: an SQLite file (PS3.4 J.3)."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import orjson

from gateway.errors import ConfigError, QueueFull
from gateway.spool.private import private_file, private_folder

NAME: Final = "commitments.sqlite"

_BUSY_SECONDS: Final = 10.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS request (
    number INTEGER PRIMARY KEY AUTOINCREMENT, peer TEXT NOT NULL, transaction_uid TEXT NOT NULL,
    instances BLOB NOT NULL, asked_at REAL NOT NULL, attempts INTEGER NOT NULL, next_at REAL NOT NULL,
    UNIQUE (peer, transaction_uid)
);
CREATE INDEX IF NOT EXISTS by_time ON request (next_at);
"""

T = TypeVar("T")
Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a peer wants to be told of.

    Attributes:
        number: ours for it.
        peer: the AE title of who asked.
        instances: what it asked of, in its order.
        asked_at: when, in seconds since 1970.
        attempts: how often a report was tried.
    """

    number: int
    peer: str
    transaction_uid: str
    instances: tuple[Reference, ...]
    asked_at: float
    attempts: int


class Commitments:
    """The requests of one folder; every change is on the disk when the method returns."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._database: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, "commitments")

    def open(self) -> None:
        """Open the file, or make it.

        Raises:
            ConfigError: it cannot be opened, or is something else.
        """
        try:
            private_folder(self._path.parent)
            private_file(self._path)
            database = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"{self._path}: cannot hold Storage Commitment requests ({error}): move it away"
            ) from None
        self._database = database

    async def aclose(self) -> None:
        """Finish what is being written, and close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        if self._database is not None:
            self._database.close()
            self._database = None

    async def enter(self, peer: str, transaction_uid: str, instances: Sequence[Reference], *, most: int) -> int | None:
        """Return the number of a request, which survives a crash from now on; None where it is under way already.

        Raises:
            QueueFull: it cannot be kept, or the peer has as many as ``most`` under way.
        """
        now = time.time()
        values = (peer, transaction_uid, orjson.dumps(instances), now, 0, now)

        def change(cursor: sqlite3.Cursor) -> int | None:
            (count,) = cursor.execute("SELECT count(*) FROM request WHERE peer = ?", (peer,)).fetchone()
            if count >= most:
                raise QueueFull(f"{count} requests of this peer are not reported on yet")
            cursor.execute("INSERT OR IGNORE INTO request VALUES (NULL, ?, ?, ?, ?, ?, ?)", values)
            return cursor.lastrowid if cursor.rowcount else None

        return await self._run(change)

    async def due(self, limit: int, *, longest: float, besides: Collection[int]) -> list[Request]:
        """Return requests that are to be reported on now, besides those that are known to be under way.

        A moment farther off than ``longest`` seconds was set by a clock that has been put right since, and has passed.
        """
        now = time.time()
        query = (
            "SELECT number, peer, transaction_uid, instances, asked_at, attempts FROM request "
            "WHERE next_at <= ? OR next_at > ? ORDER BY next_at LIMIT ?"
        )
        values = now, now + longest, limit + len(besides)
        rows = await self._run(lambda cursor: cursor.execute(query, values).fetchall())
        fresh = [row for row in rows if row[0] not in besides][:limit]
        return [Request(n, peer, uid, _references(held), at, tries) for n, peer, uid, held, at, tries in fresh]

    async def postpone(self, number: int, next_at: float) -> None:
        """Note that a report failed, and when the next one is tried."""
        query = "UPDATE request SET attempts = attempts + 1, next_at = ? WHERE number = ?"
        await self._run(lambda cursor: cursor.execute(query, (next_at, number)))

    async def settle(self, number: int) -> None:
        """Take out what was reported on, or was given up."""
        await self._run(lambda cursor: cursor.execute("DELETE FROM request WHERE number = ?", (number,)))

    async def _run(self, change: Callable[[sqlite3.Cursor], T]) -> T:
        database = self._database
        if database is None:
            raise QueueFull("Storage Commitment requests cannot be kept: the gateway is about to stop")

        def run() -> T:
            with closing(database.cursor()) as cursor:
                return change(cursor)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except sqlite3.Error as error:
            raise QueueFull(f"Storage Commitment requests cannot be kept ({error})") from error


def _references(held: bytes) -> tuple[Reference, ...]:
    return tuple((sop_class, sop_instance) for sop_class, sop_instance in orjson.loads(held))
