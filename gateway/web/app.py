"""The DICOMweb origin server as one ASGI application (PS3.18)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp

from gateway.events import Observer, unobserved
from gateway.web.disconnect import CancelOnDisconnect
from gateway.web.front import Front, fall_back, front_routes
from gateway.web.locations import Locations
from gateway.web.problem import ProblemBoundary
from gateway.web.representative import Representatives
from gateway.web.retrieve import Retrieve
from gateway.web.routes import region_root, region_routes, routes
from gateway.web.search import Search
from gateway.web.store import Store
from gateway.web.upload import UploadLimits

if TYPE_CHECKING:
    from gateway.federation.retrieve import FederatedRetrieve
    from gateway.federation.search import FederatedSearch
    from gateway.federation.store import FederatedStore
    from gateway.federation.workers import Workers

METHODS = ("GET", "HEAD", "POST")
REQUEST_FIELDS = ("Accept", "Authorization", "Content-Type", "Prefer", "Range", "If-None-Match", "If-Range")
EXPOSED_FIELDS = (
    *("Warning", "Federation-Status", "Content-Location", "ETag", "Retry-After"),
    *("Accept-Ranges", "Content-Disposition", "Content-Range"),
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
    """

    root_path: str = "/dicom-web"
    public_url: str | None = None
    default_transfer_syntax: Literal["explicit", "stored"] = "explicit"
    search_seconds: float = 30.0
    first_byte_seconds: float = 30.0
    cors_origins: tuple[str, ...] = ()
    upload: UploadLimits = field(default_factory=UploadLimits)


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
        front: what people are shown beside the resources; None for nothing.
    """
    root = settings.root_path
    alone = {x: _resources("", region_root(x, root), regions[x], workers, settings) for x in regions}
    resources = [
        *_resources(root, root, Archive(search, retrieve), workers, settings, store),
        region_routes(root, alone),
    ]
    if front is not None:
        resources += front_routes(front, search, settings.search_seconds, resources)
    default = None if front is None else fall_back(front, root, resources)
    app = ProblemBoundary(Router(resources, redirect_slashes=False, default=default), observe=observe)
    return _cors(CancelOnDisconnect(app), settings.cors_origins)


def _resources(
    path: str,
    base: str,
    archive: Archive,
    workers: "Workers",
    settings: WebSettings,
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
