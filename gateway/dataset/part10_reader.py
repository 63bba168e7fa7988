"""A Part 10 file, read while it arrives (PS3.10 7.1): its File Meta Information, then the bytes of its Data Set."""

from typing import Final

from gateway.dataset.part10 import FileMeta, split
from gateway.errors import DatasetError

LONGEST_HEAD: Final = 80 * 1024
_FIRST_LOOK: Final = 512
_PREAMBLE: Final = 128

EXECUTABLES: Final = (
    *(b"MZ", b"\x7fELF", b"#!", b"PK"),
    *(b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"),
)
"""How files begin that a computer runs: a preamble may make one of a DICOM file (CVE-2019-11687)."""


class Part10Reader:
    """Finds where the Data Set of one file begins.

    Attributes:
        meta: its File Meta Information, None until that is complete.

    Raises:
        DatasetError: from ``feed`` and ``finish``: it is no Part 10 file, or could be taken for a program.
    """

    def __init__(self) -> None:
        self.meta: FileMeta | None = None
        self._head = bytearray()
        self._look_at = _FIRST_LOOK

    def feed(self, data: memoryview) -> memoryview:
        """Return what of these bytes, and of those before that were held back, belongs to the Data Set."""
        if self.meta is not None:
            return data
        self._head += data
        if len(self._head) < self._look_at:
            return memoryview(b"")
        self._look_at = 2 * len(self._head)
        try:
            meta, end = split(self._head)
        except DatasetError:
            if len(self._head) >= LONGEST_HEAD or not _may_be_one(self._head):
                raise
            return memoryview(b"")
        # A group that ends where the bytes do may go on with the next ones.
        return memoryview(b"") if end == len(self._head) else self._begin(meta, end)

    def finish(self) -> memoryview:
        """Return what is left of a file so short that its head was held back."""
        if self.meta is not None:
            return memoryview(b"")
        return self._begin(*split(self._head))

    def _begin(self, meta: FileMeta, end: int) -> memoryview:
        if self._head.startswith(EXECUTABLES):
            raise DatasetError("its preamble is the beginning of a program: write 128 zero bytes there (PS3.10 7.1)")
        self.meta = meta
        head, self._head = bytes(self._head), bytearray()
        return memoryview(head)[end:]


def _may_be_one(head: bytearray) -> bool:
    return head[_PREAMBLE : _PREAMBLE + 4] == b"DICM"
