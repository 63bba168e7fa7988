"""A caller who has left is not worked for."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


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
        await watched(receive, lambda: self._app(scope, no_body, send))


async def watched(receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Do some work, and cancel it when the client disconnects; what the request had to say is read before."""
    watch = _Watch(receive)
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch.run())
        try:
            await work()
        except asyncio.CancelledError:
            if not watch.gone or watch.task.cancelling() > 1:
                raise
        except Exception as error:  # noqa: BLE001  (carried past the group, which would wrap it)
            failure = error
        finally:
            watcher.cancel()
            if watch.gone:
                watch.task.uncancel()
    if failure is not None:
        raise failure


class _Watch:
    """Waits for the end of the connection on behalf of the handler's task."""

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
        self.gone = True
        self.task.cancel()


async def no_body() -> Message:
    """Receive, on behalf of a handler, the body that its method does not have."""
    return {"type": "http.request", "body": b"", "more_body": False}
