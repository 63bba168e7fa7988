"""The HTTP listener: uvicorn's protocol, guarded, on the running event loop beside the other services."""

import asyncio
import ssl
import time
from email.utils import formatdate
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.errors import ConfigError
from gateway.web.guard import GuardedHttpToolsProtocol, HttpLimits

BACKLOG = 1024
ABORT_SECONDS = 2.0
PRIVACY = (
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
"""Fields that keep every answer out of referrers and content sniffing."""


class WebServer:
    """Serves one ASGI application; signals, logging and the lifespan belong to whoever starts it."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        limits: HttpLimits | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self._limits = limits or HttpLimits()
        self._tls = None if certificate is None else _secure(*certificate)
        self._config = Config(
            app,
            host=host,
            port=port,
            http=GuardedHttpToolsProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=self._limits.keep_alive_seconds,
        )
        self._state = ServerState()
        self._listener: asyncio.Server | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    async def start(self) -> int:
        """Listen, and return the port that was bound.

        Raises:
            OSError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        if not self._config.loaded:
            self._config.load()
        where = self._config.host, self._config.port
        self._listener = await loop.create_server(self._protocol, *where, backlog=BACKLOG, ssl=self._tls)
        self._tick()
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def aclose(self, grace: float) -> None:
        """Stop listening, let running responses end within ``grace`` seconds, then drop what is left."""
        if self._listener is None:
            return
        self._listener.close()
        for connection in tuple(self._state.connections):
            connection.shutdown()
        await self._quiet(grace)
        for connection in tuple(self._state.connections):
            connection.transport.abort()  # its handler is cancelled like that of a client who has left
        await self._ended(ABORT_SECONDS)
        for task in tuple(self._state.tasks):
            task.cancel()
        await self._ended(None)
        if self._clock is not None:
            self._clock.cancel()
        self._listener = None

    async def _ended(self, seconds: float | None) -> None:
        """Wait for the handlers to end, so long at the most."""
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=seconds)

    async def _quiet(self, seconds: float) -> None:
        """Wait until no connection is left, so long at the most."""
        try:
            async with asyncio.timeout(seconds):
                while self._state.connections:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            return

    def _protocol(self) -> GuardedHttpToolsProtocol:
        return GuardedHttpToolsProtocol(self._config, self._state, {}, limits=self._limits, lost=self._lost)

    def _lost(self) -> None:
        if not self._state.connections:
            self._empty.set()

    def _tick(self) -> None:
        """Keep the fields of every response, Date among them, current (RFC 9110 6.6.1)."""
        self._state.default_headers = [*PRIVACY, (b"date", formatdate(time.time(), usegmt=True).encode())]
        self._clock = asyncio.get_running_loop().call_later(1.0, self._tick)


def _secure(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of an HTTPS listener: TLS 1.2 at least (RFC 9325)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ConfigError(f"{certificate} and {key}: cannot be used for HTTPS: give a PEM chain and its key") from error
    return context
