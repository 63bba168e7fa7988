"""Instances on their way to a peer: which Presentation Context takes one, and in which form (PS3.4 C.4.2.2)."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Final, TypeAlias

from gateway.dataset import transfer_syntax as ts
from gateway.dataset.transcode import Reencoder
from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.store import store
from gateway.errors import Rejected
from gateway.federation.flights import Instance
from gateway.wire.pdu import Buffer

Recode: TypeAlias = Callable[[bytes, str, str], Awaitable[bytes]]
"""Turns a Data Set from one Transfer Syntax into another by decoding its pixels; raises GatewayError."""

STORE_SECONDS: Final = 3600.0
"""For one instance, however large and however slow its region is: a peer that is gone is found out by TCP."""

_EXPLICIT_FIRST: Final = (ts.EXPLICIT_VR_LE, ts.IMPLICIT_VR_LE)
_REENCODED: Final = frozenset({ts.IMPLICIT_VR_LE, ts.EXPLICIT_VR_LE, ts.EXPLICIT_VR_BE, ts.DEFLATED_EXPLICIT_VR_LE})
"""Transfer Syntaxes between which no pixel is decoded."""


async def send(
    association: Association, instance: Instance, recode: Recode | None, originator: tuple[str, int] | None = None
) -> int:
    """Send one instance while it arrives, as it is stored where the peer takes that; return the C-STORE's status.

    Raises:
        Rejected: no Presentation Context can take it.
        DimseFailure: the peer refused it.
        GatewayError: its region, the association or the decoding failed; the association may be over.
    """
    target = _target(association, instance, can_decode=recode is not None)
    uids = instance.sop_class_uid, instance.sop_instance_uid, target
    async with aclosing(_pieces(instance, target, recode)) as data:
        return await store(association, *uids, data, Deadline.after(STORE_SECONDS), move_originator=originator)


def _target(association: Association, instance: Instance, *, can_decode: bool) -> str:
    accepted = {
        context.transfer_syntax
        for context in association.contexts.values()
        if context.abstract_syntax == instance.sop_class_uid
    }
    source = instance.transfer_syntax_uid
    if source in accepted:
        return source
    if source in _REENCODED or can_decode:
        for uid in _EXPLICIT_FIRST:
            if uid in accepted:
                return uid
    raise Rejected(f"{association.called_ae_title} takes no instance of {instance.sop_class_uid} as {source}", source=3)


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


def _reencoded(explicit: bytes, target: str) -> Iterable[Buffer]:
    if target == ts.EXPLICIT_VR_LE:
        return (explicit,)
    reencoder = Reencoder(ts.EXPLICIT_VR_LE, target)
    return (*reencoder.feed(explicit), *reencoder.finish())
