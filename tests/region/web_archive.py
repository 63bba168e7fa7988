"""A region that speaks DICOMweb over a scripted server: honest aiohttp handlers, or raw bytes on a socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from ssl import SSLContext
from typing import Any

import orjson
from aiohttp import web
from pydicom import Dataset

from gateway.config import settings
from gateway.dataset.query import Level, Query, Row, Selection
from gateway.deadline import Deadline
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.suboperations import SubOperations
from gateway.errors import GatewayError
from gateway.events import CircuitChanged
from gateway.region.dicomweb import DicomwebRegion
from gateway.region.inbox import Inbox
from gateway.region.profile import Profile
from tests.kit import dicom
from tests.region.watched import ended
from tests.region.witness import Witness

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON = "application/dicom+json"
STUDIES = Query(Level.STUDY)
STUDY = Selection(dicom.uid(1))


class Web:
    """A DICOMweb region and its events."""

    def __init__(self, url: str, *, search: dict[str, Any] | None = None, **profile: Any) -> None:
        self.events = Witness()
        chosen = settings.load(None, {"search": search or {}})
        known = Profile(name="WEBBED", dicomweb=url, **profile)
        self.region = DicomwebRegion(known, chosen, Inbox(self.events), self.events)

    async def search(self, query: Query = STUDIES, seconds: float = 10.0) -> list[Row]:
        async with aclosing(self.region.search(query, Deadline.after(seconds))) as rows:
            return [row async for row in rows]

    async def gathered(self, query: Query = STUDIES) -> tuple[list[Row], GatewayError | None]:
        """Return what was found, and how it ended."""
        return await ended(self.region.search(query, Deadline.after(10.0)))

    async def failure(self, query: Query = STUDIES) -> GatewayError:
        """Return the error that a search ends with."""
        _, error = await self.gathered(query)
        assert error is not None
        return error

    async def retrieve(
        self, selection: Selection = STUDY, arrived: dict[str, bytes] | None = None
    ) -> tuple[SubOperations, dict[str, bytes]]:
        """Return how it went and the Data Sets by SOP Instance UID; what came before an error is in ``arrived``."""
        taken = {} if arrived is None else arrived

        async def receive(store: IncomingStore, series: str | None) -> int:
            taken[store.sop_instance_uid] = b"".join([bytes(piece) async for piece in store])
            return 0

        result = await self.region.retrieve(selection, receive, Deadline.after(10.0), held_up=lambda: False)
        return result, taken

    @property
    def circuit(self) -> list[str]:
        return [str(event.state) for event in self.events.of(CircuitChanged)]


class Requests(list[web.Request]):
    """What a server was asked.

    Attributes:
        url: of its services.
    """

    url = ""

    @property
    def paths(self) -> list[str]:
        return [request.path.removeprefix("/dicom-web") for request in self]


@asynccontextmanager
async def server(handler: Handler, tls: SSLContext | None = None) -> AsyncIterator[Requests]:
    """Serve while the body runs; yield the requests."""
    requests = Requests()

    async def noted(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        return await handler(request)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", noted)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        requests.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/dicom-web"
        yield requests
    finally:
        await runner.cleanup()


@asynccontextmanager
async def webbed(handler: Handler, **profile: Any) -> AsyncIterator[tuple[Web, Requests]]:
    """Have a region over a handler."""
    async with server(handler) as requests:
        watching = Web(requests.url, **profile)
        try:
            yield watching, requests
        finally:
            await watching.region.aclose()


@asynccontextmanager
async def raw(answer: bytes) -> AsyncIterator[Web]:
    """Have a region that answers each request with bytes, whatever they are, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the region has gone, as it may
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    watching = Web(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/dicom-web")
    try:
        yield watching
    finally:
        await watching.region.aclose()
        listening.close()


def row(number: int, **more: Any) -> dict[str, Any]:
    """Return a study row in JSON, as a server writes it."""
    return {
        "0020000D": {"vr": "UI", "Value": [dicom.uid(number)]},
        "00100020": {"vr": "LO", "Value": [f"MRN{number}"]},
        "00080020": {"vr": "DA", "Value": [f"202401{number % 28 + 1:02}"]},
        **more,
    }


def listing(rows: Any) -> web.Response:
    return web.Response(body=orjson.dumps(rows), content_type=JSON)


def answering(*rows: Any) -> Handler:
    """Answer each search with these rows."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return listing(rows)

    return handler


def status(code: int, text: str = "", **headers: str) -> Handler:
    """Answer everything with a status."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handler


BOUNDARY = "of-the-parts"
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def body(*contents: bytes, closed: bool = True) -> bytes:
    """Return a multipart body of Part 10 files, or of whatever is given."""
    parts = [b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % (BOUNDARY.encode(), x) for x in contents]
    return b"".join(parts) + (b"--%b--\r\n" % BOUNDARY.encode() if closed else b"")


def files(*instances: Dataset) -> list[bytes]:
    return [dicom.part10(instance) for instance in instances]


def sending(content: bytes, *, code: int = 200, media_type: str = MULTIPART, **headers: str) -> Handler:
    """Answer each retrieve with this content."""

    async def handler(request: web.Request) -> web.StreamResponse:
        fields = {"Content-Type": media_type, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return web.Response(status=code, body=content, headers=fields)

    return handler
