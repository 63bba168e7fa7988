"""The QIDO-RS requests of one search (PS3.18 10.6)."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson

from gateway.dataset.dictionary import vr_of
from gateway.dataset.identifier import Dialect
from gateway.dataset.json_rows import json_row
from gateway.dataset.qido import asked, parameters, parted, resource
from gateway.dataset.query import Level, Query, Row
from gateway.dataset.required import REQUIRED, UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.errors import DatasetError, GatewayError, LimitExceeded, RemoteProtocolError, Stalled
from gateway.region.dicomweb_answers import failure, has_more, media_type, missing, partly
from gateway.region.dicomweb_client import Client
from gateway.region.profile import Profile
from gateway.region.rows import UID, first, of_the_region
from gateway.region.split import ResultCap, entity, names_one_study

PAGE: Final = 1000
"""Rows asked for at once."""

MOST_BYTES: Final = 32 << 20
"""Of one page."""

JSON: Final = "application/dicom+json"
_JSONS: Final = frozenset({JSON, "application/json"})
_UTF_8: Final = "ISO_IR 192"
STUDY, SERIES = UNIQUE_KEYS[Level.STUDY], UNIQUE_KEYS[Level.SERIES]

_UNASKED: Final = frozenset({STUDY, SERIES, "00080056", "00080201"})
"""Beside the UIDs above it, Instance Availability and Timezone Offset From UTC are taken though not asked for."""


class PagedCap(ResultCap):
    """A cap got around by paging; it cuts answers only of a server that has no pages.

    Attributes:
        has_no_pages: whether the server has shown that it takes no notice of ``offset``.
    """

    has_no_pages = False

    def cuts(self, size: int) -> bool:
        """Whether an answer of this size is known to be cut."""
        return self.has_no_pages and super().cuts(size)

    def may_cut(self, size: int) -> bool:
        """Whether the size alone makes an answer suspect."""
        return self.has_no_pages and super().may_cut(size)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Attributes:
        documents: its Data Sets, as they were parsed.
        has_more: whether the server says that it has more.
    """

    documents: list[Any]
    has_more: bool = False


class WebFinder:
    """Lends sessions, and remembers what they learn of the region.

    Attributes:
        relational: whether searches without a parent are worth trying.
        granted: the same: there is nothing to negotiate.
        zone: the region's.
        cap: how many rows it returns for all pages of one search.
        page_cap: how many it returns on one page.
    """

    def __init__(self, profile: Profile, client: Client, *, max_matches: int) -> None:
        self.profile = profile
        self.client = client
        self.zone = ZoneInfo(profile.time_zone)
        self.relational = profile.relational_queries == "auto"
        self.granted: bool | None = True
        self.cap = PagedCap(profile.result_cap)
        self.page_cap = ResultCap(profile.result_cap)
        self.max_matches = max_matches

    @asynccontextmanager
    async def session(self, deadline: Deadline) -> AsyncIterator["WebSession"]:
        """Return a context for the requests of one search, one after the other."""
        yield WebSession(self, deadline)


class WebSession:
    """The requests of one search.

    Attributes:
        malformed: rows so far that were none.
        parts: parts of the region that did not answer, and their states, where it is a federation itself.
    """

    def __init__(self, finder: WebFinder, deadline: Deadline) -> None:
        self.malformed = 0
        self.parts: dict[str, str] = {}
        self._finder = finder
        self._deadline = deadline

    @property
    def relational(self) -> bool:
        """Whether the region has shown that it cannot search series or instances as a whole."""
        return self._finder.relational

    def complaint(self) -> GatewayError | None:
        """Return what is the matter with the answers so far, although they came to their end."""
        if self.parts:
            return partly(self._finder.profile.id, self.parts)
        if not self.malformed:
            return None
        return DatasetError(f"{self.malformed} rows of region {self._finder.profile.id} are no matches of the search")

    async def rows(
        self, query: Query, *, relational: bool = False, as_typed: bool = False
    ) -> AsyncGenerator[Row, None]:
        """Yield each row of one query, those left out that are none of it.

        Raises:
            RegionError: the region failed; what it had yielded stands.
            LimitExceeded: it has more matches than are taken.
        """
        ignores = self._finder.profile.ignores_accents or as_typed
        # Whether ranges of dates and times are taken for one range is up to the server: times are matched here.
        dialect = Dialect(_UTF_8, relational, combined=query.separate_times, ignores_accents=ignores)
        seen = set[tuple[str, ...]]()
        empty = _without_value(query)
        wanted = {path[0] for path in asked(query, relational=relational)} | _UNASKED
        for part in parted(query):
            async with aclosing(self._documents(part, dialect, seen)) as documents:
                async for row in documents:
                    kept = {**empty, **{tag: attribute for tag, attribute in row.items() if tag in wanted}}
                    yield of_the_region(kept, query, self._finder.profile, self._finder.zone)

    async def _documents(self, query: Query, dialect: Dialect, seen: set[tuple[str, ...]]) -> AsyncGenerator[Row, None]:
        """Yield what was not seen of one query, page by page."""
        finder, offset, largest = self._finder, 0, 0
        path, text = resource(query), parameters(query, dialect)
        while True:
            page = await self._page(path, f"{text}&limit={PAGE}&offset={offset}", has_parent=bool(query.study))
            is_new = False
            for row in self._matches(page, query):
                key = (first(row, UNIQUE_KEYS[query.level]), *(entity(row) if query.level is Level.STUDY else ()))
                if key in seen:
                    continue
                is_new = True
                seen.add(key)
                if len(seen) > finder.max_matches:
                    raise LimitExceeded("a region returns more than is allowed", limit="max_matches")
                yield row
            size = len(page.documents)
            if offset and offset == largest:
                self._learn(offset, size, is_new=is_new)
            if not size or (offset and not is_new) or not self._goes_on(query, page, largest):
                return
            offset, largest = offset + size, max(largest, size)

    def _goes_on(self, query: Query, page: Page, largest: int) -> bool:
        """Whether there may be another page; one smaller than those before it is the last if nothing else is said."""
        size, cap = len(page.documents), self._finder.page_cap
        if names_one_study(query) or self._finder.cap.has_no_pages:
            return False
        return page.has_more or (size >= largest and (size >= PAGE or cap.cuts(size) or cap.may_cut(size)))

    def _learn(self, first_page: int, size: int, *, is_new: bool) -> None:
        """Note what the second page tells of the first one's size."""
        if is_new and first_page < PAGE:
            self._finder.page_cap.found(first_page)
        elif not size:
            self._finder.page_cap.refuted(first_page)
        elif not is_new:
            self._finder.cap.has_no_pages = True

    async def _page(self, path: str, query: str, *, has_parent: bool) -> Page:
        client, profile = self._finder.client, self._finder.profile
        try:
            async with (
                self._deadline.timeout(),
                client.request("GET", path, accept=JSON, query=query) as response,
            ):
                headers = response.headers
                if response.status == 204 or (response.status == 404 and has_parent):
                    return Page([])
                if response.status != 200:
                    raise failure(profile, response.status, headers, "a search")
                self.parts |= missing(headers)
                kind, _ = media_type(headers.get("Content-Type", ""))
                content = await client.whole(response, MOST_BYTES)
        except TimeoutError:
            raise Stalled(f"region {profile.id} did not answer a search in time") from None
        if not content:
            return Page([])
        if kind not in _JSONS:
            raise RemoteProtocolError(f'region {profile.id} answers a search with {kind!r}: check "dicomweb"')
        return Page(self._parsed(content), has_more(headers.getall("Warning", [])))

    def _parsed(self, content: bytes) -> list[Any]:
        try:
            documents = orjson.loads(content)
        except orjson.JSONDecodeError:
            documents = None
        if not isinstance(documents, list):
            raise RemoteProtocolError(f"region {self._finder.profile.id} answers a search with what is no JSON array")
        return documents

    def _matches(self, page: Page, query: Query) -> list[Row]:
        """Return the rows of a page, without those that cannot be answers to the query."""
        rows = []
        for document in page.documents:
            try:
                row = json_row(document)
            except DatasetError:
                row = {}
            if UID.fullmatch(first(row, UNIQUE_KEYS[query.level])) and _is_below(row, query):
                rows.append({**_named(query), **row})
            else:
                self.malformed += 1
        return rows


def _without_value(query: Query) -> Row:
    """Return what rows must have, as it is where the server leaves it out: as an archive answers a C-FIND.

    A key is left out with it, for its absence says that it could not be matched.
    """
    tags = (path[0] for path in REQUIRED[query.level] if len(path) == 1 and path not in query.keys)
    return {} if query.bare else {tag: {"vr": vr_of(tag)} for tag in tags}


def _named(query: Query) -> Row:
    """Return the UIDs that the path names: not every server repeats them in its rows."""
    uids = ((STUDY, query.study), (SERIES, query.series if query.study else None))
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids if uid}


def _is_below(row: Row, query: Query) -> bool:
    """Whether a row is of the study and series that the path names, as far as it says."""
    if query.study and first(row, STUDY) not in {"", query.study}:
        return False
    return not (query.study and query.series) or first(row, SERIES) in {"", query.series}
