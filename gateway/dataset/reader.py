"""A bounded, incremental reader of Data Sets (PS3.5 section 7) in any Transfer Syntax.

It walks elements, items and fragments without recursion and tells a sink about them. Whatever the source
is, a sink sees keys of the DICOM JSON Model, definite VRs and little-endian values.
"""

import re
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.dataset.dictionary import PIXEL_REPRESENTATION, entries, known_vr, unlisted_entry, vr_of
from gateway.dataset.headers import ITEM, SHORT_FORMS, UNDEFINED, VRS, HeaderFormat, header_format
from gateway.dataset.inflate import Inflater
from gateway.dataset.passage import Passage
from gateway.dataset.sink import Buffer, DatasetLimits, Sink
from gateway.dataset.transfer_syntax import transfer_syntax
from gateway.dataset.values import WORD_SIZES, swapped
from gateway.errors import DatasetError, LimitExceeded

_NO_END: Final = 1 << 62
_LONGEST_HEADER: Final = 12
_WINDOW: Final = 256 * 1024
_ELEMENTS, _ITEMS, _FRAGMENTS = range(3)
_EMPTY_ITEMS: Final = re.compile(rb"(?:\xfe\xff\x00\xe0\x00\x00\x00\x00)+")
_LUT_DESCRIPTOR: Final = "00283002"
_OF_IMPLICIT: Final = MappingProxyType({"ox": "OW", "lt": "OW", "xs": "US"})

_Frame: TypeAlias = tuple[int, int, bool, HeaderFormat, bool]


class Reader:
    """Reads one Data Set that arrives in fragments of any size.

    Args:
        transfer_syntax_uid: how it is encoded.
        sink: who is told.
        limits: what it may cost.
        size: its length where that is known, so that a length beyond it is found out at once.

    Raises:
        DatasetError: from ``feed`` and ``finish``, when the bytes are no Data Set.
        LimitExceeded: from both, at a limit.
    """

    __slots__ = (
        *("_base", "_count", "_end", "_format", "_inflater", "_kind", "_large_from", "_limits", "_need", "_passage"),
        *("_pending", "_pending_size", "_signed", "_single_entry", "_sink", "_stack", "_undefined"),
    )

    def __init__(self, transfer_syntax_uid: str, sink: Sink, limits: DatasetLimits, size: int | None = None) -> None:
        syntax = transfer_syntax(transfer_syntax_uid)
        self._sink = sink
        self._large_from = min(sink.large_from, UNDEFINED)
        self._limits = limits
        self._inflater = Inflater(limits.max_inflated, limits.max_inflate_ratio) if syntax.deflated else None
        # The container that is being read: a Data Set or item, a Sequence, or fragments.
        self._kind = _ELEMENTS
        # Position in the stream where it ends at the latest; the Data Set itself is never left, so a little later.
        self._end = _NO_END if size is None or syntax.deflated else size + 7
        self._undefined = False  # whether a delimiter ends it
        self._format = header_format(explicit=syntax.explicit, little_endian=syntax.little_endian)
        self._signed = False  # what Pixel Representation says, here or further out
        self._stack: list[_Frame] = []
        self._single_entry = False  # what the last LUT Descriptor says
        self._base = 0  # position in the stream of the first byte that is not read
        self._need = 8  # bytes without which nothing more can be read
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._passage = Passage(sink)
        self._count = 0

    def feed(self, data: Buffer) -> None:
        """Read the next fragment."""
        if self._inflater:
            for chunk in self._inflater.feed(bytes(data)):
                self._take(chunk)
        elif len(data) <= _WINDOW:
            self._take(data)
        else:
            view = memoryview(data)
            for start in range(0, len(view), _WINDOW):
                self._take(view[start : start + _WINDOW])

    def finish(self) -> None:
        """Check that the Data Set is complete.

        Fewer than eight zero bytes after its last element are padding, as some writers leave behind.
        """
        if self._inflater:
            self._inflater.finish()
        rest = b"".join(self._pending)
        if self._stack or self._passage.left or len(rest) >= 8 or rest.strip(b"\0"):
            raise DatasetError(f"the Data Set ends inside the element at byte {self._base}")

    def _take(self, data: Buffer) -> None:
        start = self._pass_on(memoryview(data)) if self._passage.left else 0
        self._base += start
        if start == len(data):
            return
        self._pending_size += len(data) - start
        if self._pending_size < self._need:
            self._pending.append(bytes(data[start:]))
            return
        buffer = b"".join((*self._pending, data[start:])) if self._pending or start else bytes(data)
        position = self._run(buffer)
        self._base += position
        self._pending_size = len(buffer) - position
        self._pending = [buffer[position:]] if self._pending_size else []
        self._check_cost()

    def _check_cost(self) -> None:
        limits = self._limits
        if self._count > limits.max_elements:
            raise LimitExceeded(f"the Data Set has more than {limits.max_elements} elements", limit="max_elements")
        value = self._need if self._need > _LONGEST_HEADER else 0
        if self._base - self._passage.passed + value > limits.max_header:
            raise LimitExceeded(f"the Data Set's header has more than {limits.max_header} bytes", limit="max_header")

    def _run(self, buffer: bytes) -> int:
        """Read as far as the buffer reaches; return the position of what needs more bytes."""
        self._need = 0
        position = 0
        while not self._need:
            if self._passage.left:
                position += self._pass_on(memoryview(buffer)[position:])
                if self._passage.left:
                    self._need = 1
            elif self._kind == _ELEMENTS:
                read = self._explicit_elements if self._format.has_vrs else self._implicit_elements
                position = read(buffer, position)
            elif self._kind == _ITEMS:
                position = self._items(buffer, position)
            else:
                position = self._fragments(buffer, position)
        return position

    def _pass_on(self, view: memoryview) -> int:
        size = self._passage.take(view)
        if not self._passage.left and self._kind != _FRAGMENTS:
            self._sink.end_large()
        return size

    # --- elements

    def _explicit_elements(self, buffer: bytes, position: int) -> int:
        """Read elements up to a container, the end of this one, or what needs more bytes; return where."""
        headers = self._format
        header, keys, little_endian = headers.explicit, headers.keys, headers.little_endian
        value = self._sink.value
        size, end, count = len(buffer), self._end - self._base, 0
        last, limit = size - 8, min(size, end)
        while position < end:
            if position > last:
                self._need = 8
                break
            tag, code, length = header(buffer, position)
            vr = SHORT_FORMS.get(code)
            if vr:
                start = position + 8
            else:
                vr, length, start = self._long_element(buffer, position, tag, code)
                if not vr:
                    position = start
                    break
            stop = start + length
            if stop > limit:
                self._wait(position, stop, end)
                break
            key = keys.get(tag)
            if key is None:
                key = headers.unlisted_key(tag)
            count += 1
            if key:
                data = buffer[start:stop]
                value(key, vr, data if little_endian else swapped(data, WORD_SIZES.get(vr, 1)))
            position = stop
        else:
            self._leave(delimited=False)
        self._count += count
        return position

    def _long_element(self, buffer: bytes, position: int, tag: int, code: bytes) -> tuple[str, int, int]:
        """Read the header of an element whose length has 32 bits, or whose VR is odd.

        Return VR, length and start of the value; no VR when reading goes on at the start, in another
        container or with more bytes.
        """
        headers = self._format
        if tag == headers.item_end:
            self._leave(delimited=True)
            return "", 0, position + 8
        self._check_delimiter(tag, position)
        key = headers.keys.get(tag) or headers.unlisted_key(tag)
        vr = VRS.get(code)
        if not vr and not (code.isalpha() and code.isupper()):
            # Some writers switch to Implicit VR inside private Sequences.
            _, length = headers.implicit(buffer, position)
            return self._open(key, vr_of(key) if key else "UL", length, position + 8)
        if len(buffer) - position < 12:
            self._need = 12
            return "", 0, position
        return self._open(key, vr or "UN", headers.long(buffer, position + 8)[0], position + 12)

    def _implicit_elements(self, buffer: bytes, position: int) -> int:
        """Do the same where VRs come from the dictionary (PS3.5 7.1.3)."""
        headers = self._format
        header, known = headers.implicit, entries()
        value, large_from = self._sink.value, self._large_from
        size, end, count = len(buffer), self._end - self._base, 0
        last, limit = size - 8, min(size, end)
        while position < end:
            if position > last:
                self._need = 8
                break
            tag, length = header(buffer, position)
            start = position + 8
            entry = known.get(tag)
            if entry is None:
                if tag == headers.item_end:
                    self._leave(delimited=True)
                    position = start
                    break
                self._check_delimiter(tag, position)
                entry = unlisted_entry(tag)
            key, vr, special = entry
            if length >= large_from or vr == "SQ":
                opened, length, start = self._open(key, _OF_IMPLICIT.get(vr, vr), length, start)
                if not opened:
                    position = start
                    break
            stop = start + length
            if stop > limit:
                self._wait(position, stop, end)
                break
            count += 1
            if key:
                data = buffer[start:stop]
                value(key, self._special_vr(key, vr, data) if special else vr, data)
            position = stop
        else:
            self._leave(delimited=False)
        self._count += count
        return position

    def _special_vr(self, key: str, vr: str, data: bytes) -> str:
        """Resolve a VR that PS3.6 leaves open; note what the next ones are resolved by (PS3.5 Annex A.1)."""
        if key == PIXEL_REPRESENTATION:
            self._signed = data[:1] == b"\1"
        elif key == _LUT_DESCRIPTOR:
            self._single_entry = data[:2] == b"\1\0"
        if vr == "xs":
            return "SS" if self._signed else "US"
        if vr == "lt":
            return "US" if self._single_entry else "OW"
        return _OF_IMPLICIT.get(vr, vr)

    def _check_delimiter(self, tag: int, position: int) -> None:
        if tag in {self._format.item, self._format.sequence_end}:
            raise DatasetError(f"a delimiter is not expected at byte {self._base + position}")

    def _wait(self, position: int, stop: int, end: int) -> None:
        if stop > end:
            raise DatasetError(f"the element at byte {self._base + position} is longer than what holds it")
        self._need = stop - position

    # --- containers

    def _open(self, key: str, vr: str, length: int, start: int) -> tuple[str, int, int]:
        """Enter a Sequence or a value in pieces, if the element is one; see ``_long_element``."""
        headers = self._format
        undefined = length == UNDEFINED
        end = self._end if undefined else self._base + start + length
        if vr == "UN":
            # Whatever the Transfer Syntax, what is disguised as UN is Implicit VR Little Endian (PS3.5 6.2.2).
            vr = "SQ" if undefined else known_vr(key) if headers.little_endian else vr
            headers = header_format(explicit=False, little_endian=True)
        if vr == "SQ":
            self._nest(key)
            self._enter(_ITEMS, end, headers, undefined=undefined)
            self._sink.begin_sequence(key)
        elif undefined:
            if vr not in {"OB", "OW"} or not key:
                raise DatasetError(f"an element of VR {vr} has no length at byte {self._base} or after")
            self._sink.large(key, "OB", None)
            self._enter(_FRAGMENTS, end, headers, undefined=True)
        elif length >= self._large_from and key and self._sink.large(key, vr, length):
            self._check_end(end)
            self._passage.begin(length, 1 if headers.little_endian else WORD_SIZES.get(vr, 1))
        else:
            return vr, length, start
        self._count += 1
        return "", 0, start

    def _nest(self, key: str) -> None:
        if not key:
            raise DatasetError("a group length is a Sequence")
        if len(self._stack) // 2 >= self._limits.max_nesting:
            raise LimitExceeded(f"Sequences are nested deeper than {self._limits.max_nesting}", limit="max_nesting")

    def _enter(self, kind: int, end: int, headers: HeaderFormat, *, undefined: bool) -> None:
        self._check_end(end)
        self._stack.append((self._kind, self._end, self._undefined, self._format, self._signed))
        self._kind, self._end, self._undefined, self._format = kind, end, undefined, headers

    def _check_end(self, end: int) -> None:
        if end > self._end:
            raise DatasetError(f"a length at byte {self._base} or after reaches over the end of what holds it")

    def _leave(self, *, delimited: bool) -> None:
        if delimited != self._undefined or not self._stack:
            what = "is not expected" if delimited else "is missing"
            raise DatasetError(f"a delimiter {what} at byte {self._base} or after")
        kind = self._kind
        self._kind, self._end, self._undefined, self._format, self._signed = self._stack.pop()
        if kind == _ELEMENTS:
            self._sink.end_item()
        elif kind == _ITEMS:
            self._sink.end_sequence()
        else:
            self._sink.end_large()

    def _items(self, buffer: bytes, position: int) -> int:
        headers, end = self._format, self._end - self._base
        while position < end:
            if len(buffer) - position < 8:
                self._need = 8
                return position
            tag, length = headers.implicit(buffer, position)
            start = position + 8
            if tag == headers.sequence_end:
                self._leave(delimited=True)
                return start
            if tag != headers.item:
                raise DatasetError(f"a Sequence holds something other than items at byte {self._base + position}")
            if length:
                self._count += 1
                undefined = length == UNDEFINED
                self._enter(
                    _ELEMENTS, self._end if undefined else self._base + start + length, headers, undefined=undefined
                )
                self._sink.begin_item()
                return start
            position = self._empty_items(buffer, position, end)
        self._leave(delimited=False)
        return position

    def _empty_items(self, buffer: bytes, position: int, end: int) -> int:
        # Hundreds of thousands of them cost nothing to send: they are counted in one go.
        run = _EMPTY_ITEMS.match(buffer, position, min(end, len(buffer)))
        stop = run.end() if run else position + 8
        self._count += (stop - position) // 8
        self._check_cost()
        self._sink.empty_items((stop - position) // 8)
        return stop

    def _fragments(self, buffer: bytes, position: int) -> int:
        if len(buffer) - position < 8:
            self._need = 8
            return position
        headers = self._format
        tag, length = headers.implicit(buffer, position)
        if tag == headers.sequence_end:
            self._leave(delimited=True)
            return position + 8
        if tag != headers.item or length == UNDEFINED or self._base + position + 8 + length > self._end:
            raise DatasetError(f"encapsulated data is no sequence of fragments at byte {self._base + position}")
        self._count += 1
        self._passage.begin(8)
        self._passage.take(memoryview(ITEM + length.to_bytes(4, "little")))
        self._passage.begin(length)
        return position + 8
