"""Metadata: each instance's Data Set as JSON or XML, bulk data left where it is (PS3.18 10.4.1.1.2)."""

from collections.abc import AsyncIterator
from hashlib import blake2b
from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.dataset.native_xml import to_native_xml
from gateway.web.asked import Asked
from gateway.web.completeness import Header
from gateway.web.compression import WORTH_IT, asks_for_gzip
from gateway.web.described import marked, parsed, placed
from gateway.web.formats import XML
from gateway.web.locations import uid_of
from gateway.web.multipart import MultipartRelated
from gateway.web.ranges import matches
from gateway.web.retrieval import Representation
from gateway.web.streaming import Body

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance

SERIES_INSTANCE_UID = "0020000E"
LONGEST_TAGGED = 64 << 20
"""Bytes up to which a whole answer is held for its tag."""

REVALIDATED = (b"cache-control", b"private, no-cache")
"""The user agent may keep it for itself, and asks before each use whether it still holds."""


class Metadata(Representation):
    """Writes a JSON array, one element for each instance as soon as it has arrived."""

    event = "metadata"

    def __init__(self, asked: Asked, media_type: str) -> None:
        self._asked = asked
        self._media_type = media_type
        self._opening = b"["
        self._rows: list[bytes] = []
        self._etag = ""
        self.gzip = asks_for_gzip(asked.request)

    async def prepare(self, instance: "Instance") -> bool:
        """Read the instance to its end; one that cannot be read is marked as such, not left out (R21)."""
        row = await marked(instance, self._asked.selected.study)
        self._rows = [self._element(row, self._url(instance, row))]
        return True

    async def prepare_all(self, others: AsyncIterator["Instance"]) -> None:
        """Tag the whole answer, so that a caller who has it need not be sent it again (RFC 9110 8.8.3)."""
        rows, size = self._rows, 0
        async for instance in others:
            await self.prepare(instance)
            rows += self._rows
            size += len(rows[-1])
            if size > LONGEST_TAGGED:
                break
        else:
            rows.sort()  # by whatever, as long as it is the same each time
            self._tag(rows)
        self._rows = rows

    def _tag(self, rows: list[bytes]) -> None:
        self.gzip = self.gzip and sum(map(len, rows)) >= WORTH_IT
        digest = blake2b(b"gzip" if self.gzip else b"", digest_size=16, person=b"metadata")
        for part in (self._media_type.encode(), *rows):
            digest.update(part)
        self._etag = f'"{digest.hexdigest()}"'
        if matches(self._asked.request.headers.get("if-none-match", ""), self._etag):
            self.status = HTTPStatus.NOT_MODIFIED

    def _url(self, instance: "Instance", row: bytes) -> str:
        selected = self._asked.selected
        series = selected.series or instance.series_instance_uid
        if series is None and b"BulkDataURI" in row:
            series = uid_of(parsed(row), SERIES_INSTANCE_UID)
        return self._asked.locations.resource(selected.study, series, instance.sop_instance_uid)

    def _element(self, row: bytes, url: str) -> bytes:
        return placed(row, url)

    def headers(self) -> list[Header]:
        """Return Content-Type, and the tag of an answer that is known."""
        told = [(b"content-type", self._media_type.encode()), (b"vary", b"Accept, Accept-Encoding")]
        if self._etag:
            told += [(b"etag", self._etag.encode()), REVALIDATED]
        return told

    async def write(self, body: Body) -> None:
        """Write the prepared elements."""
        if self.status != HTTPStatus.NOT_MODIFIED:
            await body.write(self._joined())

    def _joined(self) -> bytes:
        data = self._opening + b",".join(self._rows)
        self._opening = b","
        return data

    def end(self) -> bytes:
        """Return the end of the array."""
        return b"" if self.status == HTTPStatus.NOT_MODIFIED else b"]"


class XmlMetadata(Metadata):
    """Writes a part for each instance, in the Native DICOM Model (PS3.19 A.1)."""

    def __init__(self, asked: Asked) -> None:
        self._frame = MultipartRelated(XML)
        super().__init__(asked, self._frame.content_type)

    async def prepare_all(self, others: AsyncIterator["Instance"]) -> None:
        """Leave it untagged: its boundary is new each time."""

    def _joined(self) -> bytes:
        return b"".join(self._rows)

    def _element(self, row: bytes, url: str) -> bytes:
        return self._frame.part(XML, f"{url}/metadata") + to_native_xml(parsed(placed(row, url)))

    def end(self) -> bytes:
        """Return the closing boundary."""
        return self._frame.close()
