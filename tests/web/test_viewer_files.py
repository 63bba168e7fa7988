"""The viewer at the root of our origin: its files, its addresses, our configuration, and nothing else."""

import json
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.web.viewer import viewer_files
from tests.web.fronts import HASHED, INDEX, SCRIPT, fronted, unpacked

PAGE = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.mark.parametrize("path", ["/", "/index.html", "/viewer?StudyInstanceUIDs=1.2", "/viewer/dicomweb"])
async def test_viewer_addresses_begin_with_its_page(tmp_path: Path, path: str) -> None:
    async with fronted(tmp_path) as web:
        answer = await web.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (
        answer.content.replace(b'<link rel="stylesheet" href="/gateway/notice.css">', b"").replace(
            b'<script src="/gateway/notice.js"></script>', b""
        )
        == INDEX
    )


async def test_other_addresses_of_the_viewer_need_a_browser_that_wants_a_page(tmp_path: Path) -> None:
    async with fronted(tmp_path) as web:
        assert (await web.get("/segmentation", Accept=PAGE)).status_code == 200
        assert (await web.get("/segmentation", Accept="application/json")).status_code == 404


@pytest.mark.parametrize(
    "path", ["/dicom-web/nothing", "/regions/nothing", "/wado/nothing", "/home/nothing", "/gateway/nothing"]
)
async def test_what_is_unknown_below_our_own_paths_stays_unknown(tmp_path: Path, path: str) -> None:
    async with fronted(tmp_path) as web:
        answer = await web.get(path, Accept=PAGE)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_our_resources_come_before_the_viewer(tmp_path: Path) -> None:
    async with fronted(tmp_path) as web:
        assert (await web.get("/dicom-web/studies")).json() == []
        assert "Open the viewer" in (await web.get("/home")).text


@pytest.mark.parametrize(
    "path",
    [
        *("/out.txt", "/../secret.txt", "/assets/../../secret.txt", "/.hidden.js", f"/{HASHED}.map", "/sw.js"),
        *("/viewer/app.js", "/missing.js"),
    ],
)
async def test_names_never_leave_the_list(tmp_path: Path, path: str) -> None:
    async with fronted(tmp_path) as web:
        answer = await web.get(path, Accept="*/*")
    assert answer.status_code in {400, 404}
    assert b"secret" not in answer.content


async def test_hashed_file_is_immutable_and_packed_once(tmp_path: Path) -> None:
    async with fronted(tmp_path) as web:
        packed = await web.client.send(web.client.build_request("GET", f"/{HASHED}"), stream=True)
        raw = b"".join([piece async for piece in packed.aiter_raw()])
        plain = await web.get(f"/{HASHED}", Accept_Encoding="identity")
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) == len(raw) < len(SCRIPT)
    assert packed.headers["cache-control"] == plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert packed.headers["content-type"] == "text/javascript; charset=utf-8"
    assert packed.headers["etag"] != plain.headers["etag"]
    assert plain.content == SCRIPT
    assert raw in [path.read_bytes() for path in (tmp_path / "cache").iterdir()]
    assert SCRIPT in map(unpacked, (tmp_path / "cache").iterdir())


async def test_file_that_is_known_is_not_sent_again(tmp_path: Path) -> None:
    async with fronted(tmp_path) as web:
        for path in (f"/{HASHED}", "/app-config.js", "/", "/gateway/notice.js", "/assets/favicon.png"):
            first = await web.get(path)
            again = await web.get(path, If_None_Match=first.headers["etag"])
            changed = await web.get(path, If_None_Match='"other"')
            assert (again.status_code, again.content, changed.status_code) == (304, b"", 200), path


async def test_head_tells_length_and_sends_nothing(tmp_path: Path) -> None:
    async with fronted(tmp_path) as web:
        answer = await web.client.head(f"/{HASHED}", headers={"Accept-Encoding": "identity"})
    assert (answer.headers["content-length"], answer.content) == (str(len(SCRIPT)), b"")


async def test_media_types_are_what_browsers_insist_on(tmp_path: Path) -> None:
    async with fronted(tmp_path) as web:
        wasm, picture = await web.get("/0ddf166f7a343eda.wasm"), await web.get("/assets/favicon.png")
    assert wasm.headers["content-type"] == "application/wasm"
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["cache-control"] == "no-cache"


async def test_configuration_is_ours_and_stays_at_our_origin(tmp_path: Path) -> None:
    async with fronted(tmp_path) as web:
        text = (await web.get("/app-config.js")).text
    first, second, *_ = text.splitlines()
    chosen = json.loads(first.removeprefix("window.config = ").removesuffix(";"))
    [source] = chosen["dataSources"]
    assert {source["configuration"][key] for key in ("qidoRoot", "wadoRoot", "wadoUriRoot")} == {"/dicom-web"}
    assert source["configuration"]["supportsFuzzyMatching"] is True
    assert "http" not in text
    named = json.loads(second.removeprefix("window.gatewayRegions = ").removesuffix(";"))
    assert named == {"neodin": {"name": "NEODIN", "title": "Northern Network"}}


async def test_policy_lets_in_the_inline_script_by_its_hash_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    async with fronted(tmp_path) as web:
        policy = (await web.get("/")).headers["content-security-policy"]
    [scripts] = [part for part in policy.split("; ") if part.startswith("script-src")]
    # printf "one()" | openssl dgst -sha256 -binary | base64
    assert "'sha256-HR7iaask9daLMRRskMI++QeJtjWDOjyPA6lGzYGzKW4='" in scripts
    assert "unsafe-inline" not in scripts
    assert "'unsafe-eval'" not in scripts
    assert "http" not in policy


def test_folder_without_a_viewer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no viewer"):
        viewer_files(tmp_path, tmp_path / "cache")


def test_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "index.html").write_bytes(INDEX)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ConfigError, match=r"viewer\.cache"):
        viewer_files(tmp_path / "dist", tmp_path / "cache")
