"""The embedded province, run as a process of its own, and the gateway in front of it."""

import asyncio
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.assembly import running
from gateway.cli.serve import announce, base_url, stop_signals
from gateway.config.settings import Settings
from gateway.errors import GatewayError
from gateway.ops.log import EventLog
from gateway.region import profile

GRACE_SECONDS = 5.0


class ProvinceFailed(GatewayError):
    """The embedded province did not come up; what it said of the reason is on stderr."""

    slug = "province-failed"


async def run(settings: Settings, region_base_port: int, scale: str) -> None:
    """Bring up four archives and the gateway; take both down at SIGINT or SIGTERM.

    Raises:
        ProvinceFailed: the archives did not come up.
    """
    async with stop_signals() as stop:
        with tempfile.TemporaryDirectory(prefix="province-") as folder:
            command = _command(settings, region_base_port, scale, folder)
            async with _process(command) as province:
                if not await _ready(province, stop):
                    return
                profiles = profile.load(Path(folder))
                async with running(settings, profiles, EventLog(sys.stderr)) as gateway:
                    announce(settings, gateway)
                    _suggest(base_url(settings, gateway))
                    await stop.wait()


def _command(settings: Settings, region_base_port: int, scale: str, folder: str) -> list[str]:
    destination = f"{settings.dimse.ae_title}=127.0.0.1:{settings.dimse.port}"
    return [
        *(sys.executable, "-m", "regions", "--stdin-guard", "--scale", scale, "--profiles", folder),
        *("--base-port", str(region_base_port), "--destination", destination),
    ]


@asynccontextmanager
async def _process(command: list[str]) -> AsyncIterator[Process]:
    """Run the province as long as the context lasts, in a session of its own so that Ctrl-C reaches us alone."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _ready(province: Process, stop: asyncio.Event) -> bool:
    """Show progress until the archives answer; False when told to stop before."""
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_watch(province))
        stopping = group.create_task(stop.wait())
        await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        stopping.cancel()
    if watching.cancelled():
        return False
    if not watching.result():
        raise ProvinceFailed("the embedded province did not come up: the lines above say why")
    return True


async def _watch(province: Process) -> bool:
    """Draw what the province reports; True once it is ready, False if it ended instead."""
    if province.stdout is None:
        return False
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        phases: dict[str, Any] = {}
        async for line in province.stdout:
            report = orjson.loads(line)
            if report["event"] == "ready":
                return True
            if report["event"] == "progress":
                name = report["phase"]
                if name not in phases:
                    phases[name] = progress.add_task(f"province: {name}", total=report["total"])
                progress.update(phases[name], completed=report["done"], total=report["total"])
    return False


def _suggest(url: str, study: str) -> None:
    """Print three commands that show what the province can do."""
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    print(f"  curl '{url}/studies?PatientName=*'")
    print(f"  curl -i '{url}/studies?ModalitiesInStudy=CT&StudyDate=20240101-'")
    print(f"  curl -H 'Accept: {accept}' -o study.multipart '{url}/studies/{study}'", flush=True)
