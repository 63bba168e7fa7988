"""What counts of all consents, found by patient in microseconds."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from gateway.access.consents import ACTIVE, Consent
from gateway.dataset.patient import PatientIdentifier

_NOTHING: Final[dict[str, Consent]] = {}


class Index:
    """The active consents of each patient.

    Attributes:
        generation: another number whenever a decision that was made before may no longer hold.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._of: dict[PatientIdentifier, dict[str, Consent]] = {}
        self._patients: dict[str, PatientIdentifier] = {}
        self._naming: dict[str, dict[str, Consent]] = {}
        self._turns: list[float] = []
        self._selective: set[str] = set()

    @property
    def selective(self) -> bool:
        """Whether any of them is about single documents."""
        return bool(self._selective)

    def __len__(self) -> int:
        return len(self._patients)

    def of(self, patients: Iterable[PatientIdentifier]) -> Iterator[Consent]:
        """Yield the active consents of a patient, by any of the identifiers."""
        for patient in patients:
            if found := self._of.get(patient):
                yield from found.values()

    def naming(self, study: str) -> Iterable[Consent]:
        """Return the active consents that name a study, whosever they are."""
        return self._naming.get(study, _NOTHING).values()

    def concerns(self, patients: Iterable[PatientIdentifier]) -> bool:
        """Whether there is any of a patient."""
        return any(map(self._of.__contains__, patients))

    def take(self, consents: Iterable[Consent], now: float) -> None:
        """Put new versions in the place of those that were there before."""
        for consent in consents:
            self._forget(consent.id)
            if consent.status == ACTIVE and consent.ends > now:
                kept = replace(consent, document=_NOTHING)
                self._of.setdefault(consent.patient, {})[consent.id] = kept
                self._patients[consent.id] = consent.patient
                for study in _studies(kept):
                    self._naming.setdefault(study, {})[consent.id] = kept
                if any(rule.document for rule in consent.rules):
                    self._selective.add(consent.id)
                for at in consent.turns:
                    if at > now:
                        heapq.heappush(self._turns, at)
            self.generation += 1

    def turn(self, now: float) -> None:
        """Take note of the time: what begins or ends with it makes another decision."""
        passed = False
        while self._turns and self._turns[0] <= now:
            heapq.heappop(self._turns)
            passed = True
        self.generation += passed

    def _forget(self, consent: str) -> None:
        self._selective.discard(consent)
        patient = self._patients.pop(consent, None)
        if patient is not None:
            for study in _studies(self._of[patient].pop(consent)):
                del self._naming[study][consent]
                if not self._naming[study]:
                    del self._naming[study]
            if not self._of[patient]:
                del self._of[patient]


def _studies(consent: Consent) -> frozenset[str]:
    return frozenset(rule.study for rule in consent.rules if rule.study)
