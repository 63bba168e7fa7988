"""``gateway consent``: what patients direct, beside a running gateway, which notices it within a second or two."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import typer
import uvloop

from gateway.access.consent import Consents, Policy
from gateway.access.consenting import consent_database
from gateway.access.consents import INACTIVE
from gateway.access.directive import FOREVER, Rule
from gateway.access.fhir_consent import ConsentResources
from gateway.access.fhir_reading import read_consent
from gateway.access.fhir_terms import moment
from gateway.cli.output import tell
from gateway.cli.recording import local_user, recorder
from gateway.config import settings
from gateway.config.settings import Settings
from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.uid import is_uid
from gateway.deadline import Deadline
from gateway.errors import ConfigError, InvalidResource
from gateway.federation.identity_source import identity_source
from gateway.federation.issuers import Issuers
from gateway.federation.naming import consent_naming

T = TypeVar("T")

app = typer.Typer(
    name="consent",
    help="What patients direct: who may see what of their records.",
    no_args_is_help=True,
    add_completion=False,
)

Config = Annotated[Path | None, typer.Option(help="Settings of the gateway; its consent.database is meant.")]
Patient = Annotated[str, typer.Option(help="The patient, as ISSUER|VALUE.")]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the commands work with."""

    consents: Consents
    resources: ConsentResources
    linked: Callable[[PatientIdentifier], Awaitable[frozenset[PatientIdentifier]]]

    def patient(self, text: str) -> PatientIdentifier:
        """Read a patient; one that nobody could ever meet is a mistake."""
        issuer, bar, value = text.rpartition("|")
        if not bar or not issuer or not value:
            raise ConfigError(f"{text!r} names no patient: write ISSUER|VALUE, such as ON-HCN|1234567890")
        return PatientIdentifier(self.resources.naming.issuer(issuer), value)

    def check(self, patient: PatientIdentifier, document: Mapping[str, Any]) -> None:
        """Refuse what would be kept and never hold; it is what a caller of the API would hear."""
        naming = self.resources.naming
        try:
            read_consent(document, replace(naming, known=()))
        except InvalidResource as error:
            raise ConfigError(str(error)) from error
        if naming.known and patient.issuer not in naming.known:
            tell(f"no issuer {patient.issuer} is in the settings: it holds only where a region's profile names it")


@app.command()
def add(
    patient: Patient,
    *,
    permit: Annotated[bool, typer.Option("--permit", help="An exception.")] = False,
    deny: Annotated[bool, typer.Option("--deny", help="What --permit makes exceptions of.")] = False,
    study: Annotated[str, typer.Option(help="Study Instance UID: of this record only.")] = "",
    accession: Annotated[str, typer.Option(help="Accession Number: of this record and its reports only.")] = "",
    document: Annotated[str, typer.Option(help="SOP Instance UID: of this document of the study only.")] = "",
    organisation: Annotated[str, typer.Option(help="For those only who act for this organisation.")] = "",
    person: Annotated[str, typer.Option(help="For this person only, such as cpso:123.")] = "",
    begin: Annotated[str, typer.Option("--from", help="First day, such as 2026-01-31 (UTC).")] = "",
    end: Annotated[str, typer.Option("--to", help="Last day.")] = "",
    config: Config = None,
) -> None:
    """Place a directive for all records, or for one; for everybody, or for some; print its id."""
    if permit == deny:
        raise ConfigError("say what the patient directs: --deny or --permit")
    if study and not is_uid(study):
        raise ConfigError(f"--study {study!r} is no Study Instance UID: digits and dots, at most 64")
    span = _moment(begin) or 0.0, _moment(end, end=True) or FOREVER
    if span[1] <= time.time():
        raise ConfigError(f"--to {end}: the period is over: the directive would never hold")
    if document and (accession or not study):
        raise ConfigError("--document names a document of a study: give its --study, and no --accession")
    rule = Rule("permit" if permit else "deny", study, accession, organisation, person, *span, document)

    async def placed(desk: Desk) -> str:
        whose = desk.patient(patient)
        document = desk.resources.directive(whose, rule, time.time())
        desk.check(whose, document)
        return (await desk.consents.place(local_user(), whose, [rule], document)).id

    print(_run(config, placed))


@app.command("list")
def list_(patient: Patient, config: Config = None) -> None:
    """Show a patient's directives and overrides, the oldest first, one FHIR Consent a line."""

    async def found(desk: Desk) -> list[dict[str, Any]]:
        known = await desk.consents.of(await desk.linked(desk.patient(patient)))
        return [desk.resources.write(one, time.time()) for one in known]

    for one in _run(config, found):
        print(orjson.dumps(one).decode())


@app.command("end")
def end_(consent: str, config: Config = None) -> None:
    """End a directive or an override, by its id."""

    async def ended(desk: Desk) -> str:
        known = await desk.consents.get(consent)
        return (await desk.consents.change(local_user(), known, status=INACTIVE)).status

    print(_run(config, ended))


def _run(config: Path | None, work: Callable[[Desk], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _desk(_settings(config)) as desk:
            return await work(desk)

    return uvloop.run(run())


@asynccontextmanager
async def _desk(chosen: Settings) -> AsyncIterator[Desk]:
    issuers = Issuers.of(chosen.identity)
    resources = ConsentResources(consent_naming(chosen, issuers))
    async with (
        consent_database(chosen.consent) as database,
        identity_source(chosen.identity, issuers, ()) as source,
        recorder(chosen, "cli") as recording,
    ):

        async def linked(patient: PatientIdentifier) -> frozenset[PatientIdentifier]:
            found = await source.identifiers(patient, Deadline.after(chosen.search.hard_seconds))
            return found | {patient}

        policy = Policy(chosen.consent.default, chosen.consent.disclosure, chosen.consent.override_seconds)
        yield Desk(Consents(database, policy, resources, recorder=recording), resources, linked)


def _settings(config: Path | None) -> Settings:
    chosen = settings.load(config)
    if not chosen.consent.database:
        raise ConfigError('"consent.database" is empty: name the settings of the gateway with --config')
    return chosen


def _moment(text: str, *, end: bool = False) -> float | None:
    if not text:
        return None
    try:
        return moment(text, end=end)
    except ValueError as error:
        raise ConfigError(f"{text!r} is no day: write 2026-01-31") from error
