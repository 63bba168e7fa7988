"""The files of a folder as resources: looked up by name in a list made beforehand, never by path."""

import asyncio
import gzip
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.web.compression import WORTH_IT, asks_for_gzip
from gateway.web.streaming import Body

MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jsonc": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webapp": "application/manifest+json",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
"""What is served, and as what: anything else in the folder, source maps among it, is not."""

COMPRESSIBLE: Final = frozenset({".css", ".html", ".js", ".json", ".jsonc", ".mjs", ".svg", ".txt", ".wasm", ".xml"})
IMMUTABLE: Final = "public, max-age=31536000, immutable"
REVALIDATED: Final = "no-cache"

_HASHED = re.compile(r"(?:^|[.-])[0-9a-f]{16,}\.\w+$")
_PIECE: Final = 256 * 1024
_CHUNK: Final = 1 << 20
_LEVEL: Final = 9


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Attributes:
        path: where its bytes are.
        packed: where the same are compressed with gzip; None where that does not pay.
        digest: of its bytes.
        caching: its Cache-Control (RFC 9111 5.2.2).
    """

    path: Path
    packed: Path | None
    media_type: str
    digest: str
    caching: str


def assets(folder: Path, cache: Path) -> dict[str, Asset]:
    """List the files of a folder by their names below it, each compressed into the cache once and for all.

    To be called beside the event loop. A name that holds a hash of the content is served as immutable.

    Raises:
        OSError: the folder cannot be read, or the cache not be written.
    """
    cache.mkdir(parents=True, exist_ok=True)
    return {path.relative_to(folder).as_posix(): _asset(path, cache) for path in servable(folder)}


def servable(folder: Path) -> Iterator[Path]:
    """Yield the regular files of a folder that are served; links are not followed out of it."""
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in MEDIA_TYPES and not hidden and path.is_file() and path.resolve().is_relative_to(root):
            yield path


def _asset(path: Path, cache: Path) -> Asset:
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()[:32]
    worth_it = path.suffix in COMPRESSIBLE and path.stat().st_size > WORTH_IT
    caching = IMMUTABLE if _HASHED.search(path.name) else REVALIDATED
    return Asset(
        path, _packed(path, cache / f"{digest}.gz") if worth_it else None, MEDIA_TYPES[path.suffix], digest, caching
    )


def _packed(path: Path, target: Path) -> Path:
    """Compress a file unless that was done before; whoever reads the target sees all of it or nothing."""
    if target.exists():
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        # Neither name nor time: the same bytes pack to the same bytes.
        with path.open("rb") as file, partial.open("wb") as raw, gzip.GzipFile("", "wb", _LEVEL, raw, 0) as packed:
            while piece := file.read(_CHUNK):
                packed.write(piece)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def served(asset: Asset, request: Request) -> Response:
    """Answer with a file, compressed where the caller takes that (RFC 9110 8.4, 8.8.3, 13.1.2)."""
    packed = asset.packed if asks_for_gzip(request) else None
    headers = {"Cache-Control": asset.caching, "ETag": f'"{asset.digest}{"-gzip" if packed else ""}"'}
    if asset.packed is not None:
        headers["Vary"] = "Accept-Encoding"
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if packed is not None:
        headers["Content-Encoding"] = "gzip"
    return _File(packed or asset.path, headers, asset.media_type)


class _File(Response):
    """Sends a file in pieces that are read beside the event loop; starlette's own would listen for its caller."""

    def __init__(self, path: Path, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(None, headers=headers, media_type=media_type)
        self._path = path

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it; the length is that of the file as it was opened."""
        file = await asyncio.to_thread(self._path.open, "rb")
        try:
            left = os.fstat(file.fileno()).st_size
            self.headers["Content-Length"] = str(left)
            body = Body(scope, send)
            await body.start(self.status_code, self.raw_headers)
            left = 0 if scope["method"] == "HEAD" else left
            while left > _PIECE and (piece := await asyncio.to_thread(file.read, _PIECE)):
                left -= len(piece)
                await body.write(piece)
            # The end goes with the last piece: who has that may ask again at once.
            await body.end(await asyncio.to_thread(file.read, left) if left else b"")
        finally:
            file.close()


def is_known(request: Request, tag: str) -> bool:
    """Whether the caller has what the tag names (RFC 9110 13.1.2)."""
    known = (member.strip().removeprefix("W/") for member in request.headers.get("if-none-match", "").split(","))
    return any(member in {tag, "*"} for member in known)
