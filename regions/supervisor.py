"""One process that makes the province, starts its archives, and sees to it that none of them outlives it."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regions.people import HEALTH_CARD_ISSUER, HEALTH_CARD_OID
from regions.profiles import Profile, profiles
from regions.truth import CROSSWALK, is_complete, truth


@dataclass(frozen=True, slots=True)
class Settings:
    """What `python -m regions` was asked for.

    Attributes:
        base_port: port of the first archive, the others follow; 0 for any that are free.
        destinations: AE=host:port of each Move Destination that all archives know.
        profiles: folder to write the profiles to, with the addresses in effect.
    """

    cache: Path
    seed: int
    scale: str
    host: str = "127.0.0.1"
    base_port: int = 11201
    destinations: Sequence[str] = ()
    profiles: Path | None = None


class StartError(Exception):
    """The province cannot be made or an archive does not start; it has said why on standard error."""


@dataclass(slots=True)
class Supervisor:
    """Runs the province; events go to standard output, a JSON line each."""

    settings: Settings
    children: list[Process] = field(default_factory=list)

    async def run(self) -> None:
        """Start everything, then wait until every archive has ended by itself.

        Raises:
            StartError: it did not come that far.
        """
        try:
            await self._generate()
            started = [await self._start(n, profile) for n, profile in enumerate(profiles())]
            listening = [await self._listening(one, p.name) for one, p in zip(started, profiles(), strict=True)]
            self._write_profiles(listening)
            self._say_ready(listening)
            async with asyncio.TaskGroup() as group:
                for process, report in zip(started, listening, strict=True):
                    group.create_task(self._watch(process, report["ae_title"]))
        finally:
            await self._stop()

    async def _generate(self) -> None:
        """Have the province made, unless the cache holds it."""
        settings = self.settings
        if is_complete(settings.cache, settings.seed, settings.scale):
            return
        arguments = ("--cache", str(settings.cache), "--seed", str(settings.seed), "--scale", settings.scale)
        maker = await self._spawn("regions.province", *arguments)
        while line := await _line(maker):
            say(**json.loads(line))
        if await maker.wait() != 0:
            raise StartError("the province could not be made")

    async def _start(self, position: int, profile: Profile) -> Process:
        settings = self.settings
        port = settings.base_port + position if settings.base_port else 0
        destinations = [part for one in settings.destinations for part in ("--destination", one)]
        folder = settings.cache / profile.name
        where = ("--host", settings.host, "--port", str(port), "--folder", str(folder), "--drop-received")
        return await self._spawn("regions.archive", "--ae-title", profile.ae_title, *where, *destinations)

    async def _listening(self, process: Process, region: str) -> dict[str, Any]:
        line = await _line(process)
        if not line:
            raise StartError(f"{region} ended with status {await process.wait()} before it listened")
        report: dict[str, Any] = json.loads(line)
        return report

    async def _spawn(self, module: str, *arguments: str) -> Process:
        """Start a module of ours that ends when its standard input, which we hold, ends."""
        command = (sys.executable, "-m", module, *arguments, "--stdin-guard")
        # A session of its own: Ctrl-C is for the supervisor, which then ends its children in order.
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        self.children.append(process)
        return process

    def _write_profiles(self, listening: Sequence[Mapping[str, Any]]) -> None:
        folder = self.settings.profiles
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for profile, report in zip(profiles(), listening, strict=True):
            text = profile.at(report["host"], report["port"])
            (folder / f"{profile.name.lower()}.toml").write_text(text, encoding="utf-8")

    def _say_ready(self, listening: Sequence[Mapping[str, Any]]) -> None:
        regions = [
            {
                "name": profile.name,
                **{key: report[key] for key in ("ae_title", "host", "port", "pid", "studies", "instances")},
            }
            for profile, report in zip(profiles(), listening, strict=True)
        ]
        province = truth(self.settings.cache)
        travelled = province.patient(province.study("four-regions").patient)
        identity = {
            "crosswalk": str(self.settings.cache / CROSSWALK),
            "issuer": HEALTH_CARD_ISSUER,
            "oid": HEALTH_CARD_OID,
            "health_card_number": travelled.health_card_number,
        }
        split = province.study("split-series").study_instance_uid
        profiles_at = str(self.settings.profiles) if self.settings.profiles else None
        say(event="ready", regions=regions, profiles=profiles_at, split_study=split, identity=identity)

    async def _watch(self, process: Process, region: str) -> None:
        status = await process.wait()
        say(event="exited", region=region, status=status)

    async def _stop(self) -> None:
        """End the children: first by asking, after five seconds by force."""
        running = [process for process in self.children if process.returncode is None]
        for process in running:
            process.terminate()
        try:
            async with asyncio.timeout(5):
                for process in running:
                    await process.wait()
        except TimeoutError:
            for process in running:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


async def _line(process: Process) -> bytes:
    return await process.stdout.readline() if process.stdout else b""


def say(**event: Any) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


async def _until_told(*, stdin_guard: bool) -> None:
    """Return on SIGTERM, SIGINT, or, if asked to, when standard input ends."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            told.set()

    if stdin_guard:
        loop.add_reader(sys.stdin.fileno(), read)
    await told.wait()


async def supervise(settings: Settings, *, stdin_guard: bool = False) -> None:
    """Run the province until told to end or nothing of it is left.

    Raises:
        StartError: it did not start.
    """
    try:
        async with asyncio.TaskGroup() as group:
            ending = group.create_task(_until_told(stdin_guard=stdin_guard))
            province = group.create_task(Supervisor(settings).run())
            await asyncio.wait((ending, province), return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            province.cancel()
    except ExceptionGroup as failures:
        reason: Exception | None = failures.subgroup(StartError)
        while isinstance(reason, ExceptionGroup):
            reason = reason.exceptions[0]
        if reason is None:
            raise
        raise reason from None
