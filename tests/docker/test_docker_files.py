"""docker/: no engine runs here, so what the files name is checked, and what they run is run."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from gateway.cli.app import app
from gateway.config.settings import load
from gateway.region import profile
from regions.profiles import profiles
from tests.interop.serving import Gateway

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
IMAGE = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)?:v?\d+\.\d+\.\d+(-[a-z-]+)?")
"""A name on the implicit registry, pinned by a full version."""


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"(?m)^#.*\n", "", (DOCKER / "Dockerfile").read_text()).replace("\\\n", "")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of each stage, by its name, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions():
        if name == "FROM":
            found[rest.split()[-1]] = []
        found[list(found)[-1]].append((name, rest))
    return found


def of(stage: str, name: str) -> list[str]:
    return [rest for instruction, rest in stages()[stage] if instruction == name]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return found


# --- the image


def test_images_are_pinned_by_version_and_come_from_the_implicit_registry() -> None:
    named = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    outside = [image for image in named if image not in stages()]
    assert outside
    assert all(IMAGE.fullmatch(image) for image in outside), outside


def test_everything_installed_is_pinned_by_hash() -> None:
    installs = [x for _, rest in instructions() for x in rest.split("&&") if " install " in x and "pip" in x]
    assert len(installs) == 4
    assert all("--require-hashes" in x or "--no-deps" in x for x in installs)


@pytest.mark.parametrize("name", ["gateway", "province", "build"])
def test_locks_of_the_image_have_the_versions_that_are_tested(name: str) -> None:
    tested, image = (_locked(file) for file in (ROOT / "requirements.lock", DOCKER / "locks" / f"{name}.txt"))
    assert image
    assert image.items() <= tested.items()


def _locked(file: Path) -> dict[str, tuple[str, ...]]:
    """Return version, marker and hashes of each requirement."""
    entries = re.findall(r"(?m)^([a-z0-9-]+)==((?:.*\\\n)+.*)$", file.read_text())
    return {name: tuple(sorted(re.findall(r"sha256:\w+|^[\w.]+", rest))) for name, rest in entries}


def test_the_lock_of_the_image_has_every_dependency_of_ours() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = _locked(DOCKER / "locks" / "gateway.txt")
    needed = {re.split(r"[<>=\[;]", text)[0].lower() for text in project["dependencies"]}
    assert needed <= locked.keys()
    assert "reportlab" in _locked(DOCKER / "locks" / "province.txt")
    assert not {"pytest", "mypy", "ruff"} & locked.keys()


def test_what_the_image_copies_is_there_and_is_sent_to_the_builder() -> None:
    kept = {x[1:] for x in (ROOT / ".dockerignore").read_text().splitlines() if x.startswith("!")}
    sources = [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == x or source.startswith(f"{x}/") for x in kept), source


@pytest.mark.parametrize("stage", ["gateway", "loader"])
def test_the_image_runs_as_nobody_in_particular_and_gets_signals_itself(stage: str) -> None:
    [user] = of(stage, "USER")
    assert int(user.partition(":")[0]) >= 10_000
    for text in (*of(stage, "ENTRYPOINT"), *of(stage, "CMD")):
        assert all(isinstance(word, str) for word in json.loads(text))


def test_the_default_image_is_the_gateway() -> None:
    assert list(stages())[-1] == "gateway"


def test_the_command_of_the_image_is_one_of_the_gateway() -> None:
    [entry], [command] = of("gateway", "ENTRYPOINT"), of("gateway", "CMD")
    assert json.loads(entry) == ["gateway"]
    name, *arguments = json.loads(command)
    _parsed(name, arguments)
    settings = Path(arguments[arguments.index("--config") + 1])
    assert f"docker/{settings.name} {settings}" in of("gateway", "COPY")


def _parsed(name: str, arguments: list[str]) -> None:
    """Have the command line read by what reads it, without running it."""
    group: Any = get_command(app)
    group.get_command(group.make_context("gateway", [], resilient_parsing=True), name).make_context(
        name, list(arguments)
    )


def test_the_health_check_of_the_image_tells_a_gateway_from_none(served_gateway: Gateway) -> None:
    [check] = of("gateway", "HEALTHCHECK")
    words = json.loads(check.partition("CMD")[2])
    assert words[0] == "python"
    alive = [word.replace(":8080", f":{served_gateway.http_port}") for word in words[1:]]
    dead = [word.replace(":8080", ":1") for word in words[1:]]
    assert subprocess.run([sys.executable, *alive], check=False).returncode == 0
    assert subprocess.run([sys.executable, *dead], check=False, capture_output=True).returncode != 0


@pytest.mark.parametrize("file", ["gateway.toml", "province/gateway.toml"])
def test_settings_of_containers_are_settings_and_write_only_to_the_volume(file: str) -> None:
    settings = load(DOCKER / file)
    assert settings.http.host == settings.dimse.host == "0.0.0.0"
    [volume] = json.loads(of("gateway", "VOLUME")[0])
    assert settings.spool.folder.startswith(f"{volume}/")
    assert settings.store.folder.startswith(f"{volume}/")


def test_the_wheel_has_what_the_pages_are_made_of(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)], check=True, capture_output=True, text=True
    )
    guides = [f"gateway/docs/{file.name}" for file in (ROOT / "gateway" / "docs").glob("*.md")]
    for name in (*guides, "gateway/web/docs.css", "gateway/config/defaults.toml", "regions/neodin.toml"):
        assert name in listed.stdout, name


# --- compose


def test_services_are_pinned_or_built_here() -> None:
    for name, service in compose()["services"].items():
        if build := service.get("build"):
            assert (DOCKER / build["context"] / build["dockerfile"]).is_file()
            assert build["target"] in stages()
        else:
            assert IMAGE.fullmatch(service["image"]), name


def test_services_name_only_what_there_is() -> None:
    document = compose()
    for name, service in document["services"].items():
        for other in service.get("depends_on", ()):
            assert other in document["services"], name
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            assert target.startswith("/")
            there = (DOCKER / source).exists() if source.startswith(".") else source in document["volumes"]
            assert there, volume


def test_ports_are_published_on_this_host_alone() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert not any(port.endswith(":9464") for port in ports)


def test_our_services_are_hardened() -> None:
    for name in ("gateway", "loader", "prometheus"):
        service = compose()["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_profiles_of_compose_are_those_of_the_province_at_its_services() -> None:
    services = compose()["services"]
    found = {one.name: one for one in profile.load(DOCKER / "province" / "regions")}
    assert list(found) == sorted(one.name for one in profiles())
    for one in profiles():
        there = found[one.name]
        assert services[there.host]["environment"]["AE_TITLE"] == there.ae_title
        assert (DOCKER / "province" / "regions" / f"{there.host}.toml").read_text() == one.at(there.host, there.port)
        assert there.port == json.loads((DOCKER / "orthanc.json").read_text())["DicomPort"]


def test_orthancs_know_the_gateway_as_their_move_destination() -> None:
    document = json.loads((DOCKER / "orthanc.json").read_text())
    settings = load(DOCKER / "province" / "gateway.toml")
    ae_title, host, port = document["DicomModalities"]["GATEWAY"]
    assert (ae_title, port) == (settings.dimse.ae_title, settings.dimse.port)
    assert host in compose()["services"]


def test_the_loader_fills_the_regions_of_compose_and_leaves_the_crosswalk_where_it_is_read() -> None:
    loader = compose()["services"]["loader"]
    words = [word.replace("${SCALE:-full}", "small") for word in loader["command"]]
    assert {x.partition("=")[0] for x in words if not x.startswith("--")} == {one.ae_title for one in profiles()}
    [cache] = [word.partition("=")[2] for word in words if word.startswith("--cache")]
    assert load(DOCKER / "province" / "gateway.toml").identity.crosswalk == f"{cache}/crosswalk.csv"
    # Its own parser reads them: the address of an archive that is none of the province's is the only mistake in it.
    module = [sys.executable, "-m", "regions.load", *words, "NOWHERE=nowhere:1"]
    ended = subprocess.run(module, check=False, capture_output=True, text=True)
    assert (ended.returncode, "no such region: NOWHERE" in ended.stderr) == (2, True)


def test_prometheus_asks_where_the_gateway_tells() -> None:
    document = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    [job] = document["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    settings = load(DOCKER / "province" / "gateway.toml")
    assert host in compose()["services"]
    assert (int(port), settings.ops.host) == (settings.ops.port, "0.0.0.0")


def commands(file: Path) -> Iterator[list[str]]:
    """Yield the command lines of a guide."""
    for block in re.findall(r"```\n(.*?)```", file.read_text(), re.DOTALL):
        for line in re.findall(r"(?m)^\$ (.*)$", block.replace("\\\n", " ")):
            yield shlex.split(line)


def test_files_that_the_guide_names_are_there() -> None:
    words = [word for line in commands(ROOT / "gateway" / "docs" / "operations-scale.md") for word in line]
    named = [word for word in words if word.startswith("docker/")]
    assert named
    assert all((ROOT / word).is_file() for word in named)
