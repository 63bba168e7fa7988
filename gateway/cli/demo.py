"""``gateway demo``: a synthetic province, run as a process of its own, and the gateway in front of it."""

import asyncio
import os
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias, TypeVar

import orjson
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gateway.access.demo import COOKIE, LIFETIME_SECONDS, DemoIssuer, roles
from gateway.assembly import running
from gateway.cli import viewer
from gateway.cli.options import Config, DimsePort, HttpPort, OpsPort, ViewerFolder
from gateway.cli.serve import PRIVATE, announce, base_url, overrides, settle, stop_signals
from gateway.cli.viewer import ViewerMissing
from gateway.config.settings import IssuerSettings, Settings, load
from gateway.errors import ConfigError, GatewayError
from gateway.ops.log import EventLog
from gateway.region import profile
from gateway.web.sign_in import PATH, SignIn, Visitor

T = TypeVar("T")

GRACE_SECONDS = 8.0
"""For the archives to end; they take five at the most before they are killed."""

Report: TypeAlias = dict[str, Any]
"""One JSON line of what the province says of itself."""


class ProvinceFailed(GatewayError):
    """The embedded province did not come up; what it said of the reason is on stderr."""

    slug = "province-failed"


class Scale(StrEnum):
    """Sizes of the synthetic province."""

    FULL = "full"
    SMALL = "small"


def command(  # noqa: PLR0917 - typer makes options of them all
    config: Config = None,
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
    chosen = load(config, overrides(http_port, dimse_port, ops_port, viewer))
    uvloop.run(run(chosen, region_base_port, scale, is_open=is_open, fetch_viewer=not no_viewer))


async def run(
    settings: Settings, region_base_port: int, scale: str, *, is_open: bool = False, fetch_viewer: bool = True
) -> None:
    """Bring up four archives and the gateway; take both down at SIGINT or SIGTERM.

    Raises:
        ConfigError: one of the gateway's ports cannot be listened on.
        ProvinceFailed: the archives did not come up.
    """
    os.umask(PRIVATE)
    # The province takes a while to come up: what would fail after it is tried before.
    if settings.dimse.port == 0:
        raise ConfigError("the embedded archives must know our DIMSE port beforehand: give one other than 0")
    for face in (settings.http, settings.dimse):
        _check_port(face.host, face.port)
    async with stop_signals() as stop:
        if fetch_viewer and not settings.viewer.folder:
            settings = await _viewing(settings, stop)
        with tempfile.TemporaryDirectory(prefix="province-") as folder:
            command = _command(settings, region_base_port, scale, folder)
            async with _process(command) as province:
                report = await _ready(province, stop)
                if report is None:
                    return
                profiles = profile.load(Path(folder))
                known = _open(_storing(_knowing(settings, report["identity"]), profiles[0].name, folder))
                known = _consenting(known, Path(folder))
                known, visitors = _admitting(known, report["identity"], Path(folder), is_open=is_open)
                sign_in = SignIn(visitors, COOKIE, LIFETIME_SECONDS) if visitors else None
                with EventLog(sys.stderr) as log:
                    async with running(known, profiles, log, sign_in=sign_in) as gateway:
                        announce(known, gateway)
                        settle()
                        number = report["identity"]["health_card_number"]
                        _suggest_tokens(base_url(settings, gateway), visitors)
                        _suggest(base_url(settings, gateway), report["split_study"], number, with_token=bool(visitors))
                        _suggest_dimse(settings, gateway.dimse_port, report["split_study"])
                        await stop.wait()


async def _viewing(settings: Settings, stop: asyncio.Event) -> Settings:
    """Return the settings with a viewer that npm brings in; where it does not, one line says so, and we go on."""
    try:
        folder = await _unless(stop, viewer.fetch())
    except ViewerMissing as error:
        print(f"no viewer: {error}", file=sys.stderr, flush=True)
        return settings
    changes = {"folder": str(folder or "")}
    return settings.model_copy(update={"viewer": settings.viewer.model_copy(update=changes)})


def _knowing(settings: Settings, told: Report) -> Settings:
    """Return the settings with the province's own identity source, unless they name one."""
    if settings.identity.source != "none":
        return settings
    issuer = IssuerSettings(issuer=told["issuer"], oid=told["oid"])
    changes = {
        "source": "csv",
        "crosswalk": told["crosswalk"],
        "provincial_issuer": told["issuer"],
        "issuers": (*settings.identity.issuers, issuer),
    }
    return settings.model_copy(update={"identity": settings.identity.model_copy(update=changes)})


def _admitting(settings: Settings, told: Report, folder: Path, *, is_open: bool) -> tuple[Settings, dict[str, Visitor]]:
    """Return the settings with the demonstration's own issuer of tokens, unless they say who may; and the tokens."""
    access = settings.access
    if is_open:
        return settings.model_copy(update={"access": access.model_copy(update={"mode": "open"})}), {}
    if access.mode != "closed":
        return settings, {}
    issuer = DemoIssuer()
    changes = {"mode": "tokens", "issuers": (issuer.settings(folder),), "cookie": access.cookie or COOKIE}
    audit = settings.audit.model_copy(update={"folder": settings.audit.folder or str(folder / "audit")})
    known = settings.model_copy(update={"access": access.model_copy(update=changes), "audit": audit})
    there = roles(told["issuer"], told["health_card_number"])
    return known, {name: Visitor(role.title, issuer.token(name, role)) for name, role in there.items()}


def _consenting(settings: Settings, folder: Path) -> Settings:
    """Return the settings with somewhere to keep what patients direct; it all goes when the demonstration ends."""
    if settings.consent.database:
        return settings
    changes = {"database": str(folder / "consent.sqlite")}
    return settings.model_copy(update={"consent": settings.consent.model_copy(update=changes)})


def _storing(settings: Settings, region: str, folder: str) -> Settings:
    """Return the settings with somewhere to store, unless they say where; it all goes when the demonstration ends."""
    store = settings.store
    changes: dict[str, Any] = {}
    if not (store.default or store.rules):
        changes["default"] = (region,)
    if not store.folder:
        changes["folder"] = str(Path(folder) / "queue")
    return settings.model_copy(update={"store": store.model_copy(update=changes)})


def _open(settings: Settings) -> Settings:
    """Return the settings with the DIMSE face open to any AE title of this host: the patients are made up."""
    return settings.model_copy(update={"dimse": settings.dimse.model_copy(update={"unknown_peers": "loopback"})})


def _check_port(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise ConfigError(f"port {port} cannot be listened on ({error.strerror}): choose another") from error


def _command(settings: Settings, region_base_port: int, scale: str, folder: str) -> list[str]:
    destination = f"{settings.dimse.ae_title}=127.0.0.1:{settings.dimse.port}"
    return [
        *(sys.executable, "-m", "regions", "--stdin-guard", "--scale", scale, "--profiles", folder),
        *("--base-port", str(region_base_port), "--destination", destination),
    ]


@asynccontextmanager
async def _process(command: list[str]) -> AsyncIterator[Process]:
    """Run the province as long as the context lasts, in a session of its own so that Ctrl-C reaches us alone."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _ready(province: Process, stop: asyncio.Event) -> Report | None:
    """Show progress until the archives answer, and return what they report; None when told to stop before."""
    report = await _unless(stop, _watch(province))
    if report is None and not stop.is_set():
        raise ProvinceFailed("the embedded province did not come up: the lines above say why")
    return report


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what the work gives; None when told to stop before, and it is cancelled."""
    async with asyncio.TaskGroup() as group:
        working = group.create_task(_caught(work))
        stopping = group.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        stopping.cancel()
    if working.cancelled():
        return None
    result, error = working.result()
    if error is not None:
        raise error
    return result


async def _caught(work: Coroutine[Any, Any, T]) -> tuple[T | None, GatewayError | None]:
    """Return the result or our error: raised inside a group, it would come out wrapped."""
    try:
        return await work, None
    except GatewayError as error:
        return None, error


async def _watch(province: Process) -> Report | None:
    """Draw what the province reports until it is ready; None if it ended instead."""
    if province.stdout is None:
        return None
    with _Drawing() as drawing:
        async for line in province.stdout:
            report: Report = orjson.loads(line)
            if report["event"] == "ready":
                return report
            if report["event"] == "progress":
                drawing.update(report["phase"], report["done"], report["total"])
    return None


class _Drawing:
    """Progress as bars on a terminal, and as a line a quarter elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._phases: dict[str, TaskID] = {}
        self._told: tuple[str, int] = "", 0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase is."""
        name = f"province: {phase}"
        if phase not in self._phases:
            self._phases[phase] = self._bars.add_task(name, total=total)
        self._bars.update(self._phases[phase], completed=done, total=total)
        quarter = phase, 4 * done // max(total, 1)
        if not self._console.is_terminal and quarter != self._told:
            self._told = quarter
            self._console.print(f"{name} {done}/{total}", highlight=False)


def _suggest_tokens(url: str, visitors: Mapping[str, Visitor]) -> None:
    """Print where a browser goes, and the tokens, each ready for a shell."""
    origin = url.removesuffix("/dicom-web")
    print(f"  open {origin}/ in a browser" + (f" (as somebody else: {origin}{PATH})" if visitors else ""))
    for name, visitor in visitors.items():
        variable = "TOKEN" if name == "clinician" else f"{name.upper()}_TOKEN"
        print(f"  export {variable}={visitor.token}  # {visitor.title}")


def _suggest(url: str, study: str, health_card_number: str, *, with_token: bool) -> None:
    """Print some commands that show what the province can do."""
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    curl = "curl" + ' -H "Authorization: Bearer $TOKEN"' * with_token
    store = "curl" + ' -H "Authorization: Bearer $STORE_TOKEN"' * with_token
    print(f"  {curl} '{url}/studies?PatientName=*'")
    print(f"  {curl} '{url}/studies?PatientID={health_card_number}'")
    print(f"  {curl} -i '{url}/studies?ModalitiesInStudy=CT&StudyDate=20240101-'")
    print(f"  {curl} -H 'Accept: {accept}' -o study.multipart '{url}/studies/{study}'")
    print(f"  {store} -H 'Content-Type: application/dicom' --data-binary @FILE.dcm '{url}/studies'")


def _suggest_dimse(settings: Settings, port: int, study: str) -> None:
    """Print how a PACS asks: any AE title of this host may."""
    where = f"-S -aec {settings.dimse.ae_title} {settings.dimse.host} {port}"
    key = f"-k StudyInstanceUID={study}"
    print(f"  findscu {where} -k QueryRetrieveLevel=STUDY -k PatientName= -k StudyDate= {key}")
    print(f"  getscu {where} -k QueryRetrieveLevel=STUDY {key}", flush=True)
