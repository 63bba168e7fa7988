"""Consents, the ends of overrides and what their receiver has to hear, in SQLite: several processes may share it."""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

import orjson

from gateway.access.consents import ACTIVE, Consent
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import ConfigError, ConsentUnavailable, NotFound, VersionConflict

_BUSY_SECONDS: Final = 5.0
_CLAIM_SECONDS: Final = 60.0
"""After which another replica takes over what one began and did not finish."""
_MOST_AT_ONCE: Final = 100
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS consent (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, version INTEGER NOT NULL, status TEXT NOT NULL,
    issuer TEXT NOT NULL, value TEXT NOT NULL, updated_at REAL NOT NULL, current INTEGER NOT NULL,
    content BLOB NOT NULL, document BLOB NOT NULL, UNIQUE (id, version)
);
CREATE INDEX IF NOT EXISTS consent_of_patient ON consent (value, issuer) WHERE current;
CREATE TABLE IF NOT EXISTS ending (
    id TEXT PRIMARY KEY, due REAL NOT NULL, claimed_at REAL NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS ending_due ON ending (due) WHERE NOT done;
CREATE TABLE IF NOT EXISTS outbox (
    id TEXT PRIMARY KEY, body BLOB NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    delivered_at REAL
);
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due) WHERE delivered_at IS NULL;
"""
_COLUMNS: Final = "id, version, status, issuer, value, updated_at, content, document"
_INSERT: Final = f"INSERT INTO consent ({_COLUMNS}, current) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)"  # noqa: S608
_GET: Final = f"SELECT {_COLUMNS} FROM consent WHERE id = ? AND ((? IS NULL AND current) OR version = ?)"  # noqa: S608
_OF: Final = f"SELECT seq, {_COLUMNS} FROM consent WHERE value = ? AND issuer = ? AND current"  # noqa: S608
_SINCE: Final = (
    "SELECT id, version, status, issuer, value, updated_at, content, '{}' FROM consent"
    " WHERE seq > ? AND current AND (? OR status = ?) ORDER BY seq"
)


@dataclass(frozen=True, slots=True)
class Letter:
    """What the receiver of overrides has to hear.

    Attributes:
        id: the same however often it is sent.
        attempts: how often it was sent before.
    """

    id: str
    body: bytes
    attempts: int = 0


class ConsentDatabase:
    """Every version of every consent. Its methods block, and may be called from any thread.

    Raises:
        ConsentUnavailable: from each method, where the database cannot be used.
    """

    def __init__(self, path: Path) -> None:
        """Open it, for nobody else's eyes.

        Raises:
            ConfigError: it cannot be opened.
        """
        self._path = path
        self._lock = Lock()
        try:
            path.touch(mode=0o600)
            path.chmod(0o600)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            told = f'"consent.database" {path} cannot be opened ({error}): check path and permissions'
            raise ConfigError(told) from error

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._connection.close()

    # --- consents

    def since(self, seq: int) -> tuple[list[Consent], int]:
        """Return what was changed behind a sequence number, each in its last version, and the last number.

        Documents are left out. From 0 on, it is all that counts or may yet come to count.
        """
        with self._transaction("BEGIN") as run:
            rows = run(_SINCE, seq, seq > 0, ACTIVE).fetchall()
            last = run("SELECT max(seq) FROM consent").fetchone()[0] or 0
        return [_consent(row) for row in rows], last

    def put(self, consent: Consent, *, replaces: int = 0, letter: Letter | None = None) -> None:
        """Keep a version of a consent that replaces one, 0 for none, and all that has to follow from it.

        Raises:
            VersionConflict: another one was kept meanwhile.
        """
        with self._transaction("BEGIN IMMEDIATE") as run:
            known = run("SELECT max(version) FROM consent WHERE id = ?", consent.id).fetchone()[0] or 0
            if known != replaces:
                raise VersionConflict(f"the consent has version {known} by now: read it again")
            run("UPDATE consent SET current = 0 WHERE id = ? AND current", consent.id)
            run(_INSERT, *_values(consent))
            if consent.override is not None:
                due = consent.ends if consent.status == ACTIVE else consent.updated_at
                run("INSERT INTO ending (id, due) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET due = excluded.due",
                    consent.id, due)  # fmt: skip
            if letter is not None:
                run("INSERT INTO outbox (id, body, due) VALUES (?, ?, 0)", letter.id, letter.body)

    def get(self, consent: str, version: int | None = None) -> Consent:
        """Return a consent, in its last version unless another is asked for.

        Raises:
            NotFound: there is none.
        """
        with self._transaction("BEGIN") as run:
            row = run(_GET, consent, version, version).fetchone()
        if row is None:
            raise NotFound("there is no such consent")
        return _consent(row)

    def of(self, patients: Collection[PatientIdentifier]) -> list[Consent]:
        """Return all consents of a patient, by any of the identifiers, the oldest first."""
        found: list[tuple[Any, ...]] = []
        with self._transaction("BEGIN") as run:
            for patient in patients:
                found += run(_OF, patient.value, patient.issuer).fetchall()
        return [_consent(row[1:]) for row in sorted(found)]

    # --- what follows

    def claim_ends(self, now: float) -> list[Consent]:
        """Return the overrides that have ended, for one of several replicas to tell of each."""
        with self._transaction("BEGIN IMMEDIATE") as run:
            due = run(
                "SELECT id FROM ending WHERE NOT done AND due <= ? AND claimed_at < ? LIMIT ?",
                now, now - _CLAIM_SECONDS, _MOST_AT_ONCE,
            ).fetchall()  # fmt: skip
            for row in due:
                run("UPDATE ending SET claimed_at = ? WHERE id = ?", now, row[0])
        return [self.get(row[0]) for row in due]

    def told_end(self, consent: str, letter: Letter | None) -> None:
        """Take note that the end of an override was told."""
        with self._transaction("BEGIN IMMEDIATE") as run:
            run("UPDATE ending SET done = 1 WHERE id = ?", consent)
            if letter is not None:
                run("INSERT OR IGNORE INTO outbox (id, body, due) VALUES (?, ?, 0)", letter.id, letter.body)

    def letters(self, now: float) -> list[Letter]:
        """Return what is to be sent now; for a while no other replica gets it."""
        with self._transaction("BEGIN IMMEDIATE") as run:
            rows = run(
                "SELECT id, body, attempts FROM outbox WHERE delivered_at IS NULL AND due <= ? ORDER BY due LIMIT ?",
                now, _MOST_AT_ONCE,
            ).fetchall()  # fmt: skip
            for row in rows:
                run("UPDATE outbox SET due = ? WHERE id = ?", now + _CLAIM_SECONDS, row[0])
        return [Letter(*row) for row in rows]

    def sent(self, letter: Letter, *, at: float | None = None, again_at: float = 0.0) -> None:
        """Take note that a letter was taken, or when it is to be sent again."""
        with self._transaction("BEGIN IMMEDIATE") as run:
            run(
                "UPDATE outbox SET delivered_at = ?, due = ?, attempts = attempts + 1 WHERE id = ?",
                at, again_at, letter.id,
            )  # fmt: skip

    def waiting(self) -> int:
        """Return how many letters were not taken yet."""
        with self._transaction("BEGIN") as run:
            return int(run("SELECT count(*) FROM outbox WHERE delivered_at IS NULL").fetchone()[0])

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """Give what runs a statement; all of them hold together, or none."""
        with self._lock:
            try:
                self._connection.execute(begin)
                try:
                    yield self._run
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise ConsentUnavailable(
                    f"the consent database cannot be used ({type(error).__name__}): nothing is released"
                ) from error

    def _run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)


def _values(one: Consent) -> tuple[Any, ...]:
    about = one.id, one.version, one.status, one.patient.issuer, one.patient.value, one.updated_at
    return (*about, orjson.dumps(one.content()), orjson.dumps(dict(one.document)))


def _consent(row: Sequence[Any]) -> Consent:
    id_, version, status, issuer, value, updated_at, content, document = row
    return Consent.of(
        orjson.loads(content),
        id=id_,
        version=version,
        status=status,
        patient=PatientIdentifier(issuer, value),
        updated_at=updated_at,
        document=orjson.loads(document),
    )
