"""Our own few files for browsers: styles and scripts of our pages, served below ``/gateway``."""

from collections.abc import Iterable
from importlib import resources
from typing import Final

OWN: Final = "/gateway"
NAMES: Final = {
    "icon.svg": "image/svg+xml",
    "notice.css": "text/css; charset=utf-8",
    "notice.js": "text/javascript; charset=utf-8",
    "pages.css": "text/css; charset=utf-8",
}


def own_files() -> Iterable[tuple[str, bytes, str]]:
    """Yield path, content and media type of each."""
    folder = resources.files("gateway.web")
    for name, media_type in NAMES.items():
        yield f"{OWN}/{name}", (folder / name).read_bytes(), media_type
