"""Where the log tells of which patient, so that a report does not read years: SQLite beside the log, made from it."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from gateway.audit.chain import Entry
from gateway.audit.segments import Cursor, entry_at, located, segments, writers
from gateway.dataset.patient import PatientIdentifier

NAME: Final = "index.sqlite"
_TOGETHER: Final = 5000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS place (writer TEXT PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS mention (
    issuer TEXT NOT NULL, value TEXT NOT NULL, at TEXT NOT NULL,
    writer TEXT NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (value, issuer, at, writer, segment, offset)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a patient.

    Attributes:
        entries: of one page, the newest first.
        total: over all pages.
    """

    entries: tuple[Entry, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Span:
    """A time, in UTC as the log writes it (RFC 3339); empty ends are open.

    Attributes:
        begin: the first moment.
        end: the first moment behind it.
    """

    begin: str = ""
    end: str = ""


ALWAYS: Final = Span()


def find(
    folders: Iterable[Path],
    patients: Iterable[PatientIdentifier],
    span: Span = ALWAYS,
    *,
    offset: int = 0,
    limit: int = 1000,
) -> Found:
    """Do as ``Index.find`` does, over the logs of several gateways."""
    wanted = tuple(patients)
    found = [Index(folder).find(wanted, span, limit=offset + limit) for folder in folders]
    entries = sorted((entry for one in found for entry in one.entries), key=lambda entry: entry.at, reverse=True)
    return Found(tuple(entries[offset : offset + limit]), sum(one.total for one in found))


class Index:
    """Finds a patient's records; blocking. It may be deleted at any time: the next question makes it anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / NAME

    def find(
        self, patients: Iterable[PatientIdentifier], span: Span = ALWAYS, *, offset: int = 0, limit: int = 1000
    ) -> Found:
        """Return the records that tell of a patient, who may have several identifiers, the newest first."""
        self.catch_up()
        with self._open() as database:
            return self._find(database, sorted(set(patients)), span, offset, limit)

    def catch_up(self) -> None:
        """Take in what the log has and the index has not."""
        try:
            self._catch_up()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._path.unlink()  # it is damaged, and holds nothing that the log does not
            self._catch_up()

    def _catch_up(self) -> None:
        with self._open() as database:
            for folder in writers(self._folder):
                oldest = next(iter(segments(folder)))[0]
                database.execute("DELETE FROM mention WHERE writer = ? AND segment < ?", (folder.name, oldest))
                database.commit()
                self._take_in(database, folder)

    def _take_in(self, database: sqlite3.Connection, folder: Path) -> None:
        while True:
            with database:
                # Whoever comes second, beside a running gateway, goes on where the first one ended.
                database.execute("BEGIN IMMEDIATE")
                row = database.execute("SELECT segment, offset FROM place WHERE writer = ?", (folder.name,)).fetchone()
                found = list(islice(located(folder, Cursor(*row) if row else Cursor()), _TOGETHER))
                if not found:
                    return
                database.executemany(
                    "INSERT OR IGNORE INTO mention VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        (issuer, value, entry.at, folder.name, behind.segment, offset)
                        for entry, offset, behind in found
                        for issuer, value in entry.record.patients
                    ),
                )
                last = found[-1][2]
                database.execute(
                    "INSERT OR REPLACE INTO place VALUES (?, ?, ?)", (folder.name, last.segment, last.offset)
                )

    def _find(
        self, database: sqlite3.Connection, patients: Sequence[PatientIdentifier], span: Span, offset: int, limit: int
    ) -> Found:
        whose = " OR ".join(["(value = ? AND issuer = ?)"] * len(patients)) or "0"
        values: list[str | int] = [part for one in patients for part in (one.value, one.issuer)]
        selected = (
            "SELECT DISTINCT at, writer, segment, offset FROM mention"  # noqa: S608  (only question marks are put in)
            f" WHERE ({whose}) AND at >= ? AND (at < ? OR ? = '')"
        )
        values += [span.begin, span.end, span.end]
        total = database.execute(f"SELECT count(*) FROM ({selected})", values).fetchone()[0]  # noqa: S608
        rows = database.execute(
            f"{selected} ORDER BY at DESC, writer, segment DESC, offset DESC LIMIT ? OFFSET ?", [*values, limit, offset]
        ).fetchall()
        found = (entry_at(self._folder / writer, segment, at) for _, writer, segment, at in rows)
        return Found(tuple(entry for entry in found if entry is not None), int(total))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if not self._path.exists():
            self._path.touch(mode=0o600)
        with closing(sqlite3.connect(self._path, timeout=30)) as database:
            database.isolation_level = None
            database.executescript(_SCHEMA)
            yield database
