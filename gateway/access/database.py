"""Consents, the ends of overrides and what their receiver has to hear, in a database that replicas share."""

import asyncio
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import orjson

from gateway.access.consents import ACTIVE, Consent
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import ConfigError, NotFound, VersionConflict

T = TypeVar("T")
Statement: TypeAlias = tuple[Any, ...]
"""SQL whose places are $1, $2 and so on, then the values for them."""
Work: TypeAlias = Generator[Statement, list[Any], T]
"""What a transaction does, without the database: it yields statements, and is sent their rows."""

_VERSION: Final = 1
"""Of the tables. What another release has to change of them, it does where it finds a lower one."""
_CLAIM_SECONDS: Final = 60.0
"""After which another replica takes over what one began and did not finish; no letter takes so long."""
_MOST_AT_ONCE: Final = 100
_PAGE: Final = 20_000
"""Rows of one transaction: many take their time, and no transaction may take long."""
_COLUMNS: Final = "id, version, status, issuer, value, updated_at, content, document"
_INSERT: Final = f"INSERT INTO consent ({_COLUMNS}, current) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, TRUE)"  # noqa: S608
_GET: Final = f"SELECT {_COLUMNS} FROM consent WHERE id = $1 AND current"  # noqa: S608
_GET_VERSION: Final = f"SELECT {_COLUMNS} FROM consent WHERE id = $1 AND version = $2"  # noqa: S608
_OF: Final = f"SELECT seq, {_COLUMNS} FROM consent WHERE value = $1 AND issuer = $2 AND current"  # noqa: S608
_SINCE: Final = (
    "SELECT seq, id, version, status, issuer, value, updated_at, content FROM consent"
    " WHERE seq > $1 AND current AND ($2 OR status = $3) ORDER BY seq LIMIT $4"
)
_CLAIM_ENDS: Final = (
    "UPDATE ending SET claimed_at = $1 WHERE id IN (SELECT id FROM ending"
    " WHERE NOT done AND due <= $1 AND claimed_at < $2 ORDER BY due LIMIT $3) RETURNING id"
)
_CLAIM_LETTER: Final = (
    "UPDATE outbox SET due = $2 WHERE id = (SELECT id FROM outbox"
    " WHERE delivered_at IS NULL AND due <= $1 ORDER BY due LIMIT 1) RETURNING id, body, attempts"
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


@dataclass(frozen=True, slots=True)
class Dialect:
    """Words that not all databases have in common.

    Attributes:
        sequence: of a column that counts rows as they are written.
        octets: the type of bytes.
        flag: the type of what is TRUE or FALSE.
        tables: counts the tables of a name, $1.
    """

    sequence: str
    octets: str
    flag: str
    tables: str


class Engine(Protocol):
    """A database that does work: all of it holds together, or none.

    Raises:
        ConsentUnavailable: from each method but the last, where the database cannot be used.
    """

    @property
    def dialect(self) -> Dialect:
        """Its words."""

    @property
    def opened(self) -> int:
        """How often it was connected to: behind each connection may be another server."""

    async def read(self, work: Work[T]) -> T:
        """Do what changes nothing and sees one state of the database."""

    async def write(self, work: Work[T]) -> T:
        """Do what may change something, while nobody else does; once it returns it is kept for good."""

    async def aclose(self) -> None:
        """Let go of the database."""


class ConsentDatabase:
    """Every version of every consent.

    Raises:
        ConsentUnavailable: from each method, where the database cannot be used.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def opened(self) -> int:
        """Another number whenever it may be another database that is read."""
        return self._engine.opened

    async def prepare(self) -> None:
        """Make the tables where there are none.

        Raises:
            ConfigError: they are of a newer release than this one.
        """
        await self._engine.write(_prepare(self._engine.dialect))

    # --- consents

    async def since(self, seq: int) -> tuple[list[Consent], int]:
        """Return what was changed behind a sequence number, each in its last version, and the last number.

        Documents are left out. From 0 on, it is all that counts or may yet come to count.
        """
        rows, last = await self._engine.read(_since(seq, from_start=seq == 0))
        found = rows
        while len(rows) == _PAGE:
            # What is changed meanwhile is behind the last number of the first page, and comes the next time.
            rows, _ = await self._engine.read(_since(rows[-1][0], from_start=seq == 0))
            found = [*found, *rows]
        return (await asyncio.to_thread(_directives, found) if found else []), last

    async def put(self, consent: Consent, *, replaces: int = 0, letter: Letter | None = None) -> None:
        """Keep a version of a consent that replaces one, 0 for none, and all that has to follow from it.

        Raises:
            VersionConflict: another one was kept meanwhile.
        """
        await self._engine.write(_put(consent, replaces, letter))

    async def get(self, consent: str, version: int | None = None) -> Consent:
        """Return a consent, in its last version unless another is asked for.

        Raises:
            NotFound: there is none.
        """
        return await self._engine.read(_get(consent, version))

    async def of(self, patients: Collection[PatientIdentifier]) -> list[Consent]:
        """Return all consents of a patient, by any of the identifiers, the oldest first."""
        return await self._engine.read(_of(patients))

    # --- what follows

    async def claim_ends(self, now: float) -> list[Consent]:
        """Return the overrides that have ended, for one of several replicas to tell of each."""
        return await self._engine.write(_claim_ends(now))

    async def told_end(self, consent: str, letter: Letter | None) -> None:
        """Take note that the end of an override was told."""
        await self._engine.write(_told_end(consent, letter))

    async def claim_letter(self, now: float) -> Letter | None:
        """Return what is to be sent now, if there is anything; for a while no other replica gets it."""
        return await self._engine.write(_claim_letter(now))

    async def sent(self, letter: Letter, *, at: float | None = None, again_at: float = 0.0) -> None:
        """Take note that a letter was taken, or when it is to be sent again."""
        await self._engine.write(_sent(letter, at, again_at))

    async def waiting(self) -> int:
        """Return how many letters were not taken yet."""
        return await self._engine.read(_waiting())


def _prepare(words: Dialect) -> Work[None]:
    [(there,)] = yield words.tables, "consent_schema"
    if not there:  # who may use the tables need not be allowed to make any
        for statement in _tables(words):
            yield (statement,)
        yield "INSERT INTO consent_schema (version) VALUES ($1)", _VERSION
    [(version,)] = yield ("SELECT max(version) FROM consent_schema",)
    if version != _VERSION:
        raise ConfigError(
            f'"consent.database" has tables of version {version}, and this release knows version {_VERSION}: '
            "run the release that made them"
        )


def _tables(words: Dialect) -> list[str]:
    text = f"""
    CREATE TABLE IF NOT EXISTS consent (
        seq {words.sequence}, id TEXT NOT NULL, version INTEGER NOT NULL, status TEXT NOT NULL,
        issuer TEXT NOT NULL, value TEXT NOT NULL, updated_at DOUBLE PRECISION NOT NULL, current {words.flag} NOT NULL,
        content {words.octets} NOT NULL, document {words.octets} NOT NULL, UNIQUE (id, version)
    );
    CREATE INDEX IF NOT EXISTS consent_of_patient ON consent (value, issuer) WHERE current;
    CREATE TABLE IF NOT EXISTS ending (
        id TEXT PRIMARY KEY, due DOUBLE PRECISION NOT NULL, claimed_at DOUBLE PRECISION NOT NULL DEFAULT 0,
        done {words.flag} NOT NULL DEFAULT FALSE
    );
    CREATE INDEX IF NOT EXISTS ending_due ON ending (due) WHERE NOT done;
    CREATE TABLE IF NOT EXISTS outbox (
        id TEXT PRIMARY KEY, body {words.octets} NOT NULL, due DOUBLE PRECISION NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, delivered_at DOUBLE PRECISION
    );
    CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due) WHERE delivered_at IS NULL;
    CREATE TABLE consent_schema (version INTEGER NOT NULL)
    """
    return text.split(";")


def _since(seq: int, *, from_start: bool) -> Work[tuple[list[Any], int]]:
    rows = yield _SINCE, seq, not from_start, ACTIVE, _PAGE
    [(last,)] = yield ("SELECT coalesce(max(seq), 0) FROM consent",)
    return rows, last


def _put(consent: Consent, replaces: int, letter: Letter | None) -> Work[None]:
    [(known,)] = yield "SELECT coalesce(max(version), 0) FROM consent WHERE id = $1", consent.id
    if known != replaces:
        raise VersionConflict(f"the consent has version {known} by now: read it again")
    yield "UPDATE consent SET current = FALSE WHERE id = $1 AND current", consent.id
    yield (_INSERT, *_values(consent))
    if consent.override is not None:
        due = consent.ends if consent.status == ACTIVE else consent.updated_at
        insert = "INSERT INTO ending (id, due) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET due = excluded.due"
        yield insert, consent.id, due
    if letter is not None:
        yield "INSERT INTO outbox (id, body, due) VALUES ($1, $2, 0)", letter.id, letter.body


def _get(consent: str, version: int | None) -> Work[Consent]:
    rows = yield (_GET, consent) if version is None else (_GET_VERSION, consent, version)
    if not rows:
        raise NotFound("there is no such consent")
    return _consent(rows[0])


def _of(patients: Collection[PatientIdentifier]) -> Work[list[Consent]]:
    found: list[Sequence[Any]] = []
    for patient in patients:
        found += yield _OF, patient.value, patient.issuer
    return [_consent(row[1:]) for row in sorted(found, key=lambda row: row[0])]


def _claim_ends(now: float) -> Work[list[Consent]]:
    due = yield _CLAIM_ENDS, now, now - _CLAIM_SECONDS, _MOST_AT_ONCE
    ended: list[Consent] = []
    for row in due:
        ended += map(_consent, (yield _GET, row[0]))
    return ended


def _told_end(consent: str, letter: Letter | None) -> Work[None]:
    yield "UPDATE ending SET done = TRUE WHERE id = $1", consent
    if letter is not None:
        insert = "INSERT INTO outbox (id, body, due) VALUES ($1, $2, 0) ON CONFLICT (id) DO NOTHING"
        yield insert, letter.id, letter.body


def _claim_letter(now: float) -> Work[Letter | None]:
    rows = yield _CLAIM_LETTER, now, now + _CLAIM_SECONDS
    return Letter(*rows[0]) if rows else None


def _sent(letter: Letter, at: float | None, again_at: float) -> Work[None]:
    update = "UPDATE outbox SET delivered_at = $1, due = $2, attempts = attempts + 1 WHERE id = $3"
    yield update, at, again_at, letter.id


def _waiting() -> Work[int]:
    [(count,)] = yield ("SELECT count(*) FROM outbox WHERE delivered_at IS NULL",)
    return int(count)


def _values(one: Consent) -> tuple[Any, ...]:
    about = one.id, one.version, one.status, one.patient.issuer, one.patient.value, one.updated_at
    return (*about, orjson.dumps(one.content()), orjson.dumps(dict(one.document)))


def _directives(rows: list[Any]) -> list[Consent]:
    return [_consent((*row[1:], b"{}")) for row in rows]


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
