"""Search parameters in the body of a POST, for searches that are too long for a URL."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.errors import LimitExceeded, RequestError, RequestTimeout, UnsupportedMediaType
from gateway.web.disconnect import no_body, watched

FORM: Final = "application/x-www-form-urlencoded"
MOST_BYTES: Final = 64 * 1024
MOST_SECONDS: Final = 10.0


async def form(request: Request) -> bytes:
    """Return the body of a request, which has the syntax of a URL's query component.

    Raises:
        UnsupportedMediaType: it is no form.
        LimitExceeded: it is longer than 64 KiB.
        RequestTimeout: it did not arrive within ten seconds.
    """
    fields = request.headers
    media_type = fields.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != FORM or fields.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType(f"a search by POST has its parameters in the body: expected Content-Type: {FORM}")
    if int(fields.get("content-length", "0")) > MOST_BYTES:
        raise _too_long()
    try:
        async with asyncio.timeout(MOST_SECONDS):
            return await _body(request.receive)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {MOST_SECONDS:.0f} seconds") from None


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError("the client left in the middle of its request")
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            raise _too_long()
        if not message.get("more_body", False):
            return bytes(body)


def _too_long() -> LimitExceeded:
    return LimitExceeded(f"the body is longer than {MOST_BYTES} bytes: narrow the search", limit="form_bytes")


class Watched(Response):
    """Makes and sends the answer to a request whose body was read, unless the client leaves before."""

    def __init__(self, answer: Callable[[], Awaitable[Response]]) -> None:
        super().__init__()
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do so under the watch that a request without a body has."""

        async def answered() -> None:
            response = await self._answer()
            await response(scope, no_body, send)

        await watched(receive, answered)
