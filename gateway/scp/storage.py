"""C-STORE from peers that contribute to the province (PS3.4 B)."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gateway.access.principal import Transaction
from gateway.dimse.incoming import IncomingStore
from gateway.errors import GatewayError
from gateway.federation.permission import Stored, record
from gateway.region.inbox import Inbox
from gateway.scp.gate import Gate
from gateway.scp.profile import PeerProfile


class Result(Stored, Protocol):
    """What became of an instance."""

    @property
    def status(self) -> int:
        """That of its C-STORE-RSP; Success only once it is safe."""


class Intake(Protocol):
    """Takes instances for the province, one after the other."""

    async def take(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        fragments: AsyncIterator[memoryview],
    ) -> Result:
        """Take one instance while it arrives."""


Store: TypeAlias = Callable[[PeerProfile, str], AbstractAsyncContextManager[Intake]]
"""Opens an intake for what a peer sends from an address."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Takes the C-STOREs of one peer.

    Attributes:
        gate: decides what the peer may.
        store: where they go; None takes only what we asked the peer for.
        inbox: knows what we asked for, since a peer may be a region, too.
    """

    peer: PeerProfile
    inbox: Inbox
    gate: Gate
    store: Store | None

    async def take(self, incoming: IncomingStore) -> int:
        """Take one instance and return the status of its C-STORE-RSP (PS3.4 B.2.3)."""
        if self.store is None or self.inbox.expects(incoming):
            return await self.inbox.store(incoming)
        try:
            permit = await self.gate.of(self.peer, incoming.address, Transaction.STORE)
        except GatewayError as error:
            return error.dimse_status
        uids = incoming.sop_class_uid, incoming.sop_instance_uid, incoming.transfer_syntax_uid
        async with self.store(self.peer, incoming.address) as intake:
            result = await intake.take(*uids, incoming)
        await record(permit, [result])
        return result.status
