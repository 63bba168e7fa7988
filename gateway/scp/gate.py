"""The DIMSE face's way to the one decision."""

from dataclasses import dataclass, replace

from gateway.access.decision import Decisions
from gateway.access.permit import Permit, Receiver
from gateway.access.principal import Transaction
from gateway.dimse.association import Association
from gateway.scp.principal import principal
from gateway.scp.profile import PeerProfile


@dataclass(frozen=True, slots=True)
class Gate:
    """Asks what a peer may.

    Attributes:
        decisions: who may do what.
        purpose: what for, where a peer's profile does not say.
    """

    decisions: Decisions
    purpose: str = "TREAT"

    async def permit(self, association: Association, peer: PeerProfile, transaction: Transaction) -> Permit:
        """Return what a peer may on an association; raises as ``Decisions.permit``."""
        return await self.of(peer, association.address[0], transaction)

    async def of(self, peer: PeerProfile, address: str, transaction: Transaction) -> Permit:
        """Return what a peer may from an address."""
        return await self.decisions.permit(principal(peer, address, self.purpose), transaction)

    def sending(self, permit: Permit, receiver: PeerProfile, address: str) -> Permit:
        """Return a permit for what is sent to another peer: what may not be had by either is not sent."""
        return replace(permit, receiver=Receiver(principal(receiver, address, self.purpose), receiver.ae_title))
