"""Which resource is answered by which transaction (PS3.18 10.4.1, 10.6.1)."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from gateway.errors import NotFound
from gateway.web.form import FORM
from gateway.web.retrieve import Retrieve
from gateway.web.search import Search
from gateway.web.store import Store

REGIONS = "/regions"
SEARCH_METHODS = ("GET", "POST")


def routes(root: str, search: Search, retrieve: Retrieve, store: Store | None = None) -> list[BaseRoute]:
    """Return the routes below a root path; GET brings HEAD with it; without ``store`` nothing can be stored there."""
    study = f"{root}/studies/{{study}}"
    series = f"{study}/series/{{series}}"
    instance = f"{series}/instances/{{instance}}"
    return [
        *_stored(search, retrieve, store, f"{root}/studies", study),
        *answered(search.studies, f"{root}/studies", methods=SEARCH_METHODS),
        *answered(search.series, f"{study}/series", f"{root}/series", methods=SEARCH_METHODS),
        *answered(
            search.instances,
            *(f"{series}/instances", f"{study}/instances", f"{root}/instances"),
            methods=SEARCH_METHODS,
        ),
        *_retrieved(retrieve, study, series, instance),
        *answered(retrieve.uri, *(f"{path}/wado" for path in {root, root.rpartition("/")[0]})),
    ]


def _retrieved(retrieve: Retrieve, study: str, series: str, instance: str) -> list[BaseRoute]:
    """Return the routes of what a study, a series or an instance is retrieved as (PS3.18 10.4.1)."""
    levels = (study, series, instance)
    frames = f"{instance}/frames/{{frames}}"
    kinds = (
        ("", retrieve.instances, levels),
        ("/metadata", retrieve.metadata, levels),
        ("/bulkdata", retrieve.bulk_data, levels),
        ("/pixeldata", retrieve.pixel_data, levels),
        ("/rendered", retrieve.rendered, (*levels, frames)),
        ("/thumbnail", retrieve.thumbnail, (*levels, frames)),
        ("", retrieve.frames, (frames,)),
        ("/bulkdata/{path:path}", retrieve.value, (instance,)),
    )
    return [
        route
        for tail, handler, resources in kinds
        for route in answered(handler, *(f"{resource}{tail}" for resource in resources))
    ]


def region_root(name: str, root: str) -> str:
    """Return the path below which the resources of one region alone are."""
    return f"{REGIONS}/{name}{root}"


def region_routes(root: str, regions: Mapping[str, Sequence[BaseRoute]]) -> Mount:
    """Mount each region's routes, which have no root path of their own, below a root of its own."""
    mounts = [
        Mount(f"/{name}{root}", app=Router(resources, redirect_slashes=False)) for name, resources in regions.items()
    ]
    return Mount(REGIONS, app=Router(mounts, redirect_slashes=False, default=_Elsewhere(regions)))


def answered(
    handler: Callable[[Request], Awaitable[Response]], *paths: str, methods: Sequence[str] = ("GET",)
) -> list[Route]:
    """Return a route for each path; GET brings HEAD with it."""
    return [Route(path, _Endpoint(handler), methods=methods) for path in paths]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A handler as an ASGI application, without the exception handlers that starlette would wrap around each."""

    handler: Callable[[Request], Awaitable[Response]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.handler(Request(scope, receive))
        await response(scope, receive, send)


def _stored(search: Search, retrieve: Retrieve, store: Store | None, studies: str, study: str) -> list[Route]:
    """Return the routes of the resources that instances are posted to; a form that is posted is a search."""
    if store is None:
        return []

    async def to_studies(request: Request) -> Response:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_search = request.method != "POST" or media_type == FORM
        return await (search.studies(request) if is_search else store.instances(request))

    async def to_study(request: Request) -> Response:
        return await (store.instances(request) if request.method == "POST" else retrieve.instances(request))

    return [
        *answered(to_studies, studies, methods=SEARCH_METHODS),
        *answered(to_study, study, methods=SEARCH_METHODS),
    ]


class _Elsewhere:
    """Answers for what is below no region's root: tells whether the region is unknown or only the resource."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        name = str(scope["path"]).removeprefix(str(scope["root_path"])).split("/")[1]
        if name in self._names:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        raise UnknownRegion(f"there is no region of that name; known: {', '.join(self._names)}", self._names)


class UnknownRegion(NotFound):
    """A path names a region that is not configured.

    Attributes:
        available: the names of those that are.
    """

    def __init__(self, message: str, available: Sequence[str]) -> None:
        super().__init__(message)
        self.available = tuple(available)
