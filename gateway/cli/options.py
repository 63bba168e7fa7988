"""Options that several commands have."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from gateway.errors import ConfigError

Config: TypeAlias = Annotated[Path | None, typer.Option(help="Settings; defaults.toml lists them all.")]
Profiles: TypeAlias = Annotated[Path, typer.Option(help="Folder of region profiles, one *.toml each.")]
Output: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write; standard output when not given.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]

HttpPort: TypeAlias = Annotated[int | None, typer.Option(help="Port of the DICOMweb face.")]
DimsePort: TypeAlias = Annotated[int | None, typer.Option(help="Port of the DIMSE face.")]
OpsPort: TypeAlias = Annotated[int | None, typer.Option(help="Port of the address for operators.")]
ViewerFolder: TypeAlias = Annotated[Path | None, typer.Option(help="Folder of a built OHIF to serve at /.")]

Regions: TypeAlias = Annotated[Path | None, typer.Option(help="Folder of region profiles: ask the regions themselves.")]
Url: TypeAlias = Annotated[str, typer.Option(help="Ask a running gateway, e.g. http://127.0.0.1:8080/dicom-web.")]
TokenFile: TypeAlias = Annotated[Path | None, typer.Option(help="File with a bearer token for --url.")]


def one_of(regions: Path | None, url: str) -> bool:
    """Return whether the regions are asked, and not a gateway; raises ConfigError where it is not said which."""
    if bool(regions) == bool(url):
        raise ConfigError("say whom to ask: --regions FOLDER for the regions, or --url URL for a running gateway")
    return bool(regions)
