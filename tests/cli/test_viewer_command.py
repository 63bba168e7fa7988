"""`gateway viewer`: OHIF is brought in once, as it is pinned, or a line says what is missing."""

import base64
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.cli import viewer

FILES = {
    "package/dist/index.html": b"<html>",
    "package/dist/app.js": b"app",
    "package/dist/app.js.map": b"map",
    "package/dist/ort/ort.wasm": b"large",
    "package/dist/../../escaped.js": b"out",
    "package/src/index.js": b"source",
}


def package(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def npm(folder: Path, script: str) -> None:
    """Put a program called npm in front of the path."""
    folder.mkdir(exist_ok=True)
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an npm that packs our own package, which is what is pinned."""
    content = package(FILES)
    (tmp_path / "made.tgz").write_bytes(content)
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    monkeypatch.setattr(viewer, "INTEGRITY", f"sha512-{digest}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    npm(tmp_path / "bin", f'echo "$@" >> {tmp_path}/asked; cp {tmp_path}/made.tgz "$6/ohif.tgz"')
    return tmp_path


async def test_viewer_is_brought_in_once_without_maps_and_what_is_unused(home: Path) -> None:
    folder = await viewer.fetch()
    assert await viewer.fetch() == folder
    assert names(folder) == ["app.js", "index.html"]
    assert names(folder.parent) == ["app.js", "index.html", folder.name]
    assert "escaped.js" not in names(home)
    assert (home / "asked").read_text().count("@ohif/app@3.13.2") == 1


async def test_package_that_is_not_what_is_pinned_is_not_used(home: Path) -> None:
    (home / "made.tgz").write_bytes(package(FILES | {"package/dist/app.js": b"other"}))
    with pytest.raises(viewer.ViewerMissing, match="not what is pinned"):
        await viewer.fetch()
    assert names(home / "cache" / "provincial-dicomweb-gateway" / "viewer") == []


async def test_npm_that_is_not_there_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home / "nowhere"))
    with pytest.raises(viewer.ViewerMissing, match="npm is not installed"):
        await viewer.fetch()


async def test_npm_that_fails_is_quoted(home: Path) -> None:
    npm(home / "bin", "echo no such host >&2; exit 1")
    with pytest.raises(viewer.ViewerMissing, match="no such host"):
        await viewer.fetch()
