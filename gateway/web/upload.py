"""The body of a Store request while it arrives, as parts (PS3.18 8.6.1, 10.5.2)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from starlette.requests import Request
from starlette.types import Receive

from gateway.config.settings import StoreSettings
from gateway.dataset.multipart_reader import MultipartReader, PartBegins, PartEnds, PartEvent
from gateway.errors import LimitExceeded, RequestError, RequestTimeout, UnsupportedMediaType
from gateway.web.form import FORM
from gateway.web.negotiation import DICOM, DICOM_XML, MULTIPART, MediaRange, media_ranges

DICOM_JSON: Final = "application/dicom+json"
STORED: Final = (DICOM, DICOM_JSON, DICOM_XML)
"""What a request has parts of, or is."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one request may take.

    Attributes:
        max_bytes: of its body.
        max_parts: of its body.
        max_metadata_bytes: of the JSON or XML in it.
        stall_seconds: for which it may bring nothing.
    """

    max_bytes: int = 16 << 30
    max_parts: int = 10_000
    max_metadata_bytes: int = 64 << 20
    stall_seconds: float = 30.0

    @classmethod
    def of(cls, settings: StoreSettings) -> Self:
        """Return the limits of the settings."""
        return cls(
            max_bytes=settings.max_request_bytes,
            max_parts=settings.max_parts,
            max_metadata_bytes=settings.max_metadata_bytes,
            stall_seconds=settings.body_seconds,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the body, or the body of a request that is not multipart.

    Attributes:
        content_type: type in lower case, and parameters; that of the whole where the part does not say.
        location: its Content-Location.
        content: its bytes; what is not read is passed over when the next part is asked for.
    """

    content_type: MediaRange
    location: str
    content: AsyncIterator[memoryview]


@dataclass(frozen=True, slots=True)
class UploadType:
    """What a request says its body is.

    Attributes:
        root: "application/dicom", or what the metadata is written in.
        boundary: None where the body is no multipart one.
    """

    root: str
    boundary: str | None


def upload_type(request: Request, limits: UploadLimits) -> UploadType:
    """Read what a Store request says of its body.

    Raises:
        UnsupportedMediaType: it is nothing that is stored, or encoded.
        LimitExceeded: it is announced to be longer than is taken.
        RequestError: its fields contradict each other.
    """
    fields = request.headers
    if fields.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("the body has a Content-Encoding: send it as it is")
    if int(fields.get("content-length", "0")) > limits.max_bytes:
        raise _too_long(limits)
    named = media_ranges(fields.get("content-type", ""))
    whole = named[0] if len(named) == 1 else MediaRange("", {})
    root = whole.parameters.get("type", DICOM).lower() if whole.type == MULTIPART else whole.type
    if root not in STORED:
        offers = ", ".join((*(f'{MULTIPART}; type="{kind}"' for kind in STORED), *STORED))
        raise UnsupportedMediaType(
            f"Content-Type is nothing that is stored: expected one of {offers}; or {FORM} to search"
        )
    return UploadType(root, whole.parameters.get("boundary", "") if whole.type == MULTIPART else None)


async def parts(request: Request, kind: UploadType, limits: UploadLimits) -> AsyncIterator[Part]:
    """Yield each part as it arrives.

    Raises:
        RequestError: the body is not what its header says, or broke off.
        RequestTimeout: it stands still.
        LimitExceeded: it is longer, or has more parts, than is taken.
    """
    body = _body(request.receive, limits)
    if kind.boundary is None:
        whole = MediaRange(kind.root, {})
        yield Part(whole, "", (memoryview(piece) async for piece in body))
        async for _ in body:
            pass
        return
    events = _events(body, MultipartReader(kind.boundary, most_parts=limits.max_parts))
    async for event in events:
        if isinstance(event, PartBegins):
            content = _content(events)
            yield _part(event.fields, kind.root, content)
            async for _ in content:
                pass  # what its reader left


def _part(fields: Mapping[str, str], root: str, content: AsyncIterator[memoryview]) -> Part:
    named = media_ranges(fields.get("content-type", root))
    return Part(named[0] if len(named) == 1 else MediaRange("", {}), fields.get("content-location", ""), content)


async def _content(events: AsyncIterator[PartEvent]) -> AsyncIterator[memoryview]:
    async for event in events:
        if isinstance(event, PartEnds):
            return
        if isinstance(event, memoryview):
            yield event


async def _events(body: AsyncIterator[bytes], reader: MultipartReader) -> AsyncIterator[PartEvent]:
    async for piece in body:
        for event in reader.feed(piece):
            yield event
    reader.finish()


async def _body(receive: Receive, limits: UploadLimits) -> AsyncIterator[bytes]:
    size, more = 0, True
    while more:
        try:
            async with asyncio.timeout(limits.stall_seconds):
                message = await receive()
        except TimeoutError:
            raise RequestTimeout(f"nothing of the body arrived for {limits.stall_seconds:.0f} seconds") from None
        if message["type"] == "http.disconnect":
            raise RequestError("the client left in the middle of its request")
        piece = message.get("body", b"")
        size += len(piece)
        if size > limits.max_bytes:
            raise _too_long(limits)
        more = message.get("more_body", False)
        if piece:
            yield piece


def _too_long(limits: UploadLimits) -> LimitExceeded:
    text = f"the body is longer than {limits.max_bytes} bytes: send it in several requests"
    return LimitExceeded(text, limit="max_request_bytes")
