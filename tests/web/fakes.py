"""A federation on strings: what the web asks of it, without regions."""

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

from httpx2 import AsyncClient
from starlette.types import ASGIApp

from gateway.access.decision import Decisions
from gateway.access.permit import Permit
from gateway.dataset.query import Level, Query, Row, Selection
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE
from gateway.deadline import Deadline
from gateway.errors import IdentityUnavailable
from gateway.events import Event, RequestHandled
from gateway.federation.completeness import Completeness, RegionState
from gateway.federation.workers import Workers
from gateway.web.app import Archive, WebSettings, create_app
from gateway.web.guard import HttpLimits
from gateway.web.server import WebServer
from tests.kit.dicom import encode, instance

STUDY, SERIES = "1.2.3", "1.2.3.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
ALL_COMPLETE = (RegionState("neodin", "complete", 1), RegionState("hdirs", "complete", 0))
ONE_MISSING = (RegionState("neodin", "complete", 1), RegionState("hdirs", "timeout"))

SEARCHED = [
    ("/studies", Level.STUDY, None, None),
    ("/series", Level.SERIES, None, None),
    ("/instances", Level.IMAGE, None, None),
    ("/studies/1.2/series", Level.SERIES, "1.2", None),
    ("/studies/1.2/instances", Level.IMAGE, "1.2", None),
    ("/studies/1.2/series/1.3/instances", Level.IMAGE, "1.2", "1.3"),
]
"""The Search resources (PS3.18 Table 10.6.1-1): path, level, Study and Series Instance UID."""

Step = BaseException | asyncio.Event | Callable[[], None]
"""Between two things that come: an error that ends it, a moment to wait for, something to take note of."""


def study_row(study: str = STUDY) -> Row:
    return {
        "00080020": {"vr": "DA", "Value": ["20240131"]},
        "00080061": {"vr": "CS", "Value": ["CT"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Tremblay^Zoé"}]},
        "0020000D": {"vr": "UI", "Value": [study]},
    }


async def step(thing: Step) -> None:
    if isinstance(thing, BaseException):
        raise thing
    if isinstance(thing, asyncio.Event):
        await thing.wait()
    else:
        thing()


@dataclass
class FakeSearch:
    """Gives what it was told to, and keeps what it was asked."""

    rows: Sequence[Row | Step] = ()
    states: tuple[RegionState, ...] = ALL_COMPLETE
    remaining: int = 0
    warnings: tuple[str, ...] = ()
    unavailable: IdentityUnavailable | None = None
    before: Sequence[Step] = ()
    queries: list[Query] = field(default_factory=list)
    deadlines: list[Deadline] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    callers: list[str] = field(default_factory=list)
    permits: list[Permit] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def search(self, query: Query, deadline: Deadline, *, caller: str = "", permit: Permit) -> Any:
        self.queries.append(query)
        self.deadlines.append(deadline)
        self.callers.append(caller)
        self.permits.append(permit)
        self.asked.set()
        try:
            for thing in self.before:
                await step(thing)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return SimpleNamespace(
            rows=list(self.rows),
            remaining=self.remaining,
            completeness=Completeness("matches", self.states),
            notices=(),
            warnings=self.warnings,
            unavailable=self.unavailable,
        )

    @asynccontextmanager
    async def stream(self, query: Query, deadline: Deadline, *, permit: Permit) -> AsyncIterator["FakeStream"]:
        self.queries.append(query)
        self.permits.append(permit)
        self.deadlines.append(deadline)
        self.asked.set()
        try:
            yield FakeStream(self)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.left.set()


@dataclass
class FakeStream:
    """Rows in order of arrival, and between them what happens; states and warnings are final at the end."""

    search: FakeSearch
    ended: bool = False

    async def __aiter__(self) -> AsyncIterator[Row]:
        for thing in (*self.search.before, *self.search.rows):
            if isinstance(thing, dict):
                yield thing
            else:
                await step(thing)
        self.ended = True

    @property
    def completeness(self) -> Completeness:
        unfinished = tuple(RegionState(state.region, "limited", 0) for state in self.search.states)
        return Completeness("matches", self.search.states if self.ended else unfinished)

    @property
    def unavailable(self) -> IdentityUnavailable | None:
        return self.search.unavailable

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.search.warnings if self.ended else ()


@dataclass
class FakeInstance:
    """One SOP Instance that arrives in pieces."""

    data: Sequence[bytes | memoryview | Step]
    transfer_syntax_uid: str = EXPLICIT_VR_LE
    sop_instance_uid: str = f"{SERIES}.1"
    sop_class_uid: str = CT
    series_instance_uid: str | None = SERIES
    region: str = "neodin"
    character_set: str = "ISO_IR 6"

    notes: dict[str, bytes] = field(default_factory=dict)
    complete: bool = False

    async def bursts(self, offset: int = 0) -> AsyncIterator[list[memoryview]]:
        async for fragment in self:
            skipped = min(offset, len(fragment))
            offset -= skipped
            if skipped < len(fragment):
                yield [fragment[skipped:]]
        self.complete = True

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for piece in self.data:
            if isinstance(piece, bytes | memoryview):
                yield memoryview(piece)
            else:
                await step(piece)

    @property
    def size(self) -> int | None:
        return len(self._bytes) if self.complete else None

    @property
    def _bytes(self) -> bytes:
        return joined(piece for piece in self.data if isinstance(piece, bytes | memoryview))

    async def whole(self) -> None:
        async for _ in self.bursts():
            pass

    def read(self, offset: int, length: int) -> bytes:
        return self._bytes[offset : offset + length]

    def note(self, key: str) -> bytes | None:
        return self.notes.get(key)

    def keep(self, key: str, value: bytes) -> None:
        self.notes[key] = value


def ct(number: int = 1, transfer_syntax: str = EXPLICIT_VR_LE, *, size: int = 512, pieces: int = 100) -> FakeInstance:
    """Return a synthetic CT instance in pieces of so many bytes."""
    dataset = instance(number=number, size=size)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.SOPInstanceUID = f"{SERIES}.{number}"
    data = encode(dataset, transfer_syntax)
    return FakeInstance(
        [data[i : i + pieces] for i in range(0, len(data), pieces)], transfer_syntax, dataset.SOPInstanceUID
    )


@dataclass
class FakeRetrieve:
    """Opens one retrieval, whatever is asked for, and takes note of how it was left."""

    instances: Sequence[FakeInstance | Step] = ()
    states: tuple[RegionState, ...] = ALL_COMPLETE
    partial: bool = False
    on_enter: Sequence[Step] = ()
    on_exit: Sequence[Step] = ()
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    selections: list[Selection] = field(default_factory=list)
    permits: list[Permit] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    deadlines: list[Deadline] = field(default_factory=list)
    sent: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    standing: None = None

    @property
    def completeness(self) -> Completeness:
        return Completeness("instances", self.states)

    @property
    def at_hand(self) -> bool:
        return all(isinstance(thing, FakeInstance) and thing.complete for thing in self.instances)

    async def __aiter__(self) -> AsyncIterator[FakeInstance]:
        for thing in self.instances:
            if isinstance(thing, FakeInstance):
                yield thing
                self.sent += 1
            else:
                await step(thing)

    @asynccontextmanager
    async def retrieve(
        self, selection: Selection, deadline: Deadline, *, permit: Permit, event: str
    ) -> AsyncIterator["FakeRetrieve"]:
        self.selections.append(selection)
        self.events.append(event)
        self.permits.append(permit)
        self.opened.set()
        self.deadlines.append(deadline)
        try:
            for thing in self.on_enter:
                await step(thing)
            yield self
            for thing in self.on_exit:
                await step(thing)
        finally:
            self.left.set()


class SameProcess:
    """Runs pixel jobs where it is: a process of their own costs a second, and has tests of its own."""

    def expect(self) -> None:
        """Have nothing to start."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*pickle.loads(pickle.dumps(args)))


@dataclass
class Gateway:
    """A running web server over a fake federation."""

    port: int
    server: WebServer
    client: AsyncClient
    search: FakeSearch
    retrieve: FakeRetrieve
    events: list[Event]
    handled: list[RequestHandled]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"


def application(
    search: FakeSearch,
    retrieve: FakeRetrieve,
    settings: WebSettings,
    events: list[Event] | None = None,
    regions: Mapping[str, FakeSearch] = MappingProxyType({}),
    workers: Workers | None = None,
    handled: list[RequestHandled] | None = None,
) -> ASGIApp:
    def observe(event: Event) -> None:
        if isinstance(event, RequestHandled):
            if handled is not None:
                handled.append(event)
        elif events is not None:
            events.append(event)

    alone = {name: Archive(cast("Any", found), cast("Any", retrieve)) for name, found in regions.items()}
    return create_app(
        cast("Any", search),
        cast("Any", retrieve),
        workers or cast("Any", SameProcess()),
        settings,
        observe,
        regions=alone,
        decisions=Decisions("open"),
    )


@asynccontextmanager
async def gateway(
    search: FakeSearch | None = None,
    retrieve: FakeRetrieve | None = None,
    *,
    limits: HttpLimits | None = None,
    grace: float = 0.0,
    regions: Mapping[str, FakeSearch] = MappingProxyType({}),
    workers: Workers | None = None,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """Serve a fake federation on a port of its own."""
    search, retrieve = search or FakeSearch(), retrieve or FakeRetrieve()
    events: list[Event] = []
    handled: list[RequestHandled] = []
    app = application(search, retrieve, WebSettings(**settings), events, regions, workers, handled)
    server = WebServer(app, "127.0.0.1", 0, limits=limits)
    port = await server.start()
    try:
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}/dicom-web", timeout=30, verify=False) as client:
            yield Gateway(port, server, client, search, retrieve, events, handled)
    finally:
        await server.aclose(grace)


async def exchange(port: int, *requests: bytes | Step, until: float = 30.0) -> bytes:
    """Send bytes as they are and return all that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(until):
            for request in requests:
                if isinstance(request, bytes):
                    writer.write(request)
                    await writer.drain()
                else:
                    await step(request)
            return await reader.read()
    finally:
        writer.close()


def headed(*lines: str, target: str = "/dicom-web/studies") -> bytes:
    """Return a GET request with a Host and other header lines."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def joined(pieces: Iterable[Any]) -> bytes:
    return b"".join(bytes(piece) for piece in pieces)
