"""What an identity source has said, for a few minutes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.dataset.patient import PatientIdentifier
from gateway.deadline import Deadline
from gateway.errors import IdentityUnavailable
from gateway.federation.kept import Kept
from gateway.federation.patients import IdentitySource

MOST_ENTRIES = 100_000
PAUSE_SECONDS = 5.0
"""For which a source that failed is left alone, so that not every search waits for it."""


class Remembered:
    """An identity source that is asked once for what it was asked before (trap 27).

    Unknown is remembered as well as known. Of a patient it is enough to have asked for one identifier.
    """

    def __init__(self, source: IdentitySource, seconds: float, most_entries: int = MOST_ENTRIES) -> None:
        self._source = source
        self._patients = Kept[PatientIdentifier, frozenset[PatientIdentifier]](seconds, most_entries)
        self._issuers = Kept[str, frozenset[str]](seconds, most_entries)
        self._paused_until = float("-inf")

    async def identifiers(self, known: PatientIdentifier, deadline: Deadline) -> frozenset[PatientIdentifier]:
        """Return all identifiers of the patient; raises IdentityUnavailable as the source does."""
        patient = self._patients.get(known)
        if patient is None:
            with self._asking(deadline):
                patient = await self._source.identifiers(known, deadline)
            for identifier in patient or {known}:
                self._patients.put(identifier, patient)
        return patient

    async def issuers_of(self, value: str, deadline: Deadline) -> frozenset[str]:
        """Return who has issued a number; raises IdentityUnavailable as the source does."""
        issuers = self._issuers.get(value)
        if issuers is None:
            with self._asking(deadline):
                issuers = await self._source.issuers_of(value, deadline)
            self._issuers.put(value, issuers)
        return issuers

    @contextmanager
    def _asking(self, deadline: Deadline) -> Iterator[None]:
        """Ask the source, and leave it alone for a while when it fails, unless it only met a caller in a hurry."""
        if time.monotonic() < self._paused_until:
            raise IdentityUnavailable("the identity source failed a moment ago and is left alone for some seconds")
        try:
            yield
        except IdentityUnavailable:
            if not deadline.passed:
                self._paused_until = time.monotonic() + PAUSE_SECONDS
            raise
