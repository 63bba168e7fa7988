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
