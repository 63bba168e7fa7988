"""``gateway send``: PS3.10 files into the province, by a running gateway or straight to a region."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import orjson
import typer

from gateway.access.permit import Permit, StudyKey, Subject
from gateway.access.principal import Transaction
from gateway.assembly import AnyRegion, province
from gateway.cli.behalf import AsOperator, permitted
from gateway.cli.doctor import named
from gateway.cli.meter import Meter
from gateway.cli.options import Config, Json, Regions, TokenFile, Url, one_of
from gateway.cli.origin import Origin, problem, token_from
from gateway.cli.output import Exit, print_json, printable, run
from gateway.cli.visit import first
from gateway.config import settings
from gateway.config.settings import Settings
from gateway.dataset.part10 import FileMeta, split
from gateway.dataset.part10_reader import LONGEST_HEAD
from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.peek import Peek
from gateway.deadline import Deadline
from gateway.errors import ConfigError, DatasetError, GatewayError
from gateway.federation.admission import ISSUER, PATIENT_ID, STUDY, Owners
from gateway.federation.issuers import Issuers
from gateway.region import profile
from gateway.region.profile import Profile
from gateway.region.storing import Outgoing
from gateway.wire.status import SUCCESS, describe

Source = Annotated[Path, typer.Argument(help="Folder of PS3.10 files, searched to its depths; or one file.")]
To = Annotated[list[str] | None, typer.Option(help="With --regions: the region that gets them; repeatable.")]

PIECE: Final = 1 << 17
STORED, WARNED, FAILED, SKIPPED = "stored", "stored with a warning", "failed", "skipped"
FAILED_SOP, FAILURE_REASON = "00081198", "00081197"


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one file.

    Attributes:
        file: below the folder.
        state: stored, stored with a warning, failed or skipped.
        text: why.
    """

    file: str
    state: str
    text: str = ""


Send = Callable[[Path, FileMeta, int, Callable[[int], None]], Awaitable[tuple[str, str]]]
"""Sends one file, of which the Data Set begins at an offset; hears of bytes; returns state and text."""
Whose = Callable[[Mapping[str, str]], frozenset[PatientIdentifier]]
"""Tells whose a file is by what it says."""


def command(
    folder: Source,
    *,
    url: Url = "",
    regions: Regions = None,
    to: To = None,
    config: Config = None,
    token_file: TokenFile = None,
    as_operator: AsOperator = "",
    as_json: Json = False,
) -> None:
    """Store files, one after the other, and say what became of each.

    Exit code 0 when all are stored, 3 when some are not, 4 when none is. What is no PS3.10 file is passed over.
    """
    files = [folder] if folder.is_file() else sorted(_files(folder))
    if not files:
        raise ConfigError(f"{folder}: holds no files")
    if one_of(regions, url):
        chosen, profiles = settings.load(config), profile.load(regions or Path())
        if not to:
            raise ConfigError("say which region gets them: --to NAME")
        work = _to_regions(chosen, named(profiles, to), folder, files, as_operator, quiet=as_json)
    else:
        work = _send(partial(_to_gateway, Origin(url, token_from(token_file))), "gateway", folder, files, quiet=as_json)
    sent = run(work, cancelled="what was told as stored is stored; run it again for the rest")
    if as_json:
        print_json([asdict(one) for one in sent])
    else:
        print(", ".join(_counts(sent)))
    raise typer.Exit(exit_code(sent))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and those below it, but hidden ones."""
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def exit_code(sent: Sequence[Sent]) -> Exit:
    """Complete when every instance is stored, none when none is."""
    stored = sum(one.state in {STORED, WARNED} for one in sent)
    failed = sum(one.state == FAILED for one in sent)
    return Exit.NONE if not stored else Exit.PARTIAL if failed else Exit.COMPLETE


async def _send(send: Send, where: str, folder: Path, files: Sequence[Path], *, quiet: bool) -> list[Sent]:
    sent = []
    with Meter(quiet=quiet) as meter:
        meter.total = len(files)
        for path in files:
            name = str(path.relative_to(folder)) if path != folder else path.name
            one = Sent(name, *await _attempt(send, path, partial(meter.moved, where)))
            sent.append(one)
            if one.state in {STORED, WARNED}:
                meter.done(where)
            if not quiet and one.state != STORED:
                print(printable(f"{one.file}: {one.state}: {one.text}"), flush=True)
    return sent


async def _attempt(send: Send, path: Path, moved: Callable[[int], None]) -> tuple[str, str]:
    try:
        with path.open("rb") as file:
            meta, offset = split(file.read(LONGEST_HEAD))
    except DatasetError as error:
        return SKIPPED, str(error)
    except OSError as error:
        return FAILED, f"it cannot be read ({error.strerror})"
    try:
        return await send(path, meta, offset, moved)
    except (GatewayError, OSError) as error:
        return FAILED, str(error)


# --- to a gateway


async def _to_gateway(
    origin: Origin, path: Path, meta: FileMeta, _: int, moved: Callable[[int], None]
) -> tuple[str, str]:
    """Store one file with STOW-RS (PS3.18 10.5)."""
    with path.open("rb") as file:
        fields = {
            "Accept": "application/dicom+json",
            "Content-Type": f"application/dicom; transfer-syntax={meta.transfer_syntax_uid}",
            "Content-Length": str(os.fstat(file.fileno()).st_size),
        }
        async with origin.ask("/studies", fields, method="POST", body=_Counted(file, moved)) as response:
            body = await response.body()
    texts = "; ".join(response.warnings)
    if response.status == 200:
        return STORED, texts
    if response.status not in {202, 409}:
        return FAILED, problem(response.status, body)
    row = orjson.loads(body)
    failures = row.get(FAILED_SOP, {}).get("Value") or []
    if response.status == 202 and not failures:
        return WARNED, texts
    reason = first(failures[0], FAILURE_REASON) if failures else ""
    return FAILED, texts or (describe(int(reason)) if reason else f"status {response.status}")


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, moved: Callable[[int], None]) -> None:
        self._file = file
        self._moved = moved

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        data = self._file.read(max(size, PIECE))
        self._moved(len(data))
        return data


# --- to regions


async def _to_regions(
    chosen: Settings, profiles: Sequence[Profile], folder: Path, files: Sequence[Path], reason: str, *, quiet: bool
) -> list[Sent]:
    async with (
        permitted(chosen, reason, Transaction.STORE) as permit,
        province(chosen, profiles) as opened,
    ):
        namespaces = {one.profile.id: one.profile.namespace for one in opened.regions}
        whose = partial(Owners(Issuers.of(chosen.identity), namespaces).of, regions=namespaces)
        send = partial(_recorded, permit, whose, partial(_to_each, opened.regions, chosen))
        where = ", ".join(one.id for one in profiles)
        return await _send(send, where, folder, files, quiet=quiet)


async def _recorded(
    permit: Permit, whose: Whose, send: Send, path: Path, meta: FileMeta, offset: int, moved: Callable[[int], None]
) -> tuple[str, str]:
    """Store one file, and have the audit trail say so before anybody is told."""
    state, text = await send(path, meta, offset, moved)
    stored = state != FAILED
    found = _identification(path, meta, offset)
    subjects = [Subject(StudyKey(found[STUDY]), whose(found))] if STUDY in found else []
    await permit.record("store", "success" if stored else "failure", subjects=subjects, instances=int(stored))
    return state, text


def _identification(path: Path, meta: FileMeta, offset: int) -> dict[str, str]:
    """Return study and patient of a file, as far as it says them near its front."""
    with path.open("rb") as file:
        file.seek(offset)
        head = file.read(PIECE)
    keys = STUDY, PATIENT_ID, ISSUER
    try:
        values = Peek(keys).uids(head, meta.transfer_syntax_uid)
    except GatewayError:
        return {}  # the region has judged the file
    return {key: value for key, value in zip(keys, values, strict=True) if value}


async def _to_each(
    regions: Sequence[AnyRegion],
    chosen: Settings,
    path: Path,
    meta: FileMeta,
    offset: int,
    moved: Callable[[int], None],
) -> tuple[str, str]:
    """Store one file in every region, with C-STORE (PS3.4 B); what fails at one fails."""
    outgoing = Outgoing(
        meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, lambda: _data(path, offset, moved)
    )
    seconds = chosen.store.stall_seconds
    texts, failed = [], False
    for region in regions:
        try:
            status = await region.store(outgoing, Deadline.after(seconds), stall_seconds=seconds)
        except GatewayError as error:
            failed = True
            texts.append(f"{region.profile.id}: {error}")
        else:
            if status != SUCCESS:
                texts.append(f"{region.profile.id}: {describe(status)}")
    return (FAILED if failed else WARNED if texts else STORED), "; ".join(texts)


async def _data(path: Path, offset: int, moved: Callable[[int], None]) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while piece := await asyncio.to_thread(file.read, PIECE):
            moved(len(piece))
            yield piece


def _counts(sent: Sequence[Sent]) -> Iterator[str]:
    for state in (STORED, WARNED, FAILED, SKIPPED):
        count = sum(one.state == state for one in sent)
        if count or state == STORED:
            yield f"{count} {state}"
