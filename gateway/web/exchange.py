"""One request and its response: which id it has, and what is told of it when it is over."""

import os
import re
import time
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.dataset.dictionary import keyword_of
from gateway.errors import RequestError
from gateway.events import REQUEST, Observer, Request, RequestHandled
from gateway.hops import read_via
from gateway.web.authentication import PRINCIPAL
from gateway.web.parameters import CONTROLS, MOST_PARAMETERS, tag_path
from gateway.web.streaming import SENT

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
CLIENT_LEFT: Final = 499
"""In place of a status where the client did not wait for one."""

_SANE: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_LONG_NUMBER: Final = re.compile(rb"[0-9.]*\d[0-9.]*")
_TRACE_PARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
"""W3C Trace Context 3.2.2, of any version that is compatible with the first."""
_CONTROLS: Final = frozenset(
    {*CONTROLS, "accept", "charset", "window", "viewport", "quality", "annotation", "iccprofile", "requestType"}
    | {"studyUID", "seriesUID", "objectUID", "contentType", "frameNumber", "rows", "columns", "transferSyntax"}
)


class Exchanges:
    """ASGI middleware: gives each request an id, which its response names, and tells the observer of its end."""

    def __init__(self, app: ASGIApp, observe: Observer) -> None:
        self._app = app
        self._observe = observe
        key = os.urandom(16)  # digests of subjects can be compared, not guessed
        self._digest = lru_cache(1000)(lambda subject: blake2b(subject.encode(), key=key, digest_size=8).hexdigest())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application in the context of the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = read_request(scope["headers"])
        field = (b"x-request-id", request.id.encode("ascii"))
        began = time.monotonic()
        status, first_at, federation, size = CLIENT_LEFT, 0.0, "", 0

        async def noting(message: Message) -> None:
            nonlocal status, first_at, federation, size
            if message["type"] == "http.response.start":
                status, first_at = message["status"], time.monotonic()
                fields = message["headers"] = [*message["headers"], field]
                federation = next((value.decode("ascii") for name, value in fields if name == b"federation-status"), "")
            else:
                size += len(message.get("body", b""))
            await send(message)

        token = REQUEST.set(request)
        try:
            await self._app(scope, receive, noting)
        finally:
            REQUEST.reset(token)
            ended = time.monotonic()
            pieces = scope.get("extensions", {}).get(SENT)
            self._observe(
                RequestHandled(
                    request,
                    scope["method"] if scope["method"] in METHODS else "other",
                    *_resource(scope),
                    known_keys(scope["query_string"]),
                    self._subject(scope),
                    status,
                    ended - began,
                    (first_at or ended) - began,
                    size + (pieces() if pieces else 0),
                    federation,
                )
            )

    def _subject(self, scope: Scope) -> str:
        subject = getattr(scope.get(PRINCIPAL), "subject", "")
        return self._digest(str(subject)) if subject else ""


def read_request(fields: list[tuple[bytes, bytes]]) -> Request:
    """Return the request's id and trace: what its header says, where that is sane, or new ones; and how it came."""
    made = os.urandom(24).hex()
    trace_id, span_id, parent_id, sampled, id_ = made[:32], made[32:], "", True, ""
    via: tuple[str, ...] = ()
    for name, value in fields:
        if name == b"x-request-id" and _SANE.fullmatch(value) and not _LONG_NUMBER.fullmatch(value):
            id_ = value.decode("ascii")
        elif name == b"traceparent" and (found := _TRACE_PARENT.fullmatch(value)):
            trace_id, parent_id = found[1].decode("ascii"), found[2].decode("ascii")
            sampled = bool(int(found[3], 16) & 1)
        elif name == b"via":
            via = (*via, *read_via(value.decode("latin-1")))
    return Request(id_ or made[:32], trace_id, span_id, parent_id, sampled, via=via)


def known_keys(query: bytes) -> tuple[str, ...]:
    """Return the names in a query component that name a parameter or a standard attribute; no value, nothing else."""
    if not query:
        return ()
    names = (unquote(part.partition(b"=")[0].decode("latin-1")) for part in query.split(b"&", MOST_PARAMETERS))
    return tuple(dict.fromkeys(known for name in names if (known := _known(name))))


@lru_cache(maxsize=1024)
def _known(name: str) -> str:
    if name in _CONTROLS:
        return name
    try:
        path = tag_path(name) or ()
    except RequestError:
        return ""
    words = [keyword_of(tag) for tag in path]
    # A number that is no standard attribute may be anything: somebody's date of birth as well.
    return "" if any(word[:1].isdigit() for word in words) else ".".join(words)


def _resource(scope: Scope) -> tuple[str, str]:
    """Return the template of the path, and the region that alone it is of."""
    path = str(getattr(scope.get("route"), "path", ""))
    root = str(scope.get("root_path", ""))
    if not root.startswith("/regions/"):
        return path, ""
    region, _, rest = root.removeprefix("/regions/").partition("/")
    return f"/regions/{{region}}/{rest}{path}", region
