"""Requests to correct a record: each has a state, outlives a restart, and every step of it is audited first."""

import asyncio
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from gateway.audit.record import Actor, Auditor, Event, record_of
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import NotFound, RequestError

NAME: Final = "corrections.sqlite"
LONGEST_TEXT: Final = 4000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS correction (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, issuer TEXT NOT NULL, value TEXT NOT NULL, study TEXT NOT NULL,
    wanted TEXT NOT NULL, reason TEXT NOT NULL, opened_at TEXT NOT NULL, changed_at TEXT NOT NULL
)
"""


class State(StrEnum):
    """How far a request is."""

    RECEIVED = "received"
    UNDER_REVIEW = "under-review"
    DONE = "done"
    REFUSED = "refused"


STEPS: Final = {
    State.RECEIVED: frozenset({State.UNDER_REVIEW}),
    State.UNDER_REVIEW: frozenset({State.DONE, State.REFUSED}),
    State.DONE: frozenset[State](),
    State.REFUSED: frozenset[State](),
}


@dataclass(frozen=True, slots=True)
class Correction:
    """A request to correct a patient's record.

    Attributes:
        patient: whose.
        study: Study Instance UID of what is wrong; may be empty.
        wanted: what is wrong and what is right, in the patient's words.
        reason: why it was refused, or what was done.
        opened_at: in UTC, like ``changed_at``.
    """

    id: str
    state: State
    patient: PatientIdentifier
    study: str
    wanted: str
    reason: str
    opened_at: str
    changed_at: str


class Corrections:
    """Keeps the requests beside the audit log."""

    def __init__(self, folder: Path, auditor: Auditor) -> None:
        self._path = folder / NAME
        self._auditor = auditor

    async def open(self, actor: Actor, patient: PatientIdentifier, wanted: str, study: str = "") -> Correction:
        """Take a request in.

        Raises:
            RequestError: it says not what is wanted, or too much.
            AuditUnavailable: it cannot be audited, and is not taken.
        """
        if not wanted.strip() or len(wanted) > LONGEST_TEXT:
            raise RequestError(f"a correction request says what is wrong, in at most {LONGEST_TEXT} characters")
        now = _now()
        made = Correction(secrets.token_hex(8), State.RECEIVED, patient, study, wanted.strip(), "", now, now)
        await self._record(actor, made)
        await asyncio.to_thread(self._keep, made)
        return made

    async def move(self, actor: Actor, request: str, state: State, reason: str = "") -> Correction:
        """Take a request one step on: it is reviewed, then done or, with a reason, refused.

        Raises:
            NotFound: there is no such request.
            RequestError: this step is not possible, or a refusal gives no reason.
            AuditUnavailable: the step cannot be audited, and is not made.
        """
        known = await asyncio.to_thread(self._read, request)
        if state not in STEPS[known.state]:
            possible = ", ".join(sorted(STEPS[known.state])) or "nothing: it is closed"
            raise RequestError(f"a request that is {known.state} cannot become {state}; possible: {possible}")
        if state is State.REFUSED and not reason.strip():
            raise RequestError("a refusal gives its reason: the patient has a right to it")
        moved = replace(known, state=state, reason=reason.strip(), changed_at=_now())
        await self._record(actor, moved)
        await asyncio.to_thread(self._keep, moved)
        return moved

    async def get(self, request: str) -> Correction:
        """Return one request.

        Raises:
            NotFound: there is none.
        """
        return await asyncio.to_thread(self._read, request)

    async def all(self, patients: Iterable[PatientIdentifier] | None = None) -> list[Correction]:
        """Return the requests of a patient, or all, the oldest first."""
        wanted = None if patients is None else set(patients)
        found = await asyncio.to_thread(self._all)
        return [one for one in found if wanted is None or one.patient in wanted]

    async def _record(self, actor: Actor, correction: Correction) -> None:
        told = f"correction request {correction.id}: {correction.state}"
        record = record_of(
            actor,
            Event.CORRECTION,
            patients=[correction.patient],
            studies=[correction.study] if correction.study else (),
            reason=f"{told} ({correction.reason})" if correction.reason else told,
        )
        await self._auditor.record(record)

    def _read(self, request: str) -> Correction:
        with self._database() as database:
            row = database.execute("SELECT * FROM correction WHERE id = ?", (request,)).fetchone()
        if row is None:
            raise NotFound("there is no such correction request")
        return _correction(row)

    def _all(self) -> list[Correction]:
        with self._database() as database:
            return [_correction(row) for row in database.execute("SELECT * FROM correction ORDER BY opened_at, id")]

    def _keep(self, one: Correction) -> None:
        values = (one.id, one.state, one.patient.issuer, one.patient.value, one.study, one.wanted, one.reason)
        with self._database() as database, database:
            database.execute(
                "INSERT OR REPLACE INTO correction VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, one.opened_at, one.changed_at),
            )

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        if not self._path.exists():
            self._path.touch(mode=0o600)
        with closing(sqlite3.connect(self._path, timeout=30)) as database:
            database.execute("PRAGMA synchronous = FULL")
            database.execute(_SCHEMA)
            yield database


def _correction(row: tuple[str, ...]) -> Correction:
    identity, state, issuer, value, study, wanted, reason, opened_at, changed_at = row
    patient = PatientIdentifier(issuer, value)
    return Correction(identity, State(state), patient, study, wanted, reason, opened_at, changed_at)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
