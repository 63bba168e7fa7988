"""How a region's instances are had by WADO-RS (PS3.18 10.4), handed on as C-STOREs are."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from gateway.dataset.multipart_reader import MultipartReader, PartBegins, PartEnds
from gateway.dataset.part10 import FileMeta
from gateway.dataset.part10_reader import Part10Reader
from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.dimse.incoming import IncomingStore, StoreRequest
from gateway.dimse.suboperations import SubOperations
from gateway.errors import (
    DatasetError,
    GatewayError,
    LimitExceeded,
    RemoteProtocolError,
    RequestError,
    Stalled,
    Truncated,
)
from gateway.region.dicomweb_answers import failure, media_type, missing, partly
from gateway.region.dicomweb_client import Client
from gateway.region.inbox import Inbox, Receiver, fits
from gateway.region.profile import Profile
from gateway.region.rows import UID
from gateway.region.together import together

ACCEPT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
HIGH_WATER: Final = 4 << 20
"""Bytes received and not taken at which we stop reading."""

MOST_PARTS: Final = 1_000_000
LONGEST_EPILOGUE: Final = 64 << 10
NOT_THERE: Final = frozenset({404, 410})


class Unread:
    """The account of what has arrived and nobody has taken yet."""

    def __init__(self) -> None:
        self._size = 0
        self._room = asyncio.Event()
        self._room.set()

    def add(self, size: int) -> None:
        """Count bytes, or with a negative size let go of them."""
        self._size += size
        if self._size > HIGH_WATER:
            self._room.clear()
        elif self._size <= HIGH_WATER // 2:
            self._room.set()

    async def room(self) -> None:
        """Wait until more may be read."""
        await self._room.wait()


@dataclass(slots=True)
class Tally:
    """How a retrieve goes.

    Attributes:
        completed, failed: instances.
        parts: parts of the region that are missing from what it sends, and their states, where it is a federation.
    """

    completed: int = 0
    failed: int = 0
    parts: dict[str, str] = field(default_factory=dict)


class WebTransfer:
    """Retrieves from one region; one of its connections is left to searches."""

    def __init__(self, profile: Profile, client: Client, inbox: Inbox) -> None:
        self._profile = profile
        self._client = client
        self._inbox = inbox
        self._most = max(1, profile.max_associations - 1)
        self._at_once = asyncio.Semaphore(self._most)

    async def run(self, selection: Selection, receive: Receiver, deadline: Deadline) -> SubOperations:
        """Hand each selected instance to ``receive``, and return how it went.

        Raises:
            PartlyAnswered: the region is a federation itself, and what it sent is not all that it may have.
            RegionError: the region failed.
        """
        tally = Tally()
        study = f"/studies/{selection.study}"
        series = f"{study}/series/{selection.series}" if selection.series else study
        paths = [f"{series}/instances/{uid}" for uid in selection.instances] or [series]
        waiting = iter(paths)
        try:
            async with deadline.timeout():
                await together(
                    [self._fetch_each(waiting, selection, receive, tally) for _ in range(min(self._most, len(paths)))]
                )
        except TimeoutError:
            raise Stalled(f"region {self._profile.id} did not send all in time") from None
        if tally.parts:
            raise partly(self._profile.id, tally.parts)
        return SubOperations(0xB000 if tally.failed else 0, 0, tally.completed, tally.failed)

    async def _fetch_each(self, paths: Iterator[str], selection: Selection, receive: Receiver, tally: Tally) -> None:
        for path in paths:  # shared with others
            async with self._at_once:
                await self._fetch(path, selection, receive, tally)

    async def _fetch(self, path: str, selection: Selection, receive: Receiver, tally: Tally) -> None:
        async with self._client.request("GET", path, accept=ACCEPT) as response:
            if response.status in NOT_THERE:
                tally.failed += bool(selection.instances)
                return
            if response.status == 204:
                return
            if response.status not in {200, 206}:
                raise failure(self._profile, response.status, response.headers, "a retrieve")
            tally.failed += response.status == 206
            tally.parts |= missing(response.headers)
            reader = self._reader(response)
            arrivals = Arrivals(self._profile, self._inbox, selection, receive, tally)
            async with aclosing(self._client.pieces(response)) as pieces:
                await together([self._read(pieces, reader, arrivals), arrivals.serve()])

    def _reader(self, response: aiohttp.ClientResponse) -> MultipartReader:
        kind, boundary = media_type(response.headers.get("Content-Type", ""))
        if kind != "multipart/related":
            raise RemoteProtocolError(
                f"region {self._profile.id} answers a retrieve with {kind!r} instead of multipart/related"
            )
        try:
            return MultipartReader(boundary, most_parts=MOST_PARTS)
        except RequestError as error:
            raise RemoteProtocolError(f"region {self._profile.id}: {error}") from None

    async def _read(self, pieces: AsyncIterator[bytes], reader: MultipartReader, arrivals: "Arrivals") -> None:
        """Take the content apart; raises Truncated where it ends before its closing boundary does."""
        behind = 0
        try:
            async for piece in pieces:
                behind += len(piece) if reader.is_complete else 0
                if behind > LONGEST_EPILOGUE:
                    break
                for event in reader.feed(piece):
                    if isinstance(event, PartBegins):
                        arrivals.begin()
                    elif isinstance(event, PartEnds):
                        await arrivals.end()
                    else:
                        await arrivals.put(event)
            if not reader.is_complete:
                raise Truncated(f"region {self._profile.id} ended a retrieve before its closing boundary")
        except (RequestError, LimitExceeded) as error:
            broken = RemoteProtocolError(f"region {self._profile.id}: {error}")
            await arrivals.fail(broken)
            raise broken from None
        except GatewayError as error:
            await arrivals.fail(error)
            raise
        arrivals.close()


class Arrivals:
    """The instances of one answer, one after the other, each handed on while it arrives."""

    def __init__(self, profile: Profile, inbox: Inbox, selection: Selection, receive: Receiver, tally: Tally) -> None:
        self._from = profile.ae_title, "", urlsplit(profile.dicomweb).hostname or ""
        self._inbox = inbox
        self._selection = selection
        self._receive = receive
        self._tally = tally
        self._unread = Unread()
        self._opened: asyncio.Queue[IncomingStore | None] = asyncio.Queue()
        self._taken = asyncio.Event()
        self._head = Part10Reader()
        self._store: IncomingStore | None = None
        self._is_refused = False

    async def serve(self) -> None:
        """Hand on each instance, until there are no more."""
        while (store := await self._opened.get()) is not None:
            status = await self._hand_on(store)
            self._tally.completed += status == 0
            self._tally.failed += status != 0
            self._taken.set()

    def begin(self) -> None:
        """Take note that a part begins."""
        self._head, self._store, self._is_refused = Part10Reader(), None, False

    async def put(self, piece: memoryview) -> None:
        """Take the next piece of it, and wait until there is room for more."""
        if self._is_refused:
            return
        if self._store is None:
            try:
                piece = self._head.feed(piece)
            except (DatasetError, LimitExceeded):
                self._refuse()
                return
            if self._head.meta is None or not self._open(self._head.meta):
                return
        if piece and self._store is not None:
            self._store.put(piece, is_last=False)
        await self._unread.room()

    async def end(self) -> None:
        """Take note that it is here whole, and return when it is taken."""
        if self._is_refused:
            return
        rest = memoryview(b"")
        if self._store is None:
            try:
                rest = self._head.finish()
            except (DatasetError, LimitExceeded):
                self._refuse()
                return
            if self._head.meta is None or not self._open(self._head.meta):
                return
        if self._store is not None:
            self._store.put(rest, is_last=True)
            await self._taken.wait()
            self._store = None

    async def fail(self, error: GatewayError) -> None:
        """Take note that the rest will not come, and return when whoever takes the instance knows."""
        if self._store is not None:
            self._store.fail(error)
            await self._taken.wait()

    def close(self) -> None:
        """Take note that there are no more."""
        self._opened.put_nowait(None)

    def _open(self, meta: FileMeta) -> bool:
        """Announce an instance; one without a name is refused."""
        if not all(map(UID.fullmatch, (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid))):
            self._refuse()
            return False
        uids = meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid
        request = StoreRequest(*self._from, *uids, 0, None, None)
        self._store = IncomingStore(request, 0, self._unread.add, HIGH_WATER)
        self._taken.clear()
        self._opened.put_nowait(self._store)
        return True

    def _refuse(self) -> None:
        """Pass over a part that is no instance (PS3.10 7.1)."""
        self._is_refused = True
        self._tally.failed += 1

    async def _hand_on(self, store: IncomingStore) -> int:
        """Have one instance taken, if it was asked for (promise R18)."""
        selection = self._selection
        found = await self._inbox.study_and_series(store)
        named = not selection.instances or store.sop_instance_uid in selection.instances
        if not named or not fits(selection, found):
            return self._inbox.refuse(store)
        return await self._receive(store, found[1])
