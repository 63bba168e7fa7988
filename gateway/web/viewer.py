"""OHIF at the root of our origin: its files, our configuration, and a page for every address of its own."""

import base64
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.errors import ConfigError
from gateway.web.assets import MEDIA_TYPES, REVALIDATED, Asset, assets, is_known, served
from gateway.web.own import OWN

INDEX: Final = "index.html"
CONFIGURATION: Final = "app-config.js"
SCRIPT: Final = MEDIA_TYPES[".js"]
SERVICE_WORKERS: Final = "init-service-worker.js"
NOT_ITS_OWN: Final = frozenset({INDEX, CONFIGURATION, SERVICE_WORKERS, "sw.js"})
"""What we write ourselves, and a service worker that would load from elsewhere."""
NO_SERVICE_WORKERS: Final = b"""\
navigator.serviceWorker?.getRegistrations().then((all) => all.forEach((one) => one.unregister()));
"""

_HEAD = re.compile(rb"<head[^>]*>", re.IGNORECASE)
_INLINE = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.IGNORECASE | re.DOTALL)
_NOTICE: Final = f'<link rel="stylesheet" href="{OWN}/notice.css"><script src="{OWN}/notice.js"></script>'.encode()


@dataclass(frozen=True, slots=True)
class Page:
    """A small resource that is kept in memory."""

    body: bytes
    media_type: str
    headers: Mapping[str, str]

    def answer(self, request: Request) -> Response:
        """Answer with it, or with 304 to who has it."""
        headers = {**self.headers, "Cache-Control": REVALIDATED, "ETag": f'"{sha256(self.body).hexdigest()[:32]}"'}
        if is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


class Viewer:
    """Answers what no other route does: the viewer's files, and its page wherever a browser wants one.

    It serves GET and HEAD. Names are looked up in the list of what was there at the start.
    """

    def __init__(self, files: Mapping[str, Asset], index: bytes, configuration: bytes, reserved: Iterable[str]) -> None:
        """Join the parts.

        Args:
            files: the viewer's files by name.
            index: its page, which begins every address of its own.
            configuration: what it reads before it starts.
            reserved: first segments of paths that are ours: what is unknown there stays unknown.
        """
        policy = {"Content-Security-Policy": content_security_policy(index)}
        self._files = {name: file for name, file in files.items() if name not in NOT_ITS_OWN}
        self._page = Page(with_notice(index), "text/html; charset=utf-8", policy)
        self._pages = {
            INDEX: self._page,
            CONFIGURATION: Page(configuration, SCRIPT, {}),
            SERVICE_WORKERS: Page(NO_SERVICE_WORKERS, SCRIPT, {}),
        }
        self._reserved = frozenset(reserved)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            HTTPException: there is no such file, and no page is wanted.
        """
        request = Request(scope, receive)
        if request.method not in {"GET", "HEAD"}:
            raise HTTPException(404)
        name = str(scope["path"]).removeprefix("/")
        if (page := self._pages.get(name)) is not None:
            response = page.answer(request)
        elif (file := self._files.get(name)) is not None:
            response = served(file, request)
        elif self._is_page(name, request.headers.get("accept", "")):
            response = self._page.answer(request)
        else:
            raise HTTPException(404)
        await response(scope, receive, send)

    def _is_page(self, name: str, accept: str) -> bool:
        """Whether an address is one of the viewer's own, such as ``/viewer`` or ``/segmentation``."""
        first, _, rest = name.partition("/")
        if first in {"", "viewer"}:
            return not rest or "." not in rest.rpartition("/")[2]
        return first not in self._reserved and "." not in name.rpartition("/")[2] and "text/html" in accept


def cache_folder() -> Path:
    """Return where viewers and their compressed files are kept when nobody says otherwise."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "provincial-dicomweb-gateway" / "viewer"


def viewer_files(folder: Path, cache: Path) -> dict[str, Asset]:
    """List a viewer's files; to be called beside the event loop.

    Raises:
        ConfigError: the folder holds no built viewer, or the cache cannot be written.
    """
    if not (folder / INDEX).is_file():
        raise ConfigError(f"{folder} holds no viewer (there is no {INDEX} in it): name the dist folder of a built OHIF")
    try:
        return assets(folder, cache)
    except OSError as error:
        raise ConfigError(
            f'the viewer in {folder} cannot be made ready in {cache} ({error.strerror}): set "viewer.cache" '
            "to a folder that can be written"
        ) from error


def with_notice(index: bytes) -> bytes:
    """Return the viewer's page with our notice of missing regions, which must be there before the first request."""
    return _HEAD.sub(lambda found: found[0] + _NOTICE, index, count=1)


def content_security_policy(index: bytes) -> str:
    """Return the policy that OHIF lives with (CSP Level 3): its own files, its inline scripts by their hashes.

    Decoders are WebAssembly in workers, pictures and reports come as blobs, and styles are set by script.
    """
    hashes = (base64.b64encode(sha256(script).digest()).decode() for script in _INLINE.findall(index))
    scripts = " ".join(f"'sha256-{value}'" for value in dict.fromkeys(hashes))
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' 'wasm-unsafe-eval' blob: {scripts}".rstrip(),
            "worker-src 'self' blob:",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "media-src 'self' blob:",
            "connect-src 'self' data: blob:",
            "frame-src 'self' blob:",
            "object-src 'self' blob:",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    )


def configuration(root: str, regions: Mapping[str, tuple[str, str]]) -> bytes:
    """Return OHIF's configuration: one data source, at our own origin.

    Args:
        root: below which the DICOMweb resources are.
        regions: name and title of each region by its id, for the notice.
    """
    source: dict[str, Any] = {
        "friendlyName": "Provincial gateway",
        "name": "gw",
        "qidoRoot": root,
        "wadoRoot": root,
        "wadoUriRoot": root,
        "qidoSupportsIncludeField": True,
        "supportsFuzzyMatching": True,
        "supportsWildcard": True,
        "enableStudyLazyLoad": True,
        "imageRendering": "wadors",
        "thumbnailRendering": "rendered",
        "thumbnailRequestStrategy": "fetch",
        "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
        "singlepart": "bulkdata,video,pdf",
        "omitQuotationForMultipartRequest": False,
        "supportsReject": False,
        "dicomUploadEnabled": False,
        "queryLimit": 101,
    }
    chosen = {
        "name": "gateway",
        "routerBasename": None,
        "extensions": [],
        "modes": [],
        "showStudyList": True,
        "maxNumberOfWebWorkers": 3,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False,
        "showLoadingIndicator": True,
        "strictZSpacingForVolumeViewport": True,
        "groupEnabledModesFirst": True,
        "allowMultiSelectExport": False,
        "investigationalUseDialog": {"option": "never"},
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
        "showErrorDetails": "dev",
        "defaultDataSourceName": "gw",
        "dataSources": [
            {
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                "sourceName": "gw",
                "configuration": source,
            }
        ],
    }
    named = {id_: {"name": name, "title": title} for id_, (name, title) in regions.items()}
    code = (resources.files("gateway.web") / "viewer.js").read_bytes()
    return b"window.config = %b;\nwindow.gatewayRegions = %b;\n%b" % (orjson.dumps(chosen), orjson.dumps(named), code)
