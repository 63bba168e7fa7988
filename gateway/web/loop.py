"""Requests that come back to the gateway that they came from."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import Loop
from gateway.hops import hops


class LoopGuard:
    """ASGI middleware: refuses what came through this gateway already, or it would go round until nobody waits.

    Args:
        app: what is served.
        pseudonym: what this gateway is called in the Via fields of what it asks its regions.
    """

    def __init__(self, app: ASGIApp, pseudonym: str) -> None:
        self._app = app
        self._pseudonym = pseudonym

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Go on, or raise Loop."""
        if self._pseudonym in hops():
            raise Loop(
                "this gateway asked for it itself: it is a region of a gateway that is one of its own regions; remove "
                'the profile whose "dicomweb" leads here from the regions of that gateway, or its profile from ours'
            )
        return self._app(scope, receive, send)
