"""Who a peer is, for the decision about what it asks."""

from collections.abc import Mapping
from typing import Final

from gateway.access.principal import Principal, Transaction
from gateway.scp.profile import PeerProfile, Service

ALLOWED: Final[Mapping[Service, frozenset[Transaction]]] = {
    "echo": frozenset(),
    "find": frozenset({Transaction.SEARCH}),
    "get": frozenset({Transaction.RETRIEVE}),
    "move": frozenset({Transaction.RETRIEVE}),
    "store": frozenset({Transaction.STORE}),
    "commit": frozenset({Transaction.STORE}),
}


def principal(peer: PeerProfile, address: str, purpose: str) -> Principal:
    """Return the caller behind an association: what its profile says of it, and where it calls from.

    It was let in by AE title, address and, where that is configured, certificate.
    """
    return Principal(
        subject=peer.name,
        organisation=peer.organisation,
        organisation_name=peer.title,
        roles=frozenset({peer.role} if peer.role else ()),
        purpose=peer.purpose or purpose,
        scopes=frozenset().union(*(ALLOWED[service] for service in peer.services)),
        channel="dimse",
        address=address,
    )
