"""The DICOMweb origin server as one ASGI application (PS3.18)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.events import Observer, unobserved
from gateway.web.disconnect import CancelOnDisconnect
from gateway.web.locations import Locations
from gateway.web.problem import ProblemBoundary, routing_problem
from gateway.web.representative import Representatives
from gateway.web.retrieve import Retrieve
from gateway.web.routes import region_root, region_routes, routes
from gateway.web.search import Search

if TYPE_CHECKING:
    from gateway.federation.retrieve import FederatedRetrieve
    from gateway.federation.search import FederatedSearch
    from gateway.federation.workers import Workers

METHODS = ("GET", "HEAD", "POST")
REQUEST_FIELDS = ("Accept", "Authorization", "Content-Type", "Prefer", "Range", "If-None-Match", "If-Range")
EXPOSED_FIELDS = (
    *("Warning", "Federation-Status", "Content-Location", "ETag", "Retry-After"),
    *("Accept-Ranges", "Content-Disposition", "Content-Range"),
)
PRIVACY = (
    (b"cache-control", b"private, no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
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
    """

    root_path: str = "/dicom-web"
    public_url: str | None = None
    default_transfer_syntax: Literal["explicit", "stored"] = "explicit"
    search_seconds: float = 30.0
    first_byte_seconds: float = 30.0
    cors_origins: tuple[str, ...] = ()


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
    regions: Mapping[str, Archive] = MappingProxyType({}),
) -> Starlette:
    """Join the transactions to one application.

    Args:
        search: answers for the province.
        retrieve: answers for the province.
        workers: decode, transcode and render.
        settings: how the origin server presents itself.
        observe: hears of defects and of bodies that break off.
        regions: what answers for one region alone, by its name, below ``/regions/{name}``.
    """
    root = settings.root_path
    app = Starlette(
        routes=[
            *_resources(root, root, Archive(search, retrieve), workers, settings),
            region_routes(
                root, {x: _resources("", region_root(x, root), regions[x], workers, settings) for x in regions}
            ),
        ],
        middleware=[
            *_cors(settings.cors_origins),
            Middleware(PrivateResponses),
            Middleware(CancelOnDisconnect),
            Middleware(ProblemBoundary, observe=observe),
        ],
        exception_handlers={HTTPException: routing_problem},
    )
    app.router.redirect_slashes = False
    return app


def _resources(path: str, base: str, archive: Archive, workers: "Workers", settings: WebSettings) -> list[BaseRoute]:
    """Return the routes below a path, for resources whose URLs begin with a base."""
    locations = Locations(base, settings.public_url)
    return routes(
        path,
        Search(archive.search, locations, settings.search_seconds),
        Retrieve(
            archive.retrieve,
            Representatives(archive.search),
            workers,
            locations,
            settings.default_transfer_syntax,
            settings.first_byte_seconds,
        ),
    )


def _cors(origins: Sequence[str]) -> list[Middleware]:
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_FIELDS,
            expose_headers=EXPOSED_FIELDS,
            max_age=600,
        )
    ]


class PrivateResponses:
    """ASGI middleware: keeps every answer out of caches, referrers and content sniffing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the fields on the way out."""

        async def private(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(field for field in PRIVACY if field[0] not in told)]
            await send(message)

        await self._app(scope, receive, private)
