"""How one region is given an instance, in the Transfer Syntax that it has if the region takes that (PS3.4 B)."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.dataset.sink import Buffer
from gateway.dataset.transcode import Reencoder
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, IMPLICIT_VR_LE, transfer_syntax
from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.pool import AssociationPool
from gateway.dimse.sop_classes import VERIFICATION
from gateway.dimse.store import store
from gateway.errors import NotStorable, Rejected
from gateway.wire.negotiation import ProposedContext

SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
TRANSFER_SYNTAX_NOT_SUPPORTED: Final = 0xC122
"""Failure Reasons (PS3.18 Table I.2-1)."""

MOST_PAIRS: Final = 42
"""Of SOP Class and Transfer Syntax, each with three Presentation Contexts at the most, on one association."""
LONGEST: Final = 6 * 3600.0
"""Seconds for one instance that goes on moving."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An instance that is to be stored.

    Attributes:
        data: yields its Data Set from the start, each time that it is called.
        via: the gateways that it came through.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: Callable[[], AsyncIterator[Buffer]]
    via: tuple[str, ...] = ()


_VERIFICATION: Final = ProposedContext(VERIFICATION, (IMPLICIT_VR_LE,))

Pair: TypeAlias = tuple[str, str]


class Storing:
    """Stores in one region.

    What was stored last is proposed on each association, so that one serves a study of many SOP Classes.
    """

    def __init__(self, pool: AssociationPool) -> None:
        self._pool = pool
        self._pairs: dict[Pair, None] = {}

    async def run(self, instance: Outgoing, deadline: Deadline, stall_seconds: float) -> int:
        """Store one instance, and return the status: Success or a Warning.

        Args:
            instance: what is stored.
            deadline: for the association, not for the instance.
            stall_seconds: for which the region may take nothing.

        Raises:
            NotStorable: the region takes neither the Transfer Syntax nor one without loss or codec.
            DimseFailure: it refused the instance.
            RegionError: the region failed.
        """
        contexts = self._contexts(instance)
        return await self._pool.run(contexts, deadline, lambda chosen: _send(chosen, instance, stall_seconds))

    def _contexts(self, instance: Outgoing) -> tuple[ProposedContext, ...]:
        pair = instance.sop_class_uid, instance.transfer_syntax_uid
        if pair not in self._pairs:
            while len(self._pairs) >= MOST_PAIRS:
                del self._pairs[next(iter(self._pairs))]
            self._pairs[pair] = None
        proposed = (
            ProposedContext(sop_class, (syntax,)) for sop_class, stored in self._pairs for syntax in _offers(stored)
        )
        # With something that every region accepts, the refusal of a class is no refusal of ours.
        return (_VERIFICATION, *dict.fromkeys(proposed))


def _offers(stored: str) -> tuple[str, ...]:
    """Return the Transfer Syntaxes that are proposed for something, the one that it has first.

    For what is compressed the others tell, before it is decoded, whether that would help.
    """
    return tuple(dict.fromkeys((stored, EXPLICIT_VR_LE, IMPLICIT_VR_LE)))


async def _send(association: Association, instance: Outgoing, stall_seconds: float) -> int:
    target = _target(association, instance)
    data = instance.data() if target == instance.transfer_syntax_uid else reencoded(instance, target)
    uids = instance.sop_class_uid, instance.sop_instance_uid
    return await store(association, *uids, target, data, Deadline.after(LONGEST), patience=stall_seconds)


def _target(association: Association, instance: Outgoing) -> str:
    stored = instance.transfer_syntax_uid
    for offer in (stored,) if transfer_syntax(stored).encapsulated else _offers(stored):
        try:
            return association.context(instance.sop_class_uid, transfer_syntax=offer).transfer_syntax
        except Rejected:
            continue
    accepted = {context.abstract_syntax for context in association.contexts.values()}
    name = transfer_syntax(stored).name
    if instance.sop_class_uid in accepted:
        raise NotStorable(
            f"{association.called_ae_title} does not take {name}, and no other Transfer Syntax can be made of it",
            status=TRANSFER_SYNTAX_NOT_SUPPORTED,
        )
    raise NotStorable(
        f"{association.called_ae_title} does not take SOP Class {instance.sop_class_uid} in {name}",
        status=SOP_CLASS_NOT_SUPPORTED,
    )


async def reencoded(instance: Outgoing, target: str) -> AsyncIterator[Buffer]:
    """Yield its Data Set in another uncompressed Transfer Syntax."""
    reencoder = Reencoder(instance.transfer_syntax_uid, target)
    async for piece in instance.data():
        for chunk in reencoder.feed(piece):
            yield chunk
    for chunk in reencoder.finish():
        yield chunk
