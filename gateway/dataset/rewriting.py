"""A Data Set with a few of its attributes replaced while it passes by, its pixels untouched (PS3.3 C.12.1.1.9)."""

from collections.abc import Collection, Mapping
from typing import Final

from gateway.dataset.charset import SPECIFIC_CHARACTER_SET
from gateway.dataset.headers import ITEM, element_header
from gateway.dataset.query import Row
from gateway.dataset.reader import Reader
from gateway.dataset.sink import Buffer, DatasetLimits
from gateway.dataset.transcode import ElementWriter
from gateway.dataset.transfer_syntax import IMPLICIT_VR_LE
from gateway.dataset.writer import from_json_model

ORIGINAL_ATTRIBUTES: Final = "04000561"

_MODIFIED_ATTRIBUTES: Final = "04000550"
_LIMITS: Final = DatasetLimits()


class _Front(ElementWriter):
    """Keeps whole elements of the Data Set itself, as they are written, up to the last that is wanted.

    Attributes:
        found: those elements by key.
        complete: whether all that can be found was.
    """

    __slots__ = ("_depth", "_kept", "_last", "_wanted", "complete", "found")

    def __init__(self, wanted: Collection[str], *, explicit: bool) -> None:
        super().__init__(explicit=explicit)
        self.found: dict[str, bytes] = {}
        self.complete = False
        self._wanted = frozenset(wanted)
        self._last = max(wanted)
        self._depth = 0
        self._kept = ""

    def value(self, key: str, vr: str, data: bytes) -> None:
        if self._depth == 0:
            self._meet(key)
        super().value(key, vr, data)
        if self._depth == 0:
            self._keep()

    def large(self, key: str, vr: str, length: int | None) -> bool:
        if self._depth == 0:
            self._meet(key)
        return super().large(key, vr, length)

    def end_large(self) -> None:
        super().end_large()
        if self._depth == 0:
            self._keep()

    def begin_sequence(self, key: str) -> None:
        if self._depth == 0:
            self._meet(key)
        self._depth += 1
        super().begin_sequence(key)

    def end_sequence(self) -> None:
        super().end_sequence()
        self._depth -= 1
        if self._depth == 0:
            self._keep()

    def _meet(self, key: str) -> None:
        self.complete |= key > self._last
        self.take()
        self._kept = key if key in self._wanted else ""

    def _keep(self) -> None:
        written = b"".join(self.take())
        if self._kept:
            self.found[self._kept] = written


class Front:
    """Reads the front of a Data Set in fragments, and keeps some of its elements whole (PS3.5 7.1).

    Args:
        transfer_syntax_uid: how it is encoded.
        target_uid: how what is kept shall be: Implicit VR Little Endian, or any other for Explicit.
        wanted: their keys.

    Raises:
        DatasetError: from ``feed``, when the bytes are no Data Set.
        LimitExceeded: from it, at a limit.
    """

    __slots__ = ("_reader", "_sink")

    def __init__(self, transfer_syntax_uid: str, target_uid: str, wanted: Collection[str]) -> None:
        self._sink = _Front({*wanted, SPECIFIC_CHARACTER_SET}, explicit=target_uid != IMPLICIT_VR_LE)
        self._reader = Reader(transfer_syntax_uid, self._sink, _LIMITS)

    def feed(self, fragment: Buffer) -> bool:
        """Read the next fragment; tell whether nothing more will be found."""
        self._reader.feed(fragment)
        return self._sink.complete

    @property
    def found(self) -> Mapping[str, bytes]:
        """Each element that was found, encoded as asked for."""
        return self._sink.found


class _Replacing(ElementWriter):
    """Writes new elements in their places, and leaves out those whose places they take."""

    __slots__ = ("_depth", "_is_muted", "_item", "_left", "_stale")

    def __init__(self, changes: Mapping[str, bytes], item: bytes, *, explicit: bool) -> None:
        super().__init__(explicit=explicit)
        self._left = sorted((key, element) for key, element in changes.items())
        self._stale = frozenset(changes)
        self._item = item
        self._depth = 0
        self._is_muted = False

    def value(self, key: str, vr: str, data: bytes) -> None:
        if self._depth == 0:
            self._put_before(key)
            if key in self._stale or (key == ORIGINAL_ATTRIBUTES and not data):
                return
        if not self._is_muted:
            super().value(key, vr, data)

    def large(self, key: str, vr: str, length: int | None) -> bool:
        if self._depth == 0:
            self._put_before(key)
            self._is_muted = key in self._stale
        return self._is_muted or super().large(key, vr, length)

    def piece(self, data: memoryview) -> None:
        if not self._is_muted:
            super().piece(data)

    def end_large(self) -> None:
        if not self._is_muted:
            super().end_large()
        self._is_muted &= self._depth > 0

    def begin_sequence(self, key: str) -> None:
        if self._depth == 0:
            self._put_before(key)
            self._is_muted = key in self._stale
        self._depth += 1
        if not self._is_muted:
            super().begin_sequence(key)
        if self._depth == 1 and key == ORIGINAL_ATTRIBUTES:
            self._out += self._item  # in front of what was changed before
            self._item = b""

    def end_sequence(self) -> None:
        if not self._is_muted:
            super().end_sequence()
        self._depth -= 1
        self._is_muted &= self._depth > 0

    def begin_item(self) -> None:
        if not self._is_muted:
            super().begin_item()

    def end_item(self) -> None:
        if not self._is_muted:
            super().end_item()

    def empty_items(self, count: int) -> None:
        if not self._is_muted:
            super().empty_items(count)

    def put_rest(self) -> None:
        """Write what comes behind all elements."""
        self._put_before("G")

    def _put_before(self, key: str) -> None:
        while self._left and self._left[0][0] <= key:
            self._put_item(self._left[0][0])
            self._out += self._left.pop(0)[1]
        self._put_item(key)

    def _put_item(self, key: str) -> None:
        if self._item and key > ORIGINAL_ATTRIBUTES:
            self._out += element_header(ORIGINAL_ATTRIBUTES, "SQ", len(self._item), explicit=self.explicit)
            self._out += self._item
            self._item = b""


class Rewriter:
    """Replaces attributes of one Data Set while it arrives in fragments, and notes in it what they were.

    Values that are not replaced stay byte for byte what they are; fragments of pixels are passed on.

    Args:
        transfer_syntax_uid: how it is encoded, and will be: any but Deflated and Big Endian.
        changes: whole elements by key, encoded so; one without bytes is left out.
        item: an item of Original Attributes Sequence, which comes before those that are there.

    Raises:
        DatasetError: from ``feed`` and ``finish``, when the bytes are no Data Set.
        LimitExceeded: from both, at a limit.
    """

    __slots__ = ("_reader", "_sink")

    def __init__(self, transfer_syntax_uid: str, changes: Mapping[str, bytes], item: bytes) -> None:
        self._sink = _Replacing(changes, item, explicit=transfer_syntax_uid != IMPLICIT_VR_LE)
        self._reader = Reader(transfer_syntax_uid, self._sink, _LIMITS)

    def feed(self, fragment: Buffer) -> list[Buffer]:
        """Return what the fragment becomes."""
        self._reader.feed(fragment)
        return self._sink.take()

    def finish(self) -> list[Buffer]:
        """Return what is left once all bytes are in."""
        self._reader.finish()
        self._sink.put_rest()
        return self._sink.take()


def modification(previous: Mapping[str, bytes], about: Row, transfer_syntax_uid: str) -> bytes:
    """Return an item of Original Attributes Sequence (PS3.3 C.12.1.1.9).

    Args:
        previous: whole elements as they were, by key, as ``Front`` found them; not one of group 0400 or above.
        about: the other attributes of the item: who changed it, when and why.
        transfer_syntax_uid: how both are, and the item will be.
    """
    explicit = transfer_syntax_uid != IMPLICIT_VR_LE
    held = _item(b"".join(element for _, element in sorted(previous.items())))
    first = element_header(_MODIFIED_ATTRIBUTES, "SQ", len(held), explicit=explicit) + held
    # Modified Attributes Sequence (0400,0550) comes before all that tells of the change.
    return _item(first + from_json_model(about, transfer_syntax_uid))


def _item(elements: bytes) -> bytes:
    return ITEM + len(elements).to_bytes(4, "little") + elements
