"""A Move Destination: where a peer has instances sent, and our associations with it (PS3.4 C.4.2.2.1)."""

from itertools import chain
from types import TracebackType
from typing import Final, Self

from gateway.dataset import transfer_syntax as ts
from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.requestor import Peer, connect
from gateway.errors import GatewayError, Rejected, Stalled
from gateway.federation.retrieval import Instance
from gateway.scp.outgoing import Forms, send
from gateway.wire.limits import Limits
from gateway.wire.negotiation import ProposedContext

_MOST_KINDS: Final = 40
"""Pairs of SOP Class and Transfer Syntax of one association: each takes up to three of its 128 contexts."""

_RELEASE_SECONDS: Final = 2.0


class Destination:
    """Sends instances to one peer over one association at a time.

    What is to come is not known beforehand: an instance of a new kind is sent over a new association, which takes all
    kinds that were sent before, too.

    Attributes:
        down: why it takes nothing at all; nothing more need be tried.
    """

    def __init__(self, peer: Peer, limits: Limits, forms: Forms) -> None:
        self.down: GatewayError | None = None
        self._peer = peer
        self._limits = limits
        self._forms = forms
        self._kinds: dict[tuple[str, str], None] = {}
        self._association: Association | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._association is not None:
            await self._association.release(Deadline.after(_RELEASE_SECONDS))

    async def send(self, instance: Instance, originator: tuple[str, int]) -> int:
        """Send one instance for a C-MOVE, and return the C-STORE's status; raise as ``outgoing.send``."""
        association = await self._for(instance)
        try:
            return await send(association, instance, self._forms, originator)
        except Stalled as error:
            if instance.complete:  # else it may be its region that keeps us waiting
                self.down = error
            raise

    async def _for(self, instance: Instance) -> Association:
        wanted = instance.sop_class_uid, instance.transfer_syntax_uid
        current = self._association
        if current is not None and wanted in self._kinds and current.clean:
            return current
        if current is not None:
            self._association = None
            await current.release(Deadline.after(_RELEASE_SECONDS))
        self._kinds.pop(wanted, None)
        self._kinds[wanted] = None
        while len(self._kinds) > _MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]
        deadline = Deadline.after(self._limits.connect_seconds + self._limits.artim_seconds)
        try:
            self._association = await connect(self._peer, self._contexts(), deadline, limits=self._limits)
        except GatewayError as error:
            if not (isinstance(error, Rejected) and (error.source, error.reason) == (3, 0)):
                self.down = error
            raise
        return self._association

    def _contexts(self) -> list[ProposedContext]:
        """Propose each Transfer Syntax alone: which of them are accepted is then known, not only the peer's choice."""
        uncompressed = ts.EXPLICIT_VR_LE, ts.IMPLICIT_VR_LE
        proposals = ([(name, x) for x in (stored, *uncompressed)] for name, stored in self._kinds)
        return [ProposedContext(name, (syntax,)) for name, syntax in dict.fromkeys(chain.from_iterable(proposals))]
