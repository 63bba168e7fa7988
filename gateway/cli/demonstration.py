"""``gateway demo``: a synthetic province and the gateway in front of it."""

from enum import StrEnum
from typing import Annotated

import typer
import uvloop

from gateway.cli.demo import run
from gateway.cli.serving import ConfigFile, DimsePort, HttpPort, OpsPort, ViewerFolder, overrides
from gateway.config import settings


class Scale(StrEnum):
    """Sizes of the synthetic province."""

    FULL = "full"
    SMALL = "small"


def command(  # noqa: PLR0917 - typer makes options of them all
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
    chosen = settings.load(config, overrides(http_port, dimse_port, ops_port, viewer))
    uvloop.run(run(chosen, region_base_port, scale, is_open=is_open, fetch_viewer=not no_viewer))
