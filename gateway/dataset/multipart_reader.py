"""A multipart/related body, read while it arrives (RFC 2046 5.1, PS3.18 8.6.1.2): bytes in, parts out, no I/O."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.errors import LimitExceeded, RequestError, UnsupportedMediaType

MOST_PARTS: Final = 10_000
LONGEST_HEADER: Final = 8 * 1024
MOST_LINES: Final = 16
LONGEST_PREAMBLE: Final = 8 * 1024
LONGEST_PADDING: Final = 256

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]", re.ASCII)
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})
_PADDING: Final = re.compile(rb"[ \t]*")

_PREAMBLE, _DELIMITER, _HEADER, _CONTENT, _EPILOGUE = range(5)


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part's header.

    Attributes:
        fields: names in lower case.
    """

    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartEnds:
    """A part is complete."""


PartEvent: TypeAlias = PartBegins | memoryview | PartEnds
"""A memoryview is the next piece of the content of the part that began last; it stays valid."""


class MultipartReader:
    """Cuts one body into its parts, however the bytes are cut.

    Args:
        boundary: as the Content-Type field has it.
        most_parts: parts allowed.

    Raises:
        RequestError: from the constructor, ``feed`` and ``finish``: the body is not what RFC 2046 describes.
        UnsupportedMediaType: from ``feed``: a part is encoded, or multipart itself.
        LimitExceeded: from ``feed``: there are more parts than are taken.
    """

    def __init__(self, boundary: str, *, most_parts: int = MOST_PARTS) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise RequestError(
                "the boundary in Content-Type is missing or not one: 1 to 70 letters, digits and '()+_,-./:=?"
            )
        self._delimiter = b"\r\n--" + boundary.encode()
        self._most_parts = most_parts
        self._parts = 0
        self._state = _PREAMBLE
        self._passed = 0  # bytes of the preamble
        self._skip = 0  # bytes that end a header and are not content, unless they begin a delimiter
        self._rest = b"\r\n"  # unread bytes; the first delimiter may stand at the very start

    def feed(self, data: bytes) -> list[PartEvent]:
        """Return what the next bytes bring."""
        if self._state == _EPILOGUE:
            return []
        buffer = self._rest + data if self._rest else data
        events: list[PartEvent] = []
        position: int | None = 0
        start = 0
        while position is not None and self._state != _EPILOGUE:
            start = position
            position = self._steps[self._state](self, buffer, start, events)
        self._rest = b"" if self._state == _EPILOGUE else buffer[self._kept(buffer, start, events) :]
        return events

    @property
    def is_complete(self) -> bool:
        """Whether the closing boundary was read."""
        return self._state == _EPILOGUE

    def finish(self) -> None:
        """Check that the body is complete."""
        if not self.is_complete:
            raise RequestError("the multipart body ends before its closing boundary")
        if not self._parts:
            raise RequestError("the multipart body has no part")

    def _preamble(self, buffer: bytes, start: int, events: list[PartEvent]) -> int | None:  # noqa: ARG002
        found = buffer.find(self._delimiter, start)
        if (found if found >= 0 else len(buffer)) - start + self._passed > LONGEST_PREAMBLE:
            raise RequestError("the multipart body does not begin with its boundary")
        if found < 0:
            return None
        self._state = _DELIMITER
        return found

    def _after_delimiter(self, buffer: bytes, start: int, events: list[PartEvent]) -> int | None:
        """Read what stands behind a delimiter: the end, the next part, or proof that it is none at all."""
        position = start + len(self._delimiter)
        if len(buffer) - position < 2:
            return None
        if buffer.startswith(b"--", position):
            self._end_part(events)
            self._state = _EPILOGUE
            return position
        end = _PADDING.match(buffer, position).end()  # type: ignore[union-attr]  # it matches the empty text, too
        if len(buffer) - end < 2 and end - position <= LONGEST_PADDING and b"\r\n".startswith(buffer[end:]):
            return None
        if not buffer.startswith(b"\r\n", end) or end - position > LONGEST_PADDING:
            return self._no_delimiter(buffer, start, events)
        self._end_part(events)
        self._begin_part()
        return end  # the line's end may be the header's, too

    def _no_delimiter(self, buffer: bytes, start: int, events: list[PartEvent]) -> int:
        """Go on behind what only looks like a delimiter: it is content."""
        if not self._parts:
            raise RequestError("the boundary of the first part is not followed by the end of the line")
        self._pass_on(buffer, start, start + 2, events)
        self._state = _CONTENT
        return start + 2

    def _pass_on(self, buffer: bytes, start: int, end: int, events: list[PartEvent]) -> None:
        skipped = min(self._skip, end - start)
        self._skip -= skipped
        if end > start + skipped:
            events.append(memoryview(buffer)[start + skipped : end])

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > self._most_parts:
            raise LimitExceeded(f"more than {self._most_parts} parts: send them in several requests", limit="max_parts")
        self._state = _HEADER

    def _end_part(self, events: list[PartEvent]) -> None:
        self._skip = 0
        if self._parts:
            events.append(PartEnds())

    def _header(self, buffer: bytes, start: int, events: list[PartEvent]) -> int | None:
        end = buffer.find(b"\r\n\r\n", start)
        if (end if end >= 0 else len(buffer) - 3) - start > LONGEST_HEADER:
            raise RequestError(f"the header of part {self._parts} is longer than {LONGEST_HEADER} bytes")
        if end < 0:
            return None
        events.append(PartBegins(self._fields(buffer[start + 2 : end])))
        self._state = _CONTENT
        self._skip = 2  # the end of the empty line; some writers let it begin the next delimiter
        return end + 2

    def _fields(self, header: bytes) -> Mapping[str, str]:
        lines = header.split(b"\r\n") if header else []
        if len(lines) > MOST_LINES:
            raise RequestError(f"the header of part {self._parts} has more than {MOST_LINES} lines")
        fields: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            key = name.decode("ascii", "replace").lower()
            if not colon or not _NAME.fullmatch(name) or key in fields or b"\n" in value or b"\r" in value:
                raise RequestError(f"the header of part {self._parts} is not one: expected lines such as Name: value")
            fields[key] = value.strip().decode("utf-8", "replace")
        encoding = fields.get("content-transfer-encoding", "").lower()
        if encoding not in _PLAIN_ENCODINGS or fields.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType(f"part {self._parts} is encoded: send it as it is")
        if fields.get("content-type", "").lower().startswith("multipart/"):
            raise UnsupportedMediaType(f"part {self._parts} is multipart itself: send its parts as parts of the body")
        return MappingProxyType(fields)

    def _content(self, buffer: bytes, start: int, events: list[PartEvent]) -> int | None:
        found = buffer.find(self._delimiter, start)
        if found < 0:
            return None
        self._pass_on(buffer, start, found, events)
        self._state = _DELIMITER
        return found

    def _kept(self, buffer: bytes, start: int, events: list[PartEvent]) -> int:
        """Return from where on the bytes have to be seen again with the next ones."""
        if self._state not in {_CONTENT, _PREAMBLE}:
            return start
        kept = _possible_start(buffer, start, self._delimiter)
        if self._state == _PREAMBLE:
            self._passed += kept - start
        else:
            self._pass_on(buffer, start, kept, events)
        return kept

    _steps = (_preamble, _after_delimiter, _header, _content)


def _possible_start(buffer: bytes, start: int, delimiter: bytes) -> int:
    """Return where a delimiter may begin that the end of the buffer cuts; its end if there is none."""
    position = max(start, len(buffer) - len(delimiter) + 1)
    while (position := buffer.find(b"\r", position)) >= 0:
        if delimiter.startswith(buffer[position:]):
            return position
        position += 1
    return len(buffer)
