"""The one place where the gateway's objects are built and joined."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from gateway.access.consent import Consents
from gateway.access.consenting import consenting
from gateway.access.decision import Decisions, Overrides
from gateway.access.decision import Limits as RateLimits
from gateway.access.fhir_consent import ConsentResources
from gateway.access.fhir_terms import Naming
from gateway.access.keys import issuer_keys
from gateway.access.permit import Directives, Recorder
from gateway.access.token import Tokens
from gateway.alongside import alongside
from gateway.audit.record import Recorder as Recording
from gateway.audit.running import check_kept
from gateway.config.paths import path_of
from gateway.config.settings import HttpSettings, Settings
from gateway.dataset.jobs import get_ready, transcode_instance
from gateway.dataset.patient import PatientIdentifier
from gateway.dimse.acceptor import Acceptor, Caller, Rejection, Terms
from gateway.errors import ConfigError
from gateway.events import Observer, unobserved
from gateway.federation.commitment import Custody
from gateway.federation.findings import SearchLimits
from gateway.federation.identity_source import identity_source, known_patients
from gateway.federation.issuers import Issuers
from gateway.federation.naming import consent_naming
from gateway.federation.patients import Patients
from gateway.federation.retrieve import FederatedRetrieve
from gateway.federation.search import FederatedSearch
from gateway.federation.store import FederatedStore
from gateway.federation.workers import Workers, WorkLimits
from gateway.hops import pseudonym
from gateway.ops.audit import audit_fault, audited, privacy_desk
from gateway.ops.operations import Operations, certificate_ends
from gateway.ops.refusals import Refusals
from gateway.ops.status import Sources
from gateway.region.dicomweb import DicomwebRegion
from gateway.region.inbox import Inbox
from gateway.region.node import Region
from gateway.region.profile import Profile
from gateway.scp.face import Face
from gateway.scp.gate import Gate
from gateway.scp.outgoing import Recode
from gateway.scp.peers import addresses, admission, contributions, forms, regions_alone, reporting, secured
from gateway.scp.profile import PeerProfile
from gateway.spool.key import key_of
from gateway.spool.queue import Queue
from gateway.spool.spool import Spool
from gateway.web.app import Archive, WebSettings, create_app
from gateway.web.fhir import fhir_routes
from gateway.web.fhir_audit import AuditApi
from gateway.web.fhir_consent import ConsentApi
from gateway.web.front import Front
from gateway.web.pages import page_app, page_routes
from gateway.web.server import WebServer
from gateway.web.sign_in import SignIn
from gateway.wire.limits import Limits

AnyRegion: TypeAlias = Region | DicomwebRegion


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is up.

    Attributes:
        http_port: where the DICOMweb face listens.
        dimse_port: where the DIMSE face listens; 0 where it does only with TLS.
        tls_port: where it does so with TLS; 0 where it does not.
        regions: the regions behind it, in order.
        ops_port: where operators find probes, status and metrics.
    """

    http_port: int
    dimse_port: int
    tls_port: int
    regions: tuple[AnyRegion, ...]
    ops_port: int


@asynccontextmanager
async def running(
    settings: Settings,
    profiles: Sequence[Profile],
    observer: Observer = unobserved,
    *,
    peers: Sequence[PeerProfile] = (),
    sign_in: SignIn | None = None,
    recorder: Recorder | None = None,
    directives: Directives | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Gateway]:
    """Run the gateway in front of the regions, for the peers, as long as the context lasts.

    Args:
        settings: as the configuration has them.
        profiles: of the regions.
        observer: hears of what happens.
        peers: who may use the DIMSE face.
        sign_in: lets browsers in at a demonstration.
        recorder: keeps the audit trail.
        directives: what patients have consented to, in place of what the settings' database has.
        clock: seconds since the epoch, by which consents begin and end.

    Raises:
        ConfigError: a port cannot be listened on, a certificate or the identity source cannot be used, or a peer is us.
    """
    issuers = Issuers.of(settings.identity)
    profiles = [issuers.renamed(profile) for profile in profiles]
    observer = operations = Operations(settings, profiles, observer)
    if settings.access.mode == "tokens" and recorder is None:
        check_kept(settings.audit)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        audit = await enter(audited(settings, issuers, profiles, peers, observer))
        if audit:
            operations.probes.require("audit", partial(audit_fault, audit))
            recorder = Recording(audit) if recorder is None else recorder
        source = await enter(identity_source(settings.identity, issuers, profiles))
        patients = known_patients(settings.identity, source, issuers, profiles, observer)
        naming = consent_naming(settings, issuers, profiles)
        consents = await enter(_consents(settings, naming, recorder, operations, clock))
        decisions = _decisions(settings, patients, recorder, directives or consents, consents)
        tokens = await enter(_tokens(settings))

        inbox, limits, name = Inbox(observer), _limits(settings), pseudonym()
        regions = await enter(_regions(settings, profiles, inbox, observer, name))
        province = await enter(_archive(settings, regions, patients, observer))
        alone = {x.profile.id: await enter(_archive(settings, (x,), patients, observer, x.profile.id)) for x in regions}
        workers = await enter(Workers(WorkLimits.of(settings.workers), get_ready))
        recode, queue = _recoder(workers), _queue(settings)
        store = FederatedStore(regions, settings.store, queue, observer, recode, issuers=issuers)
        await enter(store.running())

        retrieves = [archive.retrieve for archive in (province, *alone.values())]
        faces = {"http": settings.http.certificate, "dimse": settings.dimse.certificate}
        await enter(operations.watching(Sources(regions, retrieves, queue, certificate_ends(faces)), regions))
        # Operators are answered from before the faces open until after they are closed.
        pages = page_app(operations.admin_pages(), operations)
        ops_port = await _open(WebServer(pages, settings.ops.host, settings.ops.port), settings.ops.port, 0.5, stack)

        refusals = Refusals(recorder, observer)
        await enter(alongside(refusals.run()))
        custody = Custody(queue, province.search, settings.search.hard_seconds)
        face = Face(
            province.search,
            province.retrieve,
            inbox,
            addresses(settings, {peer.ae_title: peer.move_destination for peer in peers}),
            {peer.ae_title: peer for peer in peers},
            refusals,
            limits,
            settings,
            Gate(decisions, settings.access.purpose),
            forms(settings, peers, profiles, patients, recode),
            contributions(settings.store, store),
            await enter(reporting(settings, peers, custody, observer, limits)),
        )
        dimse_port, tls_port = await _open_to_peers(settings, admission(settings, profiles, peers, face), stack)

        audit_api = AuditApi(privacy_desk(settings, source, issuers, audit)) if audit else None
        consent_api = _consent_api(consents, naming, decisions, patients) if consents else None
        app = create_app(
            province.search,
            province.retrieve,
            workers,
            WebSettings.of(settings, name),
            observer,
            store=store,
            regions=alone,
            decisions=decisions,
            tokens=tokens,
            pages=[*page_routes(operations.pages()), *fhir_routes(decisions, consent_api, audit_api)],
            front=await Front.of(settings, profiles, operations.lights, sign_in),
        )
        http = settings.http
        http_port = await _open(WebServer(app, http.host, http.port, certificate=_https(http)), http.port, 2.0, stack)
        stack.callback(operations.drain)
        operations.probes.started()
        yield Gateway(http_port, dimse_port, tls_port, regions, ops_port)


@dataclass(frozen=True, slots=True)
class Province:
    """The regions as one archive, for a command that asks it and ends.

    Attributes:
        regions: the regions behind it, in order.
    """

    archive: Archive
    regions: tuple[AnyRegion, ...]


@asynccontextmanager
async def province(
    settings: Settings, profiles: Sequence[Profile], observer: Observer = unobserved, *, receiving: bool = False
) -> AsyncIterator[Province]:
    """Have the province without a face of its own; ``receiving`` listens for what C-MOVEs bring.

    Raises:
        ConfigError: the DIMSE port cannot be listened on, a certificate or the identity source cannot be used.
    """
    # A running gateway may be using the spool that is configured.
    settings = settings.model_copy(update={"spool": settings.spool.model_copy(update={"folder": ""})})
    issuers = Issuers.of(settings.identity)
    profiles = [issuers.renamed(profile) for profile in profiles]
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        source = await enter(identity_source(settings.identity, issuers, profiles))
        patients = known_patients(settings.identity, source, issuers, profiles, observer)
        inbox = Inbox(observer)
        regions = await enter(_regions(settings, profiles, inbox, observer))
        if receiving:
            await _open_to_peers(settings, regions_alone(profiles, inbox), stack)
        yield Province(await enter(_archive(settings, regions, patients, observer)), regions)


@asynccontextmanager
async def _consents(
    settings: Settings, naming: Naming, recorder: Recorder | None, operations: Operations, clock: Callable[[], float]
) -> AsyncIterator[Consents | None]:
    """Have what patients direct as long as the context lasts, if anything is kept of it."""
    if not settings.consent.database:
        yield None
        return
    async with consenting(settings.consent, naming, recorder, operations, clock=clock) as consents:
        operations.probes.require("consent", consents.fault)
        yield consents


def _decisions(
    settings: Settings,
    patients: Patients,
    recorder: Recorder | None,
    directives: Directives | None,
    overrides: Overrides | None,
) -> Decisions:
    access = settings.access
    limits = RateLimits(
        access.subject_requests_per_second,
        access.subject_burst,
        access.organisation_requests_per_second,
        access.organisation_burst,
    )
    return Decisions(
        access.mode,
        identities=patients,
        directives=directives,
        recorder=recorder,
        limits=limits,
        overrides=overrides,
        override_roles=settings.consent.override_roles,
    )


def _consent_api(consents: Consents, naming: Naming, decisions: Decisions, patients: Patients) -> ConsentApi:
    async def linked(patient: PatientIdentifier) -> frozenset[PatientIdentifier]:
        return (await patients.everyone([patient]))[patient]

    return ConsentApi(consents, ConsentResources(naming), decisions, linked)


@asynccontextmanager
async def _tokens(settings: Settings) -> AsyncIterator[Tokens | None]:
    """Have the keys of the issuers of tokens as long as the context lasts, where tokens are asked for."""
    access = settings.access
    if access.mode == "open":
        yield None
        return
    async with issuer_keys(access.issuers) as keys:
        yield Tokens(
            access.issuers,
            keys,
            leeway_seconds=access.leeway_seconds,
            purpose=access.purpose,
            provincial=settings.identity.provincial_issuer,
        )


@asynccontextmanager
async def _regions(
    settings: Settings, profiles: Sequence[Profile], inbox: Inbox, observer: Observer, name: str = ""
) -> AsyncIterator[tuple[AnyRegion, ...]]:
    """Have the regions as long as the context lasts."""
    limits = _limits(settings)
    regions = tuple(
        DicomwebRegion(profile, settings, inbox, observer, name)
        if profile.dicomweb
        else Region(profile, settings, inbox, observer, limits)
        for profile in profiles
    )
    async with AsyncExitStack() as stack:
        for region in regions:
            stack.push_async_callback(region.aclose)
        yield regions


@asynccontextmanager
async def _archive(
    settings: Settings, regions: Sequence[AnyRegion], patients: Patients, observer: Observer, alone: str = ""
) -> AsyncIterator[Archive]:
    """Have one archive of some regions, of all of them or of one alone, as long as the context lasts."""
    limits = SearchLimits.of(settings.search)
    async with (
        _spool(settings, alone) as spool,
        FederatedRetrieve(
            regions,
            observer,
            spool,
            soft_seconds=settings.search.soft_seconds,
            fresh_seconds=settings.spool.fresh_seconds,
            background_instances=0 if alone else settings.spool.background_instances,
            patients=patients,
        ) as retrieve,
        FederatedSearch(regions, observer, patients=patients, limits=limits) as search,
    ):
        yield Archive(search, retrieve)


def _spool(settings: Settings, alone: str) -> Spool:
    """Make the spool of the province, or a smaller one for one region alone: they hold different copies."""
    chosen = settings.spool
    name = f"{chosen.folder}-{alone}" if alone else chosen.folder
    return Spool(
        Path(name) if chosen.folder else None,
        max_bytes=max(1 << 20, chosen.max_bytes // 10) if alone else chosen.max_bytes,
        memory_bytes=chosen.memory_bytes,
        seconds=chosen.seconds,
        keep_on_restart=chosen.keep_on_restart,
        key=key_of(chosen.key_file, "spool.key_file"),
    )


def _recoder(workers: Workers) -> Recode:
    async def recode(data: bytes, source_uid: str, target_uid: str) -> bytes:
        return await workers.run(transcode_instance, data, source_uid, target_uid)

    return recode


def _queue(settings: Settings) -> Queue:
    remember = settings.commitment.remember_seconds
    chosen = settings.store
    key = key_of(chosen.key_file, "store.key_file")
    return Queue(path_of(chosen.folder), max_bytes=chosen.max_bytes, remember_seconds=remember, key=key)


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_pdu_length=settings.dimse.maximum_pdu_length,
        max_associations=settings.dimse.max_associations,
        max_associations_per_peer=settings.dimse.max_associations_per_peer,
    )


async def _open_to_peers(
    settings: Settings, accept: Callable[[Caller], Rejection | Terms], stack: AsyncExitStack
) -> tuple[int, int]:
    """Listen in the clear and with TLS, as the settings have it, and return both ports."""
    dimse, tls = settings.dimse, secured(settings.dimse)
    acceptor = Acceptor(accept=accept, limits=_limits(settings))
    stack.push_async_callback(acceptor.aclose, 2.0)
    plain_port = tls_port = 0
    if dimse.plain:
        plain_port = await _listening(acceptor.start(dimse.host, dimse.port), dimse.port)
    if tls is not None:
        tls_port = await _listening(acceptor.start(dimse.host, dimse.tls_port, tls), dimse.tls_port)
    return plain_port, tls_port


def _https(settings: HttpSettings) -> tuple[Path, Path] | None:
    return (Path(settings.certificate), Path(settings.key or settings.certificate)) if settings.certificate else None


async def _open(server: WebServer, port: int, grace: float, stack: AsyncExitStack) -> int:
    """Listen for HTTP and return the port; at the end running responses have a grace of so many seconds."""
    port = await _listening(server.start(), port)
    stack.push_async_callback(server.aclose, grace)
    return port


async def _listening(starting: Awaitable[int], port: int) -> int:
    """Wait for a listener, telling in plain words when its port is taken."""
    try:
        return await starting
    except OSError as error:
        raise ConfigError(f"port {port} cannot be listened on ({error.strerror}): choose another") from error
