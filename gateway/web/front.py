"""What people in a browser get beside the DICOMweb resources: the viewer, the home page, launch in context."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from gateway.access.decision import Decisions
from gateway.access.principal import Transaction
from gateway.config.paths import path_of
from gateway.config.settings import Settings
from gateway.region.profile import Profile
from gateway.web.assets import Asset
from gateway.web.home import Home, Lights
from gateway.web.launch import PATH, Launch
from gateway.web.own import own_files
from gateway.web.policy import Guarded, Handler, public
from gateway.web.sign_in import SignIn
from gateway.web.viewer import INDEX, Page, Viewer, cache_folder, configuration, viewer_files

if TYPE_CHECKING:
    from gateway.federation.search import FederatedSearch


@dataclass(frozen=True, slots=True)
class Front:
    """What is shown to people.

    Attributes:
        lights: tells how the regions are.
        regions: name and title of each region by its id.
        viewer: files of the viewer; None where there is none.
        sign_in: lets browsers in at a demonstration; None elsewhere.
    """

    lights: Lights
    regions: Mapping[str, tuple[str, str]]
    viewer: Mapping[str, Asset] | None = None
    sign_in: SignIn | None = None

    @classmethod
    async def of(cls, settings: Settings, profiles: Iterable[Profile], lights: Lights, sign_in: SignIn | None) -> Self:
        """Make it ready, with the viewer that the settings name.

        Raises:
            ConfigError: the viewer cannot be used.
        """
        files = None
        if settings.viewer.folder:
            cache = path_of(settings.viewer.cache) or cache_folder()
            files = await asyncio.to_thread(viewer_files, Path(settings.viewer.folder), cache)
        return cls(lights, {one.id: (one.name, one.title) for one in profiles}, files, sign_in)


def front_routes(
    front: Front, search: "FederatedSearch", seconds: float, decisions: Decisions, there: Iterable[BaseRoute]
) -> list[BaseRoute]:
    """Return the routes of our pages; the home page links to the status page where that is there."""
    status = any(getattr(route, "path", "") == "/status" for route in there)
    home = Home(front.lights, viewer=front.viewer is not None, status=status)
    launch = Guarded(Launch(search, seconds).show, Transaction.SEARCH, decisions)
    routes: list[BaseRoute] = [Route("/home", public(home.show)), Route(PATH, launch)]
    if front.viewer is None:
        routes.append(Route("/", public(home.show)))
    if front.sign_in is not None:
        routes += front.sign_in.routes()
    files = (Route(path, public(_kept(Page(body, media_type, {})))) for path, body, media_type in own_files())
    return [*routes, *files]


def _kept(page: Page) -> Handler:
    async def answer(request: Request) -> Response:
        """Give our pages their look, and the viewer its notice."""
        return page.answer(request)

    return answer


def fall_back(front: Front, root: str, there: Iterable[BaseRoute]) -> ASGIApp | None:
    """Return what answers where no route does; None where there is no viewer."""
    if front.viewer is None:
        return None
    reserved = {
        getattr(route, "path", "").split("/")[1] for route in there if getattr(route, "path", "").startswith("/")
    }
    index = front.viewer[INDEX].path.read_bytes()
    return Viewer(front.viewer, index, configuration(root, front.regions), reserved | {root.split("/")[1]})
