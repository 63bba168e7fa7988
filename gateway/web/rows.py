"""Rows of a search as the caller sees them, and the body that lists them (PS3.18 10.6.3, 10.6.4)."""

import asyncio
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.dataset.native_xml import to_native_xml
from gateway.dataset.query import Attribute, Level, Query, Row
from gateway.web.completeness import Header
from gateway.web.compression import CODED, WORTH_IT, Gzip
from gateway.web.locations import Locations, uid_of
from gateway.web.multipart import MultipartRelated
from gateway.web.negotiation import DICOM_XML
from gateway.web.streaming import Body

RETRIEVE_URL: Final = "00081190"
MODALITIES_IN_STUDY: Final = "00080061"
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
LEVELS: Final = MappingProxyType(
    {Level.STUDY: (STUDY,), Level.SERIES: (STUDY, SERIES), Level.IMAGE: (STUDY, SERIES, INSTANCE)}
)
CHUNK_ROWS: Final = 250
VARY: Final = (b"vary", b"Accept, Accept-Encoding")


class Presentation:
    """Turns the rows of one search into what the caller sees."""

    def __init__(self, query: Query, locations: Locations) -> None:
        self._given = {STUDY: query.study, SERIES: query.series}
        self._tags = LEVELS[query.level]
        self._resource = locations.resource

    def __call__(self, row: Row) -> Row:
        """Add where the row's entity is found; leave out what breaks OHIF's study list."""
        shown = row.copy()
        if not shown.get(MODALITIES_IN_STUDY, _FILLED).get("Value"):
            del shown[MODALITIES_IN_STUDY]
        for tag, attribute in row.items():
            if attribute["vr"] == "PN" and None in attribute.get("Value", ()):
                shown[tag] = _without_null(attribute)
        uids = [uid for tag in self._tags if (uid := self._given.get(tag) or uid_of(row, tag))]
        if len(uids) == len(self._tags):
            shown[RETRIEVE_URL] = {"vr": "UR", "Value": [self._resource(*uids)]}
        return shown


_FILLED: Final[Attribute] = {"Value": [""]}


def _without_null(attribute: Attribute) -> Attribute:
    names: list[Any] = [name for name in attribute["Value"] if name is not None]
    return {"vr": "PN", "Value": names} if names else {"vr": "PN"}


class Listing(Protocol):
    """How rows are written one behind the other; made anew for each request.

    Attributes:
        content_type: of the whole body.
    """

    content_type: str

    def rows(self, rows: Sequence[Row]) -> bytes:
        """Return the next part of the body."""

    def end(self) -> bytes:
        """Return what ends the body."""


class JsonListing:
    """One JSON array (PS3.18 F.2)."""

    def __init__(self, media_type: str) -> None:
        self.content_type = media_type
        self._opening = b"["

    def rows(self, rows: Sequence[Row]) -> bytes:
        """Return elements of the array, each with its keys in ascending order."""
        if not rows:
            return b""
        elements = self._opening + orjson.dumps(rows, option=orjson.OPT_SORT_KEYS)[1:-1]
        self._opening = b","
        return elements

    def end(self) -> bytes:
        """Return the end of the array."""
        return b"[]" if self._opening == b"[" else b"]"


class XmlListing:
    """One part for each row, a Native DICOM Model (PS3.19 A.1)."""

    def __init__(self) -> None:
        self._multipart = MultipartRelated(DICOM_XML)
        self.content_type = self._multipart.content_type

    def rows(self, rows: Sequence[Row]) -> bytes:
        """Return parts of the body."""
        return b"".join(piece for row in rows for piece in (self._multipart.part(DICOM_XML, None), to_native_xml(row)))

    def end(self) -> bytes:
        """Return the closing delimiter."""
        return self._multipart.close()


async def listed(
    listing: Listing, rows: Sequence[Row], present: Presentation, headers: Iterable[Header], *, gzip: bool
) -> Response:
    """Answer with rows: at once when they are few, in chunks when one body of them would be large."""
    fields = [VARY, *headers]
    if len(rows) > CHUNK_ROWS:
        return ChunkedRows(listing, rows, present, fields, gzip=gzip)
    body = listing.rows([present(row) for row in rows]) + listing.end()
    if gzip and len(body) >= WORTH_IT:
        body = await Gzip().compressed(body, last=True)
        fields.append(CODED)
    response = Response(body, media_type=listing.content_type)
    response.raw_headers.extend(fields)
    return response


class ChunkedRows(Response):
    """Many rows, of which only a few at a time are encoded."""

    def __init__(
        self, listing: Listing, rows: Sequence[Row], present: Presentation, headers: Iterable[Header], *, gzip: bool
    ) -> None:
        super().__init__()
        self._gzip = gzip
        self._listing = listing
        self._rows = rows
        self._present = present
        self._fields = [(b"content-type", listing.content_type.encode()), *headers]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the chunks one after the other, as fast as the client takes them."""
        body = Body(scope, send)
        await body.start(200, self._fields, gzip=self._gzip)
        if scope["method"] == "HEAD":
            await body.end()
            return
        for at in range(0, len(self._rows), CHUNK_ROWS):
            await body.write(self._listing.rows([self._present(row) for row in self._rows[at : at + CHUNK_ROWS]]))
            await asyncio.sleep(0)  # a write to a fast reader does not wait: others must have their turn
        await body.end(self._listing.end())
