"""Deflated Explicit VR Little Endian (PS3.5 A.5): inflated in bounded steps, deflated as it comes."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.errors import DatasetError, LimitExceeded

_STEP: Final = 64 * 1024
_RATIO_FREE: Final = 1024 * 1024


class Inflater:
    """Inflates a raw deflate stream (RFC 1951) that arrives in fragments.

    Args:
        max_size: bytes that may come out.
        max_ratio: bytes that may come out per byte that went in, counted from the first MiB on.
    """

    __slots__ = ("_in", "_max_ratio", "_max_size", "_out", "_stream")

    def __init__(self, max_size: int, max_ratio: int) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._max_size = max_size
        self._max_ratio = max_ratio
        self._in = 0
        self._out = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the fragment inflates to, in steps of 64 KiB; what follows the stream's end is padding."""
        while (data or self._in) and not self._stream.eof:
            try:
                out = self._stream.decompress(data, _STEP)
            except zlib.error:
                raise DatasetError("the deflated Data Set is damaged") from None
            rest = self._stream.unconsumed_tail
            self._in += len(data) - len(rest)
            self._out += len(out)
            self._check()
            if out:
                yield out
            if not rest and len(out) < _STEP:
                return
            data = rest

    def _check(self) -> None:
        if self._out > self._max_size:
            raise LimitExceeded(f"the Data Set inflates to more than {self._max_size} bytes", limit="max_inflated")
        if self._out > _RATIO_FREE and self._out > self._in * self._max_ratio:
            raise LimitExceeded(f"the Data Set inflates more than {self._max_ratio}:1", limit="max_inflate_ratio")

    def finish(self) -> None:
        """Check that the stream came to its end."""
        if not self._stream.eof:
            raise DatasetError("the deflated Data Set ends too early")


def deflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Deflate a Data Set in Explicit VR Little Endian, padded to an even length."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    size = 0
    for chunk in chunks:
        out = stream.compress(chunk)
        size += len(out)
        if out:
            yield out
    out = stream.flush()
    yield out + b"\0" * ((size + len(out)) % 2)
