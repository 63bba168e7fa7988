"""A whole instance in another Transfer Syntax: what must change in its Data Set, and nothing else (PS3.5 A.4, 8.2).

Imports the codecs: for worker processes. An instance too large to hold is made of ``head``, each frame's
``piece`` and ``tail``; ``transcode`` does the same with one in memory.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from struct import pack
from typing import Final

from gateway.dataset import transfer_syntax as ts
from gateway.dataset.codestreams import NATIVE, can_become
from gateway.dataset.encoding import encoded, reencode
from gateway.dataset.fragments import fragment
from gateway.dataset.frames import FrameIndex, frame_index
from gateway.dataset.headers import ITEM, SEQUENCE_END, UNDEFINED, element_header
from gateway.dataset.image import ImageDescription
from gateway.dataset.inflate import deflated
from gateway.dataset.sink import Buffer
from gateway.dataset.spans import Element, Spans, inflated, inflated_uid, reader_of
from gateway.dataset.transcode import Reencoder
from gateway.dataset.values import PADDING
from gateway.errors import DatasetError, LimitExceeded, NotAcceptable

LOSSY_METHODS: Final[Mapping[str, str]] = {
    ts.JPEG_BASELINE: "ISO_10918_1",
    ts.JPEG_EXTENDED: "ISO_10918_1",
    ts.JPEG_LS_NEAR_LOSSLESS: "ISO_14495_1",
}
"""Lossy Image Compression Method of the Transfer Syntaxes that always lose information (PS3.3 C.7.6.1.1.5)."""

_INTERPRETATION: Final = "00280004"
_PLANAR_CONFIGURATION: Final = "00280006"
_LOSSY: Final = "00282110"
_LOSSY_RATIO: Final = "00282112"
_LOSSY_METHOD: Final = "00282114"
_ICON: Final = "00880200"
_STALE: Final = frozenset({"7FE00001", "7FE00002", "7FE00003"})
"""Extended Offset Table, its Lengths, and Encapsulated Pixel Data Value Total Length."""
_CHANGED_GROUPS: Final = frozenset({b"\x28\0", b"\x88\0", b"\xe0\x7f"})
_EMPTY_TABLE: Final = ITEM + bytes(4)


@dataclass(frozen=True, slots=True)
class Recoding:
    """What an instance is turned into.

    Attributes:
        source: its pixels as they are.
        target: its pixels as they shall be.
        number_of_frames: as its Data Set says.
        ratio: how much smaller a lossy codec made it; None where none did, or where it is not known yet.
    """

    source: ImageDescription
    target: ImageDescription
    number_of_frames: int
    ratio: float | None = None

    @property
    def _native_bytes(self) -> int:
        return self.number_of_frames * self.target.frame_bytes

    def head(self, before: Buffer) -> bytes:
        """Return the new Data Set up to its first frame.

        Args:
            before: the Data Set up to the element of the pixels (``FrameIndex.before``), inflated.

        Raises:
            DatasetError: these are no elements.
            LimitExceeded: a native value cannot be that long.
        """
        uid = inflated_uid(self.source.transfer_syntax_uid)
        opening = self._opening()
        return _rewritten(_explicit(before, uid), self._changes(), uid if self.source.encapsulated else "") + opening

    def _opening(self) -> bytes:
        if self.target.encapsulated:
            return element_header(self.target.element, "OB", UNDEFINED) + _EMPTY_TABLE
        size = self._native_bytes + self._native_bytes % 2
        if size >= UNDEFINED:
            raise LimitExceeded("the pixels are too many for a native Transfer Syntax", limit="value_length")
        return element_header(self.target.element, self.target.vr, size)

    def piece(self, frame: bytes) -> bytes:
        """Return what stands in the new Data Set for a frame that ``reencode`` returned."""
        return fragment(frame) if self.target.encapsulated else frame

    def tail(self, after: Buffer) -> bytes:
        """Return the new Data Set from the end of its last frame on, of the old one from ``FrameIndex.after`` on."""
        closing = SEQUENCE_END if self.target.encapsulated else b"\0" * (self._native_bytes % 2)
        return closing + _explicit(after, inflated_uid(self.source.transfer_syntax_uid))

    def _changes(self) -> dict[str, bytes]:
        source, target = self.source, self.target
        changes = {}
        if source.photometric_interpretation != target.photometric_interpretation:
            changes[_INTERPRETATION] = _text_element(_INTERPRETATION, target.photometric_interpretation)
        if source.planar_configuration != target.planar_configuration:
            changes[_PLANAR_CONFIGURATION] = element_header(_PLANAR_CONFIGURATION, "US", 2) + pack(
                "<H", target.planar_configuration
            )
        return changes | self._lossy_changes()

    def _lossy_changes(self) -> dict[str, bytes]:
        """Say what a codec lost, also once the codec itself is gone from the Data Set (PS3.3 C.7.6.1.1.5)."""
        source, target = self.source.transfer_syntax_uid, self.target.transfer_syntax_uid
        method = LOSSY_METHODS.get(target) or LOSSY_METHODS.get(source)
        if method is None:
            return {}
        changes = {_LOSSY: _text_element(_LOSSY, "01"), _LOSSY_METHOD: _text_element(_LOSSY_METHOD, method)}
        if self.ratio:
            changes[_LOSSY_RATIO] = _text_element(_LOSSY_RATIO, f"{self.ratio:.6g}", "DS")
        return changes


def _text_element(key: str, text: str, vr: str = "CS") -> bytes:
    value = (text + " " * (len(text) % 2)).encode()
    return element_header(key, vr, len(value)) + value


def recoding(index: FrameIndex, target_uid: str) -> Recoding:
    """Plan how an instance with pixels becomes one in another Transfer Syntax.

    Raises:
        NotAcceptable: it cannot.
        DatasetError: its frames cannot be told apart.
    """
    source = index.description
    if source is None or index.is_video:
        raise NotAcceptable("the instance has no frames that can be re-encoded")
    if index.fault:
        raise DatasetError(index.fault)
    target = encoded(source, target_uid)
    if source.encapsulated and index.number_of_frames > 1 and source.frame_bits % 8 and not target.encapsulated:
        raise NotAcceptable("frames that do not fill their last byte cannot be joined")
    return Recoding(source, target, index.number_of_frames)


def transcode(data: Buffer, source_uid: str, target_uid: str) -> Iterator[bytes]:
    """Yield an instance re-encoded (PS3.18 8.7.3.4), without loss unless a lossy Transfer Syntax is named.

    Args:
        data: its Data Set.
        source_uid: how that is encoded.
        target_uid: one of ``TRANSCODABLE_TO``.

    Raises:
        NotAcceptable: it cannot be made.
        DatasetError: the Data Set or a codestream is damaged.
        LimitExceeded: at a limit.
    """
    if source_uid == target_uid:
        yield bytes(data)
        return
    deflate = target_uid == ts.DEFLATED_EXPLICIT_VR_LE
    plain_uid = ts.EXPLICIT_VR_LE if deflate else target_uid
    if plain_uid == ts.EXPLICIT_VR_LE and source_uid in NATIVE and not _has_long_words(data, source_uid):
        chunks: Iterator[bytes] = iter([_explicit(data, source_uid)])
    else:
        chunks = _recoded(data, source_uid, plain_uid)
    yield from deflated(chunks) if deflate else chunks


def _has_long_words(data: Buffer, source_uid: str) -> bool:
    """Whether pixels in big endian are longer than the words of their VR, OW, so that they swap by pixel."""
    if source_uid != ts.EXPLICIT_VR_BE:
        return False
    description = frame_index(reader_of(data), source_uid).description
    return description is not None and description.bits_allocated > 16


def _recoded(data: Buffer, source_uid: str, target_uid: str) -> Iterator[bytes]:
    read = inflated(reader_of(data), source_uid)
    index = frame_index(read, inflated_uid(source_uid))
    if index.description is None:
        if not can_become(None, source_uid, target_uid):
            raise NotAcceptable(f"an instance without pixels cannot be {ts.transfer_syntax(target_uid).name}")
        yield bytes(data)
        return
    plan = recoding(index, target_uid)
    numbers = range(1, index.number_of_frames + 1)
    frames: Iterable[bytes] = (reencode(index.frame(read, number), plan.source, target_uid) for number in numbers)
    if target_uid in LOSSY_METHODS:
        frames = list(frames)
        size = sum(map(len, frames))
        plan = replace(plan, ratio=plan.number_of_frames * plan.source.frame_bytes / max(size, 1))
    yield plan.head(read(0, index.before))
    for frame in frames:
        yield plan.piece(frame)
    yield plan.tail(read(index.after, len(data) if read(index.after, 1) else 0))


def _explicit(data: Buffer, source_uid: str) -> bytes:
    """Return elements in Explicit VR Little Endian, untouched where they already are."""
    if ts.transfer_syntax(source_uid).encapsulated:
        source_uid = ts.EXPLICIT_VR_LE
    # Some writers encapsulate what is Implicit VR otherwise: a Reader copes, but nobody else should have to.
    if source_uid == ts.EXPLICIT_VR_LE and bytes(data[4:6]).isalpha() == bool(data):
        return bytes(data)
    reencoder = Reencoder(source_uid)
    return b"".join((*reencoder.feed(data), *reencoder.finish()))


def _rewritten(head: bytes, changes: Mapping[str, bytes], icons_in: str) -> bytes:
    """Put changed elements in their places; an attribute that says Lossy already keeps what it says.

    Args:
        head: elements in Explicit VR Little Endian.
        changes: whole elements by key.
        icons_in: encapsulated Transfer Syntax in which Pixel Data of Icon Image Sequence may be, if any.
    """
    left = dict(sorted(changes.items()))
    out: list[bytes] = []
    spans = Spans(reader_of(head), ts.EXPLICIT_VR_LE)
    for element in spans.elements():
        whole = head[element.start : spans.end(element)]
        out += [left.pop(key) for key in list(left) if element.key and key < element.key]
        change = left.pop(element.key, None)
        if change is not None:
            out.append(_merged(element.key, spans.value(element), change))
        elif element.key in _STALE or (not element.key and whole[:2] in _CHANGED_GROUPS):
            continue
        elif element.key == _ICON and icons_in:
            out.append(_with_native_icons(spans, element, whole, icons_in))
        else:
            out.append(whole)
    return b"".join((*out, *left.values()))


def _merged(key: str, value: bytes, change: bytes) -> bytes:
    """Add to the list of lossy steps rather than forget the earlier ones; all else is replaced."""
    if key not in {_LOSSY_METHOD, _LOSSY_RATIO}:
        return change
    old = value.decode("ascii", "replace").strip(PADDING)
    new = change[8:].decode().strip()
    if not old:
        return change
    if key == _LOSSY_METHOD and old.rpartition("\\")[2] == new:
        return _text_element(key, old)
    return _text_element(key, f"{old}\\{new}", "DS" if key == _LOSSY_RATIO else "CS")


def _with_native_icons(spans: Spans, sequence: Element, whole: bytes, uid: str) -> bytes:
    """Decode icons that are encapsulated in the Transfer Syntax that is left; one that cannot be is left out."""
    items = []
    for start, end in spans.items(sequence):
        stop = end if end is not None else _end_of_item(spans, start)
        items.append(bytes(spans.peek(start, stop - start)))
    try:
        indices = [frame_index(reader_of(item), uid) for item in items]
        if all(index.description is None or index.fault for index in indices):
            return whole
        items = [b"".join(_native_icon(item, uid)) for item in items]
    except (DatasetError, NotAcceptable):
        return b""
    value = b"".join(ITEM + pack("<L", len(item)) + item for item in items)
    return element_header(sequence.key, "SQ", len(value)) + value


def _native_icon(item: bytes, uid: str) -> Iterator[bytes]:
    index = frame_index(reader_of(item), uid)
    return iter([item]) if index.description is None or index.fault else transcode(item, uid, ts.EXPLICIT_VR_LE)


def _end_of_item(spans: Spans, start: int) -> int:
    end = start
    for element in spans.elements(start):
        end = spans.end(element)
    return end
