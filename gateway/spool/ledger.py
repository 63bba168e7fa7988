"""What the queue knows of each instance that waits for a region, or that one has: an SQLite file (PS3.4 B.2.3).

It is written by one gateway and may be read, and mended, from the command line meanwhile.
"""

import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from gateway.errors import ConfigError, SpoolDamaged
from gateway.spool.key import Key
from gateway.spool.private import private_file

NAME: Final = "queue.sqlite"
WAITING: Final = "waiting"
DELIVERED: Final = "delivered"
QUARANTINED: Final = "quarantined"
SEALED: Final = "(encrypted)"
"""What is told of a reason where its key is not at hand."""

_BUSY_SECONDS: Final = 10.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS instance (
    file TEXT PRIMARY KEY, digest BLOB NOT NULL, size INTEGER NOT NULL, sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL, series_instance_uid TEXT NOT NULL, study_instance_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL, origin TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_uid ON instance (sop_instance_uid);
CREATE TABLE IF NOT EXISTS delivery (
    number INTEGER PRIMARY KEY AUTOINCREMENT, file TEXT NOT NULL REFERENCES instance (file), region TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL, kept_at REAL NOT NULL, next_at REAL NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_region ON delivery (region, state, next_at);
CREATE INDEX IF NOT EXISTS by_file ON delivery (file);
CREATE TABLE IF NOT EXISTS delivered (
    sop_instance_uid TEXT NOT NULL, region TEXT NOT NULL, sop_class_uid TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (sop_instance_uid, region)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_time ON delivered (at);
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """One instance at rest.

    Attributes:
        file: the name of the file that holds its Data Set alone, as it is encoded.
        digest: SHA-256 of the Data Set; keyed where it is encrypted.
        size: its bytes.
        origin: who brought it: the face, and the AE title or the address.
    """

    file: str
    digest: bytes
    size: int
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    origin: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """An instance on its way to one region.

    Attributes:
        number: what the command line calls it.
        region: the id of the region.
        state: "waiting" or "quarantined".
        attempts: how often it was tried.
        kept_at: when it came, in seconds since 1970.
        next_at: when it is tried again, likewise.
        reason: why the last attempt failed.
    """

    number: int
    kept: Kept
    region: str
    state: str
    attempts: int
    kept_at: float
    next_at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Holding:
    """Where an instance is that was taken in.

    Attributes:
        state: "waiting" or "quarantined" in the queue, or "delivered".
        file: the name of its file and its size, in the queue; empty and 0 once it is delivered.
    """

    sop_class_uid: str
    state: str
    file: str = ""
    size: int = 0


_KEPT: Final = tuple(field.name for field in fields(Kept))
_COLUMNS: Final = (
    "delivery.number, delivery.region, delivery.state, delivery.attempts, delivery.kept_at, delivery.next_at, "
    "delivery.reason, " + ", ".join(f"instance.{name}" for name in _KEPT)
)
_DUE: Final = """
WHERE delivery.region = ? AND delivery.state = ? AND (delivery.next_at <= ? OR delivery.next_at > ?)
AND NOT EXISTS (SELECT 1 FROM delivery AS older JOIN instance AS same ON same.file = older.file
    WHERE same.sop_instance_uid = instance.sop_instance_uid AND older.region = delivery.region
    AND older.state = ? AND older.number < delivery.number)
ORDER BY delivery.number LIMIT ?
"""
_JOINED: Final = f"SELECT {_COLUMNS} FROM delivery JOIN instance USING (file)"  # noqa: S608  (our own names)


class Ledger:
    """The deliveries of one folder; every change is on the disk when the method returns."""

    def __init__(self, folder: Path, key: Key | None = None) -> None:
        """Open the file in the folder, or make it; reasons are sealed where there is a key.

        Raises:
            ConfigError: it cannot be opened, or is something else.
        """
        self._key = key
        try:
            self._database = sqlite3.connect(
                private_file(folder / NAME), timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"{folder / NAME}: cannot be used as a queue ({error}): choose another folder") from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def version(self) -> int:
        """A number that changes when another process changes the file."""
        return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with closing(self._database.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def keep(self, arrivals: Iterable[tuple[Kept, Collection[str]]]) -> set[str]:
        """Enter instances with the regions they go to; return the files of those that were entered.

        An instance that waits for a region already, byte for byte, is not entered for it again.
        """
        now, entered = time.time(), set()
        with self._transaction() as cursor:
            for kept, regions in arrivals:
                for region in regions:
                    if _waits(cursor, kept, region):
                        continue
                    if kept.file not in entered:
                        marks = ", ".join("?" * len(_KEPT))
                        cursor.execute(f"INSERT OR IGNORE INTO instance VALUES ({marks})", astuple(kept))  # noqa: S608
                        entered.add(kept.file)
                    values = (kept.file, region, WAITING, 0, now, now, "")
                    cursor.execute("INSERT INTO delivery VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", values)
        return entered

    def due(self, region: str, *, longest: float, limit: int) -> list[Delivery]:
        """Return what a region is to be given now, in the order of arrival.

        Of one SOP Instance only the oldest is: the region shall see versions in their order. A moment farther off
        than ``longest`` seconds was set by a clock that has been put right since, and has passed.
        """
        now = time.time()
        values = (region, WAITING, now, now + longest, WAITING, limit)
        rows = self._database.execute(f"{_JOINED} {_DUE}", values)
        return [self._delivery(row) for row in rows]

    def next_at(self, region: str) -> float | None:
        """Return when the next delivery to a region is due, None when nothing waits."""
        query = "SELECT min(next_at) FROM delivery WHERE region = ? AND state = ?"
        found: float | None = self._database.execute(query, (region, WAITING)).fetchone()[0]
        return found

    def postpone(self, number: int, next_at: float, reason: str) -> None:
        """Note that an attempt failed, why, and when the next one is."""
        change = "UPDATE delivery SET attempts = attempts + 1, next_at = ?, reason = ? WHERE number = ?"
        with self._transaction() as cursor:
            cursor.execute(change, (next_at, self._sealed(reason, number), number))

    def quarantine(self, number: int, reason: str) -> None:
        """Try a delivery no more until somebody says so."""
        change = "UPDATE delivery SET attempts = attempts + 1, state = ?, reason = ? WHERE number = ?"
        with self._transaction() as cursor:
            cursor.execute(change, (QUARANTINED, self._sealed(reason, number), number))

    def retry(self, numbers: Collection[int]) -> int:
        """Have deliveries tried again at once; return how many there were of these."""
        change = "UPDATE delivery SET state = ?, next_at = 0 WHERE number = ?"
        with self._transaction() as cursor:
            return sum(cursor.execute(change, (WAITING, number)).rowcount for number in numbers)

    def remove(self, numbers: Iterable[int]) -> list[str]:
        """Take deliveries out, done or given up; return the files that nobody needs any more."""
        unneeded = "DELETE FROM instance WHERE file = ? AND NOT EXISTS (SELECT 1 FROM delivery WHERE file = ?)"
        with self._transaction() as cursor:
            files = {
                file
                for number in numbers
                for (file,) in cursor.execute(
                    "DELETE FROM delivery WHERE number = ? RETURNING file", (number,)
                ).fetchall()
            }
            return [file for file in files if cursor.execute(unneeded, (file, file)).rowcount]

    def delivered(self, file: str, region: str) -> list[str]:
        """Take out what was delivered; return the files that nobody needs any more."""
        found = self._database.execute("SELECT number FROM delivery WHERE file = ? AND region = ?", (file, region))
        return self.remove([number for (number,) in found.fetchall()])

    def note(self, delivered: Iterable[tuple[str, str, str]], *, seconds: float) -> None:
        """Remember for so long that instances were delivered: SOP Instance UID, region and SOP Class UID of each."""
        now = time.time()
        with self._transaction() as cursor:
            rows = ((*row, now) for row in delivered)
            cursor.executemany("INSERT OR REPLACE INTO delivered VALUES (?, ?, ?, ?)", rows)
            cursor.execute("DELETE FROM delivered WHERE at < ?", (now - seconds,))

    def holdings(self, uids: Iterable[str]) -> dict[str, list[Holding]]:
        """Return what is known of each of these SOP Instances, waiting or delivered."""
        found: dict[str, list[Holding]] = {}
        for uid in uids:
            waiting = self._database.execute(
                "SELECT sop_class_uid, state, file, size FROM instance JOIN delivery USING (file) "
                "WHERE sop_instance_uid = ?",
                (uid,),
            )
            known = [Holding(*row) for row in waiting]
            had = self._database.execute("SELECT sop_class_uid FROM delivered WHERE sop_instance_uid = ?", (uid,))
            known += [Holding(sop_class, DELIVERED) for (sop_class,) in had]
            if known:
                found[uid] = known
        return found

    def files(self) -> set[str]:
        """Return the names of all files that are needed."""
        return {file for (file,) in self._database.execute("SELECT file FROM instance")}

    def counted(self) -> dict[tuple[str, str], int]:
        """Return how many deliveries there are, by region and state."""
        rows = self._database.execute("SELECT region, state, count(*) FROM delivery GROUP BY region, state")
        return {(region, state): count for region, state, count in rows}

    def deliveries(self, *, state: str = "", region: str = "", numbers: Sequence[int] = ()) -> list[Delivery]:
        """Return the deliveries of a state, to a region, of these numbers, in the order of arrival."""
        rows = self._database.execute(
            f"{_JOINED} WHERE (? = '' OR delivery.state = ?) AND (? = '' OR delivery.region = ?) "
            "ORDER BY delivery.number",
            (state, state, region, region),
        )
        return [x for x in map(self._delivery, rows) if not numbers or x.number in numbers]

    # --- a region's own words may name a patient

    def _sealed(self, reason: str, number: int) -> str | bytes:
        return reason if self._key is None else self._key.seal(reason.encode(), _about(number))

    def _told(self, reason: str | bytes, number: int) -> str:
        if isinstance(reason, str):
            return reason
        try:
            return SEALED if self._key is None else self._key.unseal(reason, _about(number)).decode()
        except SpoolDamaged:
            return SEALED

    def _delivery(self, row: Sequence[Any]) -> Delivery:
        number, region, state, attempts, kept_at, next_at, reason, *kept = row
        return Delivery(number, Kept(*kept), region, state, attempts, kept_at, next_at, self._told(reason, number))


def _about(number: int) -> bytes:
    return f"delivery {number}".encode()


def _waits(cursor: sqlite3.Cursor, kept: Kept, region: str) -> bool:
    query = (
        "SELECT 1 FROM delivery JOIN instance USING (file) WHERE sop_instance_uid = ? AND digest = ? "
        "AND transfer_syntax_uid = ? AND region = ? AND state = ?"
    )
    values = (kept.sop_instance_uid, kept.digest, kept.transfer_syntax_uid, region, WAITING)
    return cursor.execute(query, values).fetchone() is not None
