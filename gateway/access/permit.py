"""What a decision allows, carried along with the request that it was made for."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.access.principal import Principal, Transaction
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import RequestError


@dataclass(frozen=True, slots=True)
class StudyKey:
    """What consent directives may name a study by.

    Attributes:
        accession: its Accession Number; empty where its holders do not say.
        regions: ids of those that hold it, the best first.
    """

    study_instance_uid: str
    accession: str = ""
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """A study, and whose it is by the word of those that hold it; no identifiers where they do not tell."""

    study: StudyKey
    patients: frozenset[PatientIdentifier]


@dataclass(frozen=True, slots=True)
class Block:
    """Why a study is not released.

    Attributes:
        level: of the directive, or "patient" where the caller's token is another patient's.
        directive: its id.
        notice: what the caller is told; empty makes it as if the study were not there.
    """

    level: str
    directive: str = ""
    notice: str = ""

    @property
    def overridable(self) -> bool:
        """Whether it is a patient's directive, or what goes without one."""
        return self.level != "patient"


class Directives(Protocol):
    """Knows what patients have consented to."""

    @property
    def active(self) -> bool:
        """Whether there is any directive at all; without one nobody is asked whose a row is."""

    @property
    def generation(self) -> int:
        """Another number whenever what was decided before may no longer hold."""

    def blocked(self, principal: Principal, patients: frozenset[PatientIdentifier], study: StudyKey) -> Block | None:
        """Return why a study of a patient is withheld from a caller, None where it is not.

        Args:
            principal: the caller.
            patients: all identifiers of the patient.
            study: the study.
        """

    @property
    def selective(self) -> bool:
        """Whether there is any directive about a single document."""

    def hidden(
        self, principal: Principal, patients: frozenset[PatientIdentifier], study: StudyKey
    ) -> Mapping[str, Block]:
        """Return why documents of a study are withheld though the study is not, by their SOP Instance UID."""


class NoDirectives:
    """Nobody has placed a directive."""

    active: Final = False
    selective: Final = False
    generation: Final = 0

    def blocked(
        self,
        principal: Principal,  # noqa: ARG002
        patients: frozenset[PatientIdentifier],  # noqa: ARG002
        study: StudyKey,  # noqa: ARG002
    ) -> Block | None:
        """Withhold nothing."""
        return None

    def hidden(
        self,
        principal: Principal,  # noqa: ARG002
        patients: frozenset[PatientIdentifier],  # noqa: ARG002
        study: StudyKey,  # noqa: ARG002
    ) -> Mapping[str, Block]:
        """Withhold nothing."""
        return {}


class Identities(Protocol):
    """Knows which identifiers are of one patient."""

    async def everyone(
        self, known: Collection[PatientIdentifier]
    ) -> Mapping[PatientIdentifier, frozenset[PatientIdentifier]]:
        """Return all identifiers of the patient of each of these, itself included.

        Raises:
            IdentityUnavailable: they cannot be told.
        """


class NoIdentities:
    """Every identifier is a patient of its own."""

    async def everyone(
        self, known: Collection[PatientIdentifier]
    ) -> Mapping[PatientIdentifier, frozenset[PatientIdentifier]]:
        """Return each alone."""
        return {one: frozenset({one}) for one in known}


class Recorder(Protocol):
    """Keeps the audit trail; its words for events and outcomes are those of the audit."""

    async def __call__(
        self,
        principal: Principal,
        /,
        event: str,
        outcome: str = "success",
        *,
        patients: Iterable[PatientIdentifier] = (),
        studies: Iterable[str] = (),
        whose: Iterable[Collection[PatientIdentifier]] = (),
        instances: int = 0,
        query: str = "",
        request_id: str = "",
        reason: str = "",
        directive: str = "",
        destination: str = "",
    ) -> None:
        """Return once it is recorded.

        Raises:
            AuditUnavailable: it cannot be, so that nothing may be released.
        """


class Breaking(Protocol):
    """Begins an override of what a patient directs, for the caller whom it was made for."""

    async def __call__(self, principal: Principal, patients: frozenset[PatientIdentifier]) -> None:
        """Return once it has begun.

        Raises:
            AuditUnavailable: it cannot be recorded, and has not.
        """


OF_ANOTHER_PATIENT: Final = Block("patient")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Another than the caller, to whom the caller has something sent.

    Attributes:
        principal: who it is: what patients direct about it holds, too.
        destination: its AE title.
    """

    principal: Principal
    destination: str


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave for one transaction of one caller, and what of its results he may have.

    Attributes:
        patients: all identifiers of the only patient whose data may be released; None for any patient's.
        recorder: has to hear of what is released before it is; None where nobody has.
        request_id: of the request, for the audit trail.
        breaking: begins an override where a directive withholds something; None where the caller asks for none.
        receiver: to whom what is released is sent; None where that is the caller.
    """

    principal: Principal
    transaction: Transaction
    patients: frozenset[PatientIdentifier] | None = None
    directives: Directives = field(default_factory=NoDirectives)
    identities: Identities = field(default_factory=NoIdentities)
    recorder: Recorder | None = None
    request_id: str = ""
    breaking: Breaking | None = None
    receiver: Receiver | None = None

    @property
    def generation(self) -> int:
        """Another number whenever what ``blocks`` said before may no longer hold."""
        return self.directives.generation

    @property
    def restricted(self) -> bool:
        """Whether it matters whose a study is; where it does not, no row is looked at."""
        return self.patients is not None or self.directives.active

    async def blocks(self, subjects: Sequence[Subject]) -> list[Block | None]:
        """Return why each study is withheld, None for one that may be released.

        Raises:
            RequestError: an override is asked for, and it is not one patient who withholds.
        """
        whose, found = await self._decided(subjects)
        if await self._overridden(whose, [block is not None and block.overridable for block in found]):
            found = (await self._decided(subjects))[1]
        return found

    async def hidden(self, subjects: Sequence[Subject]) -> list[Mapping[str, Block]]:
        """Return why documents of each study are withheld, by their SOP Instance UID; the study itself is not.

        Raises:
            RequestError: an override is asked for, and it is not one patient who withholds.
        """
        if not self.directives.selective:
            return [{} for _ in subjects]
        whose = await self._of_each(subjects)
        found = self._hidden(subjects, whose)
        if await self._overridden(whose, list(map(bool, found))):
            found = self._hidden(subjects, whose)
        return found

    def _hidden(
        self, subjects: Sequence[Subject], whose: Sequence[frozenset[PatientIdentifier]]
    ) -> list[Mapping[str, Block]]:
        return [
            {
                uid: block
                for who in self._readers
                for uid, block in self.directives.hidden(who, patients, x.study).items()
            }
            for x, patients in zip(subjects, whose, strict=True)
        ]

    async def _overridden(self, whose: Sequence[frozenset[PatientIdentifier]], withheld: Sequence[bool]) -> bool:
        """Begin an override where one is asked for and something is withheld; return whether it has begun."""
        patients = {one for one, hidden in zip(whose, withheld, strict=True) if hidden}
        if self.breaking is None or not patients:
            return False
        if len(patients) > 1 or not next(iter(patients)):
            raise RequestError("an override is of one patient's directives: name one by PatientID or StudyInstanceUID")
        await self.breaking(self.principal, next(iter(patients)))
        return True

    async def _of_each(self, subjects: Sequence[Subject]) -> list[frozenset[PatientIdentifier]]:
        """Return all identifiers of the patient of each study."""
        known = frozenset[PatientIdentifier]().union(*(subject.patients for subject in subjects))
        everyone = await self.identities.everyone(known)
        return [subject.patients.union(*(everyone[one] for one in subject.patients)) for subject in subjects]

    async def _decided(
        self, subjects: Sequence[Subject]
    ) -> tuple[list[frozenset[PatientIdentifier]], list[Block | None]]:
        """Return all identifiers of the patient of each study, and why it is withheld."""
        bound = self.patients
        found: list[Block | None] = [
            OF_ANOTHER_PATIENT if bound is not None and bound.isdisjoint(subject.patients) else None
            for subject in subjects
        ]
        if not self.directives.active:
            return [subject.patients for subject in subjects], found
        whose = await self._of_each(subjects)
        for at, subject in enumerate(subjects):
            for who in self._readers:
                found[at] = found[at] or self.directives.blocked(who, whose[at], subject.study)
        return whose, found

    @property
    def _readers(self) -> tuple[Principal, ...]:
        """All who would have what is released."""
        return (self.principal,) if self.receiver is None else (self.principal, self.receiver.principal)

    async def record(
        self,
        event: str,
        outcome: str = "success",
        *,
        subjects: Sequence[Subject] = (),
        instances: int = 0,
        query: str = "",
        reason: str = "",
        directive: str = "",
    ) -> None:
        """Have the audit trail say what is released, or why nothing is; raises as the recorder does."""
        if self.recorder is not None:
            await self.recorder(
                self.principal,
                event,
                outcome,
                patients=[patient for subject in subjects for patient in subject.patients],
                studies=[subject.study.study_instance_uid for subject in subjects],
                whose=[subject.patients for subject in subjects],
                instances=instances,
                query=query,
                request_id=self.request_id,
                reason=reason,
                directive=directive,
                destination="" if self.receiver is None else self.receiver.destination,
            )


UNRESTRICTED: Final = Permit(Principal("gateway"), Transaction.SEARCH)
"""Of the gateway itself, for what it finds out on nobody's behalf."""
