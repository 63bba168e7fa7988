"""Whether a study that is retrieved may be given to its caller, and that the audit trail hears of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from gateway.access.permit import OF_ANOTHER_PATIENT, Permit, StudyKey, Subject
from gateway.access.principal import Transaction
from gateway.errors import AccessDenied
from gateway.federation.completeness import Completeness, not_held

if TYPE_CHECKING:
    from gateway.federation.flights import Flight


async def allow(flight: "Flight", permit: Permit) -> None:
    """Hold whose a study is against a permit, and have the audit trail say that it is released.

    Raises:
        NotFound: it is not for this caller, to whom it is as if it were not there.
        AccessDenied: it is not, and the caller is to know it.
        AuditUnavailable: the release cannot be recorded.
    """
    if permit.restricted:
        blocks = await permit.blocks(flight.subjects) if flight.subjects else [OF_ANOTHER_PATIENT]
        if block := next(filter(None, blocks), None):
            await permit.record(
                "denied", "denied", subjects=flight.subjects, reason=block.level, directive=block.directive
            )
            raise AccessDenied(block.notice) if block.notice else not_held("this study", _nothing_of(flight))
    await permit.record("retrieve-begin", subjects=flight.subjects)


class Stored(Protocol):
    """What became of an instance that was sent to us."""

    @property
    def stored(self) -> bool:
        """Whether it was taken in."""

    @property
    def study_instance_uid(self) -> str:
        """Of its study; empty where that is not known."""


async def record(permit: Permit, results: Sequence[Stored]) -> None:
    """Have the audit trail say what was taken in, before its sender is told so; raises AuditUnavailable."""
    taken = [result for result in results if result.stored]
    outcome = "failure" if not taken else "success" if len(taken) == len(results) else "partial"
    studies = dict.fromkeys(result.study_instance_uid for result in results if result.study_instance_uid)
    subjects = [Subject(StudyKey(study), frozenset()) for study in studies]
    await permit.record("store", outcome, subjects=subjects, instances=len(taken))


async def told(flight: "Flight", permit: Permit, instances: int, *, whole: bool) -> None:
    """Have the audit trail say how much was released."""
    event = "rendered" if permit.transaction is Transaction.RENDERED else "retrieve"
    outcome = "success" if whole or not flight.failures else "partial"
    await permit.record(event, outcome, subjects=flight.subjects, instances=instances)


def _nothing_of(flight: "Flight") -> Completeness:
    """Return the states of the regions as they are of a study that is nowhere."""
    states = (replace(x, count=None if x.missing else 0) for x in flight.states.values())
    return Completeness("instances", tuple(states))
