"""A look at UIDs near the front of a Data Set that is still arriving."""

import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from gateway.dataset.headers import SHORT_FORMS, UNDEFINED, VRS
from gateway.dataset.reader import Reader
from gateway.dataset.sink import DatasetLimits, TopLevel
from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE
from gateway.dataset.values import PADDING

_HEADER: Final = struct.Struct("<I2sH").unpack_from
_LONG_LENGTH: Final = struct.Struct("<I").unpack_from
_MOST_LAYOUTS: Final = 8
_LONGEST_LAYOUT: Final = 512


class _Found(Exception):
    """Ends the reading."""


class _Search(TopLevel):
    """Looks for UIDs, no further than where the last of them would be."""

    __slots__ = ("_last", "found")

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(large_from=1024)
        self.found: dict[str, bytes] = dict.fromkeys(keys, b"")
        self._last = max(keys)

    def top_value(self, key: str, data: bytes) -> None:
        if key in self.found:
            self.found[key] = data
        if key >= self._last:
            raise _Found


class _Layout:
    """Where the values of the first elements of a Data Set are, for all that have the same headers there."""

    __slots__ = ("_expected", "_headers", "_places", "_size")

    def __init__(self, head: bytes, elements: Sequence[tuple[int, int, int]], places: dict[str, slice]) -> None:
        # Of each element its header as it is, and nothing of its value.
        self._headers = struct.Struct("".join(f"{value - start}s{end - value}x" for start, value, end in elements))
        self._expected = self._headers.unpack_from(head)
        self._size = self._headers.size
        self._places = places

    def fits(self, head: bytes) -> bool:
        """Whether a Data Set begins with the same headers."""
        return len(head) >= self._size and self._headers.unpack_from(head) == self._expected

    def values(self, head: bytes) -> dict[str, bytes]:
        """Return what was looked for, of a Data Set that fits."""
        return {key: head[place] for key, place in self._places.items()}


class Peek:
    """Looks for UIDs near the front of one Data Set after the other.

    The instances of a series mostly have elements of the same lengths in front of their UIDs: where all headers are
    those of an earlier Data Set, the UIDs are where they were there. Every C-STORE is looked at, and this takes a
    tenth of what a walk over its elements does.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self._tags = {int(key[:4], 16) | int(key[4:], 16) << 16: key for key in keys}
        self._last_group = max(int(key[:4], 16) for key in keys)
        self._layouts: list[_Layout] = []

    def uids(self, head: bytes, transfer_syntax_uid: str) -> list[str | None]:
        """Return UIDs from the first bytes of a Data Set, each None when it is empty, absent or not there yet.

        Raises:
            DatasetError: the bytes are no Data Set.
            LimitExceeded: they exceed a limit before the UIDs are reached.
        """
        found = self._skim(head) if transfer_syntax_uid == EXPLICIT_VR_LE else None
        if found is None:
            search = _Search(self._keys)
            with suppress(_Found):
                Reader(transfer_syntax_uid, search, DatasetLimits()).feed(head)
            found = search.found
        return [found.get(key, b"").decode("ascii", "replace").strip(PADDING) or None for key in self._keys]

    def _skim(self, head: bytes) -> dict[str, bytes] | None:
        layouts = self._layouts
        for number, layout in enumerate(layouts):
            if layout.fits(head):
                if number:
                    layouts.insert(0, layouts.pop(number))
                return layout.values(head)
        return self._walk(head)

    def _walk(self, head: bytes) -> dict[str, bytes] | None:
        """Step over Explicit VR Little Endian elements by their lengths; None where one has no length to step by."""
        wanted, elements, places = self._tags, [], {}
        short_forms, position, end = SHORT_FORMS, 0, len(head) - 12
        while position <= end:
            tag, vr, length = _HEADER(head, position)
            start, value = position, position + 8
            if vr not in short_forms:
                length = _LONG_LENGTH(head, value)[0]
                value += 4
                if length == UNDEFINED or vr not in VRS:
                    return None
            position = value + length
            elements.append((start, value, position))
            if tag in wanted and length and position <= len(head):
                places[wanted[tag]] = slice(value, position)
                if len(places) == len(wanted):
                    if len(elements) <= _LONGEST_LAYOUT:
                        self._layouts = [_Layout(head, elements, places), *self._layouts[: _MOST_LAYOUTS - 1]]
                    break
            elif tag & 0xFFFF > self._last_group:
                break
        return {key: head[place] for key, place in places.items()}
