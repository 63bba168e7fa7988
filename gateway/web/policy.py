"""What a caller has to be allowed for each resource: every route says so, and one that does not is not served."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.access.decision import Decisions
from gateway.access.permit import Permit
from gateway.access.principal import Transaction
from gateway.errors import AccessDenied
from gateway.events import request_id
from gateway.web.authentication import PRINCIPAL, REFUSAL, address_of
from gateway.web.override import override_reason

PERMIT: Final = "gateway.permit"

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Policy: TypeAlias = Transaction | Callable[[Request], Transaction]
"""The transaction that a route is of, or how to tell it from the request."""


class RouteWithoutPolicyError(TypeError):
    """A route was made that does not say who may: a defect, found before it is served."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A handler as an ASGI application, once its caller was found to be allowed what it does.

    It goes without the exception handlers that starlette would wrap around each.

    Attributes:
        handler: answers.
        policy: of which transaction that is.
        decisions: who is asked.
        left_to: what it leaves the answer to, by method, where it only divides.
    """

    handler: Handler
    policy: Policy
    decisions: Decisions
    left_to: Mapping[str, Sequence[Handler]] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask, then answer."""
        request = Request(scope, receive)
        transaction = self.policy if isinstance(self.policy, Transaction) else self.policy(request)
        if (refusal := scope.get(REFUSAL)) is not None and self.decisions.mode == "tokens":
            if isinstance(refusal, AccessDenied):
                await self.decisions.deny(refusal, None, request_id=request_id(), address=address_of(scope))
            raise refusal
        scope[PERMIT] = await self.decisions.permit(
            scope.get(PRINCIPAL),
            transaction,
            request_id=request_id(),
            reason=override_reason(scope),
            address=address_of(scope),
        )
        response = await self.handler(request)
        await response(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Public:
    """What anybody may have, asked or not, since there is nothing of a patient in it: probes, pages, documentation.

    Attributes:
        app: answers.
        described_by: whose docstring says with what.
    """

    app: ASGIApp
    described_by: Callable[..., Any]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await self.app(scope, receive, send)


def public(handler: Handler) -> Public:
    """Make an application of a handler that anybody may call."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)

    return Public(answered, handler)


def permit_of(scope: Scope) -> Permit:
    """Return what was decided about a request."""
    permit: Permit = scope[PERMIT]
    return permit


def endpoints(routes: Iterable[BaseRoute], prefix: str = "") -> Iterable[tuple[str, Route | Mount]]:
    """Yield the path of each resource and what answers there."""
    for route in routes:
        if isinstance(route, Mount) and isinstance(route.app, Router):
            yield from endpoints(route.routes, prefix + route.path)
        elif isinstance(route, Route | Mount):
            yield prefix + route.path, route
        else:
            raise RouteWithoutPolicyError(f"{route!r} is of no kind that could say who may")


def check_policies(routes: Iterable[BaseRoute]) -> None:
    """Refuse routes of which one does not say who may.

    Raises:
        RouteWithoutPolicyError: it names the path.
    """
    for path, route in endpoints(routes):
        answered_by = route.endpoint if isinstance(route, Route) else route.app
        if not isinstance(answered_by, Guarded | Public):
            raise RouteWithoutPolicyError(f"{path} does not say who may: make it Guarded or Public")
