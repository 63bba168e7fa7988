"""What the settings and the profiles of peers make of the DIMSE face: who is let in, called, and told what."""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from gateway.config.paths import path_of
from gateway.config.settings import DimseSettings, Settings, StoreSettings
from gateway.dimse.acceptor import CALLING_AE_TITLE_NOT_RECOGNIZED, Caller, Rejection, Terms
from gateway.dimse.requestor import Peer
from gateway.dimse.tls import client_context, server_context
from gateway.errors import ConfigError
from gateway.events import Observer
from gateway.federation.commitment import Custody
from gateway.federation.patients import Patients
from gateway.federation.routing import Source
from gateway.federation.store import FederatedStore
from gateway.region.inbox import Inbox
from gateway.region.profile import Profile
from gateway.scp.admission import LOOPBACK, Admission
from gateway.scp.coercion import Coercion
from gateway.scp.commitment import report
from gateway.scp.face import Face
from gateway.scp.outgoing import Forms, Recode
from gateway.scp.profile import MoveDestination, PeerProfile
from gateway.scp.reporter import Addressee, Reporter
from gateway.scp.storage import Intake, Store
from gateway.spool.commitments import Commitments
from gateway.wire.limits import Limits


def addresses(settings: Settings, peers: Mapping[str, MoveDestination | None]) -> dict[str, Peer]:
    """Return how the peers that have an address are called, by AE title."""
    ours, wanted = settings.dimse, any(where and where.tls for where in peers.values())
    tls = client_context(path_of(ours.ca), path_of(ours.certificate), path_of(ours.key)) if wanted else None
    return {
        ae_title: Peer(where.host, where.port, ae_title, ours.ae_title, tls if where.tls else None)
        for ae_title, where in peers.items()
        if where
    }


def admission(settings: Settings, profiles: Sequence[Profile], peers: Sequence[PeerProfile], face: Face) -> Admission:
    """Let in the regions and the peers; one that calls itself what we do would be asked for its own answers."""
    profiles = [profile for profile in profiles if not profile.dicomweb]  # the others never associate
    ours = {settings.dimse.ae_title, *(x for profile in profiles for x in profile.move_destinations)}
    for peer in peers:
        if peer.ae_title in ours:
            raise ConfigError(
                f'peer {peer.name}: "ae_title" {peer.ae_title!r} is our own: give the AE title of the peer'
            )
    return Admission(
        settings.dimse.ae_title,
        profiles,
        peers,
        face.observer,
        of_regions=face.of_regions(face.inbox),
        of_peer=face.of_peer,
        open_to_loopback=settings.dimse.unknown_peers == "loopback",
    )


def regions_alone(profiles: Sequence[Profile], inbox: Inbox) -> Callable[[Caller], Rejection | Terms]:
    """Let in the regions, for what they bring, and nobody else."""
    terms = Face.of_regions(inbox)
    known = {route for profile in profiles for route in profile.routes}

    def accept(caller: Caller) -> Rejection | Terms:
        is_known = (caller.calling_ae_title, caller.called_ae_title) in known
        return terms if is_known else CALLING_AE_TITLE_NOT_RECOGNIZED

    return accept


def secured(settings: DimseSettings) -> ssl.SSLContext | None:
    """Return the context of the port for DICOM TLS; None without one (PS3.15 B.12).

    Raises:
        ConfigError: a file cannot be used, or neither this port nor the plain one is wanted.
    """
    if settings.certificate:
        certificate, key = Path(settings.certificate), Path(settings.key or settings.certificate)
        return server_context(certificate, key, path_of(settings.ca))
    if not settings.plain:
        raise ConfigError('"dimse.plain" is false and "dimse.certificate" is empty: no port would be open to peers')
    return None


def contributions(settings: StoreSettings, store: FederatedStore) -> Store | None:
    """Return what takes the instances of peers; None where no rule says where they go."""
    if not (settings.default or settings.rules):
        return None

    def intake(peer: PeerProfile, address: str) -> AbstractAsyncContextManager[Intake]:
        return store.intake(
            Source("dimse", peer.ae_title, peer.organisation, address=address, issuer=peer.issuer_of_patient_id)
        )

    return intake


def forms(
    settings: Settings, peers: Sequence[PeerProfile], profiles: Sequence[Profile], patients: Patients, recode: Recode
) -> dict[str, Forms]:
    """Return what may be made of instances for each peer, by AE title."""
    title = settings.dimse.ae_title
    namespaces = {profile.id: profile.namespace for profile in profiles}
    for peer in peers:
        if peer.coerce and settings.identity.source == "none":
            raise ConfigError(
                f'peer {peer.name}: "coerce" needs an identity source that knows its Patient IDs: set "identity.source"'
            )
    coercions = {peer.ae_title: Coercion(peer, patients, namespaces, title) for peer in peers if peer.coerce}
    titles = {*(peer.ae_title for peer in peers), LOOPBACK.ae_title}
    return {x: Forms(recode, coercions[x].of if x in coercions else None) for x in titles}


@asynccontextmanager
async def reporting(
    settings: Settings, peers: Sequence[PeerProfile], custody: Custody, observer: Observer, limits: Limits
) -> AsyncIterator[Reporter | None]:
    """Tell the peers that may ask what is safe, as long as the context lasts."""
    asking = [peer for peer in peers if "commit" in peer.services]
    if not asking:
        yield None
        return
    if not settings.store.folder:
        raise ConfigError(
            f'peer {asking[0].name}: "services" holds "commit", which "store.folder" is needed for: name a folder'
        )
    known = addresses(settings, {peer.ae_title: peer.commitment or peer.move_destination for peer in asking})
    told = {peer.ae_title: Addressee(peer.id, known.get(peer.ae_title)) for peer in asking}
    compose = partial(report, ae_title=settings.dimse.ae_title)
    requests = Commitments(Path(settings.store.folder))
    reporter = Reporter(requests, custody, told, compose, settings.commitment, observer, limits)
    async with reporter.running():
        yield reporter
