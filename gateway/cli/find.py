"""``gateway find``: a Search transaction from the command line, of a running gateway or of the regions themselves."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import orjson
import typer

from gateway.access.principal import Transaction
from gateway.assembly import province
from gateway.cli.behalf import AsOperator, permitted
from gateway.cli.options import Config, Json, Regions, TokenFile, Url, one_of
from gateway.cli.origin import Origin, Refusal, RegionAnswer, federation_status, problem, token_from
from gateway.cli.output import Exit, print_json, print_table, run, tell
from gateway.cli.visit import first
from gateway.config import settings
from gateway.config.settings import Settings
from gateway.dataset.query import Level, Query, Row
from gateway.deadline import Deadline
from gateway.errors import ConfigError, GatewayError, RequestError
from gateway.federation.completeness import Completeness
from gateway.region import profile
from gateway.region.profile import Profile
from gateway.web.parameters import Pair, search_query

Keys = Annotated[list[str] | None, typer.Argument(help="Matching keys, e.g. PatientName='tremblay*'.")]
Study = Annotated[str, typer.Option(help="Study Instance UID: what is below it.")]
Series = Annotated[str, typer.Option(help="Series Instance UID, with --study.")]
Include = Annotated[list[str] | None, typer.Option(help="A further attribute of the answer; repeatable.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Rows at the most.")]
Fuzzy = Annotated[bool, typer.Option("--fuzzy", help="Names may match by sound and spelling.")]

COLUMNS: Final = {
    Level.STUDY: {
        "date": "00080020", "patient": "00100010", "patient ID": "00100020", "modality": "00080061",
        "description": "00081030", "accession": "00080050", "instances": "00201208", "held by": "00080054",
        "Study Instance UID": "0020000D",
    },
    Level.SERIES: {
        "number": "00200011", "modality": "00080060", "description": "0008103E", "instances": "00201209",
        "held by": "00080054", "Series Instance UID": "0020000E", "Study Instance UID": "0020000D",
    },
    Level.IMAGE: {
        "number": "00200013", "held by": "00080054", "SOP Instance UID": "00080018",
        "Series Instance UID": "0020000E", "SOP Class UID": "00080016",
    },
}  # fmt: skip


class Of(StrEnum):
    """What the rows are."""

    STUDIES = "studies"
    SERIES = "series"
    INSTANCES = "instances"


LEVEL: Final = {Of.STUDIES: Level.STUDY, Of.SERIES: Level.SERIES, Of.INSTANCES: Level.IMAGE}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, and how far that can be trusted.

    Attributes:
        remaining: rows behind these; None where that is told in a warning only.
    """

    rows: list[Row] = field(default_factory=list)
    regions: list[RegionAnswer] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    remaining: int | None = None

    @property
    def exit_code(self) -> Exit:
        """Complete when every region answered, partial when some did, none when none did."""
        missing = sum(region.missing for region in self.regions)
        if not missing:
            return Exit.COMPLETE
        return Exit.NONE if missing == len(self.regions) and not self.rows else Exit.PARTIAL


def command(
    keys: Keys = None,
    *,
    regions: Regions = None,
    url: Url = "",
    config: Config = None,
    of: Annotated[Of, typer.Option(help="What the rows are.")] = Of.STUDIES,
    study: Study = "",
    series: Series = "",
    include: Include = None,
    limit: Limit = None,
    fuzzy: Fuzzy = False,
    token_file: TokenFile = None,
    as_operator: AsOperator = "",
    as_json: Json = False,
) -> None:
    """Search for studies, series or instances, with the keys of QIDO-RS.

    Exit code 0 when every region answered, 3 when some did not, 4 when none did, 2 when the question is wrong.
    """
    parameters = _parameters(keys or (), include or (), limit, fuzzy=fuzzy)
    cancelled = "searches that were under way have been cancelled"
    try:
        if one_of(regions, url):
            asked = search_query(
                LEVEL[of], [Pair(*x) for x in parameters], study=study or None, series=series or None, strict=True
            )
            work = _of_regions(asked, settings.load(config), profile.load(regions or Path()), as_operator)
            answer = run(work, cancelled=cancelled)
        else:
            path = "".join(f"/{name}/{uid}" for name, uid in (("studies", study), ("series", series)) if uid)
            query = "&".join(f"{quote(name)}={value}" for name, value in parameters)
            origin = Origin(url, token_from(token_file))
            answer = run(search(origin, f"{path}/{of}?{query}"), cancelled=cancelled)
    except RequestError as error:
        raise ConfigError(str(error)) from error
    _show(answer, LEVEL[of], as_json=as_json)
    raise typer.Exit(answer.exit_code)


def _parameters(
    keys: Sequence[str], include: Sequence[str], limit: int | None, *, fuzzy: bool
) -> list[tuple[str, str]]:
    """Return the query component: names, and values percent-encoded."""
    wrong = [key for key in keys if not re.match(r"[\w.]+=", key)]
    if wrong:
        raise ConfigError(f"{wrong[0].partition('=')[0]!r} is not a key with a value, such as PatientName='tremblay*'")
    found = [(name, quote(value, safe="")) for name, _, value in (key.partition("=") for key in keys)]
    found += [("includefield", quote(name)) for name in include]
    found += [("limit", str(limit))] * (limit is not None)
    return found + [("fuzzymatching", "true")] * fuzzy


async def _of_regions(query: Query, chosen: Settings, profiles: Sequence[Profile], reason: str) -> Answer:
    """Ask the regions."""
    try:
        async with (
            permitted(chosen, reason, Transaction.SEARCH) as permit,
            province(chosen, profiles) as opened,
        ):
            deadline = Deadline.after(chosen.search.hard_seconds)
            found = await opened.archive.search.search(query, deadline, permit=permit)
    except RequestError:
        raise
    except GatewayError as error:
        if not error.federation_status:
            raise
        return Answer(regions=federation_status(error.federation_status), warnings=[str(error)])
    warnings = [*found.completeness.warnings(), *found.warnings]
    return Answer(found.rows, answers(found.completeness), warnings, found.remaining)


def answers(completeness: Completeness) -> list[RegionAnswer]:
    """Return what became of each region's part."""
    return [RegionAnswer(x.region, x.state, x.count) for x in completeness.states]


async def search(origin: Origin, path: str) -> Answer:
    """Ask a gateway.

    Raises:
        RequestError: the question is wrong.
        Refusal: it does not answer it.
    """
    async with origin.ask(path, {"Accept": "application/dicom+json"}) as response:
        body = await response.body()
    if response.status == 404 or (
        response.status == 200 and not response.headers.get_content_subtype().endswith("json")
    ):
        raise Refusal(f"{origin} is no root of DICOMweb resources: they are below a path such as /dicom-web")
    if response.status == 200:
        return Answer(orjson.loads(body), response.regions, response.warnings)
    told = problem(response.status, body)
    if response.status == 400:
        raise RequestError(told)
    if not response.regions:
        raise Refusal(told)
    return Answer([], response.regions, [told])


def _show(answer: Answer, level: Level, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(answer))
        return
    columns = COLUMNS[level]
    if answer.rows:
        print_table([*columns], [[_cell(row, tag) for tag in columns.values()] for row in answer.rows])
    for text in answer.warnings:
        tell(f"warning: {text}")
    told = ", ".join(f"{x.region} {x.state}" + (f" {x.count}" if x.count is not None else "") for x in answer.regions)
    more = f", {answer.remaining} more" if answer.remaining else ""
    tell(f"{len(answer.rows)} found{more}" + (f" - {told}" if told else ""))


def _cell(row: Row, tag: str) -> str:
    values = row.get(tag, {}).get("Value") or []
    if values and isinstance(values[0], dict):
        return first(row, tag)
    return ", ".join(map(str, values))
