"""A running gateway as an origin server, over HTTP of the standard library."""

import asyncio
import http.client
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from gateway.errors import ConfigError, GatewayError, Reset, Unreachable

AT_ONCE: Final = 1 << 18
"""Bytes that are read at a time."""


@dataclass(frozen=True, slots=True)
class RegionAnswer:
    """What became of a region's part, as ``Federation-Status`` tells it."""

    region: str
    state: str
    count: int | None = None

    @property
    def missing(self) -> bool:
        """Whether something of it may be missing."""
        return self.state not in {"complete", "queued"}


def federation_status(value: str) -> list[RegionAnswer]:
    """Read a ``Federation-Status`` header: ``neodin;state=complete;matches=12, hdirs;state=timeout``."""
    found = []
    for member in filter(None, (part.strip() for part in value.split(","))):
        name, *parameters = (part.strip() for part in member.split(";"))
        told = dict(parameter.partition("=")[::2] for parameter in parameters)
        count = next((told[unit] for unit in ("matches", "instances") if told.get(unit, "").isdecimal()), None)
        found.append(RegionAnswer(name, told.get("state", ""), None if count is None else int(count)))
    return found


@dataclass(frozen=True, slots=True)
class Response:
    """A response whose body is still to be read.

    Attributes:
        status: of HTTP.
        headers: its fields.
    """

    status: int
    headers: Message
    _response: http.client.HTTPResponse

    @property
    def regions(self) -> list[RegionAnswer]:
        """What it says of the regions."""
        return federation_status(self.headers.get("Federation-Status", ""))

    @property
    def warnings(self) -> list[str]:
        """The texts of its ``Warning`` fields, without code and agent."""
        return [x.partition(" ")[2].partition(": ")[2] or x for x in self.headers.get_all("Warning", [])]

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raises Reset where it breaks off."""
        while True:
            try:
                chunk = await asyncio.to_thread(self._response.read1, AT_ONCE)
            except (OSError, http.client.HTTPException) as error:
                raise Reset(f"the gateway's answer broke off ({type(error).__name__})") from error
            if not chunk:
                return
            yield chunk

    async def body(self) -> bytes:
        """Return all of the body."""
        return b"".join([chunk async for chunk in self.chunks()])


class Origin:
    """Where a gateway answers DICOMweb.

    Args:
        url: the root of its resources, such as ``https://imaging.example.ca/dicom-web``.
        token: sent as a bearer token; empty for none.
        seconds: of silence after which it is given up.

    Raises:
        ConfigError: the URL is not one.
    """

    def __init__(self, url: str, token: str = "", seconds: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(f"{url!r} is not the URL of a gateway, such as http://127.0.0.1:8080/dicom-web")
        self._host, self._port, self._root = parts.hostname, parts.port, parts.path.rstrip("/")
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
        self._secure = parts.scheme == "https"
        self._fields = {"Authorization": f"Bearer {token}"} if token else {}
        self._seconds = seconds

    def __str__(self) -> str:
        """Name it, without its token."""
        return self._url

    @asynccontextmanager
    async def ask(
        self, path: str, fields: Mapping[str, str], *, method: str = "GET", body: Any = None
    ) -> AsyncIterator[Response]:
        """Send a request and have its response; leaving the context hangs up.

        Raises:
            Unreachable: there is no gateway, or it does not answer.
        """
        connection = self._connection()
        try:
            try:
                response = await asyncio.to_thread(self._exchange, connection, method, path, fields, body)
            except (OSError, http.client.HTTPException) as error:
                why = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise Unreachable(f"no answer from the gateway at {self._host}:{connection.port} ({why})") from error
            yield Response(response.status, response.headers, response)
        finally:
            if connection.sock is not None:
                _hang_up(connection.sock)
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._seconds, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, fields: Mapping[str, str], body: Any
    ) -> http.client.HTTPResponse:
        connection.request(method, self._root + path, body, {**self._fields, **fields})
        return connection.getresponse()


def _hang_up(sock: socket.socket) -> None:
    """End what a thread may be waiting for."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is over already


def token_from(file: Path | None) -> str:
    """Read a bearer token from a file that holds it alone; a token on a command line would be seen by others.

    Raises:
        ConfigError: it cannot be read.
    """
    if file is None:
        return ""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as a token: write the token alone there") from error


class Refusal(GatewayError):
    """The gateway refused a request; the text is what its problem document says (RFC 9457)."""

    slug = "refusal"


def problem(status: int, body: bytes) -> str:
    """Return what a problem document says (RFC 9457)."""
    try:
        told: dict[str, Any] = orjson.loads(body)
        text = str(told.get("detail") or told.get("title"))
    except (orjson.JSONDecodeError, AttributeError):
        text = f"the gateway answers with status {status}"
    return f"{text} (--token-file says who asks)" if status == 401 else text
