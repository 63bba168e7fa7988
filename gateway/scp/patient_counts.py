"""How many studies, series and instances a patient has, for a C-FIND at PATIENT level (PS3.4 C.6.1.1.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.access.permit import Permit
from gateway.dataset.identifier import PATIENT_ID
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.errors import RegionError, RequestError
from gateway.federation.identity import UNLINKED, same_patient
from gateway.scp.identifier import ISSUER, PATIENT_COUNTS, is_single, patient_of

if TYPE_CHECKING:
    from gateway.federation.findings import SearchResult
    from gateway.federation.search import FederatedSearch

STUDIES, SERIES, INSTANCES = PATIENT_COUNTS
MOST: Final = 100
"""Patients of one C-FIND whose studies are searched for; what the others have stays unknown."""

_OF_A_STUDY: Final[Mapping[str, str]] = MappingProxyType({SERIES: "00201206", INSTANCES: "00201208"})
STUDY: Final = UNIQUE_KEYS[Level.STUDY]


@dataclass(slots=True)
class PatientCounts:
    """Counts what the province has of patients: each study once, whoever holds it.

    Attributes:
        wanted: which of the counts are asked for.
        left: patients that may still be counted.
    """

    search: "FederatedSearch"
    wanted: frozenset[str]
    deadline: Deadline
    permit: Permit
    left: int = MOST

    async def of(self, row: Row) -> Row:
        """Return the counts of the patient of a row; one that is not known for certain is not there."""
        issuer, value = patient_of(row)
        if not self.wanted or not self.left or not is_single(value) or self.deadline.passed:
            return {}
        self.left -= 1
        keys: dict[TagPath, str] = {(PATIENT_ID,): value}
        if issuer:
            keys[ISSUER,] = issuer
        include = frozenset({(PATIENT_ID,), (ISSUER,)})
        query = Query(Level.STUDY, keys=keys, include=include, bare=self.wanted == {STUDIES})
        try:
            found = await self.search.search(query, self.deadline, permit=self.permit)
        except (RegionError, RequestError):
            return {}
        if found.remaining or found.completeness.missing or found.unavailable is not None:
            return {}
        return self._counted(found, row)

    def _counted(self, found: "SearchResult", patient: Row) -> Row:
        studies = _of_one(patient, found.rows)
        counts = {STUDIES: len(studies)}
        told = [row for row in studies if _text(row, STUDY) not in found.estimated]
        for tag, of_a_study in _OF_A_STUDY.items():
            numbers = [row.get(of_a_study, {}).get("Value") or [None] for row in told]
            if len(told) == len(studies) and all(isinstance(number, int) for number, *_ in numbers):
                counts[tag] = sum(number for number, *_ in numbers)
        return {tag: {"vr": "IS", "Value": [n]} for tag, n in counts.items() if n and tag in self.wanted}


def _of_one(patient: Row, rows: Sequence[Row]) -> list[Row]:
    """Return the rows that are the patient's, for a number may be another's in another namespace (trap 5).

    A namespace is the patient's where a row of it agrees with what is shown of the patient; what has another number
    was found because the identity source knows it.
    """
    issuer, value = patient_of(patient)
    agreeing = (x for x in rows if patient_of(x) == (issuer, value) or same_patient(patient, issuer, x, "", UNLINKED))
    namespaces = {patient_of(row)[0] for row in agreeing}
    return [row for row in rows if (found := patient_of(row))[1] != value or found[0] in namespaces]


def _text(row: Row, tag: str) -> str:
    return str((row.get(tag, {}).get("Value") or [""])[0])
