"""(u), (v): from the click to the first image in the browser, through the gateway and from one archive alone."""

import contextlib
import http.client
import http.server
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext

from gateway.web.viewer import viewer_files
from tests.bench import samples
from tests.bench.figures import Figure, medians, share
from tests.bench.setting import FORGETFUL, FORGOTTEN, Setting
from tests.browser.showing import COLOURS, PATIENCE, chromium, viewer_folder

OPEN = f"/viewer?StudyInstanceUIDs={samples.CT_STUDY}"
RUNS = 3


def first_image(setting: Setting) -> list[Figure]:
    """Show the large CT; the page itself is in the browser's cache for both."""
    folder = viewer_folder()
    settings = f'[viewer]\nfolder = "{folder}"\n'
    warm = setting.over_archive("c-move", settings)
    cold = setting.over_archive("c-move", f"{settings}{FORGETFUL}")
    # Orthanc's answers name no origin that may read them: the browser lets the page read all, for both alike.
    with (
        chromium(setting.home, "--disable-web-security") as browser,
        beside_orthanc(setting, warm.http_port, folder) as port,
    ):
        origins = {"warm": warm.http_port, "cold": cold.http_port, "Orthanc": port}
        taken = medians({name: partial(_shown, browser, at, name == "cold") for name, at in origins.items()}, RUNS)
    what = f"from the click to the first image of {samples.SLICES} CT slices"
    return [
        share("u", f"{what}, cold", taken["cold"], taken["Orthanc"], "OHIF on Orthanc", 1.5),
        share("v", f"{what}, warm", taken["warm"], taken["Orthanc"], "OHIF on Orthanc", 0.9),
    ]


def _shown(browser: BrowserContext, port: int, is_cold: bool) -> float:
    """Return the seconds until a picture is seen in a new tab."""
    if is_cold:
        time.sleep(FORGOTTEN)
    page = browser.new_page()
    try:
        began = time.perf_counter()
        page.goto(f"http://127.0.0.1:{port}{OPEN}", wait_until="commit")
        page.wait_for_function(f"() => ({COLOURS})().some((count) => count > 8)", polling="raf", timeout=PATIENCE)
        return time.perf_counter() - began
    finally:
        page.close()


@contextlib.contextmanager
def beside_orthanc(setting: Setting, http_port: int, folder: Path) -> Iterator[int]:
    """Serve the same viewer, pointed at Orthanc's own DICOMweb: it asks there itself, with nothing in between."""
    page, configuration = (_got(http_port, path) for path in ("/index.html", "/app-config.js"))
    theirs = configuration.replace(b'"/dicom-web"', f'"{setting.archive.dicomweb_url}"'.encode())
    files = viewer_files(folder, setting.home / "packed")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = urlsplit(self.path).path.removeprefix("/")
            file = files.get(name)
            if name in {"viewer", "index.html"}:
                self._answer(200, {"Content-Type": "text/html"}, page)
            elif name == "app-config.js":
                self._answer(200, {"Content-Type": "text/javascript"}, theirs)
            elif file is not None:
                told = {"Content-Type": file.media_type, "Cache-Control": file.caching}
                packed = {"Content-Encoding": "gzip"} if file.packed else {}
                self._answer(200, told | packed, (file.packed or file.path).read_bytes())
            else:
                self._answer(404, {}, b"")

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _got(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.read()
