"""The one place where the gateway's objects are built and joined."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from gateway.access.consent import Consents
from gateway.access.consenting import consenting
from gateway.access.decision import Decisions, Overrides
from gateway.access.decision import Limits as RateLimits
from gateway.access.fhir_consent import ConsentResources, Naming
from gateway.access.keys import issuer_keys
from gateway.access.permit import Directives, Recorder
from gateway.access.token import Tokens
from gateway.audit.configuration import note_configuration
from gateway.audit.desk import PrivacyDesk
from gateway.audit.record import Auditor
from gateway.audit.record import Recorder as Recording
from gateway.audit.running import Audit, auditing, check_kept, replica
from gateway.audit.source import AuditSource
from gateway.config.paths import path_of
from gateway.config.settings import Settings
from gateway.config.toml import Section
from gateway.dataset.jobs import get_ready, transcode_instance
from gateway.dataset.patient import PatientIdentifier
from gateway.deadline import Deadline
from gateway.dimse.acceptor import CALLING_AE_TITLE_NOT_RECOGNIZED, Acceptor
from gateway.dimse.tls import server_context
from gateway.errors import ConfigError
from gateway.events import Observer, unobserved
from gateway.federation.commitment import Custody
from gateway.federation.identity_source import identity_source
from gateway.federation.issuers import Issuer, Issuers
from gateway.federation.patients import IdentitySource, Patients
from gateway.federation.retrieve import FederatedRetrieve
from gateway.federation.routing import Source
from gateway.federation.search import FederatedSearch, SearchLimits
from gateway.federation.store import FederatedStore
from gateway.federation.workers import Workers, WorkLimits
from gateway.ops.lights import Light as StatusLight
from gateway.ops.operations import Operations, certificate_ends
from gateway.ops.status import Sources
from gateway.region.dicomweb import DicomwebRegion
from gateway.region.inbox import Inbox
from gateway.region.node import Region
from gateway.region.profile import Profile
from gateway.scp.face import Face, FaceSettings
from gateway.scp.gate import Gate
from gateway.scp.outgoing import Recode
from gateway.scp.peers import addresses, admission, forms, reporting
from gateway.scp.profile import PeerProfile
from gateway.scp.storage import Intake, Store
from gateway.spool.key import key_of
from gateway.spool.queue import Queue
from gateway.spool.spool import Spool
from gateway.web.app import Archive, WebSettings, create_app
from gateway.web.fhir import fhir_routes
from gateway.web.fhir_audit import AuditApi
from gateway.web.fhir_consent import ConsentApi, Linked
from gateway.web.front import Front
from gateway.web.home import Light, LightState
from gateway.web.pages import page_app, page_routes
from gateway.web.server import WebServer
from gateway.web.sign_in import SignIn
from gateway.web.upload import UploadLimits
from gateway.web.viewer import cache_folder, viewer_files
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
        audit: the audit log and its feeds; None where nothing is recorded.
    """

    http_port: int
    dimse_port: int
    tls_port: int
    regions: tuple[AnyRegion, ...]
    ops_port: int = 0
    audit: Audit | None = None


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
    limits = _limits(settings)
    issuers = Issuers(Issuer(x.issuer, x.oid, x.uri) for x in settings.identity.issuers)
    profiles = [_in_our_words(profile, issuers) for profile in profiles]
    operations = Operations(settings, profiles, observer)
    observer = operations
    if settings.access.mode == "tokens" and recorder is None:
        check_kept(settings.audit)
    async with AsyncExitStack() as stack:
        audit = await stack.enter_async_context(_auditing(settings, profiles, peers, observer))
        if audit:
            operations.probes.require("audit", partial(_audit_fault, audit))
        source = await stack.enter_async_context(identity_source(settings.identity, issuers, profiles))
        patients = _patients(settings, source, issuers, profiles, observer)
        if recorder is None and audit:
            recorder = Recording(audit.auditor)
        naming = consent_naming(settings, issuers, profiles)
        consents = await stack.enter_async_context(_consents(settings, naming, recorder, operations, clock))
        decisions = _decisions(settings, patients, recorder, directives or consents, consents)
        fhir = fhir_routes(
            decisions,
            None if consents is None else ConsentApi(consents, ConsentResources(naming), decisions, _linked(patients)),
            None if audit is None else AuditApi(privacy_desk(settings, source, issuers, audit.auditor)),
        )
        tokens = await stack.enter_async_context(_tokens(settings))
        inbox = Inbox(observer)
        regions = [_region(profile, settings, inbox, observer, limits) for profile in profiles]
        for region in regions:
            stack.push_async_callback(region.aclose)
        province = await stack.enter_async_context(_archive(settings, regions, patients, observer))
        alone = {
            region.profile.id: await stack.enter_async_context(
                _archive(settings, (region,), patients, observer, region.profile.id)
            )
            for region in regions
        }
        workers = await stack.enter_async_context(Workers(_work_limits(settings), get_ready))
        recode = _recoder(workers)
        queue = _queue(settings)
        store = FederatedStore(regions, settings.store, queue, observer, recode)
        await stack.enter_async_context(store.running())
        retrieves = [archive.retrieve for archive in (province, *alone.values())]
        faces = {"http": settings.http.certificate, "dimse": settings.dimse.certificate}
        sources = Sources(regions, retrieves, queue, certificate_ends(faces))
        await stack.enter_async_context(operations.watching(sources, regions))
        ops_port = await _open_to_operators(settings, operations, stack)
        custody = Custody(queue, province.search, settings.search.hard_seconds)
        reporter = await stack.enter_async_context(reporting(settings, peers, custody, observer, limits))
        face = Face(
            province.search,
            province.retrieve,
            inbox,
            addresses(settings, {peer.ae_title: peer.move_destination for peer in peers}),
            observer,
            limits,
            _face_settings(settings),
            Gate(decisions, settings.access.purpose),
            forms(settings, peers, profiles, patients, recode),
            _intake(store) if settings.store.default or settings.store.rules else None,
            reporter,
        )
        acceptor = Acceptor(accept=admission(settings, profiles, peers, face), limits=limits)
        stack.push_async_callback(acceptor.aclose, 2.0)
        dimse_port, tls_port = await _open_to_peers(settings, acceptor)
        app = create_app(
            province.search,
            province.retrieve,
            workers,
            _web(settings),
            observer,
            store=store,
            regions=alone,
            decisions=decisions,
            tokens=tokens,
            pages=[*page_routes(operations.pages()), *fhir],
            front=await _front(settings, regions, operations, sign_in),
        )
        server = WebServer(app, settings.http.host, settings.http.port, certificate=_https(settings))
        http_port = await _listening(server.start(), settings.http.port)
        stack.push_async_callback(server.aclose, 2.0)
        stack.callback(operations.drain)
        operations.probes.started()
        yield Gateway(http_port, dimse_port, tls_port, tuple(regions), ops_port, audit)


def _region(profile: Profile, settings: Settings, inbox: Inbox, observer: Observer, limits: Limits) -> AnyRegion:
    if profile.dicomweb:
        return DicomwebRegion(profile, settings, inbox, observer)
    return Region(profile, settings, inbox, observer, limits)


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


def consent_naming(settings: Settings, issuers: Issuers, profiles: Sequence[Profile] = ()) -> Naming:
    """Return what identifiers are called in FHIR."""
    known = {issuers.name(settings.identity.provincial_issuer)} if settings.identity.provincial_issuer else set()
    known |= {issuer.name for issuer in issuers}
    for profile in profiles:
        known |= {issuers.name(profile.namespace), *map(issuers.name, profile.other_issuers_of_patient_id)}
    return Naming(
        issuer=issuers.name,
        system=lambda name: issuers.issuer(name).system or name,
        known=known,
        organisation=settings.consent.organisation_system,
        person=settings.consent.person_system,
    )


def _linked(patients: Patients) -> Linked:
    async def linked(patient: PatientIdentifier) -> frozenset[PatientIdentifier]:
        return (await patients.everyone([patient]))[patient]

    return linked


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
    limits = _limits(settings)
    issuers = Issuers(Issuer(x.issuer, x.oid, x.uri) for x in settings.identity.issuers)
    profiles = [_in_our_words(profile, issuers) for profile in profiles]
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(identity_source(settings.identity, issuers, profiles))
        patients = _patients(settings, source, issuers, profiles, observer)
        inbox = Inbox(observer)
        regions = tuple(_region(profile, settings, inbox, observer, limits) for profile in profiles)
        for region in regions:
            stack.push_async_callback(region.aclose)
        if receiving:
            known = {route for profile in profiles for route in profile.routes}
            terms = Face.of_regions(inbox)
            acceptor = Acceptor(
                accept=lambda x: (
                    terms if (x.calling_ae_title, x.called_ae_title) in known else CALLING_AE_TITLE_NOT_RECOGNIZED
                ),
                limits=limits,
            )
            stack.push_async_callback(acceptor.aclose, 2.0)
            await _open_to_peers(settings, acceptor)
        yield Province(await stack.enter_async_context(_archive(settings, regions, patients, observer, "")), regions)


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_pdu_length=settings.dimse.maximum_pdu_length,
        max_associations=settings.dimse.max_associations,
        max_associations_per_peer=settings.dimse.max_associations_per_peer,
    )


def _patients(
    settings: Settings, source: IdentitySource, issuers: Issuers, profiles: Sequence[Profile], observer: Observer
) -> Patients:
    return Patients(
        source,
        issuers,
        profiles,
        observer,
        provincial="" if settings.identity.source == "none" else settings.identity.provincial_issuer,
        show_provincial=settings.identity.present == "provincial",
    )


def audit_source(settings: Settings) -> AuditSource:
    """Return how the gateway names itself in the audit log and in its feeds."""
    systems = {x.issuer: Issuer(x.issuer, x.oid, x.uri).system for x in settings.identity.issuers}
    url = settings.http.public_url
    return AuditSource(replica(settings.audit), settings.audit.site, url, settings.dimse.ae_title, systems)


def privacy_desk(settings: Settings, source: IdentitySource, issuers: Issuers, auditor: Auditor) -> PrivacyDesk:
    """Make what answers privacy officers from the log of the settings."""

    async def linked(patient: PatientIdentifier) -> frozenset[PatientIdentifier]:
        return await source.identifiers(patient, Deadline.after(settings.search.hard_seconds))

    folder = Path(settings.audit.folder)
    return PrivacyDesk(folder, auditor, audit_source(settings), named=issuers.name, linked=linked)


def _audit_fault(audit: Audit) -> str:
    return "" if audit.log.is_writable else "the audit log cannot be written: nothing is released"


@asynccontextmanager
async def _auditing(
    settings: Settings, profiles: Sequence[Profile], peers: Sequence[PeerProfile], observer: Observer
) -> AsyncIterator[Audit | None]:
    """Keep the audit log as long as the context lasts, if there is one, beginning with what it was started with."""
    if not settings.audit.folder:
        yield None
        return
    told = f"{len(profiles)} regions, {len(peers)} peers"
    async with auditing(settings.audit, audit_source(settings), observer, started=told) as audit:
        parts = {name: section.model_dump_json() for name, section in settings if isinstance(section, Section)}
        parts |= {f"region {profile.name}": profile.model_dump_json() for profile in profiles}
        parts |= {f"peer {peer.name}": peer.model_dump_json() for peer in peers}
        await note_configuration(Path(settings.audit.folder), audit.auditor, parts)
        yield audit


async def _front(
    settings: Settings, regions: Sequence[AnyRegion], operations: Operations, sign_in: SignIn | None
) -> Front:
    files = None
    if settings.viewer.folder:
        cache = path_of(settings.viewer.cache) or cache_folder()
        files = await asyncio.to_thread(viewer_files, Path(settings.viewer.folder), cache)
    named = {region.profile.id: (region.profile.name, region.profile.title) for region in regions}
    return Front(partial(_lights, operations), named, files, sign_in)


async def _lights(operations: Operations) -> list[Light]:
    states: dict[StatusLight, LightState] = {
        StatusLight.GREEN: "up",
        StatusLight.AMBER: "trying",
        StatusLight.RED: "down",
        StatusLight.GREY: "unknown",
    }
    snapshot = await operations.model.current()
    return [Light(x.profile.name, x.profile.title, states[x.light]) for x in snapshot.regions]


def _recoder(workers: Workers) -> Recode:
    async def recode(data: bytes, source_uid: str, target_uid: str) -> bytes:
        return await workers.run(transcode_instance, data, source_uid, target_uid)

    return recode


def _intake(store: FederatedStore) -> Store:
    def opened(peer: PeerProfile, address: str) -> AbstractAsyncContextManager[Intake]:
        return store.intake(Source("dimse", peer.ae_title, peer.organisation, address=address))

    return opened


def _face_settings(settings: Settings) -> FaceSettings:
    return FaceSettings(
        settings.dimse.ae_title,
        settings.search.hard_seconds,
        settings.retrieve.first_instance_seconds,
        strict=settings.dimse.missing_regions == "strict",
    )


async def _open_to_peers(settings: Settings, acceptor: Acceptor) -> tuple[int, int]:
    """Listen in the clear and with TLS, as the settings have it, and return both ports."""
    dimse = settings.dimse
    plain_port = tls_port = 0
    if not (dimse.plain or dimse.certificate):
        raise ConfigError('"dimse.plain" is false and "dimse.certificate" is empty: no port would be open to peers')
    if dimse.plain:
        plain_port = await _listening(acceptor.start(dimse.host, dimse.port), dimse.port)
    if dimse.certificate:
        tls = server_context(Path(dimse.certificate), Path(dimse.key or dimse.certificate), path_of(dimse.ca))
        tls_port = await _listening(acceptor.start(dimse.host, dimse.tls_port, tls), dimse.tls_port)
    return plain_port, tls_port


async def _open_to_operators(settings: Settings, operations: Operations, stack: AsyncExitStack) -> int:
    """Listen for operators, from before the faces open until after they are closed, and return the port."""
    ops = settings.ops
    server = WebServer(page_app(operations.admin_pages(), operations), ops.host, ops.port)
    port = await _listening(server.start(), ops.port)
    stack.push_async_callback(server.aclose, 0.5)
    return port


def _https(settings: Settings) -> tuple[Path, Path] | None:
    http = settings.http
    return (Path(http.certificate), Path(http.key or http.certificate)) if http.certificate else None


def _in_our_words(profile: Profile, issuers: Issuers) -> Profile:
    """Return the profile with its issuers by the names that rows are given."""
    named = {
        "issuer_of_patient_id": issuers.name(profile.issuer_of_patient_id),
        "other_issuers_of_patient_id": tuple(map(issuers.name, profile.other_issuers_of_patient_id)),
    }
    return profile.model_copy(update=named)


def _work_limits(settings: Settings) -> WorkLimits:
    chosen = settings.workers
    return WorkLimits(
        processes=chosen.processes,
        waiting=chosen.max_waiting,
        seconds=chosen.seconds,
        memory=chosen.memory_mib << 20,
        job_bytes=chosen.job_mib << 20,
    )


def _queue(settings: Settings) -> Queue:
    remember = settings.commitment.remember_seconds
    chosen = settings.store
    key = key_of(chosen.key_file, "store.key_file")
    return Queue(path_of(chosen.folder), max_bytes=chosen.max_bytes, remember_seconds=remember, key=key)


def _web(settings: Settings) -> WebSettings:
    upload = UploadLimits(
        max_bytes=settings.store.max_request_bytes,
        max_parts=settings.store.max_parts,
        max_metadata_bytes=settings.store.max_metadata_bytes,
        stall_seconds=settings.store.body_seconds,
    )
    return WebSettings(
        public_url=settings.http.public_url or None,
        default_transfer_syntax=settings.http.default_transfer_syntax,
        search_seconds=settings.search.hard_seconds,
        first_byte_seconds=settings.retrieve.first_instance_seconds,
        cors_origins=settings.http.cors_origins,
        upload=upload,
        cookie=settings.access.cookie,
    )


@asynccontextmanager
async def _archive(
    settings: Settings, regions: Sequence[AnyRegion], patients: Patients, observer: Observer, alone: str = ""
) -> AsyncIterator[Archive]:
    """Have one archive of some regions, of all of them or of one alone, as long as the context lasts."""
    limits = SearchLimits(
        max_results=settings.search.max_results,
        max_matches_per_region=settings.search.max_matches_per_region,
        snapshot_seconds=settings.search.snapshot_seconds,
        snapshot_rows=settings.search.snapshot_rows,
        derived_studies=settings.search.derived_studies,
        derived_series=settings.search.derived_series,
    )
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


async def _listening(starting: Awaitable[int], port: int) -> int:
    """Wait for a listener, telling in plain words when its port is taken."""
    try:
        return await starting
    except OSError as error:
        raise ConfigError(f"port {port} cannot be listened on ({error.strerror}): choose another") from error
