"""The DIMSE face: what each peer is served, by its profile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.config.settings import Settings
from gateway.dimse.acceptor import Service, Terms, storing
from gateway.dimse.echo import serve_echo
from gateway.dimse.requestor import Peer
from gateway.dimse.sop_classes import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    STORAGE,
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
)
from gateway.events import Observer
from gateway.region.inbox import Inbox
from gateway.scp.commitment import CommitmentService
from gateway.scp.gate import Gate
from gateway.scp.identifier import GRANTED
from gateway.scp.outgoing import Forms
from gateway.scp.profile import PeerProfile
from gateway.scp.query import Query
from gateway.scp.reporter import Reporter
from gateway.scp.retrieve import Retrieve
from gateway.scp.storage import Storage, Store
from gateway.wire.command import CommandField
from gateway.wire.limits import Limits
from gateway.wire.negotiation import AcceptancePolicy

if TYPE_CHECKING:
    from gateway.federation.retrieve import FederatedRetrieve
    from gateway.federation.search import FederatedSearch

SOP_CLASSES: Mapping[str, frozenset[str]] = {
    "echo": frozenset({VERIFICATION}),
    "find": frozenset({STUDY_ROOT_FIND, PATIENT_ROOT_FIND}),
    "move": frozenset({STUDY_ROOT_MOVE, PATIENT_ROOT_MOVE}),
    "get": frozenset({STUDY_ROOT_GET, PATIENT_ROOT_GET}),
    "store": STORAGE,
    "commit": frozenset({STORAGE_COMMITMENT}),
}


@dataclass(frozen=True, slots=True)
class Face:
    """Makes the terms on which peers are served.

    Attributes:
        destinations: where each peer that takes instances is called, by AE title.
        receivers: the profiles of these peers, likewise.
        gate: decides what each peer may.
        forms: what may be made of instances for each peer, by AE title.
        store: takes contributions; None where there is nowhere for them to go.
        reporter: tells peers what is safe; None where nobody may ask.
    """

    search: "FederatedSearch"
    retrieve: "FederatedRetrieve"
    inbox: Inbox
    destinations: Mapping[str, Peer]
    receivers: Mapping[str, PeerProfile]
    observer: Observer
    limits: Limits
    settings: Settings
    gate: Gate
    forms: Mapping[str, Forms] = field(default_factory=dict)
    store: Store | None = None
    reporter: Reporter | None = None

    @staticmethod
    def of_regions(inbox: Inbox) -> Terms:
        """Return what a region may do: verify us, and store what we asked it for."""
        services: dict[int, Service] = {
            CommandField.C_ECHO_RQ: serve_echo,
            CommandField.C_STORE_RQ: storing(inbox.store),
        }
        return Terms(AcceptancePolicy(frozenset({VERIFICATION}) | STORAGE), services)

    def of_peer(self, peer: PeerProfile, is_region: bool) -> Terms:
        """Return what a peer may do; one that is a region, too, may store what we asked it for."""
        granted = set(peer.services)
        may_store = "store" in granted and self.store is not None
        if is_region or may_store:
            granted.add("store")
        else:
            granted.discard("store")
        if self.reporter is None:
            granted.discard("commit")
        served = frozenset[str]().union(*(SOP_CLASSES.get(name, frozenset()) for name in granted))
        policy = AcceptancePolicy(
            served,
            scp_roles=STORAGE if "get" in granted else frozenset(),
            extended={STUDY_ROOT_FIND: GRANTED, PATIENT_ROOT_FIND: GRANTED} if "find" in granted else {},
        )
        storage = Storage(peer, self.inbox, self.gate, self.store if may_store else None)
        services = self._services(peer) | {CommandField.C_STORE_RQ: storing(storage.take)}
        fields: Sequence[tuple[str, int]] = (
            ("echo", CommandField.C_ECHO_RQ),
            ("find", CommandField.C_FIND_RQ),
            ("move", CommandField.C_MOVE_RQ),
            ("get", CommandField.C_GET_RQ),
            ("store", CommandField.C_STORE_RQ),
            ("commit", CommandField.N_ACTION_RQ),
            ("commit", CommandField.N_EVENT_REPORT_RSP),
        )
        return Terms(policy, {command: services[command] for name, command in fields if name in granted})

    def _services(self, peer: PeerProfile) -> dict[int, Service]:
        settings, ours = self.settings, self.settings.dimse
        # A region that is missing from an answer makes it a Failure, of a retrieve a Warning.
        strict = ours.missing_regions == "strict"
        query = Query(self.search, peer, ours.ae_title, self.observer, settings.search.hard_seconds, strict, self.gate)
        named = {peer.ae_title, *peer.may_move_to}
        retrieve = Retrieve(
            self.search,
            self.retrieve,
            peer,
            {title: where for title, where in self.destinations.items() if title in named},
            self.observer,
            self.limits,
            settings.retrieve.first_instance_seconds,
            strict,
            self.gate,
            self.forms,
            self.receivers,
        )
        services: dict[int, Service] = {
            CommandField.C_ECHO_RQ: serve_echo,
            CommandField.C_FIND_RQ: query.serve,
            CommandField.C_MOVE_RQ: retrieve.move,
            CommandField.C_GET_RQ: retrieve.get,
        }
        if self.reporter is not None:
            commitment = CommitmentService(peer, self.gate, self.reporter, self.observer)
            services[CommandField.N_ACTION_RQ] = commitment.request
            services[CommandField.N_EVENT_REPORT_RSP] = commitment.reported
        return services
