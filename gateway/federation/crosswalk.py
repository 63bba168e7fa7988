"""An identity source in a file: which local Patient IDs belong to which provincial number."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.dataset.patient import PatientIdentifier
from gateway.deadline import Deadline
from gateway.errors import ConfigError
from gateway.federation.issuers import Issuers

HEADER: Final = ("health_card_number", "issuer", "patient_id", "issuer_of_patient_id")
"""Provincial number and its issuer, local number and its issuer; a patient has as many rows as local numbers."""

MOST_CHARACTERS: Final = 64
"""In a value of VR LO (PS3.5 6.2)."""


def is_patient_id(value: str) -> bool:
    """Whether a value can be asked for as one Patient ID: no wildcard, no delimiter, no control character."""
    return 0 < len(value) <= MOST_CHARACTERS and value.isprintable() and not set(value) & set("*?\\")


class Crosswalk:
    """All identifiers of all patients, read once."""

    def __init__(self, patients: dict[PatientIdentifier, frozenset[PatientIdentifier]]) -> None:
        self._patients = patients
        self._issuers: dict[str, frozenset[str]] = {}
        for known in patients:
            self._issuers[known.value] = self._issuers.get(known.value, frozenset()) | {known.issuer}

    @classmethod
    def read(cls, path: Path, issuers: Issuers) -> "Crosswalk":
        """Read the CSV file.

        Raises:
            ConfigError: it cannot be read, or a line is not of its form or contradicts an earlier one; the text
                names file and line and repeats no number.
        """
        try:
            content = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}): check identity.crosswalk") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not UTF-8: save it as UTF-8") from error
        patients: dict[PatientIdentifier, set[PatientIdentifier]] = {}
        for line, provincial, local in _rows(content, path, issuers):
            _join(patients, provincial, local, f"{path}:{line}")
        whole = {id(patient): frozenset(patient) for patient in patients.values()}
        return cls({known: whole[id(patient)] for known, patient in patients.items()})

    @property
    def issuers(self) -> frozenset[str]:
        """Everybody who has issued a number in it."""
        return frozenset(identifier.issuer for identifier in self._patients)

    async def identifiers(self, known: PatientIdentifier, deadline: Deadline) -> frozenset[PatientIdentifier]:  # noqa: ARG002
        """Return all identifiers of the patient, none where the file does not know them."""
        return self._patients.get(known, frozenset())

    async def issuers_of(self, value: str, deadline: Deadline) -> frozenset[str]:  # noqa: ARG002
        """Return who has issued a number."""
        return self._issuers.get(value, frozenset())


def _rows(content: str, path: Path, issuers: Issuers) -> Iterator[tuple[int, PatientIdentifier, PatientIdentifier]]:
    """Yield line number, provincial and local identifier of each row."""
    rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    try:
        if tuple(next(rows, ())) != HEADER:
            raise ConfigError(f"{path}:1: is not the header: expected {','.join(HEADER)}")
        for row in rows:
            if not row:
                continue
            fields = [field.strip() for field in row]
            if len(fields) != len(HEADER) or not all(map(is_patient_id, fields)):
                raise ConfigError(
                    f"{path}:{rows.line_num}: expected {len(HEADER)} values of 1 to {MOST_CHARACTERS} characters "
                    "without *, ? and \\: number, its issuer, local number, its issuer"
                )
            number, issuer, local_number, local_issuer = fields
            provincial = PatientIdentifier(issuers.name(issuer), number)
            yield rows.line_num, provincial, PatientIdentifier(issuers.name(local_issuer), local_number)
    except csv.Error as error:
        raise ConfigError(f"{path}:{rows.line_num}: is not CSV: {error}") from error


def _join(
    patients: dict[PatientIdentifier, set[PatientIdentifier]],
    provincial: PatientIdentifier,
    local: PatientIdentifier,
    where: str,
) -> None:
    """Note that two identifiers are of one patient."""
    patient = patients.setdefault(provincial, {provincial})
    if patients.setdefault(local, patient) is not patient:
        raise ConfigError(
            f"{where}: the number of {local.issuer} is another patient's on an earlier line: "
            "a local number belongs to one provincial number"
        )
    patient.add(local)
