"""A gateway with pages for people, served for real, in front of a federation on strings."""

import gzip
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from httpx2 import AsyncClient, Response

from gateway.access.decision import Decisions
from gateway.dataset.query import Row
from gateway.web.app import WebSettings, create_app
from gateway.web.front import Front
from gateway.web.home import Light
from gateway.web.server import WebServer
from gateway.web.viewer import viewer_files
from tests.web.fakes import FakeRetrieve, FakeSearch, SameProcess

if TYPE_CHECKING:
    from gateway.federation.workers import Workers

LIGHTS = (Light("NEODIN", "Northern <Network>", "up"), Light("HDIRS", "", "down"))
INDEX = b"<!doctype html><html><head><meta charset=utf-8><script>one()</script></head><body>viewer</body></html>"
HASHED = "app.bundle.0f6159c501addfe9.js"
SCRIPT = b"console.log('a long script');\n" * 200


@dataclass(frozen=True, slots=True)
class Fronted:
    """A running gateway."""

    client: AsyncClient
    search: FakeSearch

    async def get(self, path: str, **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(path, headers=named)


def built(home: Path) -> Path:
    """Make a folder with what a built viewer has."""
    folder = home / "dist"
    (folder / "assets").mkdir(parents=True)
    for name, content in {
        "index.html": INDEX,
        HASHED: SCRIPT,
        f"{HASHED}.map": b"{}",
        "app-config.js": b"theirs",
        "sw.js": b"importScripts('elsewhere')",
        "0ddf166f7a343eda.wasm": b"\0asm" * 1000,
        "assets/favicon.png": b"png",
        ".hidden.js": b"hidden",
    }.items():
        (folder / name).write_bytes(content)
    (home / "secret.txt").write_text("secret")
    (folder / "out.txt").symlink_to(home / "secret.txt")
    return folder


async def lights() -> Sequence[Light]:
    return LIGHTS


@asynccontextmanager
async def fronted(
    home: Path | None = None, rows: Sequence[Row] = (), *, search: FakeSearch | None = None
) -> AsyncIterator[Fronted]:
    """Serve our pages; with a folder, a viewer below it too."""
    files = viewer_files(built(home), home / "cache") if home else None
    front = Front(lights, {"neodin": ("NEODIN", "Northern Network")}, files)
    search = search or FakeSearch(rows)
    app = create_app(
        cast("Any", search),
        cast("Any", FakeRetrieve()),
        cast("Workers", SameProcess()),
        WebSettings(),
        front=front,
        decisions=Decisions("open"),
    )
    server = WebServer(app, "127.0.0.1", 0)
    port = await server.start()
    try:
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False) as client:
            yield Fronted(client, search)
    finally:
        await server.aclose(1.0)


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())
