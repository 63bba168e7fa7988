"""``gateway viewer``: the built OHIF of an npm package, pinned by version and hash, once into a cache folder."""

import asyncio
import base64
import hashlib
import shutil
import tarfile
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from rich.console import Console

from gateway.errors import GatewayError
from gateway.web.assets import MEDIA_TYPES
from gateway.web.viewer import INDEX, cache_folder

PACKAGE: Final = "@ohif/app"
VERSION: Final = "3.13.2"
INTEGRITY: Final = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
"""Of the package file (W3C Subresource Integrity), as a person has looked at it."""

BUILT: Final = PurePosixPath("package/dist")
UNUSED: Final = frozenset({"ort"})
"""Folders that are left out: 150 MB for tools that would fetch models from elsewhere, which our pages may not."""

MINUTES: Final = 5


class ViewerMissing(GatewayError):
    """There is no viewer, and it cannot be brought in."""

    slug = "viewer-missing"


def command() -> None:
    """Bring in the viewer with npm, once, and print its folder for `gateway serve --viewer`."""
    print(asyncio.run(fetch()))


async def fetch() -> Path:
    """Return the folder of the viewer, bringing it in first where it is not there yet.

    Raises:
        ViewerMissing: npm is not there or cannot get the package, or what it got is not what is pinned.
    """
    folder = cache_folder() / f"ohif-{VERSION}"
    if (folder / INDEX).is_file():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise ViewerMissing(
            "npm is not installed: install it (Debian: apt install npm), or name a built OHIF with --viewer"
        )
    console = Console(stderr=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=folder.parent) as name:
        work = Path(name)
        console.print(f"viewer: getting {PACKAGE} {VERSION} with npm (46 MB, once)", highlight=False)
        with console.status("viewer: getting it"):
            package = await _packed(npm, work)
        with console.status("viewer: unpacking it"):
            count = await asyncio.to_thread(_unpack, package, work / "dist")
        _place(work / "dist", folder)
        console.print(f"viewer: {count} files in {folder}", highlight=False)
    return folder


async def _packed(npm: str, work: Path) -> Path:
    """Have npm get the package file."""
    command = (npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--ignore-scripts", "--pack-destination", str(work))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, cwd=work, start_new_session=True
    )
    try:
        async with asyncio.timeout(MINUTES * 60):
            _, told = await process.communicate()
    except TimeoutError:
        raise ViewerMissing(f"npm did not get {PACKAGE} within {MINUTES} minutes: try again later") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    package = next(iter(await asyncio.to_thread(lambda: list(work.glob("*.tgz")))), None)
    if process.returncode or package is None:
        why = told.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise ViewerMissing(f"npm cannot get {PACKAGE} {VERSION} ({why[0]}): see that its registry can be reached")
    return package


def _unpack(package: Path, target: Path) -> int:
    """Write what is served of a package file that is what is pinned; return how many files."""
    with package.open("rb") as file:
        digest = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if f"sha512-{digest}" != INTEGRITY:
        raise ViewerMissing(f"what npm got as {PACKAGE} {VERSION} is not what is pinned: nothing of it is used")
    count = 0
    with tarfile.open(package) as archive:
        for member, name in _wanted(archive):
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            if content is not None:
                path.write_bytes(content.read())
                count += 1
    return count


def _wanted(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Yield the files that are served, source maps and what is unused left out, with their names."""
    for member in archive:
        path = PurePosixPath(member.name)
        if not member.isfile() or not path.is_relative_to(BUILT) or ".." in path.parts:
            continue
        name = path.relative_to(BUILT)
        if name.suffix in MEDIA_TYPES and name.parts[0] not in UNUSED:
            yield member, name


def _place(made: Path, folder: Path) -> None:
    """Put a whole folder where it belongs; who was there before with the same is left alone."""
    try:
        made.rename(folder)
    except OSError:
        if not (folder / INDEX).is_file():
            raise
