"""OHIF in a real browser over the embedded province, and what can be seen of it."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Request, sync_playwright

from gateway.cli.viewer import VERSION
from gateway.web.viewer import cache_folder
from regions.profiles import profiles
from regions.truth import TrueStudy, Truth, truth
from tests.interop.serving import PATIENT, ROOT, gateway
from tests.kit.peers import CHROMIUM, free_port, free_ports, require, running, stop
from tests.kit.small_province import small_province

FLAGS = (
    *("--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--force-color-profile=srgb"),
)
PATIENCE = 150_000
"""Milliseconds that anything may take to be seen: pixels are drawn by the processor here, which has others to serve."""

AGAIN = 5_000
"""Milliseconds after which a person does again what has shown no effect."""

HARMLESS = re.compile(r"status of 50[0-9]|willReadFrequently|WebGL|GPU stall|GL Driver Message")
"""Console lines at level error or warning that do not matter: an answer that a test has provoked, and the drawing."""

NO_TOUR = "localStorage?.setItem('shownTours', '[\"basicViewerTour\"]')"

TOKEN = re.compile(r"export TOKEN=(\S+)")

COLOURS = """() => [...document.querySelectorAll('.cornerstone-canvas, .viewport-element canvas')].map((canvas) => {
  const side = 48, small = document.createElement('canvas');
  small.width = small.height = side;
  const context = small.getContext('2d');
  context.drawImage(canvas, 0, 0, side, side);
  const data = context.getImageData(0, 0, side, side).data, seen = new Set();
  for (let i = 0; i < data.length; i += 4)
    if (data[i + 3]) seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
  return seen.size;
})"""
PICTURE = "() => [...document.querySelectorAll('.viewport-element canvas')].map((c) => c.toDataURL()).join()"


def viewer_folder() -> Path:
    """Return the viewer that `gateway viewer` brought in, or skip; with REQUIRE_PEERS=1 its absence is a failure."""
    return require(cache_folder() / f"ohif-{VERSION}" / "index.html").parent


@dataclass(frozen=True, slots=True)
class Demo:
    """The province, and a gateway with a viewer in front of it.

    Attributes:
        token: of a clinician.
        base_port: of the archives.
        cache: what they hold.
    """

    http_port: int
    token: str
    truth: Truth
    base_port: int
    cache: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def study(self, purpose: str) -> TrueStudy:
        return self.truth.study(purpose)

    @contextlib.contextmanager
    def without(self, region: str, home: Path) -> Iterator["Without"]:
        """Run another gateway over the same archives, for which one region is down: it is refused at once."""
        down = free_port()
        ports = {x.name: self.base_port + n for n, x in enumerate(profiles())} | {region: down}
        there = [x.at("127.0.0.1", ports[x.name]) for x in profiles()]
        with gateway(home, there, settings=f'[viewer]\nfolder = "{viewer_folder()}"\n') as one:
            yield Without(f"http://127.0.0.1:{one.http_port}", region, down, self.cache / region)


@dataclass(frozen=True, slots=True)
class Without:
    """A gateway without one of its regions."""

    url: str
    region: str
    port: int
    folder: Path

    @contextlib.contextmanager
    def recovered(self) -> Iterator[None]:
        """Have the region up as long as the context lasts."""
        where = ("--port", str(self.port), "--folder", str(self.folder))
        command = [sys.executable, "-m", "regions.archive", "--ae-title", self.region, *where]
        with running(command, self.port, self.folder / "archive.log"):
            yield


@contextlib.contextmanager
def demo(home: Path) -> Iterator[Demo]:
    """Run `gateway demo` with the small province."""
    folder, cache = viewer_folder(), small_province(home)
    http_port, base_port = free_port(), free_ports(4)
    options = {
        "--scale": "small",
        "--viewer": folder,
        "--http-port": http_port,
        "--dimse-port": free_port(),
        "--ops-port": 0,
        "--region-base-port": base_port,
    }
    command = [sys.executable, "-m", "gateway", "demo", *(str(word) for pair in options.items() for word in pair)]
    with (home / "gateway.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            text=True,
            start_new_session=True,
            env=os.environ | PATIENT | {"XDG_CACHE_HOME": str(home)},
        )
        try:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("ready "):
                pytest.fail(f"the demonstration did not start: {(home / 'gateway.log').read_text()[-2000:]}")
            told = (found for line in process.stdout if (found := TOKEN.search(line)))
            yield Demo(http_port, next(told)[1], truth(cache), base_port, cache)
        finally:
            stop(process)  # type: ignore[arg-type]  # text or bytes are the same to it
            if process.stdout is not None:
                process.stdout.close()


@contextlib.contextmanager
def chromium(home: Path, *flags: str) -> Iterator[BrowserContext]:
    """Run Debian's Chromium without a screen, as somebody who has seen OHIF's tour; its profile caches as anybody's."""
    require(CHROMIUM)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            home / "profile",
            executable_path=CHROMIUM,
            args=[*FLAGS, *flags],
            viewport={"width": 1280, "height": 800},
            locale="en-CA",
        )
        try:
            context.add_init_script(NO_TOUR)
            yield context
        finally:
            context.close()


@contextlib.contextmanager
def stranger(context: BrowserContext, token: str) -> Iterator[Page]:
    """Open a page in the browser of somebody who was never here, and sends a token with whatever is asked."""
    assert context.browser is not None
    own = context.browser.new_context(locale="en-CA", extra_http_headers={"Authorization": f"Bearer {token}"})
    try:
        own.set_default_timeout(PATIENCE)
        own.add_init_script(NO_TOUR)
        yield own.new_page()
    finally:
        own.close()


@dataclass
class Screen:
    """One tab of the browser, as a person uses it; what it complains of and whom it asks is kept."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda told: self._console(told.type, told.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)

    def _console(self, kind: str, text: str) -> None:
        if kind == "error" and not HARMLESS.search(text):
            self.complaints.append(text)

    def _asked(self, request: Request) -> None:
        inside = (self.url, "blob:", "data:", "chrome-extension:", "chrome:")  # the last two are its PDF viewer
        if not request.url.startswith(inside):
            self.foreign.append(request.url)

    def studies(self, query: str = "") -> None:
        """Open the study list."""
        self.page.goto(f"{self.url}/{query}")
        self.page.get_by_text("Study List", exact=True).wait_for()
        self.rows.first.wait_for()

    @property
    def rows(self) -> Locator:
        """The rows of the study list."""
        return self.page.locator("tbody tr", has=self.page.get_by_role("button", name="Action Menu"))

    def open(self, study: TrueStudy, *, more: str = "") -> None:
        """Open a study by its deep link."""
        self.page.goto(f"{self.url}/viewer?StudyInstanceUIDs={study.study_instance_uid}{more}")

    def series(self, text: str) -> None:
        """Show the series whose entry holds the text."""
        self.entries("^", text).first.dblclick()

    def entries(self, like: str = "", text: str = "") -> Locator:
        """The series in the study browser: those with pictures, or with "^" documents as well."""
        return self.page.locator(f"[data-cy{like}=study-browser-thumbnail]").filter(has_text=text)

    def pixels(self, canvases: int = 1) -> None:
        """Wait until so many viewports show a picture: more colours than a blank one or a letter has."""
        self.until(lambda: sum(count > 8 for count in self.page.evaluate(COLOURS)) >= canvases, "a picture")

    def picture(self) -> str:
        """Return what all viewports show."""
        return str(self.page.evaluate(PICTURE))

    def change(self, act: Callable[[], None], what: str) -> None:
        """Do something until the viewports show something else: what comes before a viewport is ready is lost on it."""
        before = self.picture()
        self.until(lambda: self.picture() != before, what, act)

    def until(self, holds: Callable[[], bool], what: str, act: Callable[[], None] = lambda: None) -> None:
        """Let the page work until something holds; do something for it now, and again where that shows no effect."""
        now = time.monotonic()
        end, again = now + PATIENCE / 1000, now
        while not holds():
            if (now := time.monotonic()) > end:
                self.shot("failed")
                pytest.fail(f"{what} did not come; the page complains: {self.complaints}")
            if now >= again:
                act()
                again = time.monotonic() + AGAIN / 1000
            self.page.wait_for_timeout(100)

    def leave(self) -> None:
        """Go away from the page, so that nothing more comes of it."""
        self.page.goto("about:blank")
        self.complaints.clear()

    def shot(self, name: str) -> None:
        """Keep a picture of the page where SCREENSHOTS names a folder."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")
