"""What can be committed to: an instance that waits safely in the queue, or that a region has (PS3.4 J.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.dataset.attributes import first
from gateway.dataset.query import Level, Query, TagPath
from gateway.dataset.uid import is_uid
from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.federation.admission import SOP_CLASS, SOP_INSTANCE
from gateway.federation.asking import MOST_UIDS
from gateway.federation.search import FederatedSearch
from gateway.spool.ledger import QUARANTINED
from gateway.spool.queue import Queue
from gateway.wire.status import CLASS_INSTANCE_CONFLICT, NO_SUCH_SOP_INSTANCE, PROCESSING_FAILURE

Reference: TypeAlias = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class Commitment:
    """The answer to one request.

    Attributes:
        committed: instances for which the province answers.
        failed: the others, each with its Failure Reason (PS3.3 C.14.1.1).
    """

    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]


@dataclass(frozen=True, slots=True)
class Custody:
    """Knows what the province has; what it cannot find out is a failure, never a commitment.

    Attributes:
        seconds: for a search of the regions.
    """

    queue: Queue
    search: FederatedSearch
    seconds: float

    async def commitment(self, instances: Sequence[Reference]) -> Commitment:
        """Say for each instance whether it is safe."""
        classes, refused = await self._taken_in([uid for _, uid in instances])
        unknown = list(dict.fromkeys(uid for _, uid in instances if uid not in classes))
        found, unsure = await self._at_regions([uid for uid in unknown if is_uid(uid)])
        reasons = dict.fromkeys(unsure, PROCESSING_FAILURE) | dict.fromkeys(refused, PROCESSING_FAILURE)
        return _judged(instances, {**found, **classes}, reasons)

    async def _taken_in(self, uids: Sequence[str]) -> tuple[dict[str, set[str]], set[str]]:
        """Return the SOP Classes of what we have brought to a region or shall, and what a region has refused."""
        try:
            holdings = await self.queue.holdings(uids)
        except GatewayError:
            return {}, set()
        safe = {uid: {x.sop_class_uid for x in held if x.state != QUARANTINED} for uid, held in holdings.items()}
        return {uid: found for uid, found in safe.items() if found}, holdings.keys() - {u for u, c in safe.items() if c}

    async def _at_regions(self, uids: Sequence[str]) -> tuple[dict[str, set[str]], set[str]]:
        """Return the SOP Classes of what the regions have, and what they could not be asked for."""
        found: dict[str, set[str]] = {}
        unsure: set[str] = set()
        for at in range(0, len(uids), MOST_UIDS):
            some = uids[at : at + MOST_UIDS]
            keys: dict[TagPath, str] = {(SOP_INSTANCE,): "\\".join(some)}
            query = Query(Level.IMAGE, keys=keys, include=frozenset({(SOP_CLASS,)}), limit=len(some), bare=True)
            try:
                result = await self.search.search(query, Deadline.after(self.seconds))
            except GatewayError:
                unsure.update(some)
                continue
            for row in result.rows:
                uid, sop_class = str(first(row.get(SOP_INSTANCE))), first(row.get(SOP_CLASS))
                if sop_class is None:  # a region that does not tell the class has not told what it has
                    unsure.add(uid)
                else:
                    found.setdefault(uid, set()).add(str(sop_class))
            if result.completeness.missing or result.remaining:
                unsure.update(some)
        return found, unsure


def _judged(instances: Sequence[Reference], classes: Mapping[str, set[str]], reasons: Mapping[str, int]) -> Commitment:
    committed, failed = [], []
    for reference in instances:
        sop_class, uid = reference
        if sop_class in classes.get(uid, ()):
            committed.append(reference)
        elif uid in classes:
            failed.append((reference, CLASS_INSTANCE_CONFLICT))
        else:
            failed.append((reference, reasons.get(uid, NO_SUCH_SOP_INSTANCE)))
    return Commitment(tuple(committed), tuple(failed))
