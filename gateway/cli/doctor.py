"""``gateway doctor``: what is wrong between us and each region, and what to tell whom."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from gateway.cli.examination import Examination
from gateway.cli.options import Config, Json, Profiles
from gateway.cli.output import Exit, print_json, printable, run
from gateway.cli.steps import FAILED, Step
from gateway.cli.visit import Arrivals, listening
from gateway.cli.web_examination import WebExamination
from gateway.config import settings
from gateway.config.settings import Settings
from gateway.errors import ConfigError
from gateway.region import profile
from gateway.region.profile import Profile

Names = Annotated[list[str] | None, typer.Argument(help="Regions; all when none is named.")]
Wait = Annotated[float, typer.Option(min=0.1, help="Seconds that each step may take.")]


def command(
    regions: Profiles, names: Names = None, config: Config = None, wait: Wait = 10.0, as_json: Json = False
) -> None:
    """Walk through DNS, TCP, TLS, association or HTTP, search and retrieve of each region; name what fails.

    Exit code 0 when all is well, 3 when some region is not, 4 when none is.
    """
    chosen = settings.load(config)
    profiles = named(profile.load(regions), names or ())
    found = run(examine(chosen, profiles, wait, quiet=as_json), cancelled="the examination is not complete")
    if as_json:
        print_json([{"region": name, "healthy": _healthy(x), "steps": [*map(asdict, x)]} for name, x in found.items()])
    ill = sum(not _healthy(steps) for steps in found.values())
    raise typer.Exit(Exit.COMPLETE if not ill else Exit.NONE if ill == len(found) else Exit.PARTIAL)


def named(profiles: Sequence[Profile], names: Sequence[str]) -> list[Profile]:
    """Return the profiles of these names, in any case; all where there are none.

    Raises:
        ConfigError: there is no such region.
    """
    known = {x.id: x for x in profiles}
    for name in names:
        if name.lower() not in known:
            raise ConfigError(f"there is no region {name!r}: known are {', '.join(x.name for x in profiles)}")
    return [known[name.lower()] for name in names] if names else list(profiles)


async def examine(
    chosen: Settings, profiles: Sequence[Profile], seconds: float, *, quiet: bool = False
) -> dict[str, list[Step]]:
    """Examine regions side by side; return the steps of each."""
    async with listening_or_not(chosen, profiles) as (arrivals, deaf), asyncio.TaskGroup() as group:
        tasks = {
            one.id: group.create_task(
                _examined(
                    WebExamination(one, chosen, seconds)
                    if one.dicomweb
                    else Examination(one, chosen, arrivals, deaf, seconds),
                    one,
                    quiet=quiet,
                )
            )
            for one in profiles
        }
    return {name: task.result() for name, task in tasks.items()}


async def _examined(examination: Examination | WebExamination, one: Profile, *, quiet: bool) -> list[Step]:
    def told(step: Step) -> None:
        if quiet:
            return
        print(f"{one.id}: {step.name:13} {step.state:7} {printable(step.text)}".rstrip(), flush=True)
        if step.mail:
            print(f"{one.id}: to tell its administrator: {printable(step.mail)}", flush=True)

    return await examination.run(told)


@asynccontextmanager
async def listening_or_not(chosen: Settings, profiles: Sequence[Profile]) -> AsyncIterator[tuple[Arrivals | None, str]]:
    """Listen where the regions send to; or say why not."""
    context = listening(chosen, profiles)
    try:
        arrivals = await context.__aenter__()
    except OSError as error:
        port = chosen.dimse.port
        yield None, f"our port {port} cannot be listened on ({error.strerror}): is the gateway running? Stop it first"
        return
    try:
        yield arrivals, ""
    finally:
        await context.__aexit__(None, None, None)


def _healthy(steps: Sequence[Step]) -> bool:
    return all(step.state != FAILED for step in steps)
