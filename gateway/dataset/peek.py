"""A look at one value near the front of a Data Set that is still arriving."""

from contextlib import suppress

from gateway.dataset.reader import Reader
from gateway.dataset.sink import Buffer, DatasetLimits
from gateway.dataset.values import PADDING


class _Found(Exception):
    """Ends the reading."""


class _Search:
    """Looks for one element of the Data Set itself, not of its items."""

    __slots__ = ("_depth", "_key", "found", "large_from")

    def __init__(self, key: str) -> None:
        self.large_from = 1024
        self.found: bytes | None = None
        self._key = key
        self._depth = 0

    def value(self, key: str, vr: str, data: bytes) -> None:  # noqa: ARG002
        if self._depth == 0 and key >= self._key:
            self.found = data if key == self._key else None
            raise _Found

    def large(self, key: str, vr: str, length: int | None) -> bool:  # noqa: ARG002
        return True

    def piece(self, data: memoryview) -> None:
        pass

    def end_large(self) -> None:
        pass

    def begin_sequence(self, key: str) -> None:  # noqa: ARG002
        self._depth += 1

    def end_sequence(self) -> None:
        self._depth -= 1

    def begin_item(self) -> None:
        pass

    def end_item(self) -> None:
        pass

    def empty_items(self, count: int) -> None:
        pass


def peek_uid(head: Buffer, transfer_syntax_uid: str, tag: int) -> str | None:
    """Return a UID from the first bytes of a Data Set; None when it is empty, absent or not there yet.

    Raises:
        DatasetError: the bytes are no Data Set.
        LimitExceeded: they exceed a limit before the UID is reached.
    """
    search = _Search(f"{tag:08X}")
    with suppress(_Found):
        Reader(transfer_syntax_uid, search, DatasetLimits()).feed(head)
    return search.found.decode("ascii", "replace").strip(PADDING) or None if search.found else None
