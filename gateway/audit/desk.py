"""What a privacy officer does with the log: each look into it is recorded before anything is shown."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.audit.chain import Entry
from gateway.audit.corrections import Corrections
from gateway.audit.index import ALWAYS, Span, find
from gateway.audit.record import Actor, Auditor, Event, record_of
from gateway.audit.source import AuditSource
from gateway.dataset.patient import PatientIdentifier


@dataclass(frozen=True, slots=True)
class Page:
    """A part of what the log tells of a patient.

    Attributes:
        patients: all identifiers of the patient.
        entries: the newest first; of the patients that they name, only this one.
        total: over all pages.
    """

    patients: tuple[PatientIdentifier, ...]
    entries: tuple[Entry, ...]
    total: int


class PrivacyDesk:
    """Answers who saw a patient's record, and takes requests to correct it.

    Attributes:
        corrections: the requests.
        source: how the gateway names itself.
        named: the name by which the log has an issuer of Patient IDs, of any name that it has.
    """

    def __init__(
        self,
        folder: Path,
        auditor: Auditor,
        source: AuditSource,
        *,
        named: Callable[[str], str],
        linked: Callable[[PatientIdentifier], Awaitable[frozenset[PatientIdentifier]]],
        others: Sequence[Path] = (),
    ) -> None:
        """Make a desk over the log of a folder; what it shows is also of the ``others``, the logs of other gateways."""
        self._folders = folder, *others
        self._auditor = auditor
        self._linked = linked
        self.corrections = Corrections(folder, auditor)
        self.source = source
        self.named = named

    async def identifiers(self, patient: PatientIdentifier) -> tuple[PatientIdentifier, ...]:
        """Return all identifiers of a patient, as the identity source links them.

        Raises:
            IdentityUnavailable: it does not answer: a report without them would not be whole.
        """
        return tuple(sorted(await self._linked(patient) | {patient}))

    async def note(
        self, actor: Actor, asked: str, patients: Sequence[PatientIdentifier] = (), *, request_id: str = ""
    ) -> None:
        """Have it recorded that somebody looks, before anything is shown; raises AuditUnavailable."""
        record = record_of(actor, Event.LOG_READ, patients=patients, query=asked, request_id=request_id)
        await self._auditor.record(record)

    async def look(
        self,
        actor: Actor,
        patient: PatientIdentifier,
        span: Span = ALWAYS,
        *,
        offset: int = 0,
        limit: int = 1000,
        request_id: str = "",
    ) -> Page:
        """Return what the log tells of a patient.

        Raises:
            AuditUnavailable: the look cannot be recorded, so nothing is shown.
            IdentityUnavailable: the patient's other identifiers cannot be found out.
        """
        patients = await self.identifiers(patient)
        asked = f"access report, {span.begin or 'begin'} to {span.end or 'now'}, from {offset}"
        await self.note(actor, asked, [patient], request_id=request_id)
        found = await asyncio.to_thread(find, self._folders, patients, span, offset=offset, limit=limit)
        return Page(patients, tuple(_narrowed(entry, patients) for entry in found.entries), found.total)


def _narrowed(entry: Entry, patients: tuple[PatientIdentifier, ...]) -> Entry:
    """Leave of the patients whom a search showed the one who is asked for."""
    return replace(entry, record=entry.record.about({(one.issuer, one.value) for one in patients}))
