"""The HTTP side of a region that speaks DICOMweb: one origin, and nothing that it could lead us to."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import aiohttp

from gateway.config.paths import path_of
from gateway.dimse.tls import client_context
from gateway.errors import (
    Busy,
    Closed,
    ConfigError,
    GatewayError,
    LimitExceeded,
    Refused,
    Rejected,
    RemoteProtocolError,
    Reset,
    Stalled,
    Truncated,
    Unreachable,
)
from gateway.hops import hops, write_via
from gateway.region.bearer import Bearer
from gateway.region.dicomweb_answers import missing, retry_after
from gateway.region.profile import Profile

CONNECT_SECONDS: Final = 10.0
STALL_SECONDS: Final = 60.0
"""Of silence, while we are ready to read."""

LEAST_BYTES: Final = 4096
"""In a time of that length: who sends less keeps us waiting on purpose."""

LONGEST_REST: Final = 60.0
"""Seconds that a region is left alone because it says so."""

LONGEST_LINE: Final = 8 * 1024
MOST_FIELDS: Final = 100
READ_AHEAD: Final = 256 * 1024
IDLE_SECONDS: Final = 10.0

USER_AGENT: Final = "provincial-gateway"

_BUSY: Final = frozenset({429, 503})


class Client:
    """Sends requests to the one origin of a profile.

    Redirects are not followed, cookies not kept, proxies of the environment not used, and no content is inflated.

    Raises:
        ConfigError: from the constructor: the token or a certificate cannot be used.
    """

    def __init__(self, profile: Profile, pseudonym: str = "") -> None:
        self._profile = profile
        self._pseudonym = pseudonym
        self._tls = _tls(profile)
        self._bearer = Bearer(Path(profile.token_file)) if profile.token_file else None
        if self._bearer:
            self._bearer.token()
        self._session: aiohttp.ClientSession | None = None
        self._rest_until = 0.0
        self._sockets: WeakSet[socket.socket] = WeakSet()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        accept: str,
        query: str = "",
        content_type: str = "",
        content: Any = None,
        via: Sequence[str] = (),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Have the response, whatever its status; leaving early closes the connection.

        Args:
            method: GET or POST.
            path: below the base of the services.
            accept: media types.
            query: encoded already.
            content_type: of the content.
            content: an asynchronous iterator of bytes.
            via: the gateways that the content came through; those of what is being worked for where none is named.

        Raises:
            RegionError: there is none, or it broke off while it was read.
            RemoteProtocolError: it is none of HTTP, or encoded although we asked for it as it is.
        """
        url = f"{self._profile.dicomweb}{path}{'?' if query else ''}{query}"
        headers = {"Accept": accept, "Accept-Encoding": "identity", **self._authorization()}
        if content_type:
            headers["Content-Type"] = content_type
        if self._pseudonym:
            headers["Via"] = write_via((*(via or hops()), self._pseudonym))
        if self._rest_until > asyncio.get_running_loop().time():
            raise Busy(f"region {self._profile.id} wants to be left alone for a while")
        try:
            async with self._opened().request(
                method, url, headers=headers, data=content, allow_redirects=False
            ) as response:
                self._note(response)
                yield response
        except TimeoutError as error:
            raise self._slow(error) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._told(error) from None  # whose own text holds the URL, and what is searched for

    async def pieces(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """Yield the content as it arrives.

        Raises:
            RegionError: it broke off, or comes too slowly.
        """
        loop = asyncio.get_running_loop()
        waited, came = 0.0, 0
        while True:
            before = loop.time()
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    piece = await response.content.readany()
            except TimeoutError as error:
                raise self._slow(error) from None
            except (aiohttp.ClientError, OSError) as error:
                raise self._told(error) from None
            if not piece:
                return
            waited, came = waited + loop.time() - before, came + len(piece)
            if waited > STALL_SECONDS:
                if came < LEAST_BYTES:
                    raise Stalled(f"region {self._profile.id} sends too slowly")
                waited, came = 0.0, 0
            yield piece

    async def whole(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        """Return the content; raises LimitExceeded where it is more than is taken."""
        content = bytearray()
        async for piece in self.pieces(response):
            content += piece
            if len(content) > most:
                raise LimitExceeded(f"region {self._profile.id} answers more than {most} bytes", limit="max_answer")
        return bytes(content)

    def hasten(self) -> None:
        """Acknowledge at once what comes next: an archive that leaves Nagle on waits for that, 40 ms per instance."""
        for one in self._sockets:
            with suppress(OSError):  # it is closed by now
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self._tls if self._tls is not None else True,
                limit=self._profile.max_associations,
                keepalive_timeout=IDLE_SECONDS,
                socket_factory=self._socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers={"User-Agent": USER_AGENT},
                auto_decompress=False,
                trust_env=False,
                read_bufsize=READ_AHEAD,
                max_line_size=LONGEST_LINE,
                max_field_size=LONGEST_LINE,
                max_headers=MOST_FIELDS,
            )
        return self._session

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*address[:3])
        made.setblocking(False)
        self._sockets.add(made)
        return made

    def _authorization(self) -> dict[str, str]:
        if self._bearer is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._bearer.token()}"}
        except ConfigError as error:
            raise Rejected(f"region {self._profile.id}: {error}", reason=0) from None

    def _note(self, response: aiohttp.ClientResponse) -> None:
        """Look at what concerns every answer."""
        if response.status in _BUSY and not missing(response.headers):
            wait = min(retry_after(response.headers), LONGEST_REST)
            self._rest_until = asyncio.get_running_loop().time() + wait
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RemoteProtocolError(
                f"region {self._profile.id} encodes its answers although we ask for them as they are: switch "
                "compression off for us"
            )

    def _slow(self, error: TimeoutError) -> GatewayError:
        region = self._profile.id
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return Unreachable(f'region {region} does not answer: check "dicomweb" and the network between')
        return Stalled(f"region {region} fell silent")

    def _told(self, error: Exception) -> GatewayError:
        """Say what went wrong."""
        region = f"region {self._profile.id}"
        if getattr(getattr(error, "os_error", error), "errno", None) == errno.ECONNREFUSED:
            return Refused(f'{region}: nothing listens there: check "dicomweb"')
        for kinds, fault, text in _FAULTS:
            if isinstance(error, kinds):
                return fault(f"{region} {text.format(_reason(error))}")
        return RemoteProtocolError(f"{region}: {type(error).__name__}")


_FAULTS: Final[tuple[tuple[Any, type[GatewayError], str], ...]] = (
    (
        (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError, ssl.SSLError),
        Unreachable,
        'offers no TLS that we can use ({}): check "dicomweb", ca, certificate and key',
    ),
    (aiohttp.ClientConnectorDNSError, Unreachable, 'has a name that cannot be resolved: check "dicomweb"'),
    (aiohttp.ClientConnectorError, Unreachable, "cannot be reached ({})"),
    (aiohttp.ClientPayloadError, Truncated, "broke off in the middle of an answer"),
    (aiohttp.ServerDisconnectedError, Closed, "closed the connection without an answer"),
    (aiohttp.ClientResponseError, RemoteProtocolError, "sends what is not HTTP, or too long a header"),
    (aiohttp.InvalidURL, RemoteProtocolError, 'cannot be called by what "dicomweb" says'),
    ((OSError, aiohttp.ClientConnectionError), Reset, "reset the connection"),
)
"""What errors of the HTTP library mean: the first that fits."""


def _tls(profile: Profile) -> ssl.SSLContext | None:
    if not profile.dicomweb.startswith("https://"):
        return None
    ca, certificate, key = map(path_of, (profile.ca, profile.certificate, profile.key))
    return client_context(ca, certificate, key)


def _reason(error: Exception) -> str:
    """Return OpenSSL's word for what is wrong; it names no URL."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or type(cause).__name__)
