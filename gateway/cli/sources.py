"""Where `gateway fetch` has instances from."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.access.permit import Permit
from gateway.cli.find import answers, search
from gateway.cli.origin import Origin, Refusal, RegionAnswer, Response, problem
from gateway.cli.visit import INSTANCE, SERIES, first
from gateway.config.settings import Settings
from gateway.dataset.multipart_reader import MultipartReader, PartBegins, PartEnds
from gateway.dataset.part10 import file_meta
from gateway.dataset.part10_reader import Part10Reader
from gateway.dataset.query import Level, Query, Row, Selection
from gateway.deadline import Deadline
from gateway.errors import IncompleteRetrieve, NotFound, RequestError
from gateway.federation.retrieval import Instance
from gateway.federation.retrieve import FederatedRetrieve
from gateway.federation.search import FederatedSearch

STORED: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
PAGE: Final = 1000


@dataclass(slots=True)
class Listing:
    """The instances of a study.

    Attributes:
        series: SOP Instance UID to Series Instance UID.
        regions: what became of each region's part.
    """

    series: dict[str, str] = field(default_factory=dict)
    regions: list[RegionAnswer] = field(default_factory=list)

    def add(self, rows: list[Row]) -> None:
        """Take rows in."""
        self.series.update((first(row, INSTANCE), first(row, SERIES)) for row in rows)


@dataclass(frozen=True, slots=True)
class Arriving:
    """An instance on its way.

    Attributes:
        data: the PS3.10 file in pieces; raises where it breaks off.
        series: empty where that is not known.
    """

    region: str
    uid: str
    series: str
    data: AsyncIterator[bytes | memoryview]


class OfRegions:
    """The regions themselves, as one archive."""

    def __init__(self, search: FederatedSearch, retrieve: FederatedRetrieve, chosen: Settings, permit: Permit) -> None:
        self._search = search
        self._retrieve = retrieve
        self._chosen = chosen
        self._permit = permit

    async def instances(self, study: str) -> Listing:
        """List a study's instances, page by page."""
        listing = Listing()
        while True:
            query = Query(Level.IMAGE, study=study, bare=True, offset=len(listing.series))
            deadline = Deadline.after(self._chosen.search.hard_seconds)
            found = await self._search.search(query, deadline, permit=self._permit)
            listing.add(found.rows)
            listing.regions = answers(found.completeness)
            if not (found.rows and found.remaining):
                return listing

    @asynccontextmanager
    async def bring(self, selection: Selection) -> AsyncIterator[AsyncIterator[Arriving]]:
        """Have instances arrive, each from the region that holds it best."""
        deadline = Deadline.after(self._chosen.retrieve.first_instance_seconds)
        async with self._retrieve.retrieve(selection, deadline, permit=self._permit) as retrieval:

            async def arriving() -> AsyncIterator[Arriving]:
                async for one in retrieval:
                    series = one.series_instance_uid or ""
                    yield Arriving(one.region, one.sop_instance_uid, series, _file(one))

            yield arriving()


async def _file(instance: Instance) -> AsyncIterator[bytes | memoryview]:
    yield file_meta(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid)
    async for piece in instance:
        yield piece


class OfGateway:
    """A running gateway."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    async def instances(self, study: str) -> Listing:
        """List a study's instances, page by page."""
        listing = Listing()
        while True:
            before = len(listing.series)
            page = f"limit={PAGE}&offset={before}"
            found = await search(self._origin, f"/studies/{study}/instances?{page}")
            listing.add(found.rows)
            listing.regions = found.regions
            if len(found.rows) < PAGE or len(listing.series) == before:
                return listing

    @asynccontextmanager
    async def bring(self, selection: Selection) -> AsyncIterator[AsyncIterator[Arriving]]:
        """Have instances arrive in the Transfer Syntax in which they are stored."""
        path = f"/studies/{selection.study}" + (f"/series/{selection.series}" if selection.series else "")
        paths = [f"{path}/instances/{uid}" for uid in selection.instances] or [path]

        async def arriving() -> AsyncGenerator[Arriving, None]:
            for one in paths:
                async with self._origin.ask(one, {"Accept": STORED}) as response:
                    await _check(response)
                    async with aclosing(_parts(response)) as parts:
                        async for instance in parts:
                            yield instance

        async with aclosing(arriving()) as instances:
            yield instances


async def _check(response: Response) -> None:
    if response.status in {200, 206}:
        return
    told = problem(response.status, await response.body())
    raise NotFound(told) if response.status == 404 else Refusal(told)


async def _parts(response: Response) -> AsyncGenerator[Arriving, None]:
    """Yield the parts of a body, each to be read before the next (RFC 2046 5.1).

    Raises:
        IncompleteRetrieve: the body ends before its last boundary.
    """
    boundary = response.headers.get_param("boundary")
    parts = _Parts(MultipartReader(str(boundary), most_parts=1 << 30), response.chunks())
    while await parts.begins():
        reader = Part10Reader()
        head: list[bytes] = []
        async for piece in parts.content():
            head.append(bytes(piece))
            reader.feed(piece)
            if reader.meta is not None:
                break
        if reader.meta is None:
            reader.finish()
        uid = reader.meta.sop_instance_uid if reader.meta else ""
        yield Arriving("gateway", uid, "", _rest(head, parts))
        async for _ in parts.content():
            pass  # what its reader left


async def _rest(head: list[bytes], parts: "_Parts") -> AsyncIterator[bytes | memoryview]:
    for read in head:
        yield read
    async for piece in parts.content():
        yield piece


class _Parts:
    """Steps through the events of a multipart body."""

    def __init__(self, reader: MultipartReader, chunks: AsyncIterator[bytes]) -> None:
        self._reader = reader
        self._chunks = chunks
        self._events: list[PartBegins | memoryview | PartEnds] = []
        self._open = False

    async def begins(self) -> bool:
        """Go to the next part; False when there is none."""
        while (event := await self._next()) is not None:
            if isinstance(event, PartBegins):
                self._open = True
                return True
        return False

    async def content(self) -> AsyncIterator[memoryview]:
        """Yield what is left of the part."""
        while self._open:
            event = await self._next()
            if isinstance(event, memoryview):
                yield event
            elif isinstance(event, PartEnds):
                self._open = False
            else:
                raise IncompleteRetrieve("the gateway's answer ended inside an instance: a region broke off")

    async def _next(self) -> PartBegins | memoryview | PartEnds | None:
        while not self._events:
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self._check_end()
                return None
            self._events = self._reader.feed(chunk)
        return self._events.pop(0)

    def _check_end(self) -> None:
        try:
            self._reader.finish()
        except RequestError:
            raise IncompleteRetrieve("the gateway's answer has no end: instances are missing") from None
