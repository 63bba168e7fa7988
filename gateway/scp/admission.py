"""Who may associate with us, and for what: an AE title alone is nobody's identity."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.dimse.acceptor import (
    CALLED_AE_TITLE_NOT_RECOGNIZED,
    CALLING_AE_TITLE_NOT_RECOGNIZED,
    Caller,
    Rejection,
    Terms,
)
from gateway.events import AssociationRefused, Observer
from gateway.region.profile import Profile
from gateway.scp.profile import PeerProfile

LOOPBACK: Final = PeerProfile(
    name="loopback",
    ae_title="ANY",
    addresses=("127.0.0.0/8", "::1"),
    services=("echo", "find", "get"),
    character_set="ISO_IR 192",
)
"""Any caller from this host, where the settings let it in."""


class Admission:
    """Decides on each association.

    Regions are let in by the AE titles of their profiles, since what they may store is decided by our leases; peers
    by AE title, address and, where that is configured, certificate.

    Args:
        ae_title: ours.
        regions: whose C-STOREs are awaited.
        peers: who may use us as an archive.
        of_regions: what a region may do.
        of_peer: what a peer may do, and whether it is a region, too.
        open_to_loopback: whether any AE title is let in from this host.
    """

    def __init__(
        self,
        ae_title: str,
        regions: Sequence[Profile],
        peers: Sequence[PeerProfile],
        observer: Observer,
        *,
        of_regions: Terms,
        of_peer: Callable[[PeerProfile, bool], Terms],
        open_to_loopback: bool,
    ) -> None:
        self._ae_title = ae_title
        self._ours = {ae_title, *(x for region in regions for x in region.move_destinations)}
        self._regions = {region.ae_title for region in regions}
        self._peers = {peer.ae_title: peer for peer in peers}
        self._observer = observer
        self._of_regions = of_regions
        self._terms: Mapping[str, Terms] = {x.ae_title: of_peer(x, x.ae_title in self._regions) for x in peers}
        self._of_loopback = of_peer(LOOPBACK, False) if open_to_loopback else None

    def __call__(self, caller: Caller) -> Rejection | Terms:
        """Return what a caller may do, or why it may do nothing."""
        if caller.called_ae_title not in self._ours:
            return self._refused(caller, "called-ae-title", CALLED_AE_TITLE_NOT_RECOGNIZED)
        peer = self._peers.get(caller.calling_ae_title)
        reason = "calling-ae-title" if peer is None else _objection(peer, caller)
        if peer is not None and not reason and caller.called_ae_title == self._ae_title:
            return self._terms[peer.ae_title]
        if caller.calling_ae_title in self._regions:
            return self._of_regions
        if peer is None and self._of_loopback is not None and self._may_try(caller):
            return self._of_loopback
        return self._refused(caller, reason or "called-ae-title", CALLING_AE_TITLE_NOT_RECOGNIZED)

    def _may_try(self, caller: Caller) -> bool:
        # A region that asks us what we ask it would never come to an end (trap 28).
        is_ours = caller.calling_ae_title in self._ours or caller.called_ae_title != self._ae_title
        return not is_ours and ipaddress.ip_address(caller.address.partition("%")[0]).is_loopback

    def _refused(self, caller: Caller, reason: str, rejection: Rejection) -> Rejection:
        names = caller.calling_ae_title, caller.called_ae_title, caller.address
        self._observer(AssociationRefused(*names, reason))
        return rejection


def _objection(peer: PeerProfile, caller: Caller) -> str:
    """Return why a caller is not the peer whose AE title it uses; empty if it is."""
    if not peer.calls_from(caller.address):
        return "address"
    if peer.certificates and not (caller.certificate and caller.certificate & set(peer.certificates)):
        return "certificate"
    return ""
