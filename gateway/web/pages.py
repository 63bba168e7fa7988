"""Pages about the gateway itself: what their makers, who know nothing of HTTP, are asked and give."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.events import Observer
from gateway.web.disconnect import CancelOnDisconnect
from gateway.web.policy import Public
from gateway.web.problem import ProblemBoundary
from gateway.web.streaming import Body


@dataclass(frozen=True, slots=True)
class Visit:
    """How a page is asked for.

    Attributes:
        parameters: of the query component; of one that is given twice, the last.
        path: what the path's names stand for.
        languages: the Accept-Language field.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    languages: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What is shown.

    Attributes:
        body: all of it, or what gives it piece by piece, without end if need be.
    """

    body: bytes | AsyncGenerator[bytes, None]
    media_type: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Maker: TypeAlias = Callable[[Visit], Awaitable[Page]]


def page_routes(pages: Mapping[str, Maker]) -> list[BaseRoute]:
    """Return a route for each path, for GET and HEAD, by anybody: there is nothing of a patient on these pages."""
    return [Route(path, Public(_Endpoint(maker), maker), methods=["GET"]) for path, maker in pages.items()]


def page_app(pages: Mapping[str, Maker], observe: Observer) -> ASGIApp:
    """Return an application that shows these pages and nothing else."""
    return CancelOnDisconnect(ProblemBoundary(Router(page_routes(pages), redirect_slashes=False), observe=observe))


@dataclass(frozen=True, slots=True)
class _Endpoint:
    maker: Maker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        languages = request.headers.get("accept-language", "")
        page = await self.maker(Visit(request.query_params, request.path_params, languages))
        headers = {"cache-control": "no-store", **page.headers}
        if isinstance(page.body, bytes):
            await Response(page.body, page.status, headers, page.media_type)(scope, receive, send)
            return
        async with aclosing(page.body) as pieces:
            body = Body(scope, send)
            content_type = (b"content-type", page.media_type.encode("ascii"))
            fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
            await body.start(page.status, [content_type, *fields])
            if scope["method"] != "HEAD":
                async for piece in pieces:
                    await body.write(piece)
            await body.end()
