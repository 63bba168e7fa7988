"""Whether a study that is retrieved may be given to its caller, and that the audit trail hears of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from gateway.access.consents import Reason
from gateway.access.permit import OF_ANOTHER_PATIENT, Block, Permit, StudyKey, Subject
from gateway.access.principal import Transaction
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import ConsentBlocked, GatewayError
from gateway.federation.completeness import Completeness, not_held
from gateway.federation.flights import Flight
from gateway.region.together import together

OVERRIDABLE: Final = (
    "; a person with the scope override may, for one of three reasons, send Consent-Override: reason=CODE, where CODE"
    f" is {', '.join(Reason)}"
)


async def allow(flight: Flight, permit: Permit) -> Mapping[str, Block]:
    """Hold whose a study is against a permit, and have the audit trail say that it is released.

    Returns:
        why single instances are not, by their SOP Instance UID.

    Raises:
        NotFound: it is not for this caller, to whom it is as if it were not there.
        ConsentBlocked: it is not, and the caller is to know it.
        AuditUnavailable: the release cannot be recorded.
    """
    while True:
        generation = permit.generation
        if block := await withheld(flight, permit):
            raise refusal(flight, block)
        hidden = await documents(flight, permit)
        await permit.record("retrieve-begin", subjects=flight.subjects)
        if permit.generation == generation:
            return hidden


async def documents(flight: Flight, permit: Permit) -> Mapping[str, Block]:
    """Return why single instances of a study are withheld, by their SOP Instance UID."""
    if not permit.restricted:
        return {}
    return {uid: block for found in await permit.hidden(flight.subjects) for uid, block in found.items()}


async def deny(flight: Flight, permit: Permit, block: Block) -> None:
    """Have the audit trail say why something is withheld."""
    event = "consent" if block.directive else "denied"
    await permit.record(event, "denied", subjects=flight.subjects, reason=block.level, directive=block.directive)


async def withheld(flight: Flight, permit: Permit) -> Block | None:
    """Return why a study is withheld, once the audit trail has it; None where it is not."""
    if not permit.restricted:
        return None
    blocks = await permit.blocks(flight.subjects) if flight.subjects else [OF_ANOTHER_PATIENT]
    block = next(filter(None, blocks), None)
    if block is not None:
        await deny(flight, permit, block)
    return block


def refusal(flight: Flight, block: Block) -> GatewayError:
    """Return what a caller is told of a study that is withheld: that it is, or that it is not there."""
    return blocked(block.notice) if block.notice else not_held("this study", _nothing_of(flight))


def blocked(notice: str) -> ConsentBlocked:
    """Return what a caller is told who is to know that something is withheld."""
    return ConsentBlocked(notice + OVERRIDABLE)


class Standing:
    """Whether what was allowed when a retrieve began still is: directives may be placed while it is under way.

    Attributes:
        hidden: why single instances are withheld, by their SOP Instance UID.
        withheld: those of them that would have been given.
    """

    __slots__ = ("_directives", "_flight", "_generation", "_permit", "hidden", "withheld")

    def __init__(self, flight: Flight, permit: Permit, generation: int) -> None:
        self.hidden: Mapping[str, Block] = {}
        self.withheld: dict[str, Block] = {}
        self._flight = flight
        self._permit = replace(permit, breaking=None)  # what ends by itself is not begun anew by what was begun with it
        self._directives = permit.directives
        self._generation = generation

    @property
    def in_doubt(self) -> bool:
        """Whether any directive has changed; asked before anything is given, so that it costs nothing."""
        return self._directives.generation != self._generation

    async def confirm(self) -> None:
        """Decide again.

        Raises:
            NotFound: it is no longer for this caller, to whom it is as if it were not there.
            ConsentBlocked: it is not, and the caller is to know it.
        """
        generation = self._directives.generation
        block = await withheld(self._flight, self._permit)
        if block is None:
            hidden = await documents(self._flight, self._permit)
            # Of what was given already some may still be on its way out: who asks again gets the rest.
            block = next((hidden[uid] for uid in hidden if uid not in self.hidden), None)
        if block is not None:
            raise refusal(self._flight, block)
        self._generation = generation

    async def withholds(self, uid: str) -> bool:
        """Whether an instance is not for the caller, once the audit trail has it."""
        block = self.hidden.get(uid)
        if block is None:
            return False
        if block not in self.withheld.values():
            await deny(self._flight, self._permit, block)
        self.withheld[uid] = block
        return True


class Stored(Protocol):
    """What became of an instance that was sent to us."""

    @property
    def stored(self) -> bool:
        """Whether it was taken in."""

    @property
    def study_instance_uid(self) -> str:
        """Of its study; empty where that is not known."""

    @property
    def patients(self) -> frozenset[PatientIdentifier]:
        """Whose it is; nobody where that is not known."""


async def record(permit: Permit, results: Sequence[Stored]) -> None:
    """Have the audit trail say what was taken in of each study, before its sender is told so.

    Raises:
        AuditUnavailable: it cannot be recorded.
    """
    of: dict[tuple[str, frozenset[PatientIdentifier]], list[bool]] = {}
    for result in results:
        of.setdefault((result.study_instance_uid, result.patients), []).append(result.stored)

    async def one(study: str, patients: frozenset[PatientIdentifier], stored: Sequence[bool]) -> None:
        outcome = "success" if all(stored) else "partial" if any(stored) else "failure"
        subject = Subject(StudyKey(study), patients)
        await permit.record("store", outcome, subjects=[subject] if study else [], instances=sum(stored))

    await together([one(*subject, stored) for subject, stored in of.items()])


async def told(flight: Flight, permit: Permit, instances: int, *, whole: bool, event: str) -> None:
    """Have the audit trail say how much was released."""
    event = "rendered" if permit.transaction is Transaction.RENDERED else event
    if permit.receiver is not None and permit.receiver.principal.organisation != permit.principal.organisation:
        event = "export"
    outcome = "success" if whole or not flight.failures else "partial"
    await permit.record(event, outcome, subjects=flight.subjects, instances=instances)


def _nothing_of(flight: Flight) -> Completeness:
    """Return the states of the regions as they are of a study that is nowhere."""
    states = (replace(x, count=None if x.missing else 0) for x in flight.states.values())
    return Completeness("instances", tuple(states))
