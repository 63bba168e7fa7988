"""Instances that come as metadata, in JSON or XML, with their bulk data beside it (PS3.18 10.5.2)."""

import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.dataset.bulk_values import BulkPart, assembled
from gateway.dataset.native_xml_reader import from_native_xml
from gateway.dataset.query import Row
from gateway.dataset.transfer_syntax import (
    EXPLICIT_VR_LE,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from gateway.dataset.values import BINARY_VRS, DECODERS
from gateway.errors import DatasetError, Inadmissible, LimitExceeded, RequestError
from gateway.web.negotiation import DICOM_XML
from gateway.web.upload import Part

if TYPE_CHECKING:
    from gateway.federation.store import Aside, Intake

CANNOT_UNDERSTAND: Final = 0xC000
COMPRESSED: Final = {
    "image/jpeg": JPEG_LOSSLESS_SV1,
    "image/jls": JPEG_LS_LOSSLESS,
    "image/jp2": JPEG_2000_LOSSLESS,
    "image/jphc": HTJ2K_LOSSLESS,
    "image/dicom-rle": RLE_LOSSLESS,
}
"""What a frame of such a type is compressed with when its part does not say (PS3.18 Table 8.7.3-5)."""
DEEPEST: Final = 64

_TAG: Final = re.compile(r"[0-9A-F]{8}")
_VRS: Final = DECODERS.keys() | {"SQ"}
_CLASS, _INSTANCE = "00080016", "00080018"


async def store_described(parts: AsyncIterator[Part], root: str, intake: "Intake", max_bytes: int) -> None:
    """Take in the instances that a request describes.

    Raises:
        RequestError: its metadata is missing, or cannot be parsed.
        LimitExceeded: its metadata is longer than ``max_bytes``.
    """
    rows: list[Any] = []
    described = _Described(intake, max_bytes)
    left = max_bytes
    async for part in parts:
        if part.content_type.type == root:
            document = await _whole(part, left)
            left -= len(document)
            rows += _rows(document, root, max_bytes)
        else:
            await described.keep(part)
    if not rows:
        raise RequestError(f"the request has no part of type {root}, which says what its instances are")
    for row in rows:
        await described.take(row)


async def _whole(part: Part, most: int) -> bytes:
    document = bytearray()
    async for piece in part.content:
        document += piece
        if len(document) > most:
            text = "the metadata of one request is too long: send its instances in several"
            raise LimitExceeded(text, limit="max_metadata_bytes")
    return bytes(document)


def _rows(document: bytes, root: str, max_bytes: int) -> list[Any]:
    try:
        if root == DICOM_XML:
            return [from_native_xml(document, max_bytes=max_bytes)]
        parsed = orjson.loads(document)
    except (DatasetError, orjson.JSONDecodeError) as error:
        raise RequestError(f"the metadata cannot be read: {error}") from None
    return parsed if isinstance(parsed, list) else [parsed]


class _Described:
    """The bulk data of one request, by where it says that it is."""

    def __init__(self, intake: "Intake", max_inline: int) -> None:
        self._intake = intake
        self._inline_left = max_inline
        self._asides: list[Aside] = []
        self._values: defaultdict[str, list[BulkPart]] = defaultdict(list)

    async def keep(self, part: Part) -> None:
        """Put one value aside, on the disk."""
        if not part.location:
            raise RequestError(
                "a part of bulk data has no Content-Location: it is the BulkDataURI that the part is for"
            )
        aside = await self._intake.aside(part.content)
        default = COMPRESSED.get(part.content_type.type, EXPLICIT_VR_LE)
        syntax = part.content_type.parameters.get("transfer-syntax", default)
        self._values[part.location].append(BulkPart(len(self._asides), aside.size, syntax))
        self._asides.append(aside)

    async def take(self, row: Any) -> None:
        """Take one instance in."""
        found: dict[str, str] = {}
        try:
            checked = _checked(row, 0)
            checked = {key: attribute for key, attribute in checked.items() if key[:4] not in {"0000", "0002"}}
            found = {key: _uid(checked, key) for key in (_CLASS, _INSTANCE)}
            for attribute in checked.values():
                await self._inline(attribute.get("Value"), attribute)
            syntax, pieces = assembled(checked, self._values)
        except (DatasetError, LimitExceeded) as error:
            self._intake.refuse(Inadmissible(str(error), status=CANNOT_UNDERSTAND), found)
            return
        await self._intake.accept(found[_CLASS], found[_INSTANCE], syntax, self._bytes(pieces))

    async def _inline(self, items: Any, sequence: Mapping[str, Any]) -> None:
        """Bring the bulk data of items into them: only that of the instance itself can go past memory."""
        if sequence["vr"] != "SQ":
            return
        for item in items or ():
            for key, attribute in item.items():
                await self._inline(attribute.get("Value"), attribute)
                if "BulkDataURI" in attribute:
                    attribute["InlineBinary"] = await self._read(key, attribute)
                    del attribute["BulkDataURI"]

    async def _read(self, key: str, attribute: Mapping[str, Any]) -> str:
        values = self._values.get(attribute["BulkDataURI"], ())
        if len(values) != 1 or attribute["vr"] not in BINARY_VRS:
            raise DatasetError(f"the bulk data of {key} is no part of the request; it is fetched from nowhere else")
        self._inline_left -= values[0].size
        if self._inline_left < 0:
            raise LimitExceeded("the bulk data inside of Sequences is too long", limit="max_metadata_bytes")
        return b64encode(b"".join([bytes(piece) async for piece in self._bytes(values)])).decode()

    async def _bytes(self, pieces: Sequence[bytes | BulkPart]) -> AsyncIterator[memoryview]:
        for piece in pieces:
            if isinstance(piece, BulkPart):
                async for some in self._intake.read(self._asides[piece.number]):
                    yield memoryview(some)
            elif piece:
                yield memoryview(piece)


def _checked(row: Any, depth: int) -> Row:
    """Make sure that what a client sent has the form of a row (PS3.18 F.2.2)."""
    if depth > DEEPEST:
        raise LimitExceeded(f"Sequences are nested deeper than {DEEPEST}", limit="max_nesting")
    if not isinstance(row, dict):
        raise DatasetError("the metadata holds something else than an object of attributes")
    for key, attribute in row.items():
        vr = attribute.get("vr") if isinstance(attribute, dict) else None
        if not _TAG.fullmatch(key):
            raise DatasetError("the metadata holds an attribute that is not named by a tag such as 00100020")
        if not isinstance(vr, str) or vr not in _VRS:
            raise DatasetError(f"the vr of {key} is missing or none of PS3.5 6.2, of which it has to be one")
        if "BulkDataURI" in attribute and not isinstance(attribute["BulkDataURI"], str):
            raise DatasetError(f"the BulkDataURI of {key} is no text")
        if not isinstance(attribute.get("Value", []), list):
            raise DatasetError(f"the Value of {key} is no array")
        if attribute["vr"] == "SQ":
            attribute["Value"] = [_checked(item or {}, depth + 1) for item in attribute.get("Value", [])]
    return row


def _uid(row: Row, key: str) -> str:
    values = row.get(key, {}).get("Value") or [""]
    return str(values[0])
