"""Problem documents (RFC 9457), and the boundary where every exception becomes one."""

import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import (
    GatewayError,
    IdentityUnavailable,
    LimitExceeded,
    MethodNotAllowed,
    NotFound,
    RangeNotSatisfiable,
    RegionMissing,
    TooManyRequests,
    Unauthenticated,
)
from gateway.events import REQUEST, Event, Observer
from gateway.federation.completeness import LIMITED
from gateway.web.authentication import challenge
from gateway.web.completeness import field_value

if TYPE_CHECKING:
    from gateway.federation.completeness import Completeness
    from gateway.federation.findings import SearchResult

RETRY_AFTER_SECONDS = 30
MEDIA_TYPE = "application/problem+json"
UNCACHED = (b"cache-control", b"private, no-store")
"""What every answer says that does not say better."""


def region_missing(completeness: "Completeness") -> GatewayError:
    """Return the error for a caller who wants all or nothing: to ask again later, or for less."""
    names = ", ".join(state.region for state in completeness.missing)
    if all(state.state == LIMITED for state in completeness.missing):
        return LimitExceeded(
            f"{names} has more matches than are taken from one region: narrow the search",
            limit="max_matches_per_region",
            federation_status=completeness.header(),
        )
    text = f"no complete answer from {names}; without Prefer: handling=strict the rest is sent"
    return RegionMissing(text, federation_status=completeness.header())


def check_strictly(result: "SearchResult") -> None:
    """Raise what a caller who wants all or nothing gets for an answer that may lack something."""
    check_identity(result.unavailable)
    if result.completeness.missing:
        raise region_missing(result.completeness)


def check_identity(unavailable: IdentityUnavailable | None) -> None:
    """Raise for such a caller when the patient's other identifiers could not be resolved."""
    if unavailable is not None:
        # One answer may be shared by many callers: each raises an error of its own.
        raise IdentityUnavailable(
            f"{unavailable}; without Prefer: handling=strict each region is asked in its own terms"
        )


@dataclass(frozen=True, slots=True)
class UnexpectedError(Event):
    """An exception that nobody foresaw reached the web: a defect.

    Attributes:
        error: the class of the exception; its text may hold what a patient sent and is left out.
        where: file and line of the innermost frames, innermost first.
    """

    error: str
    where: str


@dataclass(frozen=True, slots=True)
class BodyBroken(Event):
    """A response body was ended on purpose before its end, because the rest cannot be had.

    Attributes:
        reason: the slug of the error.
    """

    reason: str


def document(slug: str, status: int, detail: str, **members: Any) -> bytes:
    """Encode a problem document (RFC 9457 3); it names the request that is being worked for."""
    request = REQUEST.get()
    if request is not None:
        request.problem = slug
        members["request_id"] = request.id
    problem = {
        "type": f"/docs/errors/{slug}",
        "title": slug.replace("-", " ").capitalize(),
        "status": int(status),
        "detail": detail,
        **members,
    }
    return orjson.dumps(problem)


def problem(error: GatewayError, headers: Mapping[str, str] | None = None, *, federation_status: str = "") -> Response:
    """Answer an error; where the states of the regions are known, it names them."""
    members: dict[str, Any] = {}
    if isinstance(error, LimitExceeded) and (request := REQUEST.get()) is not None:
        request.limit = error.limit
    if available := getattr(error, "available", ()):
        members["available"] = list(available)
    if status := federation_status or error.federation_status:
        members["regions"] = [_region(member) for member in status.split(", ")]
    body = document(error.slug, error.http_status, str(error), **members)
    response = Response(body, error.http_status, headers, MEDIA_TYPE)
    if status:
        response.raw_headers.append((b"federation-status", field_value(status)))
    if isinstance(error, RangeNotSatisfiable):
        response.headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = challenge(error)
    if error.retryable:
        seconds = math.ceil(error.seconds) if isinstance(error, TooManyRequests) else RETRY_AFTER_SECONDS
        response.headers["Retry-After"] = str(seconds)
    return response


def _region(member: str) -> dict[str, str | int]:
    """Read one member of a ``Federation-Status`` header."""
    name, *parameters = member.split(";")
    pairs = (parameter.split("=", 1) for parameter in parameters)
    return {"region": name, **{key: int(value) if value.isdigit() else value for key, value in pairs}}


class ProblemBoundary:
    """ASGI middleware: whatever is raised below becomes a problem document, or breaks the body that began."""

    def __init__(self, app: ASGIApp, *, observe: Observer) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application and answer for it when it fails."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["app"] = self  # where it is, starlette's router raises what it refuses
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            if not started:
                started = True
                fields = message["headers"]
                if all(name != b"cache-control" for name, _ in fields):
                    message["headers"] = [*fields, UNCACHED]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except HTTPException as error:
            await routing_problem(error)(scope, receive, noting)
        except GatewayError as error:
            if started:
                # Ending without the last chunk makes the server drop the connection: the client sees it.
                self._observe(BodyBroken(error.slug))
            else:
                await problem(error)(scope, receive, noting)
        except Exception as error:  # noqa: BLE001  (the boundary: a defect must not show its insides)
            self._observe(UnexpectedError(type(error).__name__, _where(error)))
            if not started:
                await _unexpected()(scope, receive, noting)


def _unexpected() -> Response:
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = "the gateway failed in a way nobody foresaw; its operator's log says where"
    return Response(document("unexpected", status, detail), status, media_type=MEDIA_TYPE)


def _where(error: BaseException) -> str:
    frames = [
        f"{PurePath(frame.f_code.co_filename).name}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return " < ".join(reversed(frames[-6:]))


def routing_problem(error: HTTPException) -> Response:
    """Answer what the router itself refuses: no such resource, or no such method for it (PS3.18 8.5)."""
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allow = ", ".join(sorted([*(error.headers or {}).get("Allow", "GET, HEAD").split(", "), "OPTIONS"]))
        return problem(MethodNotAllowed(f"the resource answers {allow} only"), {"Allow": allow})
    return problem(NotFound("there is no such resource"))
