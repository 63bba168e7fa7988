"""Where the elements of a Data Set lie, found by reading at any offset (PS3.5 section 7).

What a value holds is never read to step over it: a Data Set of a gigabyte costs a few reads.
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Final, NamedTuple, TypeAlias

from gateway.dataset.dictionary import known_vr, vr_of
from gateway.dataset.headers import SHORT_FORMS, UNDEFINED, VRS, HeaderFormat, header_format
from gateway.dataset.inflate import Inflater
from gateway.dataset.sink import Buffer, DatasetLimits
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, transfer_syntax
from gateway.errors import DatasetError, LimitExceeded

Read: TypeAlias = Callable[[int, int], bytes | memoryview]
"""Gives (offset, length) of a Data Set; fewer bytes than asked for only at its end."""

Span: TypeAlias = tuple[int, int]
"""Offset and length."""

_WINDOW: Final = 16 * 1024
_LIMITS: Final = DatasetLimits()
_LARGEST_VALUE: Final = 16 * 1024 * 1024


class Element(NamedTuple):
    """One element: where its header and value begin.

    Attributes:
        key: its tag; empty for a group length.
        length: of the value; ``UNDEFINED`` where a delimiter ends it.
        headers: how the headers inside it are laid out.
    """

    key: str
    vr: str
    start: int
    value: int
    length: int
    headers: HeaderFormat


def reader_of(data: Buffer) -> Read:
    """Return a Read over bytes that are in memory."""
    view = memoryview(data)

    def read(offset: int, length: int) -> memoryview:
        return view[offset : offset + length]

    return read


def inflated_uid(transfer_syntax_uid: str) -> str:
    """Return the Transfer Syntax of what ``inflated`` gives."""
    return EXPLICIT_VR_LE if transfer_syntax(transfer_syntax_uid).deflated else transfer_syntax_uid


def inflated(read: Read, transfer_syntax_uid: str) -> Read:
    """Return a Read over the Data Set itself: inflated, within the limits, where it is deflated (PS3.5 A.5).

    Raises:
        DatasetError: the deflated stream is damaged.
        LimitExceeded: it is a bomb.
    """
    if not transfer_syntax(transfer_syntax_uid).deflated:
        return read
    inflater = Inflater(_LIMITS.max_inflated, _LIMITS.max_inflate_ratio)
    out: list[bytes] = []
    for offset in count(0, _WINDOW):
        data = bytes(read(offset, _WINDOW))
        out += inflater.feed(data)
        if len(data) < _WINDOW:
            break
    inflater.finish()
    return reader_of(b"".join(out))


class Spans:
    """Walks one Data Set that is not deflated.

    Args:
        read: gives its bytes.
        transfer_syntax_uid: how it is encoded.

    Raises:
        DatasetError: from every method, where the bytes are no Data Set.
        LimitExceeded: from every method, at a limit.
    """

    __slots__ = ("_count", "_read", "_window", "_window_start", "headers")

    def __init__(self, read: Read, transfer_syntax_uid: str) -> None:
        syntax = transfer_syntax(transfer_syntax_uid)
        self._read = read
        self._window = b""
        self._window_start = 0
        self._count = 0
        self.headers = header_format(explicit=syntax.explicit, little_endian=syntax.little_endian)

    def peek(self, offset: int, length: int) -> bytes:
        """Return up to that many bytes, of which a window around them is kept."""
        start = offset - self._window_start
        if start < 0 or start + length > len(self._window):
            self._window = bytes(self._read(offset, max(length, _WINDOW)))
            self._window_start, start = offset, 0
        return self._window[start : start + length]

    def value(self, element: Element, longest: int = _LARGEST_VALUE) -> bytes:
        """Return the value field as it is encoded."""
        if element.length > longest:
            raise LimitExceeded(f"({element.key}) has more than {longest} bytes", limit="max_header")
        data = self.peek(element.value, element.length)
        if len(data) < element.length:
            raise DatasetError(f"the Data Set ends inside the element at byte {element.start}")
        return data

    def elements(
        self, start: int = 0, end: int | None = None, headers: HeaderFormat | None = None
    ) -> Iterator[Element]:
        """Yield the elements from ``start``: to ``end``, or else to a delimiter or the end of the Data Set."""
        position = start
        inside = headers or self.headers
        while end is None or position < end:
            if end is None and self._is_end(position):
                return
            element = self._element(position, inside)
            if element is None:
                return
            yield element
            position = self.end(element)
            if end is not None and position > end:
                raise DatasetError(f"the element at byte {element.start} is longer than what holds it")

    def items(self, sequence: Element) -> Iterator[tuple[int, int | None]]:
        """Yield where each item's elements start and end; the end is None where a delimiter stands there."""
        end = None if sequence.length == UNDEFINED else sequence.value + sequence.length
        position = sequence.value
        while end is None or position < end:
            tag, length = self._item(position, sequence.headers)
            position += 8
            if tag == sequence.headers.sequence_end:
                return
            if tag != sequence.headers.item:
                raise DatasetError(f"a Sequence holds something other than items at byte {position - 8}")
            if length == UNDEFINED:
                yield position, None
                position = self._after_items(position, sequence.headers, inside_item=True)
            else:
                yield position, position + length
                position += length

    def fragments(self, element: Element) -> Iterator[Span]:
        """Yield the Basic Offset Table and then each fragment of encapsulated Pixel Data (PS3.5 A.4)."""
        position = element.value
        while True:
            tag, length = self._item(position, element.headers)
            position += 8
            if tag == element.headers.sequence_end:
                return
            if tag != element.headers.item or length == UNDEFINED:
                raise DatasetError(f"encapsulated data is no sequence of fragments at byte {position - 8}")
            yield position, length
            position += length

    def end(self, element: Element) -> int:
        """Return where the element ends, its delimiter included."""
        if element.length != UNDEFINED:
            return element.value + element.length
        if element.vr == "SQ":
            return self._after_items(element.value, element.headers, inside_item=False)
        last = element.value
        for start, length in self.fragments(element):
            last = start + length
        return last + 8

    def _is_end(self, position: int) -> bool:
        """Whether the Data Set ends here; up to seven zero bytes are padding, as some writers leave behind."""
        data = self.peek(position, 8)
        if len(data) == 8:
            return False
        if data.strip(b"\0") or (position and not self.peek(position - 1, 1)):
            raise DatasetError(f"the Data Set ends inside the element before byte {position}")
        return True

    def _spend(self) -> None:
        self._count += 1
        if self._count > _LIMITS.max_elements:
            raise LimitExceeded(f"the Data Set has more than {_LIMITS.max_elements} elements", limit="max_elements")

    def _item(self, position: int, headers: HeaderFormat) -> tuple[int, int]:
        self._spend()
        data = self.peek(position, 8)
        if len(data) < 8:
            raise DatasetError(f"the Data Set ends where an item is expected, at byte {position}")
        tag, length = headers.implicit(data, 0)
        return tag, length

    def _element(self, position: int, headers: HeaderFormat) -> Element | None:
        """Read one header; None for the delimiter of an item."""
        self._spend()
        data = self.peek(position, 12)
        if len(data) < 8:
            raise DatasetError(f"the Data Set ends inside the element at byte {position}")
        tag, length = headers.implicit(data, 0)
        if tag == headers.item_end:
            return None
        if tag in {headers.item, headers.sequence_end}:
            raise DatasetError(f"a delimiter is not expected at byte {position}")
        key = headers.keys.get(tag) or headers.unlisted_key(tag)
        code = data[4:6]
        if not headers.has_vrs or not (code.isalpha() and code.isupper()):
            # Some writers switch to Implicit VR inside private Sequences.
            return self._resolved(key, vr_of(key) if key else "UL", (position, position + 8, length), headers)
        vr = SHORT_FORMS.get(code)
        if vr:
            return Element(key, vr, position, position + 8, headers.explicit(data, 0)[2], headers)
        if len(data) < 12:
            raise DatasetError(f"the Data Set ends inside the element at byte {position}")
        (length,) = headers.long(data, 8)
        return self._resolved(key, VRS.get(code, "UN"), (position, position + 12, length), headers)

    def _resolved(self, key: str, vr: str, place: tuple[int, int, int], headers: HeaderFormat) -> Element:
        """Say what an element with a 32-bit length is."""
        start, value, length = place
        undefined = length == UNDEFINED
        if vr == "UN":
            # Whatever the Transfer Syntax, what is disguised as UN is Implicit VR Little Endian (PS3.5 6.2.2).
            vr = "SQ" if undefined else known_vr(key) if headers.little_endian else vr
            headers = header_format(explicit=False, little_endian=True)
        if undefined and vr != "SQ":
            if vr not in {"OB", "OW"} or not key:
                raise DatasetError(f"an element of VR {vr} has no length at byte {start}")
            vr = "OB"
        return Element(key, vr, start, value, length, headers)

    def _after_items(self, position: int, headers: HeaderFormat, *, inside_item: bool) -> int:
        """Return where a Sequence or, if inside one, an item of undefined length ends, without recursion."""
        stack = [(inside_item, headers)]
        while stack:
            in_item, inside = stack[-1]
            if len(stack) > 2 * _LIMITS.max_nesting:
                raise LimitExceeded(f"Sequences are nested deeper than {_LIMITS.max_nesting}", limit="max_nesting")
            if in_item:
                element = self._element(position, inside)
                if element is None:
                    stack.pop()
                    position += 8
                elif element.vr == "SQ" and element.length == UNDEFINED:
                    stack.append((False, element.headers))
                    position = element.value
                else:
                    position = self.end(element)
            else:
                position = self._next_item(position, inside, stack)
        return position

    def _next_item(self, position: int, headers: HeaderFormat, stack: list[tuple[bool, HeaderFormat]]) -> int:
        tag, length = self._item(position, headers)
        if tag == headers.sequence_end:
            stack.pop()
        elif tag != headers.item:
            raise DatasetError(f"a Sequence holds something other than items at byte {position}")
        elif length == UNDEFINED:
            stack.append((True, headers))
        else:
            return position + 8 + length
        return position + 8
