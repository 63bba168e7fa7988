"""Which fragments of encapsulated Pixel Data make up which frame (PS3.5 A.4)."""

from collections.abc import Sequence
from itertools import pairwise
from struct import unpack
from typing import Final, TypeAlias

from gateway.dataset.headers import ITEM
from gateway.dataset.spans import Span, Spans
from gateway.errors import DatasetError

Frame: TypeAlias = tuple[Span, ...]
"""The fragments of one frame, without their item headers."""

_STARTS: Final = (
    b"\xff\xd8\xff",  # SOI of JPEG and JPEG-LS, and the marker after it
    b"\xff\x4f\xff\x51",  # SOC and SIZ of JPEG 2000
    b"\x00\x00\x00\x0c\x6a\x50",  # signature box of a JP2 file, which some writers wrap around it
    b"\xff\x0a",  # JPEG XL
)
_END_MARKER: Final = b"\xff\xd9"
_ITEM_HEADER: Final = 8


def fragment(frame: bytes) -> bytes:
    """Return a frame as one fragment, with its item header and even (PS3.5 A.4)."""
    odd = len(frame) % 2
    return ITEM + (len(frame) + odd).to_bytes(4, "little") + frame + b"\0" * odd


def frames_of(spans: Spans, found: Sequence[Span], number: int, extended: tuple[bytes, bytes]) -> tuple[Frame, ...]:
    """Divide fragments into frames: by a table that is right, else one each, else by what they begin and end with.

    Args:
        spans: gives the bytes of the Data Set.
        found: the Basic Offset Table and the fragments behind it.
        number: how many frames the Data Set says there are.
        extended: the values of Extended Offset Table and its Lengths, empty where absent.

    Raises:
        DatasetError: it cannot be told.
    """
    if not found:
        raise DatasetError("the encapsulated Pixel Data has not even a Basic Offset Table")
    table, *fragments = found
    if number == 1 and fragments:
        return (_trimmed(tuple(fragments), extended),)
    base = table[0] + table[1]
    frames = _by_extended_table(base, fragments, number, extended)
    if not frames:
        frames = _by_offsets(base, fragments, _basic_offsets(spans, table, number))
    if not frames and len(fragments) == number:
        frames = tuple((fragment,) for fragment in fragments)
    if not frames and len(fragments) > number:
        frames = _by_markers(spans, fragments, number)
    if not frames:
        raise DatasetError(
            f"{len(fragments)} fragments cannot be divided into {number} frames: there is no usable offset table"
        )
    return frames


def _trimmed(frame: Frame, extended: tuple[bytes, bytes]) -> Frame:
    """Leave off the padding of a lone fragment whose length the Extended Offset Table tells."""
    offsets, lengths = _extended(1, extended)
    (start, length), *more = frame
    if not more and offsets == (0,) and 0 <= length - lengths[0] <= 1:
        return ((start, lengths[0]),)
    return frame


def _extended(number: int, extended: tuple[bytes, bytes]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    offsets, lengths = extended
    if not number or len(offsets) != 8 * number or len(lengths) != 8 * number:
        return (), ()
    return unpack(f"<{number}Q", offsets), unpack(f"<{number}Q", lengths)


def _by_extended_table(
    base: int, fragments: Sequence[Span], number: int, extended: tuple[bytes, bytes]
) -> tuple[Frame, ...]:
    """Divide by (7FE0,0001) and (7FE0,0002), which allow one fragment per frame (PS3.3 C.7.6.3.1.8)."""
    offsets, lengths = _extended(number, extended)
    by_offset = {start - _ITEM_HEADER - base: (start, length) for start, length in fragments}
    frames = []
    for offset, length in zip(offsets, lengths, strict=True):
        start, whole = by_offset.get(offset, (0, -1))
        if not 0 <= whole - length <= 1:
            return ()
        frames.append(((start, length),))
    return tuple(frames)


def _basic_offsets(spans: Spans, table: Span, number: int) -> tuple[int, ...]:
    offset, length = table
    if length != 4 * number:
        return ()
    data = spans.peek(offset, length)
    return unpack(f"<{number}L", data) if len(data) == length else ()


def _by_offsets(base: int, fragments: Sequence[Span], offsets: Sequence[int]) -> tuple[Frame, ...]:
    """Divide where the Basic Offset Table says, if each offset is the item header of a fragment and they ascend."""
    index_of = {start - _ITEM_HEADER - base: index for index, (start, _) in enumerate(fragments)}
    firsts = [index_of.get(offset, -1) for offset in offsets]
    if not firsts or firsts[0] != 0 or any(one >= two for one, two in pairwise(firsts)):
        return ()
    return tuple(tuple(fragments[one:two]) for one, two in pairwise([*firsts, len(fragments)]))


def _by_markers(spans: Spans, fragments: Sequence[Span], number: int) -> tuple[Frame, ...]:
    firsts = [
        index
        for index, (start, length) in enumerate(fragments)
        if spans.peek(start, min(length, 8)).startswith(_STARTS)
    ]
    if len(firsts) != number or firsts[0] != 0:
        lasts = [index for index, fragment in enumerate(fragments) if _ends_codestream(spans, fragment)]
        if len(lasts) != number or lasts[-1] != len(fragments) - 1:
            return ()
        firsts = [0, *(index + 1 for index in lasts[:-1])]
    return tuple(tuple(fragments[one:two]) for one, two in pairwise([*firsts, len(fragments)]))


def _ends_codestream(spans: Spans, fragment: Span) -> bool:
    start, length = fragment
    size = min(length, 4)
    return spans.peek(start + length - size, size).rstrip(b"\0").endswith(_END_MARKER)
