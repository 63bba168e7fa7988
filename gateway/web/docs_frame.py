"""The frame of every page of the documentation: it needs no script, and nothing from elsewhere."""

from collections.abc import Sequence
from hashlib import blake2b
from html import escape
from importlib import resources
from typing import Final

from starlette.responses import Response

STYLE: Final = "/docs/style.css"
POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
PLACES: Final = (("/docs", "Guides"), ("/docs/api", "API"), ("/docs/errors", "Errors"), ("/openapi.json", "OpenAPI"))


def style() -> bytes:
    """Return the style sheet."""
    return (resources.files("gateway.web") / "docs.css").read_bytes()


def style_tag(sheet: bytes) -> str:
    """Return what tells one style sheet from the next."""
    return blake2b(sheet, digest_size=8).hexdigest()


def page(title: str, body: str, tag: str, *, place: str = "/docs", aside: str = "") -> Response:
    """Frame a body of HTML.

    Args:
        title: in words, not HTML.
        body: HTML.
        tag: of the style sheet.
        place: which of ``PLACES`` it belongs to.
        aside: HTML of what stands beside it.
    """
    links = "".join(
        f'<a href="{path}"{" aria-current=page" if path == place else ""}>{name}</a>' for path, name in PLACES
    )
    beside = f'<nav class="aside" aria-label="On this page">{aside}</nav>' if aside else ""
    html = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} · Provincial DICOMweb gateway</title>
<link rel="stylesheet" href="{STYLE}?{tag}">
<link rel="icon" href="data:,">
</head>
<body{' class="with-aside"' if aside else ""}>
<a class="skip" href="#main">Skip to the text</a>
<header><a class="name" href="/docs">Provincial <b>DICOMweb</b> gateway</a><nav aria-label="Documentation">{links}</nav>
</header>
<div class="frame">{beside}
<main id="main" tabindex="-1">
{body}
</main></div>
</body>
</html>
"""
    fields = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "private, max-age=60",
    }
    return Response(html, headers=fields, media_type="text/html")


def contents(title: str, entries: Sequence[tuple[str, str]]) -> str:
    """Make a list of links to anchors, each with its text, as HTML."""
    items = "".join(f'<li><a href="#{escape(anchor)}">{escape(text)}</a></li>' for anchor, text in entries)
    return f"<h2>{escape(title)}</h2><ul>{items}</ul>" if entries else ""
