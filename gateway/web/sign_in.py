"""The demonstration's sign-in: a page of this host that gives a browser the token of somebody to try."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import AccessDenied, RequestError
from gateway.web.form import form
from gateway.web.policy import public

PATH: Final = "/demo/sign-in"
HOME: Final = "/"
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
CONTENT_SECURITY: Final = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
_STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem}"
    "button{font:inherit;display:block;width:100%;margin:.5rem 0;padding:.6rem 1rem;text-align:left}"
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody to try the gateway as.

    Attributes:
        title: what he is.
        token: his.
    """

    title: str
    token: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """Gives out the tokens of a demonstration, to browsers on this host alone.

    The cookie is HttpOnly and SameSite=Strict, so that neither a script nor another site can make use of it; and it
    does for a GET only.

    Attributes:
        visitors: who can be tried, by name.
        cookie: that holds the token.
        seconds: how long it lasts.
    """

    visitors: Mapping[str, Visitor]
    cookie: str
    seconds: int

    def routes(self) -> list[BaseRoute]:
        """Return the page's routes."""
        return [Route(PATH, public(self.page), methods=("GET", "POST"))]

    async def page(self, request: Request) -> Response:
        """Show who can be tried, or sign one in."""
        _check_local(request)
        if request.method == "POST":
            return await self._signed_in(request)
        to = _local_path(request.query_params.get("next", HOME))
        buttons = "".join(
            f'<button name="as" value="{escape(name)}"><strong>{escape(name)}</strong> — {escape(who.title)}</button>'
            for name, who in self.visitors.items()
        )
        text = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in</title><style>{_STYLE}</style>'
            "<h1>Who are you?</h1><p>This province is made up, and so are its patients. Choose whom to be.</p>"
            f'<form method="post" action="{PATH}?next={escape(quote(to))}">{buttons}</form></html>'
        )
        return HTMLResponse(text, headers={"Content-Security-Policy": CONTENT_SECURITY, "Cache-Control": "no-store"})

    async def _signed_in(self, request: Request) -> Response:
        _check_same_origin(request)
        named = parse_qs((await form(request)).decode("ascii", "replace")).get("as", [""])[0]
        who = self.visitors.get(named)
        if who is None:
            raise RequestError(f"as: expected one of {', '.join(self.visitors)}")
        answer = RedirectResponse(_local_path(request.query_params.get("next", HOME)), HTTPStatus.SEE_OTHER)
        self.keep(answer, who.token, secure=request.url.scheme == "https")
        return answer

    def keep(self, answer: Response, token: str, *, secure: bool) -> None:
        """Have a browser keep a token."""
        answer.set_cookie(
            self.cookie, token, max_age=self.seconds, path="/", httponly=True, samesite="strict", secure=secure
        )


class Welcome:
    """ASGI middleware: a browser on this host that has not said who it is gets to be the first visitor.

    Args:
        app: what is served.
        sign_in: who there is to be.
    """

    def __init__(self, app: ASGIApp, sign_in: SignIn) -> None:
        self._app = app
        self._sign_in = sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a page come with a session."""
        if scope["type"] != "http" or scope["method"] != "GET" or not self._is_new(Request(scope)):
            await self._app(scope, receive, send)
            return
        token = next(iter(self._sign_in.visitors.values())).token
        cookie = Response()
        self._sign_in.keep(cookie, token, secure=scope["scheme"] == "https")
        field = next(x for x in cookie.raw_headers if x[0] == b"set-cookie")

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], field]
            await send(message)

        known = [*scope["headers"], (b"authorization", f"Bearer {token}".encode("ascii"))]
        await self._app({**scope, "headers": known}, receive, sending)

    def _is_new(self, request: Request) -> bool:
        """Whether a page is asked for by somebody here who has no session."""
        is_page = "text/html" in request.headers.get("accept", "") and request.url.path != PATH
        known = "authorization" in request.headers or self._sign_in.cookie in request.cookies
        return is_page and not known and _is_local(request)


def _is_local(request: Request) -> bool:
    """Whether it comes from this host, by a name that does not only pretend to be (DNS rebinding)."""
    host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
    address = request.client.host if request.client else ""
    return bool(address) and ipaddress.ip_address(address.partition("%")[0]).is_loopback and host in LOOPBACK_NAMES


def _check_local(request: Request) -> None:
    if not _is_local(request):
        raise AccessDenied(
            "the demonstration signs in browsers on its own host alone, at 127.0.0.1: elsewhere, send one of the "
            "tokens that it printed, or start it with --open"
        )


def _check_same_origin(request: Request) -> None:
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    if site not in {"same-origin", "none"} or (
        origin and origin != f"{request.url.scheme}://{request.headers['host']}"
    ):
        raise AccessDenied("sign in from the page itself")


def _local_path(path: str) -> str:
    """Return a path of this origin; anything else becomes the home page."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if is_local else HOME
