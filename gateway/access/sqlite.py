"""A database of consents in one file: the processes of one host may share it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar

from gateway.access.database import ConsentDatabase, Dialect, Work
from gateway.errors import ConfigError, ConsentUnavailable

T = TypeVar("T")

_BUSY_SECONDS: Final = 5.0
_WORDS: Final = Dialect(
    sequence="INTEGER PRIMARY KEY AUTOINCREMENT",
    octets="BLOB",
    flag="INTEGER",
    tables="SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1",
)


@asynccontextmanager
async def sqlite(path: Path) -> AsyncIterator[ConsentDatabase]:
    """Open a database, for nobody else's eyes.

    Raises:
        ConfigError: it cannot be opened, or is of a newer release.
        ConsentUnavailable: it cannot be used.
    """
    engine = await asyncio.to_thread(SqliteEngine, path)
    try:
        database = ConsentDatabase(engine)
        await database.prepare()
        yield database
    finally:
        await engine.aclose()


class SqliteEngine:
    """Does the work in a thread, one after the other; another process is waited for."""

    dialect: Final = _WORDS
    opened: Final = 1

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            ConfigError: it cannot be opened.
        """
        self._lock = Lock()
        try:
            path.touch(mode=0o600)
            path.chmod(0o600)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        except (OSError, sqlite3.Error) as error:
            told = f'"consent.database" {path} cannot be opened ({error}): check path and permissions'
            raise ConfigError(told) from error

    async def read(self, work: Work[T]) -> T:
        """Do what changes nothing and sees one state of the database."""
        return await asyncio.to_thread(self._do, work, "BEGIN")

    async def write(self, work: Work[T]) -> T:
        """Do what may change something, while nobody else does; once it returns it is kept for good."""
        return await asyncio.to_thread(self._do, work, "BEGIN IMMEDIATE")

    async def aclose(self) -> None:
        """Let go of the database."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            self._connection.close()

    def _do(self, work: Work[T], begin: str) -> T:
        with self._lock:
            try:
                self._connection.execute(begin)
                try:
                    done = self._run(work)
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise ConsentUnavailable(
                    f"the consent database cannot be used ({type(error).__name__}): nothing is released"
                ) from error
            return done

    def _run(self, work: Work[T]) -> T:
        try:
            statement, *values = next(work)
            while True:
                # "$1" would be a name here; "?1" is the first of them, too.
                rows = self._connection.execute(statement.replace("$", "?"), values).fetchall()
                statement, *values = work.send(rows)
        except StopIteration as end:
            done: T = end.value
            return done
