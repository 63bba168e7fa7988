"""A caller who has left is not worked for."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DISCONNECT: Final = "gateway.disconnect"
"""An ASGI extension: takes whom to call when the client of a request without a body leaves, where the server offers
it; None takes it back."""
BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class Leaving:
    """Whom to call when the client of one request leaves: a handler that ends late takes back its own call only."""

    __slots__ = ("_call",)

    def __init__(self) -> None:
        self._call: Callable[[], None] | None = None

    def tell(self, call: Callable[[], None] | None) -> None:
        """Note whom, or nobody."""
        self._call = call

    def __call__(self) -> None:
        """Say that the client has left."""
        if self._call is not None:
            self._call()


class CancelOnDisconnect:
    """ASGI middleware: cancels the handler of a request without a body when its client disconnects (H06, H07).

    A handler that reads a body puts itself under the watch when it has read it.

    What the handler does after it has sent the end of the body runs without the watch: it should do nothing
    that can be waited for.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application under the watch."""
        if scope["type"] != "http" or scope["method"] not in BODILESS:
            await self._app(scope, receive, send)
            return
        on_leaving = scope.get("extensions", {}).get(DISCONNECT)
        if on_leaving is None:
            await watched(receive, lambda: self._app(scope, no_body, send))
            return
        watch = _Watch(receive)
        on_leaving(watch.leave)
        try:
            with watch:
                await self._app(scope, no_body, send)
        finally:
            on_leaving(None)


async def watched(receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Do some work, and cancel it when the client disconnects; what the request had to say is read before."""
    watch = _Watch(receive)
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch.run())
        try:
            with watch:
                await work()
        except Exception as error:  # noqa: BLE001  (carried past the group, which would wrap it)
            failure = error
        finally:
            watcher.cancel()
    if failure is not None:
        raise failure


class _Watch:
    """Cancels the handler's task when its client leaves; as a context it keeps that cancellation from going further."""

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an ASGI application runs in a task")
        self.task = task
        self.gone = False
        self._receive = receive

    async def run(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # pieces of a body that nobody asked for
        self.leave()

    def leave(self) -> None:
        self.gone = True
        self.task.cancel()

    def __enter__(self) -> None:
        """Begin; nothing was cancelled yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        ours = self.gone and self.task.uncancel() == 0
        return ours and isinstance(error, asyncio.CancelledError)


async def no_body() -> Message:
    """Receive, on behalf of a handler, the body that its method does not have."""
    return {"type": "http.request", "body": b"", "more_body": False}
