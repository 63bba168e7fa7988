"""What a Reader may spend on a Data Set, and whom it tells what it finds."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class DatasetLimits:
    """What one Data Set may cost.

    Attributes:
        max_nesting: Sequences inside Sequences.
        max_header: bytes of everything but the large values that are taken in pieces.
        max_elements: elements and items together.
        max_inflated: bytes after inflation.
        max_inflate_ratio: bytes after inflation per byte before it.
    """

    max_nesting: int = 64
    max_header: int = 16 * 1024 * 1024
    max_elements: int = 1_000_000
    max_inflated: int = 256 * 1024 * 1024
    max_inflate_ratio: int = 100


class Sink(Protocol):
    """Who is told what the reader finds.

    Attributes:
        large_from: a value of at least that many bytes is offered to ``large``, if its length has 32 bits.
    """

    large_from: int

    def value(self, key: str, vr: str, data: bytes) -> None:
        """Take an element with its whole value field, little-endian."""

    def large(self, key: str, vr: str, length: int | None) -> bool:
        """Say whether the value is taken in pieces; ``length`` is None for fragments, which always are."""

    def piece(self, data: memoryview) -> None:
        """Take the next bytes of a large value; fragments come with their item headers."""

    def end_large(self) -> None:
        """Take note that the large value is complete."""

    def begin_sequence(self, key: str) -> None:
        """Enter a Sequence."""

    def end_sequence(self) -> None:
        """Leave the Sequence."""

    def begin_item(self) -> None:
        """Enter an item."""

    def end_item(self) -> None:
        """Leave the item."""

    def empty_items(self, count: int) -> None:
        """Take that many items without elements."""


class TopLevel:
    """A sink for elements of the Data Set itself, not of its items; values that are large are passed over.

    Args:
        large_from: bytes from which a value is large.
    """

    __slots__ = ("_depth", "large_from")

    def __init__(self, large_from: int) -> None:
        self.large_from = large_from
        self._depth = 0

    def top_value(self, key: str, data: bytes) -> None:
        """Take an element of the Data Set itself."""
        raise NotImplementedError

    def value(self, key: str, vr: str, data: bytes) -> None:  # noqa: ARG002
        """Take any element."""
        if self._depth == 0:
            self.top_value(key, data)

    def large(self, key: str, vr: str, length: int | None) -> bool:  # noqa: ARG002
        """Have it passed over."""
        return True

    def piece(self, data: memoryview) -> None:
        """Pass over it."""

    def end_large(self) -> None:
        """Be behind it."""

    def begin_sequence(self, key: str) -> None:  # noqa: ARG002
        """Leave the Data Set itself."""
        self._depth += 1

    def end_sequence(self) -> None:
        """Come back towards it."""
        self._depth -= 1

    def begin_item(self) -> None:
        """Stay where it is."""

    def end_item(self) -> None:
        """Stay where it is."""

    def empty_items(self, count: int) -> None:
        """Stay where it is."""
