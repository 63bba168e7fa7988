"""``gateway audit``: checking the log, reading it, reports and correction requests, beside a running gateway."""

import getpass
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer
import uvloop

from gateway.audit.chain import Entry
from gateway.audit.corrections import Correction, State
from gateway.audit.dates import span
from gateway.audit.desk import PrivacyDesk
from gateway.audit.record import Event, record_of
from gateway.audit.report import Report
from gateway.audit.running import anchors
from gateway.audit.segments import entries, writers
from gateway.audit.verify import Verdict, verify
from gateway.cli.options import Json
from gateway.cli.output import print_json, print_table
from gateway.cli.recording import own_log
from gateway.config import settings
from gateway.config.settings import Settings
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import ConfigError
from gateway.federation.identity_source import identity_source
from gateway.federation.issuers import Issuers
from gateway.ops.audit import privacy_desk

BROKEN = 1

app = typer.Typer(
    name="audit",
    help="Who did what: check the log, read it, report it to a patient.",
    no_args_is_help=True,
    add_completion=False,
)
correction = typer.Typer(
    name="correction", help="Requests to correct a patient's record.", no_args_is_help=True, add_completion=False
)
app.add_typer(correction)

Config = Annotated[Path | None, typer.Option(help="Settings of the gateway; its audit.folder is the log.")]
Folder = Annotated[Path | None, typer.Option(help="The log's folder, instead.")]
Folders = Annotated[
    list[Path] | None, typer.Option("--folder", help="The log's folder, instead; again for each further replica's.")
]
Patient = Annotated[str, typer.Option(help="The patient, as ISSUER|VALUE.")]


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who gives a command, as far as the system knows."""

    subject: str = field(default_factory=getpass.getuser)
    issuer: str = field(default_factory=lambda: os.uname().nodename)
    organisation: str = ""
    organisation_name: str = ""
    person: str = ""
    roles: frozenset[str] = frozenset()
    purpose: str = ""
    token_id: str = ""
    channel: str = "cli"
    address: str = ""


@app.command("verify")
def verify_(config: Config = None, folder: Folder = None, as_json: Json = False) -> None:
    """Check the chain of each writer and its anchors; name the first broken record. Exit code 1 if there is one."""
    chosen, log = _settings(config, folder)
    verdicts = []
    for one in writers(log):
        began = time.monotonic()
        verdicts.append(verify(one, anchors(chosen.audit)))
        if not as_json:
            _tell(verdicts[-1], time.monotonic() - began)
    if as_json:
        print_json([*map(_described, verdicts)])
    if any(verdict.fault for verdict in verdicts):
        sys.exit(BROKEN)


def _described(verdict: Verdict) -> dict[str, Any]:
    fault = verdict.fault
    told = ("writer", "records", "anchors", "recovered", "unfinished")
    where = fault and {"file": str(fault.file), "line": fault.line, "seq": fault.seq, "why": fault.why}
    return {**{name: getattr(verdict, name) for name in told}, "fault": where}


def _tell(verdict: Verdict, seconds: float) -> None:
    print(f"{verdict.writer}: {verdict.records} records whole, {verdict.anchors} anchors agree, {seconds:.1f} s")
    if verdict.recovered:
        print(f"  {verdict.recovered} times a crash left an unfinished line, and the log says so itself")
    if verdict.unfinished:
        print(f"  {verdict.unfinished} bytes at the end are unfinished: being written, or left by a crash")
    if fault := verdict.fault:
        print(f"  BROKEN at {fault.file}, line {fault.line}, record {fault.seq}: {fault.why}")


@app.command()
def tail(
    config: Config = None,
    folder: Folder = None,
    lines: Annotated[int, typer.Option("-n", help="How many.")] = 10,
    follow: Annotated[bool, typer.Option("-f", help="Go on with what comes, until Ctrl-C.")] = False,
) -> None:
    """Show the last records, one JSON object a line; looking is recorded itself."""
    chosen, log = _settings(config, folder)
    uvloop.run(_note_reading(chosen, log, f"tail of {lines} records"))
    places = {}
    last: deque[Entry] = deque(maxlen=max(1, lines))
    for one in writers(log):
        for entry, behind in entries(one):
            last.append(entry)
            places[one] = behind
    for entry in sorted(last, key=lambda entry: entry.at):
        _show(entry)
    while follow:
        time.sleep(0.5)
        for one in list(places):
            for entry, behind in entries(one, places[one]):
                places[one] = behind
                _show(entry)


@app.command()
def report(
    patient: Patient,
    *,
    config: Config = None,
    folders: Folders = None,
    begin: Annotated[str, typer.Option("--from", help="First day, such as 2026-01-31 (UTC).")] = "",
    end: Annotated[str, typer.Option("--to", help="Last day.")] = "",
    html: Annotated[bool, typer.Option("--html", help="A page for people.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A table for a spreadsheet.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    french: Annotated[bool, typer.Option("--french", help="In French.")] = False,
) -> None:
    """Tell who saw, searched or received a patient's records, under all identifiers; the report is recorded itself."""
    if html + as_csv + as_json > 1:
        raise ConfigError("choose one of --html, --csv and --json")
    first, *others = dict.fromkeys(folder.resolve() for folder in folders or ()) or (None,)
    chosen, log = _settings(config, first)
    others = [_settings(config, other)[1] for other in others]
    made = uvloop.run(_report(chosen, log, others, _patient(patient), begin, end))
    language: Literal["en", "fr"] = "fr" if french else "en"
    if as_json or html or as_csv:
        body = made.json() if as_json else made.html(language) if html else made.csv(language)
        sys.stdout.buffer.write(body)
        return
    if not made.entries:
        print("nobody saw this record in this time")
        return
    lines = made.lines(language)
    cells = [(x.at, x.who, x.organisation, x.what, x.outcome, x.purpose, x.address, x.destination) for x in lines]
    print_table(("when (UTC)", "who", "for", "what", "outcome", "purpose", "from", "sent to"), cells)


async def _report(
    chosen: Settings, log: Path, others: Sequence[Path], patient: PatientIdentifier, begin: str, end: str
) -> Report:
    when = span([f"ge{begin}"] * bool(begin) + [f"le{end}"] * bool(end))
    async with _desk(chosen, log, others) as desk:
        page = await desk.look(Administrator(), _named(desk, patient), when, limit=sys.maxsize)
    return Report(page.patients, page.entries)


@correction.command("open")
def open_(
    patient: Patient,
    text: Annotated[str, typer.Option(help="What is wrong, and what is right.")],
    study: Annotated[str, typer.Option(help="Study Instance UID of what is wrong.")] = "",
    config: Config = None,
    folder: Folder = None,
) -> None:
    """Take a request in; print its id."""

    async def run() -> Correction:
        async with _desk(*_settings(config, folder)) as desk:
            return await desk.corrections.open(Administrator(), _named(desk, _patient(patient)), text, study)

    print(uvloop.run(run()).id)


@correction.command("list")
def list_(config: Config = None, folder: Folder = None) -> None:
    """Show all requests, the oldest first, one JSON object a line."""

    async def run() -> list[Correction]:
        chosen, log = _settings(config, folder)
        await _note_reading(chosen, log, "list of correction requests")
        async with _desk(chosen, log) as desk:
            return await desk.corrections.all()

    for one in uvloop.run(run()):
        print(orjson.dumps(one).decode())


@correction.command()
def review(request: str, config: Config = None, folder: Folder = None) -> None:
    """Take a request under review."""
    _move(config, folder, request, State.UNDER_REVIEW, "")


@correction.command()
def close(
    request: str,
    refused: Annotated[bool, typer.Option("--refused", help="It is refused; a reason must be given.")] = False,
    reason: Annotated[str, typer.Option(help="Why, or what was done.")] = "",
    config: Config = None,
    folder: Folder = None,
) -> None:
    """Close a request under review: done, or refused with a reason."""
    _move(config, folder, request, State.REFUSED if refused else State.DONE, reason)


def _move(config: Path | None, folder: Path | None, request: str, state: State, reason: str) -> None:
    async def run() -> Correction:
        async with _desk(*_settings(config, folder)) as desk:
            return await desk.corrections.move(Administrator(), request, state, reason)

    print(uvloop.run(run()).state)


def _settings(config: Path | None, folder: Path | None) -> tuple[Settings, Path]:
    chosen = settings.load(config)
    log = folder or Path(chosen.audit.folder)
    if log == Path():
        raise ConfigError("there is no audit log: name its folder with --folder, or the settings with --config")
    if not log.is_dir():
        raise ConfigError(f"{log}: there is no audit log there: a gateway makes it when it starts")
    return chosen, log


def _patient(text: str) -> PatientIdentifier:
    issuer, bar, value = text.rpartition("|")
    if not bar or not value:
        raise ConfigError(f"{text!r} names no patient: write ISSUER|VALUE, such as ON-HCN|1234567890")
    return PatientIdentifier(issuer, value)


def _named(desk: PrivacyDesk, patient: PatientIdentifier) -> PatientIdentifier:
    return PatientIdentifier(desk.named(patient.issuer), patient.value)


async def _note_reading(chosen: Settings, log: Path, what: str) -> None:
    async with own_log(chosen.audit, log, "cli") as running:
        await running.record(record_of(Administrator(), Event.LOG_READ, query=what))


@asynccontextmanager
async def _desk(chosen: Settings, log: Path, others: Sequence[Path] = ()) -> AsyncIterator[PrivacyDesk]:
    issuers = Issuers.of(chosen.identity)
    async with identity_source(chosen.identity, issuers, ()) as source, own_log(chosen.audit, log, "cli") as running:
        with_folder = chosen.model_copy(update={"audit": chosen.audit.model_copy(update={"folder": str(log)})})
        yield privacy_desk(with_folder, source, issuers, running, others)


def _show(entry: Entry) -> None:
    document = {"at": entry.at, "writer": entry.writer, "seq": entry.link.seq, "record": entry.record._asdict()}
    print(orjson.dumps(document).decode(), flush=True)
