"""``gateway check``: every mistake of a configuration at once, each with its file, its line and its remedy."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from gateway.cli.options import Config, Json
from gateway.cli.output import Exit, print_json
from gateway.config import settings
from gateway.config.paths import path_of
from gateway.config.settings import Settings
from gateway.config.toml import Fault, Faulty, line
from gateway.dimse.tls import client_context, server_context
from gateway.errors import ConfigError
from gateway.federation.admission import required_keys
from gateway.federation.identity_source import identity_source
from gateway.federation.issuers import Issuers
from gateway.federation.routing import Routing
from gateway.region import profile
from gateway.region.profile import Profile
from gateway.scp.peers import secured
from gateway.scp.profile import PeerProfile
from gateway.scp.profile import load as load_peers

T = TypeVar("T")

Regions = Annotated[Path | None, typer.Option(help="Folder of region profiles, one *.toml each.")]
Peers = Annotated[Path | None, typer.Option(help="Folder of peer profiles.")]

KEY: Final = re.compile(r'"?\b([a-z]+\.[a-z_]+)"?')
"""How the text of an error names a setting."""


def command(regions: Regions = None, peers: Peers = None, config: Config = None, as_json: Json = False) -> None:
    """Check settings, region profiles and peer profiles; exit code 2 if anything is wrong."""
    faults = list(dict.fromkeys(find_faults(config, regions, peers)))
    if as_json:
        told = [{"source": x.source, "line": x.line or None, "text": x.text} for x in faults]
        print_json({"faults": told, "checked": [str(x) for x in (config, regions, peers) if x]})
    else:
        for fault in faults:
            print(fault.located)
        what = ", ".join(str(x) for x in (config or "the shipped settings", regions, peers) if x)
        print(f"{len(faults)} to mend in {what}" if faults else f"nothing to mend in {what}")
    if faults:
        raise typer.Exit(Exit.USAGE)


def find_faults(config: Path | None, regions: Path | None, peers: Path | None) -> Iterator[Fault]:
    """Yield each mistake, those of single files first and then what does not fit together."""
    chosen, of_settings = _read(lambda: settings.load(config), str(config))
    yield from of_settings
    profiles, of_regions = _read(lambda: profile.load(regions) if regions else [], str(regions))
    yield from of_regions
    known, of_peers = _read(lambda: load_peers(peers) if peers else [], str(peers))
    yield from of_peers
    for region in profiles or ():
        yield from _file_faults(region, regions)
    if chosen is not None:
        yield from _setting_faults(chosen, config, profiles)
        yield from _peer_faults(chosen, profiles or (), known or (), peers)


def _read(reading: Callable[[], T], source: str) -> tuple[T | None, Sequence[Fault]]:
    """Return what could be read, or why it could not."""
    try:
        return reading(), ()
    except Faulty as error:
        return None, error.faults
    except ConfigError as error:
        return None, [Fault(source, 0, str(error).removeprefix(f"{source}: "))]


def _file_faults(region: Profile, folder: Path | None) -> Iterator[Fault]:
    """Yield what is wrong with the certificates of a region's profile."""
    if not region.tls or folder is None:
        return
    names = (region.ca, region.certificate, region.key)
    try:
        client_context(*map(path_of, names))
    except ConfigError as error:
        file = _file_of(folder, region.name)
        key = "ca" if region.ca and str(error).startswith(region.ca) else "certificate"
        yield Fault(str(file or folder), line(file, [key]), f'"{key}": {error}')


def _setting_faults(chosen: Settings, config: Path | None, profiles: Sequence[Profile] | None) -> Iterator[Fault]:
    """Yield what only shows when the gateway is put together."""
    tries: list[tuple[str, Callable[[], object]]] = [
        ("dimse.certificate", lambda: secured(chosen.dimse)),
        ("http.certificate", lambda: _https(chosen)),
        ("store.required", lambda: required_keys(chosen.store)),
    ]
    if profiles is not None:  # those that could not be read are no reason to call their names unknown
        tries += [
            ("store.rules", lambda: Routing(chosen.store, [x.name for x in profiles])),
            ("identity.source", lambda: asyncio.run(_identity(chosen, profiles))),
        ]
    for key, attempt in tries:
        try:
            attempt()
        except ConfigError as error:
            named = (x[1] for x in KEY.finditer(str(error)) if x[1].partition(".")[0] in Settings.model_fields)
            place = next(named, key).split(".")
            yield Fault(str(config or "settings"), line(config, place), str(error))


def _https(chosen: Settings) -> None:
    if chosen.http.certificate:
        server_context(Path(chosen.http.certificate), Path(chosen.http.key or chosen.http.certificate))


async def _identity(chosen: Settings, profiles: Sequence[Profile]) -> None:
    issuers = Issuers.of(chosen.identity)
    async with identity_source(chosen.identity, issuers, profiles):
        pass


def _peer_faults(
    chosen: Settings, profiles: Sequence[Profile], peers: Sequence[PeerProfile], folder: Path | None
) -> Iterator[Fault]:
    ours = {chosen.dimse.ae_title, *(title for region in profiles for title in region.move_destinations)}
    for peer in peers:
        if peer.ae_title in ours and folder is not None:
            file = _file_of(folder, peer.name)
            text = f'"ae_title" {peer.ae_title!r} is our own: give the AE title of the peer'
            yield Fault(str(file or folder), line(file, ["ae_title"]), text)


def _file_of(folder: Path, name: str) -> Path | None:
    """Return the file of a folder that is the profile of that name."""
    pattern = re.compile(rf"^\s*name\s*=\s*[\"']{re.escape(name)}[\"']", re.MULTILINE)
    files = sorted(folder.glob("*.toml"))
    return next((file for file in files if pattern.search(file.read_text(encoding="utf-8-sig"))), None)
