"""Where each frame lies in the bytes of a Data Set (PS3.5 8.1.1, A.4; PS3.3 C.7.6.3.1.8)."""

import re
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final, Literal

import orjson

from gateway.dataset.fragments import Frame, frames_of
from gateway.dataset.headers import UNDEFINED
from gateway.dataset.image import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, PIXELS, ImageDescription
from gateway.dataset.spans import Element, Read, Span, Spans, inflated
from gateway.dataset.transfer_syntax import transfer_syntax
from gateway.dataset.values import PADDING, swapped
from gateway.errors import DatasetError

_NUMBERS: Final = MappingProxyType(
    {
        "00280002": "samples_per_pixel",
        "00280006": "planar_configuration",
        "00280010": "rows",
        "00280011": "columns",
        "00280100": "bits_allocated",
        "00280101": "bits_stored",
        "00280102": "high_bit",
        "00280103": "pixel_representation",
    }
)
_NUMBER_OF_FRAMES: Final = "00280008"
_PHOTOMETRIC_INTERPRETATION: Final = "00280004"
_DOCUMENT: Final = "00420011"
_DOCUMENT_LENGTH: Final = "00420015"
_DOCUMENT_TYPE: Final = "00420012"
_REPRESENTATIVE_FRAME: Final = "00286010"
_EXTENDED_TABLE: Final = "7FE00001"
_EXTENDED_LENGTHS: Final = "7FE00002"
_SHORT: Final = frozenset(
    {
        *(*_NUMBERS, _NUMBER_OF_FRAMES, _PHOTOMETRIC_INTERPRETATION),
        *(_DOCUMENT_LENGTH, _DOCUMENT_TYPE, _REPRESENTATIVE_FRAME),
    }
)
_LONGEST_SHORT: Final = 256
_LARGEST_TABLE: Final = 8 * 1_000_000
_VIDEO: Final = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10\d(\.1)?")


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """Where the pixels or the document of one instance are; all offsets are in its Data Set, inflated if deflated.

    Attributes:
        description: None for an instance without pixels.
        number_of_frames: as the Data Set says, 0 without pixels.
        before: where the element of the pixels begins; the end of the Data Set without pixels.
        after: where it ends.
        representative: Representative Frame Number, or the middle one (PS3.3 C.7.6.6).
        document: the value of Encapsulated Document without its padding.
        document_type: MIME Type of Encapsulated Document.
        fault: why ``spans`` has no frames although there are pixels.
    """

    transfer_syntax_uid: str
    description: ImageDescription | None = None
    number_of_frames: int = 0
    before: int = 0
    after: int = 0
    representative: int = 1
    document: Span | None = None
    document_type: str = ""
    fault: str = ""
    _pixels: Span = (0, 0)
    _frames: tuple[Frame, ...] = ()

    @property
    def is_video(self) -> bool:
        """Whether the codestream is one for all frames (PS3.5 8.2.5 and on)."""
        return is_video(self.transfer_syntax_uid)

    def spans(self, frame: int) -> list[Span]:
        """Return what holds a frame, counted from 1: fragments, or whole bytes with all bits of a native one.

        A native frame may begin inside the first byte, or may need its bytes swapped: ``frame`` does that.

        Raises:
            DatasetError: there is no such frame, or it cannot be found.
        """
        if self.description is None or not 1 <= frame <= self.number_of_frames:
            raise DatasetError(f"there is no frame {frame}: the instance has {self.number_of_frames}")
        if self.fault:
            raise DatasetError(self.fault)
        if self._frames:
            return list(self._frames[0 if self.is_video else frame - 1])
        first, end = _native_bytes(self.description, frame)
        start, length = self._pixels
        if end > length:
            raise DatasetError(f"Pixel Data ends before frame {frame} does")
        return [(start + first, end - first)]

    def frame(self, read: Read, frame: int) -> bytes:
        """Return one frame: its codestream, or its native pixels in little endian from the first bit of a byte on.

        Args:
            read: over the bytes that were indexed (``inflated`` where the Data Set is deflated).
            frame: its number, from 1.

        Raises:
            DatasetError: there is no such frame, or the bytes end before it does.
        """
        spans = self.spans(frame)
        data = b"".join([read(offset, length) for offset, length in spans])
        if len(data) != sum(length for _, length in spans):
            raise DatasetError(f"the Data Set ends inside frame {frame}")
        return data if self._frames or self.description is None else self._aligned(self.description, data, frame)

    def is_plain(self, frame: int) -> bool:
        """Whether a frame is its spans, byte for byte, so that it can be sent from the file."""
        description = self.description
        if description is None or self._frames:
            return True
        swap = _swap_size(description)
        return swap == 1 and (frame - 1) * description.frame_bits % 8 == 0

    def _aligned(self, description: ImageDescription, data: bytes, frame: int) -> bytes:
        """Move a frame to the front of its bytes: pixels are packed from the lowest bit up (PS3.5 8.1.1)."""
        word = _swap_size(description)
        if word > 1:
            data = swapped(data, word)
        bits = description.frame_bits
        begin = (frame - 1) * bits - 8 * _native_bytes(description, frame)[0]
        if begin % 8 or bits % 8:
            number = int.from_bytes(data, "little") >> begin & (1 << bits) - 1
            return number.to_bytes(description.frame_bytes, "little")
        return data[begin // 8 : begin // 8 + bits // 8]

    def to_bytes(self) -> bytes:
        """Return the index as bytes, to be kept beside the instance."""
        return orjson.dumps({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "FrameIndex":
        """Return the index that ``to_bytes`` wrote.

        Raises:
            DatasetError: the bytes are no index of this version.
        """
        try:
            kept: dict[str, Any] = orjson.loads(data)
            if kept["description"]:
                kept["description"] = ImageDescription(**kept["description"])
            kept["document"] = _span(kept["document"]) if kept["document"] else None
            kept["_pixels"] = _span(kept["_pixels"])
            kept["_frames"] = tuple([tuple([(offset, size) for offset, size in frame]) for frame in kept["_frames"]])
            return cls(**kept)
        except (ValueError, TypeError, KeyError):
            raise DatasetError("the kept index of frames cannot be read") from None


def _span(pair: list[int]) -> Span:
    offset, length = pair
    return offset, length


def is_video(transfer_syntax_uid: str) -> bool:
    """Whether all frames are one codestream (PS3.5 8.2.5 and on)."""
    return _VIDEO.fullmatch(transfer_syntax_uid) is not None


def _swap_size(description: ImageDescription) -> int:
    """Return the size of the words whose bytes change places between the file and a frame (PS3.5 7.3)."""
    if transfer_syntax(description.transfer_syntax_uid).little_endian:
        return 1
    if description.vr == "OB":
        return 1
    return max(2, description.bits_allocated // 8)


def _native_bytes(description: ImageDescription, frame: int) -> tuple[int, int]:
    """Return where the bytes that have bits of a frame begin and end, counted from the value's first."""
    bits = description.frame_bits
    first, end = (frame - 1) * bits // 8, (frame * bits + 7) // 8
    word = _swap_size(description)
    return first - first % word, end + -end % word


def frame_index(read: Read, transfer_syntax_uid: str) -> FrameIndex:
    """Find the frames, or the encapsulated document, of one instance (PS3.5 A.4, PS3.3 C.24.2).

    Args:
        read: over its Data Set as it is encoded; only headers and tables are read, unless it is deflated.
        transfer_syntax_uid: how it is encoded.

    Raises:
        DatasetError: the bytes are no Data Set. Frames that cannot be told apart are the index's ``fault``.
        LimitExceeded: at a limit.
    """
    return _Indexing(inflated(read, transfer_syntax_uid), transfer_syntax_uid).index()


class _Indexing:
    """One walk over a Data Set."""

    def __init__(self, read: Read, transfer_syntax_uid: str) -> None:
        self._uid = transfer_syntax_uid
        self._spans = Spans(read, transfer_syntax_uid)
        self._values: dict[str, bytes] = {}
        self._tables: dict[str, bytes] = {}
        self._document: Span | None = None
        self._order: Literal["little", "big"] = (
            "little" if transfer_syntax(transfer_syntax_uid).little_endian else "big"
        )

    def index(self) -> FrameIndex:
        end = 0
        for element in self._spans.elements():
            if element.key in PIXELS:
                return self._of_pixels(element)
            end = self._spans.end(element)
            self._note(element)
        return FrameIndex(
            self._uid,
            before=end,
            after=end,
            document=self._trimmed_document(),
            document_type=self._text(_DOCUMENT_TYPE),
        )

    def _note(self, element: Element) -> None:
        key, length = element.key, element.length
        if key in _SHORT and length <= _LONGEST_SHORT:
            self._values[key] = self._spans.value(element)
        elif key in {_EXTENDED_TABLE, _EXTENDED_LENGTHS} and length <= _LARGEST_TABLE:
            self._tables[key] = self._spans.value(element)
        elif key == _DOCUMENT and length != UNDEFINED:
            self._document = element.value, length

    def _trimmed_document(self) -> Span | None:
        if self._document is None:
            return None
        offset, length = self._document
        said = self._number(_DOCUMENT_LENGTH, length, size=4)
        return offset, said if said == length - 1 else length

    def _number(self, key: str, default: int, size: int = 2) -> int:
        value = self._values.get(key, b"")[:size]
        return int.from_bytes(value, self._order) if len(value) == size else default

    def _text(self, key: str) -> str:
        return self._values.get(key, b"").decode("ascii", "replace").strip(PADDING)

    def _of_pixels(self, element: Element) -> FrameIndex:
        description = self._description(element)
        number = self._frame_count()
        frames: tuple[Frame, ...] = ()
        fault = ""
        if element.length == UNDEFINED:
            found = list(self._spans.fragments(element))
            after = sum(found[-1]) + 8 if found else element.value + 8
            try:
                frames = self._divided(found, number)
            except DatasetError as error:
                fault = str(error)
        else:
            after = element.value + element.length
            fault = _native_fault(description, element)
        representative = self._number(_REPRESENTATIVE_FRAME, 0)
        return FrameIndex(
            self._uid,
            description,
            number,
            element.start,
            after,
            representative if 1 <= representative <= number else (number + 1) // 2,
            fault=fault,
            _pixels=(element.value, 0 if frames else element.length),
            _frames=frames,
        )

    def _divided(self, found: list[Span], number: int) -> tuple[Frame, ...]:
        extended = self._tables.get(_EXTENDED_TABLE, b""), self._tables.get(_EXTENDED_LENGTHS, b"")
        return frames_of(self._spans, found, 1 if is_video(self._uid) else number, extended)

    def _frame_count(self) -> int:
        try:
            return max(1, int(self._text(_NUMBER_OF_FRAMES) or "1"))
        except ValueError:
            return 1

    def _description(self, element: Element) -> ImageDescription:
        numbers = {name: self._number(key, 0) for key, name in _NUMBERS.items()}
        default = {FLOAT_PIXEL_DATA: 32, DOUBLE_FLOAT_PIXEL_DATA: 64}.get(element.key, 16)
        allocated = numbers["bits_allocated"] or default
        stored = numbers["bits_stored"] or allocated
        return ImageDescription(
            self._uid,
            numbers["rows"],
            numbers["columns"],
            numbers["samples_per_pixel"] or 1,
            self._text(_PHOTOMETRIC_INTERPRETATION) or "MONOCHROME2",
            numbers["planar_configuration"],
            allocated,
            stored,
            numbers["high_bit"] if "00280102" in self._values else stored - 1,
            numbers["pixel_representation"],
            element.key,
            element.vr,
        )


def _native_fault(description: ImageDescription, element: Element) -> str:
    if description.encapsulated:
        return "Pixel Data of an encapsulated Transfer Syntax is no sequence of fragments"
    if not description.frame_bits:
        return "the image has no Rows or no Columns"
    if description.frame_bytes > element.length:
        return "Pixel Data is shorter than one frame"
    return ""
