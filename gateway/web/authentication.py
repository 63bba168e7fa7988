"""Who asks: from the Authorization field, or from a cookie of a viewer that we serve (RFC 6750)."""

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.principal import Principal
from gateway.access.token import Tokens
from gateway.errors import GatewayError, Unauthenticated

PRINCIPAL: Final = "gateway.principal"
REFUSAL: Final = "gateway.refusal"

SAFE: Final = frozenset({"GET", "HEAD"})
"""Methods for which a cookie will do; whatever changes something needs the field, which no other site can set."""


class Authentication:
    """ASGI middleware: puts the caller into the scope, or why it is not believed; whether that matters is the route's.

    Args:
        app: what is served.
        tokens: whose tokens are whose; None where everybody is let in, or nobody.
        cookie: name of the cookie that may hold the token of a GET; empty for none.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens | None, cookie: str = "") -> None:
        self._app = app
        self._tokens = tokens
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who asks, and go on."""
        if scope["type"] == "http":
            address = address_of(scope)
            if self._tokens is None:
                scope[PRINCIPAL] = Principal("anonymous", address=address)
            else:
                scope[PRINCIPAL] = None
                try:
                    if token := self._token(scope):
                        scope[PRINCIPAL] = await self._tokens.principal(token, address)
                except GatewayError as error:
                    scope[REFUSAL] = error
        await self._app(scope, receive, send)

    def _token(self, scope: Scope) -> str:
        """Return the token of a request; empty where there is none."""
        found = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(found) > 1:
            raise Unauthenticated("there is more than one Authorization field", code="invalid_request")
        if found:
            scheme, _, token = str(found[0], "latin-1").partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise Unauthenticated("the Authorization field holds no bearer token")
            return token.strip()
        if not self._cookie or scope["method"] not in SAFE:
            return ""
        return _cookies(scope).get(self._cookie, "")


def address_of(scope: Scope) -> str:
    """Return where a caller calls from; empty where that is not known."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _cookies(scope: Scope) -> Mapping[str, str]:
    cookies = SimpleCookie()
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                cookies.load(value.decode("latin-1"))
            except CookieError:
                continue
    return {name: morsel.value for name, morsel in cookies.items()}


def challenge(error: Unauthenticated) -> str:
    """Return the WWW-Authenticate field that tells what is missing (RFC 6750 3)."""
    parts = {"realm": "gateway", "error": error.code, "scope": error.scope}
    told = [f'{name}="{value}"' for name, value in parts.items() if value]
    if error.code:
        told.append(f'error_description="{str(error).translate(_UNQUOTED)}"')
    return f"Bearer {', '.join(told)}"


_UNQUOTED: Final = str.maketrans({'"': "'", "\\": "/"})
