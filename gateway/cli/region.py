"""``gateway region``: the archives behind the gateway, one by one."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.doctor import Names, Wait, listening_or_not, named
from gateway.cli.learned import Learned, improved, toml
from gateway.cli.options import Config, Json, Output, Profiles
from gateway.cli.output import Exit, print_json, print_table, run, tell
from gateway.cli.probe import Probe
from gateway.cli.visit import Visit
from gateway.cli.web_probe import WebProbe
from gateway.config import settings
from gateway.config.settings import Settings
from gateway.config.toml import check
from gateway.deadline import Deadline
from gateway.dimse.echo import echo
from gateway.errors import ConfigError, GatewayError
from gateway.events import unobserved
from gateway.region import profile
from gateway.region.dicomweb import DicomwebRegion
from gateway.region.inbox import Inbox
from gateway.region.profile import Profile

app = typer.Typer(name="region", help="The archives behind the gateway.", no_args_is_help=True, add_completion=False)

Target = Annotated[str, typer.Argument(help="HOST:PORT, a URL of DICOMweb services, or a region of --regions.")]
Folder = Annotated[Path | None, typer.Option("--regions", help="Folder of region profiles, for a TARGET by name.")]
AeTitle = Annotated[str, typer.Option(help="AE title of the archive, for a TARGET by address.")]
Name = Annotated[str, typer.Option(help="Name of the region; its AE title when not given.")]
Destinations = Annotated[
    list[str] | None, typer.Option("--move-destination", help="Our AE title as it is registered there; repeatable.")
]


@app.command("list")
def list_(regions: Profiles, as_json: Json = False) -> None:
    """Show the regions of a folder, in their order, which ranks them."""
    profiles = profile.load(regions)
    if as_json:
        print_json([one.model_dump(mode="json") for one in profiles])
        return
    columns = ("region", "AE title", "address", "retrieve", "our AE titles there", "TLS", "title")
    print_table(columns, [_row(one) for one in profiles])


def _row(one: Profile) -> tuple[str, ...]:
    if one.dicomweb:
        return (
            one.name,
            one.ae_title,
            one.dicomweb,
            "wado-rs",
            "",
            "yes" if one.dicomweb[:5] == "https" else "no",
            one.title,
        )
    address = f"{one.host}:{one.port}"
    ours = ", ".join(one.move_destinations)
    return one.name, one.ae_title, address, one.retrieve, ours, "yes" if one.tls else "no", one.title


@app.command("echo")
def echo_(
    regions: Profiles, names: Names = None, config: Config = None, wait: Wait = 10.0, as_json: Json = False
) -> None:
    """Ask each region for a C-ECHO, or a study by DICOMweb; exit code 3 when some do not answer, 4 when none does."""
    chosen = settings.load(config)
    profiles = named(profile.load(regions), names or ())
    answers = run(_echoes(chosen, profiles, wait), cancelled="not every region was asked")
    if as_json:
        print_json(answers)
    else:
        for one in answers:
            print(f"{one['region']}: " + (one["error"] or f"answers in {one['milliseconds']} ms"))
    failed = sum(bool(one["error"]) for one in answers)
    raise typer.Exit(Exit.COMPLETE if not failed else Exit.NONE if failed == len(answers) else Exit.PARTIAL)


async def _echoes(chosen: Settings, profiles: Sequence[Profile], seconds: float) -> list[dict[str, Any]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_one_echo(chosen, x, seconds)) for x in profiles]
    return [task.result() for task in tasks]


async def _one_echo(chosen: Settings, one: Profile, seconds: float) -> dict[str, Any]:
    began, said = time.monotonic(), ""
    try:
        spent = await (_web_echo(chosen, one, seconds) if one.dicomweb else _dimse_echo(chosen, one, seconds))
    except GatewayError as error:
        said, spent = str(error), time.monotonic() - began
    return {"region": one.id, "milliseconds": round(1000 * spent), "error": said}


async def _dimse_echo(chosen: Settings, one: Profile, seconds: float) -> float:
    began, visit = time.monotonic(), Visit(one, chosen.dimse.ae_title, seconds)
    visit.secure()
    async with await visit.associate() as association:
        await echo(association, visit.deadline)
        return time.monotonic() - began


async def _web_echo(chosen: Settings, one: Profile, seconds: float) -> float:
    began = time.monotonic()
    async with aclosing(DicomwebRegion(one, chosen, Inbox(unobserved), unobserved)) as region:
        await region.verify(Deadline.after(seconds))
        return time.monotonic() - began


@app.command("profile")
def profile_(
    target: Target,
    *,
    regions: Folder = None,
    ae_title: AeTitle = "",
    name: Name = "",
    move_destination: Destinations = None,
    config: Config = None,
    output: Output = None,
    wait: Wait = 10.0,
    as_json: Json = False,
) -> None:
    """Learn what an archive can do, with a few harmless questions, and write it as a region profile."""
    chosen = settings.load(config)
    if regions is not None:
        [known] = named(profile.load(regions), [target])
    else:
        known = _assumed(target, ae_title, name, move_destination or ())
    learned = run(_probed(chosen, known, wait), cancelled="nothing was written")
    found = improved(known, learned)
    text = toml(found, learned, f"{datetime.now(UTC):%Y-%m-%d}")
    if output is not None:
        output.write_text(text, encoding="utf-8")
        tell(f"written to {output}")
    if as_json:
        print_json({"profile": found.model_dump(mode="json", exclude_defaults=True), "learned": asdict(learned)})
    elif output is None:
        print(text, end="")


async def _probed(chosen: Settings, known: Profile, seconds: float) -> Learned:
    if known.dicomweb:
        return await WebProbe(known, seconds).run(lambda what: tell(f"{known.id}: {what}"))
    async with listening_or_not(chosen, [known]) as (arrivals, why):
        if why and known.move_destinations:
            tell(why)
        visit = Visit(known, chosen.dimse.ae_title, seconds)
        return await Probe(visit, arrivals).run(lambda what: tell(f"{known.id}: {what}"))


def _assumed(target: str, ae_title: str, name: str, destinations: Sequence[str]) -> Profile:
    """Return the profile of an archive of which only its address is known."""
    if target.startswith(("http://", "https://")):
        if not name:
            raise ConfigError("a region has a name: add --name")
        given = {"name": name, "dicomweb": target} | ({"ae_title": ae_title} if ae_title else {})
        return check(Profile, given, "command line")
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"{target!r} is not HOST:PORT; to probe a region by its name, add --regions FOLDER")
    if not ae_title:
        raise ConfigError("an archive is called by its AE title: add --ae-title")
    values = {"name": name or ae_title, "ae_title": ae_title, "host": host.strip("[]"), "port": int(port)}
    return check(Profile, {**values, "move_destinations": tuple(destinations)}, "command line")
