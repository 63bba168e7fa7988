"""Part of a body, or none of it: Range (RFC 9110 14) and If-None-Match (RFC 9110 13.1.2)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.dataset.sink import Buffer
from gateway.dataset.spans import Read, Span, reader_of
from gateway.errors import RangeNotSatisfiable

_STEP: Final = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that are all there, wherever they are.

    Attributes:
        read: gives (offset, length).
        spans: what of it, in order.
    """

    read: Read
    spans: Sequence[Span]

    @classmethod
    def of(cls, data: Buffer) -> "Content":
        """Make it of bytes in memory."""
        return cls(reader_of(memoryview(data)), [(0, len(data))])

    @property
    def size(self) -> int:
        """Bytes of all spans."""
        return sum(length for _, length in self.spans)

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[Buffer]:
        """Yield the bytes from ``start`` up to ``stop``, some at a time."""
        left = (self.size if stop is None else stop) - start
        for offset, length in self.spans:
            skipped = min(start, length)
            start -= skipped
            end = offset + skipped + min(length - skipped, left)
            for place in range(offset + skipped, end, _STEP):
                data = self.read(place, min(_STEP, end - place))
                left -= len(data)
                yield data


def byte_range(field: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one behind the last that a Range field asks for.

    None where it is to be ignored: other units, malformed, or several ranges at once.

    Raises:
        RangeNotSatisfiable: there are no such bytes.
    """
    found = _RANGE.fullmatch(field.replace(" ", ""))
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:  # the last so many bytes
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise RangeNotSatisfiable(f"there are {size} bytes", size=size)
    return start, stop


def matches(field: str, etag: str) -> bool:
    """Whether an If-None-Match field names a tag (RFC 9110 13.1.2)."""
    members = [member.strip().removeprefix("W/") for member in field.split(",")]
    return "*" in members or etag in members
