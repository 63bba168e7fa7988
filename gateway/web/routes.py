"""Which resource is answered by which transaction (PS3.18 10.4.1, 10.6.1)."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from gateway.errors import NotFound
from gateway.web.retrieve import Retrieve
from gateway.web.search import Search

REGIONS = "/regions"
SEARCH_METHODS = ("GET", "POST")


def routes(root: str, search: Search, retrieve: Retrieve) -> list[BaseRoute]:
    """Return the routes below a root path; GET brings HEAD with it."""
    study = f"{root}/studies/{{study}}"
    series = f"{study}/series/{{series}}"
    instance = f"{series}/instances/{{instance}}"
    return [
        *_searched(search.studies, f"{root}/studies"),
        *_searched(search.series, f"{study}/series", f"{root}/series"),
        *_searched(search.instances, f"{series}/instances", f"{study}/instances", f"{root}/instances"),
        *_retrieved(retrieve, study, series, instance),
        *(Route(f"{path}/wado", retrieve.uri) for path in {root, root.rpartition("/")[0]}),
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
    return [Route(f"{resource}{tail}", handler) for tail, handler, resources in kinds for resource in resources]


def region_root(name: str, root: str) -> str:
    """Return the path below which the resources of one region alone are."""
    return f"{REGIONS}/{name}{root}"


def region_routes(root: str, regions: Mapping[str, Sequence[BaseRoute]]) -> Mount:
    """Mount each region's routes, which have no root path of their own, below a root of its own."""
    mounts = [
        Mount(f"/{name}{root}", app=Router(resources, redirect_slashes=False)) for name, resources in regions.items()
    ]
    return Mount(REGIONS, app=Router(mounts, redirect_slashes=False, default=_Elsewhere(regions)))


def _searched(endpoint: Callable[[Request], Awaitable[Response]], *paths: str) -> list[Route]:
    return [Route(path, endpoint, methods=SEARCH_METHODS) for path in paths]


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
