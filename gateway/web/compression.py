"""Content-Encoding: gzip, for bodies that are sent while they come into being (RFC 9110 8.4, RFC 1952)."""

import asyncio
import re
import zlib
from typing import Final

from gateway.dataset.sink import Buffer

WORTH_IT: Final = 1400
"""Bytes from which on compression spares a packet."""

_LARGE: Final = 256 * 1024
_FAST: Final = 1
_GZIP: Final = 31
_CODING = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q\s*=\s*([\d.]+)\s*)?", re.ASCII)


def takes_gzip(field: str) -> bool:
    """Whether an Accept-Encoding field allows gzip; an absent one does not ask for it."""
    weights: dict[str, float] = {}
    for member in field.lower().split(","):
        found = _CODING.fullmatch(member)
        if found is not None:
            try:
                weights[found[1]] = float(found[2] or 1)
            except ValueError:
                continue
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


class Gzip:
    """Compresses a body piece by piece, each of which can be read as soon as it has arrived."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)

    async def compressed(self, data: Buffer) -> bytes:
        """Return what a piece becomes; a large one is compressed beside the event loop."""
        return self._piece(data) if len(data) < _LARGE else await asyncio.to_thread(self._piece, data)

    def _piece(self, data: Buffer) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def end(self, data: Buffer) -> bytes:
        """Return the last piece and what ends the stream."""
        return self._stream.compress(data) + self._stream.flush()
