"""``gateway serve``: the gateway in front of the regions of a folder."""

from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from gateway.cli.serve import serve_until_stopped
from gateway.config import settings
from gateway.region import profile
from gateway.scp.profile import load as load_peers

HttpPort = Annotated[int | None, typer.Option(help="Port of the DICOMweb face.")]
DimsePort = Annotated[int | None, typer.Option(help="Port of the DIMSE face.")]
OpsPort = Annotated[int | None, typer.Option(help="Port of the address for operators.")]
ViewerFolder = Annotated[Path | None, typer.Option(help="Folder of a built OHIF to serve at /.")]
ConfigFile = Annotated[Path | None, typer.Option(help="Settings; defaults.toml lists them all.")]


def command(
    regions: Annotated[Path, typer.Option(help="Folder of region profiles, one *.toml each.")],
    peers: Annotated[Path | None, typer.Option(help="Folder of peer profiles: who may use the DIMSE face.")] = None,
    config: ConfigFile = None,
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
