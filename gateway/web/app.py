"""The DICOMweb origin server as one ASGI application (PS3.18)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Self

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp

from gateway.access.decision import Decisions
from gateway.access.token import Tokens
from gateway.config.settings import Settings
from gateway.events import Observer, unobserved
from gateway.hops import pseudonym
from gateway.web.authentication import Authentication
from gateway.web.capabilities import Capabilities
from gateway.web.disconnect import CancelOnDisconnect
from gateway.web.documentation import Documentation
from gateway.web.exchange import Exchanges
from gateway.web.front import Front, fall_back, front_routes
from gateway.web.locations import Locations
from gateway.web.loop import LoopGuard
from gateway.web.policy import check_policies
from gateway.web.problem import ProblemBoundary
from gateway.web.representative import Representatives
from gateway.web.retrieve import Retrieve
from gateway.web.routes import region_root, region_routes, routes
from gateway.web.search import Search
from gateway.web.sign_in import Welcome
from gateway.web.store import Store
from gateway.web.upload import UploadLimits

if TYPE_CHECKING:
    from gateway.federation.retrieve import FederatedRetrieve
    from gateway.federation.search import FederatedSearch
    from gateway.federation.store import FederatedStore
    from gateway.federation.workers import Workers

METHODS = ("GET", "HEAD", "POST", "PUT")
REQUEST_FIELDS = (
    *("Accept", "Authorization", "Content-Type", "Prefer", "Range", "If-None-Match", "If-Range"),
    *("If-Match", "Consent-Override", "X-Request-Id", "traceparent"),
)
EXPOSED_FIELDS = (
    *("Warning", "Federation-Status", "Content-Location", "ETag", "Retry-After"),
    *("Accept-Ranges", "Content-Disposition", "Content-Range", "WWW-Authenticate", "X-Request-Id"),
)


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the origin server presents itself.

    Attributes:
        root_path: below which all resources are.
        public_url: scheme, authority and prefix under which callers reach ``root_path``; None makes URLs relative.
        default_transfer_syntax: what no ``transfer-syntax`` means: "explicit" as PS3.18 8.7.3.5.2 has it, or "stored".
        search_seconds: hard limit of a search; a caller may shorten it.
        first_byte_seconds: until a retrieve must have its first instance.
        cors_origins: exact origins of viewers that are served from elsewhere.
        upload: what one Store request may take.
        cookie: name of the cookie that may hold the token of a GET; empty for none.
        pseudonym: of this gateway, in what it asks its regions.
    """

    root_path: str = "/dicom-web"
    public_url: str | None = None
    default_transfer_syntax: Literal["explicit", "stored"] = "explicit"
    search_seconds: float = 30.0
    first_byte_seconds: float = 30.0
    cors_origins: tuple[str, ...] = ()
    upload: UploadLimits = field(default_factory=UploadLimits)
    cookie: str = ""
    pseudonym: str = field(default_factory=pseudonym)

    @classmethod
    def of(cls, settings: Settings, name: str) -> Self:
        """Return what the settings say of it, of a gateway that its regions know by this pseudonym."""
        return cls(
            pseudonym=name,
            public_url=settings.http.public_url or None,
            default_transfer_syntax=settings.http.default_transfer_syntax,
            search_seconds=settings.search.hard_seconds,
            first_byte_seconds=settings.retrieve.first_instance_seconds,
            cors_origins=settings.http.cors_origins,
            upload=UploadLimits.of(settings.store),
            cookie=settings.access.cookie,
        )


@dataclass(frozen=True, slots=True)
class Archive:
    """What answers below one root path: the province, or a single region.

    Attributes:
        search: answers its Search transactions.
        retrieve: answers its Retrieve transactions.
    """

    search: "FederatedSearch"
    retrieve: "FederatedRetrieve"


def create_app(
    search: "FederatedSearch",
    retrieve: "FederatedRetrieve",
    workers: "Workers",
    settings: WebSettings,
    observe: Observer = unobserved,
    *,
    store: "FederatedStore | None" = None,
    regions: Mapping[str, Archive] = MappingProxyType({}),
    decisions: Decisions,
    tokens: Tokens | None = None,
    pages: Sequence[BaseRoute] = (),
    front: Front | None = None,
) -> ASGIApp:
    """Join the transactions to one application.

    Args:
        search: answers for the province.
        retrieve: answers for the province.
        workers: decode, transcode and render.
        settings: how the origin server presents itself.
        observe: hears of defects and of bodies that break off.
        store: takes instances in for the province; None where nothing is stored.
        regions: what answers for one region alone, by its name, below ``/regions/{name}``.
        decisions: who may do what.
        tokens: whose tokens are whose; None where nobody shows one.
        pages: further routes, each of which says who may.
        front: what people are shown beside the resources; None for nothing.
    """
    province, root = Archive(search, retrieve), settings.root_path
    resources = [*all_routes(province, workers, settings, decisions, store=store, regions=regions), *pages]
    if front is not None:
        resources += front_routes(front, search, settings.search_seconds, decisions, resources)
    documentation = Documentation(resources, root, settings.public_url, tuple(regions))
    resources += documentation.routes()
    check_policies(resources)
    default = None if front is None else fall_back(front, root, resources)
    router = Router(resources, redirect_slashes=False, default=default)
    app: ASGIApp = Capabilities(router, resources, root, lambda: documentation.document)
    app = LoopGuard(Authentication(app, tokens, settings.cookie), settings.pseudonym)
    app = ProblemBoundary(app, observe=observe)
    if front is not None and front.sign_in is not None:
        app = Welcome(app, front.sign_in)
    return Exchanges(_cors(CancelOnDisconnect(app), settings.cors_origins), observe)


def all_routes(
    province: Archive,
    workers: "Workers",
    settings: WebSettings,
    decisions: Decisions,
    *,
    store: "FederatedStore | None" = None,
    regions: Mapping[str, Archive] = MappingProxyType({}),
) -> list[BaseRoute]:
    """Return the routes of the province and of each region alone."""
    root = settings.root_path
    alone = {x: _resources("", region_root(x, root), regions[x], workers, settings, decisions) for x in regions}
    of_all = _resources(root, root, province, workers, settings, decisions, store)
    return [*of_all, region_routes(root, alone)]


def _resources(
    path: str,
    base: str,
    archive: Archive,
    workers: "Workers",
    settings: WebSettings,
    decisions: Decisions,
    store: "FederatedStore | None" = None,
) -> list[BaseRoute]:
    """Return the routes below a path, for resources whose URLs begin with a base."""
    locations = Locations(base, settings.public_url)
    return routes(
        path,
        Search(archive.search, workers, locations, settings.search_seconds),
        Retrieve(
            archive.retrieve,
            Representatives(archive.search),
            workers,
            locations,
            settings.default_transfer_syntax,
            settings.first_byte_seconds,
        ),
        None if store is None else Store(store, locations, settings.upload),
        decisions=decisions,
    )


def _cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=REQUEST_FIELDS,
        expose_headers=EXPOSED_FIELDS,
        max_age=600,
    )
