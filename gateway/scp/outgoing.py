"""Instances on their way to a peer: which Presentation Context takes one, and in which form (PS3.4 C.4.2.2)."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.dataset import transfer_syntax as ts
from gateway.dataset.rewriting import Rewriter
from gateway.dataset.transcode import Reencoder
from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.store import store
from gateway.errors import DimseFailure, Rejected
from gateway.federation.retrieval import Instance
from gateway.wire.pdu import Buffer
from gateway.wire.status import DUPLICATE_SOP_INSTANCE

Recode: TypeAlias = Callable[[bytes, str, str], Awaitable[bytes]]
"""Turns a Data Set from one Transfer Syntax into another by decoding its pixels; raises GatewayError."""

Coerce: TypeAlias = Callable[[Instance, str], Awaitable[Rewriter | None]]
"""Returns what changes an instance that is sent in a Transfer Syntax, None where nothing is to be changed."""

STORE_SECONDS: Final = 3600.0
"""For one instance, however large and however slow its region is."""

_EXPLICIT_FIRST: Final = (ts.EXPLICIT_VR_LE, ts.IMPLICIT_VR_LE)
_REENCODED: Final = frozenset({ts.IMPLICIT_VR_LE, ts.EXPLICIT_VR_LE, ts.EXPLICIT_VR_BE, ts.DEFLATED_EXPLICIT_VR_LE})
"""Transfer Syntaxes between which no pixel is decoded."""
_NOT_REWRITTEN: Final = frozenset({ts.EXPLICIT_VR_BE, ts.DEFLATED_EXPLICIT_VR_LE})
"""What is rewritten is never sent in these."""


@dataclass(frozen=True, slots=True)
class Forms:
    """What may be made of instances on their way.

    Attributes:
        recode: decodes what the peer cannot take as it is stored; without it, such instances fail.
        coerce: gives them the identifiers that the peer knows; without it, they are left as they are.
    """

    recode: Recode | None = None
    coerce: Coerce | None = None


async def send(
    association: Association, instance: Instance, forms: Forms, originator: tuple[str, int] | None = None
) -> int:
    """Send one instance while it arrives, as it is stored where the peer takes that; return the C-STORE's status.

    Whoever calls it a duplicate has it, as was wanted: to be told of a failure, and try again, would help nobody.

    Raises:
        NotCoercible, IdentityUnavailable: it cannot be given the peer's identifiers.
        Rejected: no Presentation Context can take it.
        DimseFailure: the peer refused it.
        GatewayError: its region, the association or the decoding failed; the association may be over.
    """
    target = _target(association, instance, forms)
    rewriter = None if forms.coerce is None else await forms.coerce(instance, target)
    uids = instance.sop_class_uid, instance.sop_instance_uid, target
    pieces = _pieces(instance, target, forms.recode)
    async with aclosing(pieces if rewriter is None else _rewritten(pieces, rewriter)) as data:
        deadline, patience = Deadline.after(STORE_SECONDS), association.limits.idle_seconds
        try:
            return await store(association, *uids, data, deadline, patience=patience, move_originator=originator)
        except DimseFailure as error:
            if error.status != DUPLICATE_SOP_INSTANCE:
                raise
            return error.status


def _target(association: Association, instance: Instance, forms: Forms) -> str:
    accepted = {
        context.transfer_syntax
        for context in association.contexts.values()
        if context.abstract_syntax == instance.sop_class_uid
    }
    source = instance.transfer_syntax_uid
    if source in accepted and (forms.coerce is None or source not in _NOT_REWRITTEN):
        return source
    if source in _REENCODED or forms.recode is not None:
        for uid in _EXPLICIT_FIRST:
            if uid in accepted:
                return uid
    raise Rejected(f"{association.peer} takes no instance of {instance.sop_class_uid} as {source}", source=3)


async def _pieces(instance: Instance, target: str, recode: Recode | None) -> AsyncGenerator[Buffer, None]:
    """Yield the Data Set in the target's Transfer Syntax."""
    source = instance.transfer_syntax_uid
    if source != target and source not in _REENCODED and recode is not None:
        whole = b"".join([fragment async for burst in instance.bursts() for fragment in burst])
        decoded = await recode(whole, source, ts.EXPLICIT_VR_LE)
        for piece in _reencoded(decoded, target):
            yield piece
        return
    reencoder = None if source == target else Reencoder(source, target)
    async for burst in instance.bursts():
        for fragment in burst:
            for piece in (fragment,) if reencoder is None else reencoder.feed(fragment):
                yield piece
    for piece in () if reencoder is None else reencoder.finish():
        yield piece


async def _rewritten(pieces: AsyncGenerator[Buffer, None], rewriter: Rewriter) -> AsyncGenerator[Buffer, None]:
    async with aclosing(pieces):
        async for piece in pieces:
            for changed in rewriter.feed(piece):
                yield changed
    for changed in rewriter.finish():
        yield changed


def _reencoded(explicit: bytes, target: str) -> Iterable[Buffer]:
    if target == ts.EXPLICIT_VR_LE:
        return (explicit,)
    reencoder = Reencoder(ts.EXPLICIT_VR_LE, target)
    return (*reencoder.feed(explicit), *reencoder.finish())
