"""The ``gateway`` command: ``serve`` and ``demo``, and what the other modules of this package add."""

import asyncio
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from gateway.cli import audit, check, config, conformance, consent, doctor, fetch, find, queue, region, send
from gateway.cli import demo as embedded
from gateway.cli.serve import serve_until_stopped
from gateway.cli.viewer import fetch as fetch_viewer
from gateway.config import settings
from gateway.errors import ConfigError, GatewayError
from gateway.region import profile
from gateway.scp.profile import load as load_peers

USAGE = 2


class Scale(StrEnum):
    """Sizes of the synthetic province."""

    FULL = "full"
    SMALL = "small"


app = typer.Typer(
    name="gateway",
    help="A provincial DICOMweb gateway: many DIMSE regions, one origin server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(queue.app)
app.add_typer(region.app)
app.add_typer(config.app)
app.command("check")(check.command)
app.command("conformance")(conformance.command)
app.command("doctor")(doctor.command)
app.command("find")(find.command)
app.command("fetch")(fetch.command)
app.command("send")(send.command)
app.add_typer(audit.app)
app.add_typer(consent.app)

HttpPort = Annotated[int | None, typer.Option(help="Port of the DICOMweb face.")]
DimsePort = Annotated[int | None, typer.Option(help="Port of the DIMSE face.")]
OpsPort = Annotated[int | None, typer.Option(help="Port of the address for operators.")]
ViewerFolder = Annotated[Path | None, typer.Option(help="Folder of a built OHIF to serve at /.")]
ConfigFile = Annotated[Path | None, typer.Option(help="Settings; defaults.toml lists them all.")]


@app.command()
def serve(
    regions: Annotated[Path, typer.Option(help="Folder of region profiles, one *.toml each.")],
    peers: Annotated[Path | None, typer.Option(help="Folder of peer profiles: who may use the DIMSE face.")] = None,
    config: ConfigFile = None,
    http_port: HttpPort = None,
    dimse_port: DimsePort = None,
    ops_port: OpsPort = None,
    viewer: ViewerFolder = None,
) -> None:
    """Run the gateway in front of the regions of a folder, until Ctrl-C or SIGTERM."""
    chosen = settings.load(config, _overrides(http_port, dimse_port, ops_port, viewer))
    profiles = profile.load(regions)
    uvloop.run(serve_until_stopped(chosen, profiles, load_peers(peers) if peers else ()))


@app.command()
def demo(  # noqa: PLR0917 - typer makes options of them all
    config: ConfigFile = None,
    http_port: HttpPort = None,
    dimse_port: DimsePort = None,
    ops_port: OpsPort = None,
    region_base_port: Annotated[int, typer.Option(help="First of the four ports of the embedded archives.")] = 11201,
    scale: Annotated[Scale, typer.Option(help="How large its images are.")] = Scale.FULL,
    viewer: ViewerFolder = None,
    no_viewer: Annotated[bool, typer.Option("--no-viewer", help="Do not bring in a viewer with npm.")] = False,
    is_open: Annotated[bool, typer.Option("--open", help="Let everybody in, without a token.")] = False,
) -> None:
    """Bring up the embedded synthetic province and the gateway in front of it, until Ctrl-C or SIGTERM."""
    chosen = settings.load(config, _overrides(http_port, dimse_port, ops_port, viewer))
    uvloop.run(embedded.run(chosen, region_base_port, scale, is_open=is_open, fetch_viewer=not no_viewer))


@app.command()
def viewer() -> None:
    """Bring in the viewer with npm, once, and print its folder for `gateway serve --viewer`."""
    print(asyncio.run(fetch_viewer()))


def _overrides(
    http_port: int | None, dimse_port: int | None, ops_port: int | None, viewer: Path | None
) -> dict[str, dict[str, Any]]:
    chosen: dict[str, tuple[str, Any]] = {
        "http": ("port", http_port),
        "dimse": ("port", dimse_port),
        "ops": ("port", ops_port),
        "viewer": ("folder", str(viewer) if viewer else None),
    }
    return {section: {key: value} for section, (key, value) in chosen.items() if value is not None}


def main() -> None:
    """Run the command; a mistake in its input is told in plain words, with exit code 2."""
    try:
        app()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(USAGE)
    except GatewayError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(os.EX_SOFTWARE)
