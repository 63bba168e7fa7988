"""Content-Encoding: gzip, for bodies that are sent while they come into being (RFC 9110 8.4, RFC 1952)."""

import asyncio
import re
import zlib
from functools import lru_cache
from typing import Final

from starlette.requests import Request

CODED: Final = (b"content-encoding", b"gzip")
WORTH_IT: Final = 1400
"""Bytes from which on compression spares a packet."""

_LARGE: Final = 256 * 1024
_FAST: Final = 1
_GZIP: Final = 31
_CODING = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q\s*=\s*([\d.]+)\s*)?", re.ASCII)


def asks_for_gzip(request: Request) -> bool:
    """Whether Accept-Encoding allows gzip; an absent one does not ask for it."""
    field = request.headers.get("accept-encoding")
    return bool(field) and _takes_gzip(field)


@lru_cache(maxsize=64)
def _takes_gzip(field: str) -> bool:
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
        self._begun = False

    async def compressed(self, data: bytes, *, last: bool = False) -> bytes:
        """Return what a piece becomes, the last with what ends the stream; nothing remains nothing (HEAD, 304).

        A large one is compressed beside the event loop.
        """
        self._begun = self._begun or bool(data)
        if not self._begun:
            return b""
        mode = zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
        return self._piece(data, mode) if len(data) < _LARGE else await asyncio.to_thread(self._piece, data, mode)

    def _piece(self, data: bytes, mode: int) -> bytes:
        return self._stream.compress(data) + self._stream.flush(mode)
