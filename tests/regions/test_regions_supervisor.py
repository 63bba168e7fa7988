"""`python -m regions` as a process: what it says, and that nothing of it stays behind."""

import asyncio
import json
import os
import signal
import sys
import tomllib
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from regions.people import REGIONS
from regions.profiles import profiles
from regions.truth import Truth
from tests.kit.peers import ECHOSCU, SECONDS, run

KEYS = {
    "name", "title", "ae_title", "host", "port", "retrieve", "move_destinations", "max_associations", "character_set",
    "time_zone", "issuer_of_patient_id",
}  # fmt: skip


class Running:
    """A supervisor, its events and everything it has started."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.family: list[psutil.Process] = []

    async def event(self, name: str) -> dict[str, Any]:
        """The next event of a name; others are passed over."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while line := await self.process.stdout.readline():
                event: dict[str, Any] = json.loads(line)
                if event["event"] == name:
                    self.family = psutil.Process(self.process.pid).children(recursive=True)
                    return event
        pytest.fail(f"the supervisor ended before it said {name}")

    async def nothing_left(self) -> None:
        """Wait until the supervisor and all that it started are gone."""
        async with asyncio.timeout(SECONDS):
            await self.process.wait()
            _, alive = await asyncio.to_thread(psutil.wait_procs, self.family, SECONDS)
        assert not alive


@asynccontextmanager
async def regions(*arguments: str | Path) -> AsyncIterator[Running]:
    command = (sys.executable, "-m", "regions", *map(str, arguments))
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=root)
    running = Running(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def small(cache: Path) -> tuple[str | Path, ...]:
    return "--scale", "small", "--cache", cache, "--base-port", "0"


async def test_four_archives_serve_what_the_truth_says(province: Path, true: Truth, tmp_path: Path) -> None:
    async with regions(*small(province), "--profiles", tmp_path / "profiles") as running:
        ready = await running.event("ready")
        assert [region["name"] for region in ready["regions"]] == list(REGIONS)
        assert ready["split_study"] == true.study("split-series").study_instance_uid
        assert ready["identity"]["crosswalk"] == str(province / "crosswalk.csv")
        patient = true.patient(true.study("four-regions").patient)
        assert ready["identity"]["health_card_number"] == patient.health_card_number
        for region in ready["regions"]:
            held = true.held_by(region["name"])
            assert region["studies"] == len(held)
            assert region["instances"] == sum(len(study.held_by(region["name"])) for study in held)
            answer = await run(ECHOSCU, "-aec", region["ae_title"], region["host"], region["port"])
            assert answer.returncode == 0
            profile = tomllib.loads((Path(ready["profiles"]) / f"{region['name'].lower()}.toml").read_text())
            assert (profile["host"], profile["port"]) == (region["host"], region["port"])
        running.process.send_signal(signal.SIGTERM)
        await running.nothing_left()
        assert running.process.returncode == 0


async def test_archive_that_is_killed_is_reported_and_the_others_go_on_until_the_parent_s_pipe_ends(
    province: Path,
) -> None:
    async with regions(*small(province), "--stdin-guard") as running:
        ready = await running.event("ready")
        victim, *others = ready["regions"]
        os.kill(victim["pid"], signal.SIGKILL)
        exited = await running.event("exited")
        assert (exited["region"], exited["status"]) == ("NEODIN", -signal.SIGKILL)
        for region in others:
            answer = await run(ECHOSCU, "-aec", region["ae_title"], region["host"], region["port"])
            assert answer.returncode == 0
        assert running.process.stdin is not None
        running.process.stdin.close()
        await running.nothing_left()


async def test_supervisor_that_is_killed_leaves_nothing_behind(province: Path) -> None:
    async with regions(*small(province)) as running:
        await running.event("ready")
        assert len(running.family) == 4
        running.process.kill()
        await running.nothing_left()


async def test_supervisor_that_is_killed_while_it_generates_leaves_nothing_behind(tmp_path: Path) -> None:
    async with regions("--cache", tmp_path / "full", "--base-port", "0") as running:
        progress = await running.event("progress")
        assert progress["phase"] == "generate"
        assert 0 < progress["done"] < progress["total"]
        assert len(running.family) >= 2  # the maker and its workers
        running.process.kill()
        await running.nothing_left()
        assert not (tmp_path / "full").exists()


async def test_port_that_is_taken_ends_the_start_with_the_reason(province: Path) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    command = (sys.executable, "-m", "regions", *map(str, small(province)[:-1]), str(port))
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, cwd=root)
    async with asyncio.timeout(SECONDS):
        _, errors = await process.communicate()
    taken.close()
    assert process.returncode == 1
    assert f"NEODIN cannot listen on 127.0.0.1:{port}" in errors.decode()


def test_profiles_have_the_keys_of_a_region_and_no_others() -> None:
    ways = set()
    for n, profile in enumerate(profiles()):
        document = tomllib.loads(profile.text)
        assert set(document) == KEYS
        assert document["port"] == 11201 + n
        ways.add(document["retrieve"])
    assert ways == {"auto", "c-move", "c-get"}
