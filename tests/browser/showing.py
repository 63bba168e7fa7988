"""OHIF in a real browser over the embedded province, and what can be seen of it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Request, sync_playwright

from gateway.cli.viewer import VERSION
from gateway.web.viewer import cache_folder
from regions.province import Truth, truth
from regions.truth import TrueStudy, default_cache
from tests.interop.serving import ROOT
from tests.kit.peers import CHROMIUM, free_port, require, stop

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
    """

    http_port: int
    token: str
    process: "subprocess.Popen[str]"
    truth: Truth

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def study(self, purpose: str) -> TrueStudy:
        return self.truth.study(purpose)

    @contextlib.contextmanager
    def without(self, region: str) -> Iterator[None]:
        """Hold one region still, as long as the context lasts: it takes connections and says nothing."""
        [archive] = [
            child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if "regions.archive" in child.cmdline() and region in child.cmdline()
        ]
        archive.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            archive.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def demo(home: Path) -> Iterator[Demo]:
    """Run `gateway demo` with the small province."""
    folder, http_port = viewer_folder(), free_port()
    config = home / "gateway.toml"
    config.write_text("[search]\nsoft_seconds = 2.0\n")
    options = {
        "--scale": "small",
        "--viewer": folder,
        "--config": config,
        "--http-port": http_port,
        "--dimse-port": free_port(),
        "--ops-port": 0,
        "--region-base-port": free_port(),
    }
    command = [sys.executable, "-m", "gateway", "demo", *(str(word) for pair in options.items() for word in pair)]
    with (home / "gateway.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, text=True, start_new_session=True
        )
        try:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("ready "):
                pytest.fail(f"the demonstration did not start: {(home / 'gateway.log').read_text()[-2000:]}")
            told = (found for line in process.stdout if (found := TOKEN.search(line)))
            yield Demo(http_port, next(told)[1], process, truth(default_cache(1, "small")))
        finally:
            stop(process, 20.0)  # type: ignore[arg-type]  # text or bytes are the same to it
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
            context.add_init_script("localStorage?.setItem('shownTours', '[\"basicViewerTour\"]')")
            yield context
        finally:
            context.close()


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
        entry = self.page.locator("[data-cy^=study-browser-thumbnail]").filter(has_text=text).first
        entry.dblclick()

    def pixels(self, canvases: int = 1) -> None:
        """Wait until so many viewports show a picture: more colours than a blank one or a letter has."""
        self.until(lambda: sum(count > 8 for count in self.page.evaluate(COLOURS)) >= canvases, "a picture")

    def picture(self) -> str:
        """Return what all viewports show."""
        return str(self.page.evaluate(PICTURE))

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Let the page work until something holds."""
        end = time.monotonic() + PATIENCE / 1000
        while not holds():
            if time.monotonic() > end:
                self.shot("failed")
                pytest.fail(f"{what} did not come; the page complains: {self.complaints}")
            self.page.wait_for_timeout(100)

    def shot(self, name: str) -> None:
        """Keep a picture of the page where SCREENSHOTS names a folder."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")
