"""What the spool holds, in SQLite beside its files."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

VERSION = 1
SCHEMA = """
CREATE TABLE pack (name TEXT PRIMARY KEY, size INTEGER NOT NULL, born REAL NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE instance (
    study TEXT NOT NULL, series TEXT NOT NULL, uid TEXT NOT NULL, region TEXT NOT NULL, sop_class TEXT NOT NULL,
    transfer_syntax TEXT NOT NULL, character_set TEXT NOT NULL,
    pack TEXT NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (study, uid)) WITHOUT ROWID;
CREATE INDEX instance_pack ON instance (pack);
CREATE TABLE note (
    study TEXT NOT NULL, uid TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (study, uid, key)) WITHOUT ROWID;
"""


class Facts(NamedTuple):
    """What is known of an instance beside its bytes.

    Attributes:
        study, series: Study and Series Instance UID; the series is empty where its Data Set does not say.
        uid: SOP Instance UID.
        region: id of the region it came from.
        character_set: what its Data Set means where Specific Character Set is absent.
    """

    study: str
    series: str
    uid: str
    region: str
    sop_class: str
    transfer_syntax: str
    character_set: str


class Row(NamedTuple):
    """Where an instance is, and what its bytes add up to (CRC-32)."""

    facts: Facts
    pack: str
    offset: int
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class PackRow:
    """A file, and when it was made and last used, on the wall clock."""

    name: str
    size: int
    born: float
    used: float


class Catalog:
    """The index. Writes come in batches from one thread; reads have a connection of their own and wait for none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(0o600)  # and so are the files that SQLite lays beside it
        self._writing = self._connect()
        try:
            if self._writing.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                self._writing.executescript(SCHEMA + f"PRAGMA user_version = {VERSION};")
            self._reading = self._connect()
        except BaseException:
            self._writing.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # it is a cache: what a power cut spoils fails its checksum
        except BaseException:
            connection.close()
            raise
        return connection

    # --- from the one thread that writes

    def add(self, rows: Iterable[Row], packs: Iterable[PackRow], notes: Iterable[tuple[str, str, str, bytes]]) -> None:
        """Add instances, the state of packs, and notes as study, instance, key and value, in one transaction."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO pack VALUES (?, ?, ?, ?)", [(x.name, x.size, x.born, x.used) for x in packs]
            )
            connection.executemany(
                f"INSERT OR REPLACE INTO instance VALUES ({', '.join('?' * 11)})",  # noqa: S608 - only question marks
                [(*row.facts, *row[1:]) for row in rows],
            )
            connection.executemany("INSERT OR REPLACE INTO note VALUES (?, ?, ?, ?)", notes)

    def remove_pack(self, name: str) -> None:
        """Forget a file and all that is in it."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM note WHERE (study, uid) IN (SELECT study, uid FROM instance WHERE pack = ?)", (name,)
            )
            connection.execute("DELETE FROM instance WHERE pack = ?", (name,))
            connection.execute("DELETE FROM pack WHERE name = ?", (name,))

    def remove(self, instances: Sequence[tuple[str, str]]) -> None:
        """Forget single instances, given as study and SOP Instance UID."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM note WHERE study = ? AND uid = ?", instances)
            connection.executemany("DELETE FROM instance WHERE study = ? AND uid = ?", instances)

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._writing)

    # --- from anywhere

    def packs(self) -> list[PackRow]:
        """Return all files."""
        return [PackRow(*row) for row in self._reading.execute("SELECT name, size, born, used FROM pack")]

    def study(self, uid: str) -> list[Row]:
        """Return the instances of a study."""
        found = self._reading.execute("SELECT * FROM instance WHERE study = ? ORDER BY pack, offset", (uid,))
        return [Row(Facts(*row[:7]), *row[7:]) for row in found]

    def note(self, study: str, uid: str, key: str) -> bytes | None:
        """Return one note of an instance."""
        key_of = (study, uid, key)
        row = self._reading.execute("SELECT value FROM note WHERE study = ? AND uid = ? AND key = ?", key_of).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        """Close the index."""
        self._reading.close()
        self._writing.close()


class _Transaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
