"""Where the value lies that a BulkDataURI of ours names (PS3.18 10.4.1.1.5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from gateway.dataset.headers import UNDEFINED
from gateway.dataset.spans import Element, Read, Span, Spans, inflated
from gateway.dataset.values import WORD_SIZES, swapped
from gateway.errors import DatasetError


@dataclass(frozen=True, slots=True)
class BulkValue:
    """One value, in the Data Set's own byte order.

    Attributes:
        vr: its VR.
        parts: the value field, or each fragment of encapsulated Pixel Data without the Basic Offset Table.
        encapsulated: whether it is fragments.
        word: size of the words that change places on the way to little endian, 1 where none do.
    """

    vr: str
    parts: tuple[Span, ...]
    encapsulated: bool = False
    word: int = 1

    @property
    def length(self) -> int:
        """Bytes of all parts."""
        return sum(length for _, length in self.parts)

    def read(self, read: Read) -> bytes:
        """Return the value in little endian; fragments one behind the other.

        Raises:
            DatasetError: the Data Set ends before the value does.
        """
        data = b"".join([read(offset, length) for offset, length in self.parts])
        if len(data) != self.length:
            raise DatasetError("the Data Set ends inside the value")
        return data if self.word == 1 else swapped(data, self.word)


def bulk_value(read: Read, transfer_syntax_uid: str, path: Sequence[str]) -> BulkValue | None:
    """Find the value at a path: keys, and behind each Sequence the number of the item from 1.

    Args:
        read: over the Data Set as it is encoded; offsets are in the inflated one where it is deflated.
        transfer_syntax_uid: how it is encoded.
        path: what stands behind ``/bulkdata/`` in the URL, split at the slashes.

    Returns:
        None where the Data Set has no such value.

    Raises:
        DatasetError: the bytes are no Data Set.
        LimitExceeded: at a limit.
    """
    spans = Spans(inflated(read, transfer_syntax_uid), transfer_syntax_uid)
    element = _descend(spans, path)
    if element is None or element.vr == "SQ":
        return None
    if element.length == UNDEFINED:
        _table, *fragments = [*spans.fragments(element)] or [(0, 0)]
        return BulkValue(element.vr, tuple(fragments), encapsulated=True)
    word = 1 if element.headers.little_endian else WORD_SIZES.get(element.vr, 1)
    return BulkValue(element.vr, ((element.value, element.length),), word=word)


def _descend(spans: Spans, path: Sequence[str]) -> Element | None:
    """Follow a path that alternates between keys and item numbers."""
    if len(path) % 2 == 0:
        return None
    found = _element(spans, path[0].upper(), 0, None, None)
    for number, key in zip(path[1::2], path[2::2], strict=True):
        if found is None or found.vr != "SQ" or not (number.isascii() and number.isdigit() and len(number) < 10):
            return None
        item = next(islice(spans.items(found), max(0, int(number) - 1), None), None) if int(number) else None
        if item is None:
            return None
        found = _element(spans, key.upper(), *item, found)
    return found


def _element(spans: Spans, key: str, start: int, end: int | None, within: Element | None) -> Element | None:
    headers = within.headers if within else None
    return next((element for element in spans.elements(start, end, headers) if element.key == key), None)
