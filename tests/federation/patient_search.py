"""A search over scripted regions in a few lines, as the federation does it: ask, guard, merge, present."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.dataset.matching import matcher
from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Level, Query, Row
from gateway.deadline import Deadline
from gateway.errors import IdentityUnavailable
from gateway.federation.identity import identifiers, text
from gateway.federation.issuers import Issuers
from gateway.federation.merge import Merged, merge
from gateway.federation.paging import ordered
from gateway.federation.patients import IdentitySource, Patients
from gateway.federation.questions import Questions
from tests.federation.scripted_region import ScriptedRegion
from tests.region.witness import Witness

PATIENT_ID, ISSUER, OTHERS, STUDY = "00100020", "00100021", "00101002", "0020000D"


@dataclass
class Directory:
    """An identity source that knows what a test writes down."""

    patients: Sequence[frozenset[PatientIdentifier]]
    down: bool = False
    asked: list[PatientIdentifier] = field(default_factory=list)

    async def identifiers(self, known: PatientIdentifier, deadline: Deadline) -> frozenset[PatientIdentifier]:
        self.asked.append(known)
        if self.down:
            raise IdentityUnavailable("down")
        return next((patient for patient in self.patients if known in patient), frozenset())

    async def issuers_of(self, value: str, deadline: Deadline) -> frozenset[str]:
        if self.down:
            raise IdentityUnavailable("down")
        return frozenset(x.issuer for patient in self.patients for x in patient if x.value == value)


def conflicts(merged: Merged) -> list[tuple[str, str]]:
    """Regions that hold studies for two patients: the one that is shown, and the other."""
    return [(shown, other) for kind, shown, other in merged.contradictions if kind == "patient"]


@dataclass(frozen=True)
class Outcome:
    """Rows as the caller gets them, and what the caller is told."""

    rows: list[Row]
    warnings: list[str]
    questions: Questions
    conflicts: list[tuple[str, str]]

    @property
    def studies(self) -> list[str]:
        return sorted(text(row, STUDY) for row in self.rows)

    @property
    def shown(self) -> dict[str, str]:
        """Study -> issuer and number of its Patient ID."""
        return {text(row, STUDY): f"{text(row, ISSUER)} {text(row, PATIENT_ID)}" for row in self.rows}

    def others(self, study: str) -> set[str]:
        """Issuer and number of each item of Other Patient IDs Sequence."""
        [row] = [row for row in self.rows if text(row, STUDY) == study]
        return {f"{text(item, ISSUER)} {text(item, PATIENT_ID)}" for item in row.get(OTHERS, {}).get("Value", [])}


class PatientSearch:
    """Some regions behind one identity source."""

    def __init__(
        self, *regions: ScriptedRegion, source: IdentitySource, issuers: Issuers | None = None, **options: Any
    ) -> None:
        self.regions = regions
        self.events = Witness()
        profiles = [region.profile for region in regions]
        self.patients = Patients(source, issuers or Issuers(), profiles, self.events, **options)

    async def __call__(self, keys: dict[str, str] | None = None, level: Level = Level.STUDY) -> Outcome:
        """Search by keys, each a tag or tags joined by dots."""
        query = Query(level, keys={tuple(path.split(".")): key for path, key in (keys or {}).items()})
        deadline = Deadline.after(10.0)
        questions = await self.patients.questions(query, [region.profile for region in self.regions], deadline)
        answers = [(region.profile, await self._rows(region, questions, deadline)) for region in self.regions]
        named = frozenset[PatientIdentifier]().union(
            *(identifiers(row, p.namespace) for p, rows in answers for row in rows)
        )
        merged = merge(level, answers, await self.patients.linked(named, deadline))
        rows = ordered(merged.rows, level)
        shown = await self.patients.present(rows, query, deadline)
        return Outcome(rows, [*questions.warnings, *shown], questions, conflicts(merged))

    async def _rows(self, region: ScriptedRegion, questions: Questions, deadline: Deadline) -> list[Row]:
        return [
            row
            for query in questions.of.get(region.profile.id, ())
            async for row in region.search(query, deadline)
            if matcher(query)(row) and questions.admits(region.profile, row)
        ]

    def asked(self) -> dict[str, list[str]]:
        """Region -> the Patient IDs it was asked for."""
        return {
            region.profile.id: [query.keys.get((PATIENT_ID,), "") for query in region.asked] for region in self.regions
        }
