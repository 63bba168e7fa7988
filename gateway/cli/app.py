"""``gateway serve``, ``gateway demo``, ``gateway queue``, ``gateway audit`` and ``gateway consent``."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from gateway.cli import audit, consent, queue
from gateway.cli import demo as embedded
from gateway.cli.serve import serve_until_stopped
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
app.add_typer(audit.app)
app.add_typer(consent.app)

HttpPort = Annotated[int | None, typer.Option(help="Port of the DICOMweb face.")]
DimsePort = Annotated[int | None, typer.Option(help="Port of the DIMSE face.")]
ConfigFile = Annotated[Path | None, typer.Option(help="Settings; defaults.toml lists them all.")]


@app.command()
def serve(
    regions: Annotated[Path, typer.Option(help="Folder of region profiles, one *.toml each.")],
    peers: Annotated[Path | None, typer.Option(help="Folder of peer profiles: who may use the DIMSE face.")] = None,
    config: ConfigFile = None,
    http_port: HttpPort = None,
    dimse_port: DimsePort = None,
) -> None:
    """Run the gateway in front of the regions of a folder, until Ctrl-C or SIGTERM."""
    chosen = settings.load(config, _overrides(http_port, dimse_port))
    profiles = profile.load(regions)
    uvloop.run(serve_until_stopped(chosen, profiles, load_peers(peers) if peers else ()))


@app.command()
def demo(
    config: ConfigFile = None,
    http_port: HttpPort = None,
    dimse_port: DimsePort = None,
    region_base_port: Annotated[int, typer.Option(help="First of the four ports of the embedded archives.")] = 11201,
    scale: Annotated[Scale, typer.Option(help="How large its images are.")] = Scale.FULL,
    is_open: Annotated[bool, typer.Option("--open", help="Let everybody in, without a token.")] = False,
) -> None:
    """Bring up the embedded synthetic province and the gateway in front of it, until Ctrl-C or SIGTERM."""
    chosen = settings.load(config, _overrides(http_port, dimse_port))
    uvloop.run(embedded.run(chosen, region_base_port, scale, is_open=is_open))


def _overrides(http_port: int | None, dimse_port: int | None) -> dict[str, dict[str, Any]]:
    chosen = {"http": {"port": http_port}, "dimse": {"port": dimse_port}}
    return {section: values for section, values in chosen.items() if values["port"] is not None}


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
