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
from gateway.region.inbox import Inbox
from gateway.region.node import Region
from gateway.region.profile import Profile
from gateway.spool.spool import Spool
from gateway.web.app import WebSettings, create_app
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
        spool = _spool(settings)
        await spool.start()
        stack.push_async_callback(spool.aclose)
        retrieve = _retrieve(settings, regions, observer, spool)
        await retrieve.start()
        stack.push_async_callback(retrieve.aclose)
        server = WebServer(_app(settings, regions, retrieve, observer), settings.http.host, settings.http.port)
        http_port = await _listening(server.start(), settings.http.port)
        stack.push_async_callback(server.aclose, 2.0)
        yield Gateway(http_port, dimse_port, tuple(regions))


def _called_by(settings: Settings, profiles: Sequence[Profile]) -> Callable[[Caller], Rejection | None]:
    """Accept associations that call one of our AE titles; what they may do is decided by each service."""
    ours = {settings.dimse.ae_title, *(x for profile in profiles for x in profile.move_destinations)}
    return lambda caller: None if caller.called_ae_title in ours else CALLED_AE_TITLE_NOT_RECOGNIZED


def _spool(settings: Settings) -> Spool:
    folder = Path(settings.spool.folder) if settings.spool.folder else None
    return Spool(
        folder,
        max_bytes=settings.spool.max_bytes,
        memory_bytes=settings.spool.memory_bytes,
        seconds=settings.spool.seconds,
        keep_on_restart=settings.spool.keep_on_restart,
    )


def _retrieve(settings: Settings, regions: Sequence[Region], observer: Observer, spool: Spool) -> FederatedRetrieve:
    return FederatedRetrieve(
        regions,
        observer,
        spool,
        soft_seconds=settings.search.soft_seconds,
        fresh_seconds=settings.spool.fresh_seconds,
        background_instances=settings.spool.background_instances,
    )


def _app(settings: Settings, regions: Sequence[Region], retrieve: FederatedRetrieve, observer: Observer) -> Starlette:
    search = FederatedSearch(
        regions,
        observer,
        soft_seconds=settings.search.soft_seconds,
        max_results=settings.search.max_results,
        max_matches_per_region=settings.search.max_matches_per_region,
    )
    web = WebSettings(
        public_url=settings.http.public_url or None,
        default_transfer_syntax=settings.http.default_transfer_syntax,
        search_seconds=settings.search.hard_seconds,
        first_byte_seconds=settings.retrieve.first_instance_seconds,
        cors_origins=settings.http.cors_origins,
    )
    return create_app(search, retrieve, web, observer)


async def _listening(starting: Awaitable[int], port: int) -> int:
    """Wait for a listener, telling in plain words when its port is taken."""
    try:
        return await starting
    except OSError as error:
        raise ConfigError(f"port {port} cannot be listened on ({error.strerror}): choose another") from error
