"""``gateway fetch``: studies into a folder, from a running gateway or from the regions themselves."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Protocol

import typer

from gateway.access.principal import Transaction
from gateway.assembly import Province, province
from gateway.cli.behalf import AsOperator, permitted
from gateway.cli.meter import Meter
from gateway.cli.options import Config, Json, Regions, TokenFile, Url, one_of
from gateway.cli.origin import Origin, RegionAnswer, token_from
from gateway.cli.output import Exit, print_json, run, tell
from gateway.cli.shelf import Shelf, Unwritable
from gateway.cli.sources import Arriving, Listing, OfGateway, OfRegions
from gateway.config import settings
from gateway.config.settings import Settings
from gateway.dataset.query import Selection
from gateway.dataset.uid import is_uid
from gateway.errors import ConfigError, GatewayError
from gateway.region import profile
from gateway.region.profile import Profile

MOST_AT_ONCE = 200
"""Instances that one Identifier names."""

Studies = Annotated[list[str], typer.Argument(help="Study Instance UIDs.")]
Folder = Annotated[Path, typer.Option("--to", help="Folder for the files; what is there already is not fetched again.")]


class Source(Protocol):
    """Where studies come from."""

    async def instances(self, study: str) -> Listing:
        """List a study's instances."""

    def bring(self, selection: Selection) -> AbstractAsyncContextManager[AsyncIterator[Arriving]]:
        """Have instances arrive."""


@dataclass(slots=True)
class Fetched:
    """What became of one study.

    Attributes:
        instances: that there are, as far as the regions that answered know.
        fetched: that came now.
        skipped: that were there already.
        missing: that are not there.
        regions: what became of each region's part.
        by_region: instances that came from each.
        faults: what went wrong, in words.
    """

    study: str
    instances: int = 0
    fetched: int = 0
    skipped: int = 0
    missing: int = 0
    regions: list[RegionAnswer] = field(default_factory=list)
    by_region: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all of it is there, and that is known."""
        here = self.fetched + self.skipped
        return bool(here) and not (self.missing or self.faults or any(x.missing for x in self.regions))


def command(
    studies: Studies,
    to: Folder,
    *,
    regions: Regions = None,
    url: Url = "",
    config: Config = None,
    token_file: TokenFile = None,
    as_operator: AsOperator = "",
    as_json: Json = False,
) -> None:
    """Fetch studies as PS3.10 files; run it again to get what is missing.

    Exit code 0 when all is there, 3 when something is missing or a region did not say, 4 when nothing came.
    """
    wrong = [study for study in studies if not is_uid(study)]
    if wrong:
        raise ConfigError(f"{wrong[0]!r} is not a Study Instance UID: `gateway find` shows them")
    cancelled = f"retrieves under way have been cancelled; what is whole stays in {to}, run it again for the rest"
    if one_of(regions, url):
        chosen, profiles = settings.load(config), profile.load(regions or Path())
        work = _from_regions(chosen, profiles, studies, to, as_operator, quiet=as_json)
    else:
        work = _fetch(OfGateway(Origin(url, token_from(token_file))), studies, to, quiet=as_json)
    found = run(work, cancelled=cancelled)
    if as_json:
        print_json([{**asdict(one), "complete": one.complete} for one in found])
    else:
        for line in _lines(found, to):
            print(line)
    raise typer.Exit(exit_code(found))


def exit_code(found: Sequence[Fetched]) -> Exit:
    """Complete when every study is, none when there is nothing of any."""
    if all(one.complete for one in found):
        return Exit.COMPLETE
    return Exit.PARTIAL if any(one.fetched or one.skipped for one in found) else Exit.NONE


async def _from_regions(
    chosen: Settings, profiles: Sequence[Profile], studies: Sequence[str], to: Path, reason: str, *, quiet: bool
) -> list[Fetched]:
    async with (
        permitted(chosen, reason, Transaction.RETRIEVE) as permit,
        _receiving(chosen, profiles) as opened,
    ):
        source = OfRegions(opened.archive.search, opened.archive.retrieve, chosen, permit)
        return await _fetch(source, studies, to, quiet=quiet)


@asynccontextmanager
async def _receiving(chosen: Settings, profiles: Sequence[Profile]) -> AsyncIterator[Province]:
    """Have the province with our DIMSE port, or by C-GET alone where a gateway has the port."""
    context = province(chosen, profiles, receiving=any(one.move_destinations for one in profiles))
    try:
        opened = await context.__aenter__()
    except ConfigError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        tell(f"{error}; without it, regions are asked by C-GET alone (or use --url with the gateway that runs here)")
        by_get = [x.model_copy(update={"move_destinations": (), "retrieve": "c-get"}) for x in profiles]
        context = province(chosen, by_get)
        opened = await context.__aenter__()
    try:
        yield opened
    finally:
        await context.__aexit__(None, None, None)


async def _fetch(source: Source, studies: Sequence[str], to: Path, *, quiet: bool) -> list[Fetched]:
    """Fetch one study after the other: a region sends one no faster when it is asked for two.

    Once the folder cannot be written, no further study is asked for.
    """
    found = [Fetched(study) for study in studies]
    stopped = ""
    with Meter(quiet=quiet) as meter:
        for one in found:
            try:
                if not stopped:
                    await _one(source, one, Shelf(to, one.study), meter)
                    continue
            except Unwritable as error:
                stopped = str(error)
            one.faults.append(stopped)
    return found


async def _one(source: Source, result: Fetched, shelf: Shelf, meter: Meter) -> None:
    try:
        listing = await source.instances(result.study)
    except GatewayError as error:
        result.faults.append(str(error))
        return
    result.regions = listing.regions
    result.instances = len(listing.series)
    result.skipped = len(shelf.there & listing.series.keys())
    wanted = {uid: series for uid, series in listing.series.items() if uid not in shelf.there}
    meter.total += len(wanted)
    if not listing.series:
        result.faults.append("no region that answered holds it")
    try:
        for selection in selections(result.study, listing.series, wanted):
            try:
                await _bring(source, selection, listing.series, shelf, meter, result)
            except Unwritable:
                raise
            except GatewayError as error:
                result.faults.append(str(error))
    finally:
        result.missing = len(listing.series.keys() - shelf.there)


async def _bring(
    source: Source, selection: Selection, series: Mapping[str, str], shelf: Shelf, meter: Meter, result: Fetched
) -> None:
    async with source.bring(selection) as arriving:
        async for instance in arriving:
            if instance.uid in shelf.there:
                continue
            with shelf.put(instance.series or series.get(instance.uid, ""), instance.uid) as file:
                async with aclosing(instance.data) as pieces:  # type: ignore[type-var]
                    async for piece in pieces:
                        file.write(piece)
                        meter.moved(instance.region, len(piece))
            meter.done(instance.region)
            result.fetched += 1
            result.by_region[instance.region] = result.by_region.get(instance.region, 0) + 1


def selections(study: str, all_of_it: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[Selection]:
    """Yield what to ask for: the study where all of it is wanted, else series, else instances by name.

    Args:
        study: the study.
        all_of_it: SOP Instance UID to Series Instance UID.
        wanted: those of them that are not there.
    """
    if len(wanted) == len(all_of_it):
        if wanted:
            yield Selection(study)
        return
    for series in dict.fromkeys(wanted.values()):
        missing = [uid for uid, of in wanted.items() if of == series]
        if len(missing) == sum(of == series for of in all_of_it.values()):
            yield Selection(study, series)
            continue
        for start in range(0, len(missing), MOST_AT_ONCE):
            yield Selection(study, series, tuple(missing[start : start + MOST_AT_ONCE]))


def _lines(found: Sequence[Fetched], to: Path) -> Iterator[str]:
    for one in found:
        what = "complete" if one.complete else "INCOMPLETE"
        came = ", ".join(f"{name} {count}" for name, count in one.by_region.items())
        there = f"{one.skipped} there already, " if one.skipped else ""
        missing = f", {one.missing} missing" if one.missing else ""
        yield f"{one.study}: {what}: {there}{one.fetched} fetched{f' ({came})' if came else ''}{missing} - {to}"
        for region in one.regions:
            if region.missing:
                yield f"{one.study}: region {region.region} {region.state}: it may hold more"
        for fault in one.faults:
            yield f"{one.study}: {fault}"
