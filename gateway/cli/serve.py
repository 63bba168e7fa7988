"""``gateway serve``: the gateway in front of the regions of a folder, until it is told to stop."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from gateway.access.decision import CLOSED
from gateway.assembly import Gateway, running
from gateway.cli.options import Config, DimsePort, HttpPort, OpsPort, Profiles, ViewerFolder
from gateway.config import settings
from gateway.config.settings import Settings
from gateway.ops.log import EventLog
from gateway.region import profile
from gateway.region.profile import Profile
from gateway.scp.profile import PeerProfile
from gateway.scp.profile import load as load_peers

PRIVATE = 0o077
"""The umask of whatever may hold a patient's data: nobody else reads a file, whoever forgets to say so."""


def command(
    regions: Profiles,
    peers: Annotated[Path | None, typer.Option(help="Folder of peer profiles: who may use the DIMSE face.")] = None,
    config: Config = None,
    http_port: HttpPort = None,
    dimse_port: DimsePort = None,
    ops_port: OpsPort = None,
    viewer: ViewerFolder = None,
) -> None:
    """Run the gateway in front of the regions of a folder, until Ctrl-C or SIGTERM."""
    chosen = settings.load(config, overrides(http_port, dimse_port, ops_port, viewer))
    profiles = profile.load(regions)
    uvloop.run(serve_until_stopped(chosen, profiles, load_peers(peers) if peers else ()))


def overrides(
    http_port: int | None, dimse_port: int | None, ops_port: int | None, viewer: Path | None
) -> dict[str, dict[str, Any]]:
    """Return what the options of a command line say over the settings."""
    chosen: dict[str, tuple[str, Any]] = {
        "http": ("port", http_port),
        "dimse": ("port", dimse_port),
        "ops": ("port", ops_port),
        "viewer": ("folder", str(viewer) if viewer else None),
    }
    return {section: {key: value} for section, (key, value) in chosen.items() if value is not None}


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """Give an event that SIGINT and SIGTERM set while the context lasts."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def serve_until_stopped(settings: Settings, profiles: Sequence[Profile], peers: Sequence[PeerProfile]) -> None:
    """Serve in front of the profiles' regions, for the peers, until SIGINT or SIGTERM."""
    os.umask(PRIVATE)
    with EventLog(sys.stderr) as log:
        async with stop_signals() as stop, running(settings, profiles, log, peers=peers) as gateway:
            announce(settings, gateway)
            if settings.access.mode == "closed":
                print(f"  {CLOSED}", flush=True)
            settle()
            await stop.wait()


def settle() -> None:
    """Keep the garbage collector from what was imported, which stays, and from looking after every few rows.

    A collection that walks all of it costs a search of 500 rows 20 ms.
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


def announce(settings: Settings, gateway: Gateway) -> None:
    """Print the one line that says the gateway is ready, and where."""
    names = ", ".join(region.profile.name for region in gateway.regions)
    ports = [(gateway.dimse_port, ""), (gateway.tls_port, " (TLS)")]
    where = " and ".join(f"{settings.dimse.host}:{port}{how}" for port, how in ports if port)
    print(
        f"ready {base_url(settings, gateway)} - AE {settings.dimse.ae_title} on {where} - regions {names}", flush=True
    )


def base_url(settings: Settings, gateway: Gateway) -> str:
    """Return the address of the DICOMweb face."""
    scheme = "https" if settings.http.certificate else "http"
    return f"{scheme}://{settings.http.host}:{gateway.http_port}/dicom-web"
