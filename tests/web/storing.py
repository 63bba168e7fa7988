"""A federation that stores into regions on strings, behind a running web server."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from httpx2 import AsyncClient, Response

from gateway.access.decision import Decisions
from gateway.config.settings import load
from gateway.dataset.query import Query, Row
from gateway.deadline import Deadline
from gateway.events import Event
from gateway.federation.delivery import Decode, Target
from gateway.federation.store import FederatedStore
from gateway.region.profile import Profile
from gateway.region.storing import Outgoing
from gateway.spool.queue import Queue
from gateway.web.app import WebSettings, create_app
from gateway.web.guard import HttpLimits
from gateway.web.server import WebServer
from gateway.web.upload import UploadLimits
from tests.web.fakes import FakeRetrieve, FakeSearch, SameProcess

FILE = "application/dicom"
JSON = "application/dicom+json"
XML = "application/dicom+xml"

Parts = Sequence[tuple[str, Mapping[str, str], bytes]]
"""Media type, further fields, content."""

Answer = Callable[[Outgoing], int]
"""The status of a C-STORE, or a raised error."""


@dataclass
class FakeRegion:
    """Keeps what it is given, as long as it answers so."""

    name: str = "NEODIN"
    answer: Answer = lambda _: 0
    stored: list[tuple[Outgoing, bytes]] = field(default_factory=list)
    attempts: int = 0

    @property
    def profile(self) -> Profile:
        return Profile(name=self.name, ae_title=self.name, host="127.0.0.1", port=1)

    async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        for instance, _ in self.stored:
            yield {"00080018": {"vr": "UI", "Value": [instance.sop_instance_uid]}}

    async def store(self, instance: Outgoing, deadline: Deadline, *, stall_seconds: float) -> int:
        self.attempts += 1
        data = b"".join([bytes(piece) async for piece in instance.data()])
        status = self.answer(instance)
        self.stored.append((instance, data))
        return status

    @property
    def uids(self) -> list[str]:
        return [instance.sop_instance_uid for instance, _ in self.stored]


@dataclass
class Origin:
    """A running web server, and what it stores into."""

    port: int
    client: AsyncClient
    store: FederatedStore
    queue: Queue
    events: list[Event]

    async def post(self, parts: Sequence[bytes], path: str = "/studies", **headers: str) -> Response:
        """Post Part 10 files, each a part."""
        return await self.post_parts([(FILE, {}, part) for part in parts], FILE, path, **headers)

    async def post_parts(self, parts: Parts, root: str, path: str = "/studies", **headers: str) -> Response:
        fields = {"Content-Type": f'multipart/related; type="{root}"; boundary=frontier', **headers}
        return await self.client.post(path, content=multipart(parts), headers=fields)

    async def drained(self, seconds: float = 30.0) -> None:
        """Wait until everything is delivered."""
        async with asyncio.timeout(seconds):
            while self.queue.size:  # noqa: ASYNC110 - the queue tells nobody
                await asyncio.sleep(0.01)

    async def post_one(self, content: bytes, content_type: str = FILE, path: str = "/studies") -> Response:
        return await self.client.post(path, content=content, headers={"Content-Type": content_type})


def multipart(parts: Parts) -> bytes:
    body = b""
    for media_type, fields, content in parts:
        lines = [f"Content-Type: {media_type}"] * bool(media_type) + [f"{k}: {v}" for k, v in fields.items()]
        body += b"--frontier\r\n" + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + content + b"\r\n"
    return body + b"--frontier--\r\n"


def store_settings(**values: Any) -> Any:
    return load(None, {"store": {"default": ["NEODIN"], **values}}).store


@asynccontextmanager
async def origin(
    *regions: Target,
    folder: Path | None = None,
    limits: HttpLimits | None = None,
    upload: UploadLimits | None = None,
    cors_origins: tuple[str, ...] = (),
    decode: Decode | None = None,
    **values: Any,
) -> AsyncIterator[Origin]:
    """Serve a store over fake regions on a port of its own."""
    events: list[Event] = []

    def observe(event: Event) -> None:
        events.append(event)

    settings = store_settings(**values)
    queue = Queue(folder, max_bytes=settings.max_bytes)
    async with FederatedStore(regions, settings, queue, observe, decode).running() as store:
        web = WebSettings(upload=upload or UploadLimits(), cors_origins=cors_origins)
        search, retrieve, workers = cast("Any", FakeSearch()), cast("Any", FakeRetrieve()), cast("Any", SameProcess())
        app = create_app(search, retrieve, workers, web, observe, store=store, decisions=Decisions("open"))
        server = WebServer(app, "127.0.0.1", 0, limits=limits)
        port = await server.start()
        try:
            async with AsyncClient(base_url=f"http://127.0.0.1:{port}/dicom-web", timeout=30, verify=False) as client:
                yield Origin(port, client, store, queue, events)
        finally:
            await server.aclose(0.0)


def values(row: dict[str, Any], tag: str) -> list[Any]:
    found: list[Any] = row.get(tag, {}).get("Value", [])
    return found


def first(row: dict[str, Any], tag: str) -> Any:
    return next(iter(values(row, tag)), None)
