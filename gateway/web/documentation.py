"""What can be read about the gateway: /docs, the page of each error, and /openapi.json."""

import gzip
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.errors import NotFound
from gateway.web.compression import asks_for_gzip
from gateway.web.docs_frame import STYLE, contents, page, style, style_tag
from gateway.web.openapi import openapi
from gateway.web.parameter_descriptions import JsonObject
from gateway.web.policy import public
from gateway.web.reference import groups, overview, reference
from gateway.web.remedies import REMEDIES, Known, known_errors

if TYPE_CHECKING:
    from gateway.web.guides import Guide

PACKAGE: Final = "provincial-dicomweb-gateway"

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


class Documentation:
    """Answers with pages about the routes of an application, its guides and its errors.

    Args:
        routes: of the application; those of the documentation may be added later.
        root: path of the DICOMweb resources.
        public_url: under which callers reach it; None to take it from each request.
        regions: names of those that have routes of their own.
    """

    def __init__(
        self, routes: Iterable[BaseRoute], root: str, public_url: str | None, regions: Sequence[str] = ()
    ) -> None:
        self._routes = routes
        self._root = root
        self._public_url = public_url
        self._regions = tuple(regions)

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the documentation."""
        handlers = {
            "/openapi.json": self.openapi,
            "/docs": self.index,
            "/docs/api": self.api,
            "/docs/errors": self.errors,
            "/docs/errors/{slug}": self.error,
            STYLE: self.style,
            "/docs/images/{name}": self.picture,
            "/docs/{page}": self.guide,
        }
        return [Route(path, public(handler), methods=["GET"]) for path, handler in handlers.items()]

    @cached_property
    def document(self) -> JsonObject:
        """The OpenAPI description."""
        return openapi(self._routes, version=_version(), server=self._public_url or "", regions=self._regions)

    @cached_property
    def _encoded(self) -> tuple[bytes, bytes]:
        """The same as JSON, plain and compressed."""
        plain = orjson.dumps(self.document, option=orjson.OPT_INDENT_2)
        return plain, gzip.compress(plain)

    @cached_property
    def _guides(self) -> "Mapping[str, Guide]":
        from gateway.web.guides import guides  # noqa: PLC0415 - Markdown costs every process what few visitors need

        return guides()

    @cached_property
    def _pictures(self) -> Mapping[str, bytes]:
        from gateway.web.guides import pictures  # noqa: PLC0415 - with the guides

        return pictures()

    @cached_property
    def _style(self) -> bytes:
        return style()

    @cached_property
    def _tag(self) -> str:
        return style_tag(self._style)

    @cached_property
    def _errors(self) -> Mapping[str, Known]:
        return known_errors()

    async def openapi(self, request: Request) -> Response:
        """Describe every resource as OpenAPI 3.1."""
        plain, compressed = self._encoded
        fields = {"Cache-Control": "private, max-age=60", "Vary": "Accept-Encoding"}
        if asks_for_gzip(request):
            return Response(compressed, headers={**fields, "Content-Encoding": "gzip"}, media_type="application/json")
        return Response(plain, headers=fields, media_type="application/json")

    async def style(self, _request: Request) -> Response:
        """Give the pages their look."""
        fields = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
        return Response(self._style, headers=fields, media_type="text/css")

    async def picture(self, request: Request) -> Response:
        """Show a picture of a guide."""
        found = self._pictures.get(request.path_params["name"])
        if found is None:
            raise NotFound("there is no such picture")
        fields = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
        return Response(found, headers=fields, media_type="image/webp")

    async def index(self, request: Request) -> Response:
        """Show which guides there are, and which resources."""
        base = self._base(request)
        cards = "".join(
            f'<li><a href="/docs/{escape(one.name)}"><strong>{escape(one.title)}</strong>'
            f"<span>{escape(one.about)}</span></a></li>"
            for one in self._guides.values()
        )
        where = escape(f"{base}{self._root}")
        body = (
            "<h1>Documentation</h1>"
            f'<p class="lead">The imaging archives of the province as one: DICOMweb at <code>{where}</code>.</p>'
            f"<pre><code><span class=\"prompt\">$ </span><b>curl -i '{where}/studies?limit=5'</b></code></pre>"
            f'<h2 id="guides">Guides</h2><ul class="cards">{cards}</ul>'
            '<h2 id="resources">Resources</h2>'
            f"<p>{self._alone()} All of it, with examples to copy: <a href=/docs/api>the API</a>.</p>"
            f"{overview(self.document)}"
        )
        return page("Documentation", body, self._tag)

    async def api(self, request: Request) -> Response:
        """Describe every resource in a page."""
        intro = (
            "<h1>API</h1>"
            '<p class="lead">Every resource, its parameters and its answers. For programs: '
            "<a href=/openapi.json>OpenAPI 3.1</a>, and <code>OPTIONS</code> of each resource as WADL or JSON.</p>"
            f"<p>{self._alone()} The examples are of the synthetic province of <code>gateway demo</code>.</p>"
        )
        body = intro + reference(self.document, self._base(request))
        aside = contents("Resources", groups(self.document))
        return page("API", body, self._tag, place="/docs/api", aside=aside)

    async def guide(self, request: Request) -> Response:
        """Show a guide."""
        found = self._guides.get(request.path_params["page"])
        if found is None:
            raise NotFound("there is no such page; /docs lists them all")
        aside = contents("On this page", found.contents) if len(found.contents) > 2 else ""
        return page(found.title, f"<article>{found.html}</article>", self._tag, aside=aside)

    async def errors(self, _request: Request) -> Response:
        """List every kind of error."""
        rows = "".join(
            f'<tr><td><span class="status s{known.http_status // 100}">{known.http_status}</span></td>'
            f'<td><a href="/docs/errors/{slug}"><code>{slug}</code></a></td><td>{escape(known.meaning)}</td></tr>'
            for slug, known in sorted(self._errors.items(), key=lambda item: (item[1].http_status, item[0]))
        )
        body = (
            "<h1>Errors</h1>"
            '<p class="lead">Every error is a problem document (RFC 9457): <code>detail</code> says what was wrong, '
            "and <code>type</code> leads to one of these pages: who can mend it, and how.</p>"
            f'<div class="wide" tabindex="0" role="group"><table><tbody>{rows}</tbody></table></div>'
        )
        return page("Errors", body, self._tag, place="/docs/errors")

    async def error(self, request: Request) -> Response:
        """Explain one kind of error: what happened, who can mend it, and how."""
        known = self._errors.get(request.path_params["slug"])
        if known is None:
            raise NotFound("there is no such kind of error; /docs/errors lists them all")
        return page(known.slug, _explained(known), self._tag, place="/docs/errors")

    def _alone(self) -> str:
        """Say which regions have resources of their own."""
        if not self._regions:
            return ""
        names = ", ".join(f"<code>{escape(name)}</code>" for name in self._regions)
        below = f"/regions/{{region}}{self._root}"
        return f"Each region alone has the same resources, but for storing, below <code>{below}</code>: {names}."

    def _base(self, request: Request) -> str:
        """Return scheme and authority for command lines; of the caller's own Host only what can be one."""
        if self._public_url:
            return self._public_url.rstrip("/")
        host = request.headers.get("host", "")
        return f"{request.url.scheme}://{host if _HOST.fullmatch(host) else 'localhost'}"


def _explained(known: Known) -> str:
    remedy = REMEDIES.get(known.slug)
    title = known.slug.replace("-", " ").capitalize()
    again = "Asking again may help." if known.retryable else "The same request would fail again."
    facts = [f"HTTP <b>{known.http_status}</b>"]
    if known.dimse_status is not None:
        facts.append(f"DIMSE <b>{known.dimse_status:04X}H</b>")
    who = f"<p>{escape(', or '.join(remedy.who)).capitalize()}.</p>" if remedy else ""
    steps = "".join(f"<li>{escape(step)}</li>" for step in remedy.steps) if remedy else ""
    return (
        f'<p class="crumb"><a href="/docs/errors">Errors</a> / <code>{known.slug}</code></p><h1>{title}</h1>'
        f'<p class="lead">{escape(known.meaning)}</p><p class="facts">{" · ".join(facts)} · {again}</p>'
        f"<h2>Who can mend it</h2>{who}<h2>How</h2><ol>{steps}</ol>"
    )


def _version() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "0"  # run from a folder, not installed
