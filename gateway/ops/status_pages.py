"""The status page: as HTML, as JSON, and as a stream of either (WHATWG Server-Sent Events)."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator
from hashlib import sha256
from importlib import resources
from typing import Final

import orjson
from jinja2 import DictLoader, Environment

from gateway.errors import NotFound
from gateway.ops.recent import RecentRequests
from gateway.ops.status import Snapshot, StatusModel, document
from gateway.ops.view import view
from gateway.ops.words import Words, language
from gateway.web.pages import Page, Visit

EVENT_SECONDS: Final = 2.0
MOST_STREAMS: Final = 100
"""Readers of the stream at one time; who comes later is asked to come again."""


class StatusPages:
    """Shows a status model; who asks at the same time is shown the same."""

    def __init__(self, model: StatusModel, recent: RecentRequests) -> None:
        self._model = model
        self._recent = recent
        self._closing = asyncio.Event()
        self._streams = 0
        self._shown: dict[str, tuple[Snapshot, bytes]] = {}
        texts = {name: _asset(name) for name in ("status.html", "main.html", "status.css", "status.js")}
        environment = Environment(loader=DictLoader(texts), autoescape=True, trim_blocks=True)
        self._whole, self._main = environment.get_template("status.html"), environment.get_template("main.html")
        # The two texts are ours, and the policy below names their digests: they must stand there as they are.
        self._style, self._script = texts["status.css"], texts["status.js"]
        environment.globals |= {"style": _Trusted(self._style), "script": _Trusted(self._script)}
        self._headers = {"content-security-policy": _policy(self._style, self._script), "x-frame-options": "DENY"}

    def close(self) -> None:
        """End all streams."""
        self._closing.set()

    async def html(self, visit: Visit) -> Page:
        """Show the page."""
        words = Words(language(visit.parameters.get("lang", ""), visit.languages))
        now = await self._model.current()
        body = self._whole.render(words=words, view=view(now, words, self._model.ae_title)).encode()
        headers = {**self._headers, "content-language": words.language, "vary": "Accept-Language"}
        return Page(body, "text/html; charset=utf-8", headers=headers)

    async def json(self, _: Visit) -> Page:
        """Show the same to programs."""
        return Page(self._document(await self._model.current()), "application/json")

    async def events(self, visit: Visit) -> Page:
        """Go on showing it: as JSON, or with ``view=html`` as what the page shows."""
        if self._streams >= MOST_STREAMS:
            return Page(b"too many readers: reload the page instead", "text/plain", 503, {"retry-after": "10"})
        words = None
        if visit.parameters.get("view") == "html":
            words = Words(language(visit.parameters.get("lang", ""), visit.languages))
        return Page(self._stream(words), "text/event-stream", headers={"x-accel-buffering": "no"})

    async def request(self, visit: Visit) -> Page:
        """Show what became of one recent request."""
        found = self._recent.find(visit.path["request_id"])
        if found is None:
            raise NotFound("no request of this id in the last minutes, or it asked no region")
        return Page(orjson.dumps(found), "application/json")

    async def _stream(self, words: Words | None) -> AsyncGenerator[bytes, None]:
        self._streams += 1
        try:
            yield b"retry: 3000\n\n"
            while not self._closing.is_set():
                now = await self._model.current()
                body = self._document(now) if words is None else self._fragment(now, words)
                yield b"event: status\n" + b"".join(b"data: %s\n" % line for line in body.splitlines()) + b"\n"
                try:
                    async with asyncio.timeout(EVENT_SECONDS):
                        await self._closing.wait()
                except TimeoutError:
                    continue
        finally:
            self._streams -= 1

    def _document(self, now: Snapshot) -> bytes:
        shown = self._shown.get("json")
        if shown is None or shown[0] is not now:
            shown = self._shown["json"] = now, orjson.dumps(document(now, self._model.ae_title))
        return shown[1]

    def _fragment(self, now: Snapshot, words: Words) -> bytes:
        shown = self._shown.get(words.language)
        if shown is None or shown[0] is not now:
            body = self._main.render(words=words, view=view(now, words, self._model.ae_title)).encode()
            shown = self._shown[words.language] = now, body
        return shown[1]


class _Trusted(str):
    """Text that a template shows as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def _policy(style: str, script: str) -> str:
    """Allow this style, this script, and nothing from anywhere else (W3C Content Security Policy 3)."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return resources.files("gateway.ops").joinpath("assets", name).read_text(encoding="utf-8")
