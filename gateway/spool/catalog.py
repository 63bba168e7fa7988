"""What the spool holds, in SQLite beside its files."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from gateway.errors import SpoolDamaged
from gateway.spool.key import Key
from gateway.spool.private import private_file

VERSION = 2
SCHEMA = """
CREATE TABLE pack (name TEXT PRIMARY KEY, size INTEGER NOT NULL, born REAL NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE instance (
    study TEXT NOT NULL, uid TEXT NOT NULL, facts BLOB NOT NULL,
    pack TEXT NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL, checksum BLOB NOT NULL,
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
    """Where an instance is, and what its bytes add up to (CRC-32, or a keyed digest)."""

    facts: Facts
    pack: str
    offset: int
    size: int
    checksum: bytes


@dataclass(frozen=True, slots=True)
class PackRow:
    """A file, and when it was made and last used, on the wall clock."""

    name: str
    size: int
    born: float
    used: float


class Catalog:
    """The index. Writes come in batches from one thread; reads have a connection of their own and wait for none.

    With a key, UIDs stand in it as keyed digests, and facts and notes are sealed.
    """

    def __init__(self, path: Path, key: Key | None = None) -> None:
        self._path = path
        self._key = key
        private_file(path)
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
                "INSERT OR REPLACE INTO instance VALUES (?, ?, ?, ?, ?, ?, ?)", [self._written(row) for row in rows]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO note VALUES (?, ?, ?, ?)",
                [
                    (*self._names(study, uid), key, self._sealed(value, study, uid, key))
                    for study, uid, key, value in notes
                ],
            )

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
        names = [self._names(*instance) for instance in instances]
        with self._transaction() as connection:
            connection.executemany("DELETE FROM note WHERE study = ? AND uid = ?", names)
            connection.executemany("DELETE FROM instance WHERE study = ? AND uid = ?", names)

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._writing)

    # --- from anywhere

    def packs(self) -> list[PackRow]:
        """Return all files."""
        return [PackRow(*row) for row in self._reading.execute("SELECT name, size, born, used FROM pack")]

    def study(self, uid: str) -> list[Row]:
        """Return the instances of a study, without those whose row was changed under a key."""
        query = "SELECT facts, pack, offset, size, checksum FROM instance WHERE study = ? ORDER BY pack, offset"
        found = self._reading.execute(query, self._names(uid))
        return [row for values in found if (row := self._read(*values)) is not None]

    def note(self, study: str, uid: str, key: str) -> bytes | None:
        """Return one note of an instance; none where it was changed under a key."""
        key_of = (*self._names(study, uid), key)
        row = self._reading.execute("SELECT value FROM note WHERE study = ? AND uid = ? AND key = ?", key_of).fetchone()
        return None if row is None else self._unsealed(row[0], study, uid, key)

    def close(self) -> None:
        """Close the index."""
        self._reading.close()
        self._writing.close()

    # --- under a key, or none

    def _names(self, *uids: str) -> tuple[str, ...]:
        return uids if self._key is None else tuple([self._key.word(uid) for uid in uids])

    def _written(self, row: Row) -> tuple[object, ...]:
        facts, place = row.facts, _place(row.pack, row.offset, row.size, row.checksum)
        return (*self._names(facts.study, facts.uid), self._sealed(orjson.dumps(list(facts)), *place), *row[1:])

    def _read(self, told: bytes, pack: str, offset: int, size: int, checksum: bytes) -> Row | None:
        facts = self._unsealed(told, *_place(pack, offset, size, checksum))
        return None if facts is None else Row(Facts(*orjson.loads(facts)), pack, offset, size, checksum)

    def _sealed(self, value: bytes, *about: str) -> bytes:
        return value if self._key is None else self._key.seal(value, "\0".join(about).encode())

    def _unsealed(self, value: bytes, *about: str) -> bytes | None:
        if self._key is None:
            return value
        try:
            return self._key.unseal(value, "\0".join(about).encode())
        except SpoolDamaged:
            return None


def _place(pack: str, offset: int, size: int, checksum: bytes) -> tuple[str, ...]:
    return "row", pack, str(offset), str(size), checksum.hex()


class _Transaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
