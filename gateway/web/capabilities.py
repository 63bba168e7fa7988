"""Which transactions a resource supports: the Retrieve Capabilities transaction (PS3.18 8.9, Annex H)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Final
from xml.sax.saxutils import quoteattr

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import NotFound
from gateway.web.negotiation import MediaRange, Unavailable, accepted
from gateway.web.openapi import MEDIA_TYPES as OPENAPI_TYPES
from gateway.web.openapi import resolved
from gateway.web.parameter_descriptions import JsonObject
from gateway.web.parameters import pairs

WADL: Final = "application/vnd.sun.wadl+xml"
NAMESPACE: Final = "http://wadl.dev.java.net/2009/02"
ANSWERS: Final = (WADL, *OPENAPI_TYPES)
"""What the answer may be, the default first (PS3.18 8.9.4): WADL, or OpenAPI as its counterpart in JSON."""


class Capabilities:
    """ASGI middleware that answers OPTIONS for every resource, and leaves all else to the application.

    A CORS preflight does not come here where origins are configured: its middleware is outside of this one.

    Args:
        app: the application.
        routes: of it.
        root: path of the DICOMweb resources; what is said there is said of all of them.
        document: gives the OpenAPI description.
    """

    def __init__(
        self, app: ASGIApp, routes: Iterable[BaseRoute], root: str, document: Callable[[], JsonObject]
    ) -> None:
        self._app = app
        self._routes = routes
        self._root = root
        self._document = document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is asked by OPTIONS."""
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        await self._answer(request)(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        whole = path in {self._root, f"{self._root}/"}
        found = list(_at(self._routes, request.scope))
        if not found and not whole:
            raise NotFound("there is no such resource")
        described = self._of_all() if whole else self._of(path)
        methods = {method for route in found for method in route.methods or ()}
        chosen = _chosen(accepted(request, pairs(request.scope["query_string"])))
        body = wadl(described, self._root) if chosen == WADL else orjson.dumps(described)
        fields = {"Allow": ", ".join(sorted({*methods, "OPTIONS"})), "Vary": "Accept"}
        return Response(body, HTTPStatus.OK, fields, chosen)

    def _of_all(self) -> JsonObject:
        """Describe what is below the root."""
        document = self._document()
        paths = {path: item for path, item in document["paths"].items() if path.startswith(f"{self._root}/")}
        return {**document, "paths": paths}

    def _of(self, path: str) -> JsonObject:
        """Describe one resource."""
        document = self._document()
        paths = {template: item for template, item in document["paths"].items() if _fits(template, path)}
        return {**document, "paths": dict(list(paths.items())[:1])}


def _fits(template: str, path: str) -> bool:
    """Whether a path is one that a template stands for; its last parameter may hold slashes if it is named so."""
    wanted, given = template.split("/"), path.split("/")
    if wanted[-1] == "{path}":
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        x == y or (x.startswith("{") and bool(y)) for x, y in zip(wanted, given, strict=True)
    )


def _at(routes: Iterable[BaseRoute], scope: Scope) -> Iterator[Route]:
    """Yield the routes of a path, whatever their methods."""
    for route in routes:
        match, child = route.matches(scope)
        if match is Match.NONE:
            continue
        if isinstance(route, Mount):
            yield from _at(route.routes, {**scope, **child})
        elif isinstance(route, Route):
            yield route


def _chosen(ranges: Sequence[MediaRange]) -> str:
    def weight(media_type: str) -> float:
        fits = [(x.specificity(media_type), x.q) for x in ranges if x.specificity(media_type)]
        return max(fits, default=(0, 0.0))[1]

    best = max(ANSWERS, key=weight)
    if not weight(best):
        raise Unavailable("capabilities cannot be described like that", ANSWERS)
    return best


# --- WADL


def wadl(document: JsonObject, root: str) -> bytes:
    """Write an OpenAPI description as a Web Application Description (PS3.18 H.1)."""
    base = document["servers"][0]["url"].rstrip("/")
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<application xmlns={quoteattr(NAMESPACE)}>",
        f"<resources base={quoteattr(f'{base}{root}/')}>",
    ]
    for path, methods in document["paths"].items():
        below = path.removeprefix(root).lstrip("/") if path.startswith(f"{root}/") else path
        lines.append(f"<resource path={quoteattr(below)}>")
        for method, operation in methods.items():
            lines += _method(document, method, operation)
        lines.append("</resource>")
    return "\n".join([*lines, "</resources>", "</application>", ""]).encode()


def _method(document: JsonObject, method: str, operation: JsonObject) -> Iterator[str]:
    yield f"<method name={quoteattr(method.upper())} id={quoteattr(operation['operationId'])}>"
    yield "<request>"
    for one in (resolved(document, x) for x in operation.get("parameters", [])):
        style = {"path": "template", "query": "query", "header": "header"}[one["in"]]
        required = "true" if one.get("required") else "false"
        yield f'<param name={quoteattr(one["name"])} style="{style}" required="{required}"/>'
    for media_type in operation.get("requestBody", {}).get("content", {}):
        yield f"<representation mediaType={quoteattr(media_type)}/>"
    yield "</request>"
    for status, response in operation["responses"].items():
        yield from _response(status, resolved(document, response))
    yield "</method>"


def _response(status: str, response: JsonObject) -> Iterator[str]:
    yield "<response>" if status == "default" else f'<response status="{status}">'
    for media_type in response.get("content", {}):
        yield f"<representation mediaType={quoteattr(media_type)}/>"
    yield "</response>"
