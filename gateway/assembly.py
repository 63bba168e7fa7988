"""The one place where the gateway's objects are built and joined."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette

from gateway.config.settings import Settings
from gateway.dimse.acceptor import CALLED_AE_TITLE_NOT_RECOGNIZED, Acceptor, Caller, Rejection
from gateway.errors import ConfigError
from gateway.events import Observer, unobserved
from gateway.federation.retrieve import FederatedRetrieve
from gateway.federation.search import FederatedSearch
from gateway.federation.workers import Workers, WorkLimits
from gateway.region.inbox import Inbox
from gateway.region.node import Region
from gateway.region.profile import Profile
from gateway.spool.spool import Spool
from gateway.web.app import Archive, WebSettings, create_app
from gateway.web.server import WebServer
from gateway.wire.limits import Limits


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is up.

    Attributes:
        http_port: where the DICOMweb face listens.
        dimse_port: where the DIMSE face listens.
        regions: the regions behind it, in order.
    """

    http_port: int
    dimse_port: int
    regions: tuple[Region, ...]


@asynccontextmanager
async def running(
    settings: Settings, profiles: Sequence[Profile], observer: Observer = unobserved
) -> AsyncIterator[Gateway]:
    """Run the gateway in front of the regions as long as the context lasts.

    Raises:
        ConfigError: a port cannot be listened on.
    """
    limits = Limits(
        max_pdu_length=settings.dimse.maximum_pdu_length,
        max_associations=settings.dimse.max_associations,
        max_associations_per_peer=settings.dimse.max_associations_per_peer,
    )
    async with AsyncExitStack() as stack:
        inbox = Inbox(observer)
        acceptor = Acceptor(accept=_called_by(settings, profiles), store=inbox.store, limits=limits)
        dimse_port = await _listening(acceptor.start(settings.dimse.host, settings.dimse.port), settings.dimse.port)
        stack.push_async_callback(acceptor.aclose, 2.0)
        regions = [Region(profile, settings, inbox, observer, limits) for profile in profiles]
        for region in regions:
            stack.push_async_callback(region.aclose)
        province = await _archive(stack, settings, regions, observer)
        alone = {
            region.profile.id: await _archive(stack, settings, (region,), observer, region.profile.id)
            for region in regions
        }
        workers = await stack.enter_async_context(Workers(_work_limits(settings)))
        app = create_app(province.search, province.retrieve, workers, _web(settings), observer, regions=alone)
        server = WebServer(app, settings.http.host, settings.http.port)
        http_port = await _listening(server.start(), settings.http.port)
        stack.push_async_callback(server.aclose, 2.0)
        yield Gateway(http_port, dimse_port, tuple(regions))


def _called_by(settings: Settings, profiles: Sequence[Profile]) -> Callable[[Caller], Rejection | None]:
    """Accept associations that call one of our AE titles; what they may do is decided by each service."""
    ours = {settings.dimse.ae_title, *(x for profile in profiles for x in profile.move_destinations)}
    return lambda caller: None if caller.called_ae_title in ours else CALLED_AE_TITLE_NOT_RECOGNIZED


def _work_limits(settings: Settings) -> WorkLimits:
    chosen = settings.workers
    return WorkLimits(
        processes=chosen.processes,
        waiting=chosen.max_waiting,
        seconds=chosen.seconds,
        memory=chosen.memory_mib << 20,
        job_bytes=chosen.job_mib << 20,
    )


def _web(settings: Settings) -> WebSettings:
    return WebSettings(
        public_url=settings.http.public_url or None,
        default_transfer_syntax=settings.http.default_transfer_syntax,
        search_seconds=settings.search.hard_seconds,
        first_byte_seconds=settings.retrieve.first_instance_seconds,
        cors_origins=settings.http.cors_origins,
    )


async def _archive(
    stack: AsyncExitStack, settings: Settings, regions: Sequence[Region], observer: Observer, alone: str = ""
) -> Archive:
    """Make one archive of some regions: of all of them, or of one alone, which shares no spool with the others."""
    search = FederatedSearch(
        regions,
        observer,
        soft_seconds=settings.search.soft_seconds,
        max_results=settings.search.max_results,
        max_matches_per_region=settings.search.max_matches_per_region,
    )
    spool = _spool(settings, alone)
    await spool.start()
    stack.push_async_callback(spool.aclose)
    retrieve = FederatedRetrieve(
        regions,
        observer,
        spool,
        soft_seconds=settings.search.soft_seconds,
        fresh_seconds=settings.spool.fresh_seconds,
        background_instances=0 if alone else settings.spool.background_instances,
    )
    await retrieve.start()
    stack.push_async_callback(retrieve.aclose)
    return Archive(search, retrieve)


def _spool(settings: Settings, alone: str) -> Spool:
    """Make the spool of the province, or a smaller one for the resources of one region alone."""
    chosen = settings.spool
    name = f"{chosen.folder}-{alone}" if alone else chosen.folder
    folder = Path(name) if chosen.folder else None
    return Spool(
        folder,
        max_bytes=max(1 << 20, chosen.max_bytes // 10) if alone else chosen.max_bytes,
        memory_bytes=chosen.memory_bytes,
        seconds=chosen.seconds,
        keep_on_restart=chosen.keep_on_restart,
    )


async def _listening(starting: Awaitable[int], port: int) -> int:
    """Wait for a listener, telling in plain words when its port is taken."""
    try:
        return await starting
    except OSError as error:
        raise ConfigError(f"port {port} cannot be listened on ({error.strerror}): choose another") from error
