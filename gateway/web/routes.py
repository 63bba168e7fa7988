"""Which resource is answered by which transaction (PS3.18 10.4.1, 10.6.1)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import Receive, Scope, Send

from gateway.access.decision import Decisions
from gateway.access.principal import Transaction
from gateway.errors import NotFound
from gateway.web.authentication import PRINCIPAL
from gateway.web.form import FORM
from gateway.web.policy import Guarded, Handler, Policy
from gateway.web.retrieve import Retrieve
from gateway.web.search import Search
from gateway.web.store import Store

REGIONS = "/regions"
SEARCH_METHODS = ("GET", "POST")


def routes(
    root: str, search: Search, retrieve: Retrieve, store: Store | None = None, *, decisions: Decisions
) -> list[BaseRoute]:
    """Return the routes below a root path; GET brings HEAD with it; without ``store`` nothing can be stored there."""
    answered = _Answered(decisions)
    study = f"{root}/studies/{{study}}"
    series = f"{study}/series/{{series}}"
    instance = f"{series}/instances/{{instance}}"
    return [
        *_stored(answered, search, retrieve, store, f"{root}/studies", study),
        *answered.by(search.studies, Transaction.SEARCH, f"{root}/studies", methods=SEARCH_METHODS),
        *answered.by(search.series, Transaction.SEARCH, f"{study}/series", f"{root}/series", methods=SEARCH_METHODS),
        *answered.by(
            search.instances,
            Transaction.SEARCH,
            *(f"{series}/instances", f"{study}/instances", f"{root}/instances"),
            methods=SEARCH_METHODS,
        ),
        *_retrieved(answered, retrieve, study, series, instance),
        *answered.by(
            retrieve.uri, retrieve.of_uri, *(f"{path}/wado" for path in dict.fromkeys((root, root.rpartition("/")[0])))
        ),
    ]


def _retrieved(answered: "_Answered", retrieve: Retrieve, study: str, series: str, instance: str) -> list[BaseRoute]:
    """Return the routes of what a study, a series or an instance is retrieved as (PS3.18 10.4.1)."""
    levels = (study, series, instance)
    frames = f"{instance}/frames/{{frames}}"
    as_stored, seen = Transaction.RETRIEVE, Transaction.RENDERED
    kinds = (
        ("", retrieve.instances, as_stored, levels),
        ("/metadata", retrieve.metadata, as_stored, levels),
        ("/bulkdata", retrieve.bulk_data, as_stored, levels),
        ("/pixeldata", retrieve.pixel_data, as_stored, levels),
        ("/rendered", retrieve.rendered, seen, (*levels, frames)),
        ("/thumbnail", retrieve.thumbnail, seen, (*levels, frames)),
        ("", retrieve.frames, as_stored, (frames,)),
        ("/bulkdata/{path:path}", retrieve.value, as_stored, (instance,)),
    )
    return [
        route
        for tail, handler, transaction, resources in kinds
        for route in answered.by(handler, transaction, *(f"{resource}{tail}" for resource in resources))
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


@dataclass(frozen=True, slots=True)
class _Answered:
    """Makes routes, each of a transaction that its caller has to be allowed."""

    decisions: Decisions

    def by(
        self,
        handler: Handler,
        policy: Policy,
        *paths: str,
        methods: Sequence[str] = ("GET",),
        left_to: Mapping[str, Sequence[Handler]] = MappingProxyType({}),
    ) -> list[Route]:
        guarded = Guarded(handler, policy, self.decisions, left_to)
        return [Route(path, guarded, methods=methods) for path in paths]


def _stored(
    answered: _Answered, search: Search, retrieve: Retrieve, store: Store | None, studies: str, study: str
) -> list[Route]:
    """Return the routes of the resources that instances are posted to; a form that is posted is a search."""
    if store is None:
        return []

    async def to_studies(request: Request) -> Response:
        return await (search.studies(request) if _is_search(request) else store.instances(request))

    async def to_study(request: Request) -> Response:
        return await (store.instances(request) if request.method == "POST" else retrieve.instances(request))

    of_studies = {"GET": (search.studies,), "POST": (store.instances, search.studies)}
    of_study = {"GET": (retrieve.instances,), "POST": (store.instances,)}
    return [
        *answered.by(to_studies, _of_studies, studies, methods=SEARCH_METHODS, left_to=of_studies),
        *answered.by(to_study, _of_study, study, methods=SEARCH_METHODS, left_to=of_study),
    ]


def _is_search(request: Request) -> bool:
    if request.scope["method"] != "POST":
        return True
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


def _of_studies(request: Request) -> Transaction:
    return Transaction.SEARCH if _is_search(request) else Transaction.STORE


def _of_study(request: Request) -> Transaction:
    return Transaction.STORE if request.method == "POST" else Transaction.RETRIEVE


class _Elsewhere:
    """Answers for what is below no region's root: tells whether the region is unknown or only the resource."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        name = str(scope["path"]).removeprefix(str(scope["root_path"])).split("/")[1]
        if name in self._names:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if scope.get(PRINCIPAL) is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)  # what regions there are is not told to everybody
        raise UnknownRegion(f"there is no region of that name; known: {', '.join(self._names)}", self._names)


class UnknownRegion(NotFound):
    """A path names a region that is not configured.

    Attributes:
        available: the names of those that are.
    """

    def __init__(self, message: str, available: Sequence[str]) -> None:
        super().__init__(message)
        self.available = tuple(available)
