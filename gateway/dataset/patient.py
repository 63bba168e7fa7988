"""Whom a Patient ID names, wherever in the gateway it is met."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class PatientIdentifier:
    """A Patient ID and the namespace in which it is one patient's (PS3.3 C.7.1.1).

    Attributes:
        issuer: as Issuer of Patient ID (0010,0021) has it.
        value: the Patient ID (0010,0020).
    """

    issuer: str
    value: str
