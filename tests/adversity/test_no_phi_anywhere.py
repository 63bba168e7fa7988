"""What names a patient reaches those who may see it, the audit log and the consents, and nothing else."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.find import find
from gateway.dimse.get import get
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.move import move
from gateway.dimse.requestor import Peer, connect
from gateway.dimse.store import store
from gateway.errors import DimseFailure, GatewayError
from tests.access.consenting import CLINIC, FORMS
from tests.access.issuing import Issuer, real_time
from tests.adversity.canaries import (
    ABROAD,
    ACCESSION,
    BORN,
    DESCRIPTION,
    HEALTH_CARD,
    MRN,
    PATIENT,
    SHOWN,
    STUDY,
    Watched,
    found,
    of_the_patient,
    watched,
)
from tests.dimse.scripts import CT, CT_AS_SCP, FIND, GET, MOVE, UNHURRIED
from tests.kit import dicom, pdus
from tests.kit.peers import SECONDS
from tests.ops.test_tracing import collector
from tests.scp.pacs import identifier
from tests.web.storing import FILE, multipart

KEY = "5f" * 16 + "a3" * 16
MAY_NAME = {"audit", "consent.sqlite", "consent.sqlite-wal", "consent.sqlite-shm"}
"""Where identifiers are kept on purpose."""
PAGES = ("/metrics", "/status", "/status.json", "/livez", "/readyz", "/startupz")

FAULTS = [
    f"/studies?PatientName={quote(PATIENT)}&limit=x",
    f"/studies?PatientBirthDate={MRN}",
    f"/studies?StudyDate={BORN}x",
    f"/studies?{MRN}=1",
    f"/studies?StudyInstanceUID={MRN}",
    f"/studies?PatientID={MRN}&PatientID={HEALTH_CARD}",
    f"/studies?includefield={quote(PATIENT)}",
    f"/studies?PatientName={quote(PATIENT)}%FF%00",
    f"/studies?fuzzymatching={MRN}&PatientName=x",
    f"/studies/{MRN}",
    f"/studies/{HEALTH_CARD}x/series/{ACCESSION}/metadata",
    f"/studies/{STUDY}/series/{quote(PATIENT)}",
    f"/studies/{STUDY}/rendered?viewport={MRN}",
    f"/studies/{STUDY}/rendered?window={quote(DESCRIPTION)}",
    f"/studies/{STUDY}/instances/{ACCESSION}/frames/{MRN}",
    f"/wado?requestType=WADO&studyUID={MRN}&seriesUID=1.2&objectUID=1.3",
    f"/wado?requestType={quote(PATIENT)}",
    f"/{MRN}/{quote(PATIENT)}",
    f"/studies/../{quote(PATIENT)}",
    f"/studies/{STUDY}?accept={MRN}",
    f"/studies?offset={HEALTH_CARD}{HEALTH_CARD}&AccessionNumber={ACCESSION}",
]
"""Requests that are mistaken, each with something of the patient in its URL."""


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return real_time()


@pytest.mark.parametrize("key", [KEY, ""], ids=["encrypted", "plain"])
async def test_what_names_a_patient_is_nowhere_but_with_those_who_may_see_it(
    tmp_path: Path, issuer: Issuer, key: str
) -> None:
    spans: list[Any] = []
    async with collector(spans) as otlp:
        async with watched(tmp_path, issuer, otlp, key=key) as here:
            await here.direct()
            await entitled(here)
            await refused(here)
            await mistaken(here)
            await troubled(here)
            await stored(here)
            await by_dimse(here)
            await here.operators(*PAGES)
            await at_rest(tmp_path)
            here.said.others |= {f"open file {name}": data for name, data in here.held_open() if key}
            live = leaks_of_files(tmp_path, key)
            assert here.umask == 0o077
        shown = b"\n".join(here.said.entitled)
        assert {what for what, word in SHOWN.items() if word.encode() in shown} == set(SHOWN)
    said = {what: words for what, data in here.said.others.items() if (words := found(data))}
    assert said == {}, "\n".join(repr(here.said.others[what]) for what in said)
    assert len(spans) > 30
    assert found(repr(spans).encode()) == set()
    log = (tmp_path / "gateway.log").read_bytes()
    assert log.count(b'"event"') > 50
    assert {line for line in log.splitlines() if found(line)} == set()
    assert names_of_files(tmp_path) == set()
    leaks = {*live, *leaks_of_files(tmp_path, key)}
    if key:
        assert leaks == set()
        assert KEY.encode() not in log
    else:  # which shows that it would have been found
        assert {path.split("/")[0] for path in leaks} == {"spool", "queue"}
        assert {path.rpartition(".")[2] for path in leaks} >= {"pack", "sqlite"}
    assert_private(tmp_path)


def leaks_of_files(home: Path, key: str) -> set[str]:
    return {
        str(path.relative_to(home))
        for path in files(home)
        if path.relative_to(home).parts[0] not in MAY_NAME and found(content(path))
    }


def files(home: Path) -> Iterator[Path]:
    """Yield the files below a folder, in which somebody else may be at work."""
    for folder, _, names in os.walk(home):
        yield from (Path(folder) / name for name in names)


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # it went while we looked
        return b""


def names_of_files(home: Path) -> set[str]:
    return {path.name for path in home.rglob("*") if found(path.name.encode())}


def assert_private(home: Path) -> None:
    """The audit log, the consents, spool and queue are nobody else's, whatever they hold."""
    kept = [path for name in ("audit", "spool", "queue") for path in [home / name, *(home / name).rglob("*")]]
    kept += home.glob("consent.sqlite*")
    assert any(found(path.read_bytes()) for path in kept if path.is_file() and "audit" in path.parts)
    assert any(found(path.read_bytes()) for path in kept if path.name.startswith("consent"))
    modes = {(path.is_dir(), oct(stat.S_IMODE(path.stat().st_mode))) for path in kept}
    assert modes == {(True, "0o700"), (False, "0o600")}


async def entitled(here: Watched) -> None:
    """Ask for everything there is, by every key that names the patient."""
    token = here.token()
    keys = {"PatientName": "CANARY*", "PatientID": MRN, "AccessionNumber": ACCESSION, "StudyDescription": DESCRIPTION}
    for name, value in keys.items():
        for level in ("studies", f"studies/{STUDY}/series", f"studies/{STUDY}/instances"):
            await here.ask(f"{level} {name}", f"/dicom-web/{level}?{name}={quote(value)}&includefield=all", token)
    form = {"data": f"PatientID={MRN}", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    await here.ask("search form", "/dicom-web/studies", token, "POST", **form)
    await here.ask("lines", f"/dicom-web/studies?PatientID={MRN}", token, headers={"Accept": "application/x-ndjson"})
    for study in (STUDY, ABROAD):
        number = int(study.rpartition(".")[2])
        for tail, accept in FORMS.items():
            path = tail.removesuffix("?zip").format(series=dicom.uid(number, 1), instance=dicom.uid(number, 1, 1))
            await here.ask(f"{study}{tail}", f"/dicom-web/studies/{study}{path}", token, headers={"Accept": accept})
    assert {what: status for what, status in here.statuses.items() if status >= 300} == {}


async def refused(here: Watched) -> None:
    """Ask as those who may not."""
    callers = {
        "nobody": "",
        "not a token": f"{MRN}.{MRN}.{MRN}",
        "withheld": here.token("other", CLINIC),
        "without scope": here.token("bare", scope="rendered"),
        "of another patient": here.token("patient", patient="MRN-2"),
        "expired": here.token("late", exp=1_000_000_000),
        "forged": here.issuer.forged(sub=PATIENT),
    }
    before = len(here.statuses)
    for who, token in callers.items():
        for path in (f"/studies?PatientID={MRN}", f"/studies/{STUDY}", f"/studies/{STUDY}/metadata"):
            await here.ask(f"{who} {path.partition('?')[0]}", f"/dicom-web{path}", token)
    statuses = list(here.statuses.values())[before:]
    assert {401, 403} <= set(statuses), here.statuses


async def mistaken(here: Watched) -> None:
    token = here.token()
    before = len(here.statuses)
    for number, path in enumerate(FAULTS):
        for method in ("GET", "DELETE"):
            await here.ask(f"fault {number}", f"/dicom-web{path}", token, method)
    statuses = list(here.statuses.values())[before::2]
    assert statuses.count(400) >= len(FAULTS) // 2, dict(zip(FAULTS, statuses, strict=True))
    odd = {"Accept": f"application/{MRN}", "X-Request-Id": PATIENT, "Origin": f"https://{MRN}.example"}
    await here.ask("odd fields", "/dicom-web/studies", token, headers=odd)
    await here.ask("odd range", f"/dicom-web/studies/{STUDY}/bulkdata", token, headers={"Range": f"bytes={MRN}"})
    override = {"Consent-Override": f"reason={MRN}; patient={HEALTH_CARD}"}
    await here.ask("override", f"/dicom-web/studies/{STUDY}", token, headers=override)
    trace = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "tracestate": f"x={MRN}", "baggage": f"patient={MRN}"}
    await here.ask("traced", f"/dicom-web/studies?PatientID={MRN}", token, headers=trace)


async def troubled(here: Watched) -> None:
    """Ask while a region talks, sends garbage, or breaks the protocol."""
    token = here.token()
    for mode in ("comment", "garbage", "nonsense", "uid"):
        here.talkative.mode = mode
        await here.ask(f"search {mode}", f"/dicom-web/studies?PatientID={MRN}", token)
        await here.ask(f"abroad {mode}", f"/dicom-web/studies/{dicom.uid(4)}", token)
        await here.ask(f"lines {mode}", f"/dicom-web/studies?PatientID={MRN}&limit=1", token)
        await here.operators(*PAGES)
    here.talkative.mode = ""


async def stored(here: Watched) -> None:
    """Store what is taken, what a region refuses, and what cannot be taken."""
    token = here.token()
    kind = {"Content-Type": f'multipart/related; type="{FILE}"; boundary=frontier'}
    good, nameless, foreign = of_the_patient(7, 1), of_the_patient(8, 1, PatientID=""), of_the_patient(9, 1)
    uid = str(foreign[0].SOPInstanceUID)
    bodies: dict[str, list[bytes]] = {
        "good": [dicom.part10(x) for x in good],
        "nameless": [dicom.part10(x) for x in nameless],
        "foreign": [dicom.part10(foreign[0]).replace(uid.encode(), MRN.ljust(len(uid), "7").encode())],
        "cut": [dicom.part10(good[0])[:600]],
        "text": [f"{PATIENT} {MRN}".encode()],
    }
    for status in (0xA700, 0xC001):
        here.talkative.status = status
        for name, parts in bodies.items():
            body = multipart([(FILE, {}, part) for part in parts])
            await here.ask(f"store {name}", "/dicom-web/studies", token, "POST", data=body, headers=kind)
            where = f"/dicom-web/studies/{dicom.uid(99)}"
            await here.ask(f"store {name} elsewhere", where, token, "POST", data=body, headers=kind)
    broken = {"Content-Type": f'multipart/related; type="{MRN}"; boundary="{HEALTH_CARD}"'}
    await here.ask("store broken", "/dicom-web/studies", token, "POST", data=PATIENT.encode(), headers=broken)
    document = b'[{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "' + PATIENT.encode() + b'"}]}, "x'
    described = {"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=frontier'}
    body = multipart([("application/dicom+json", {}, document)])
    await here.ask("store json", "/dicom-web/studies", token, "POST", data=body, headers=described)


async def by_dimse(here: Watched) -> None:
    """Search, retrieve and store as a workstation does, rightly and wrongly."""

    async def take(incoming: IncomingStore) -> int:
        here.said.entitled.append(b"".join([bytes(x) async for x in incoming]))
        return 0

    async def with_peer(name: str, work: Any, ae_title: str = "WS") -> None:
        peer = Peer("127.0.0.1", here.dimse_port, "GATEWAY", ae_title)
        contexts = (FIND, MOVE, GET, CT_AS_SCP) if name.startswith("get") else (FIND, MOVE, GET, CT)
        try:
            async with await connect(peer, contexts, soon(), limits=UNHURRIED, serve_store=take) as association:
                await work(association)
        except DimseFailure as error:
            here.said.others[f"comment of {name}"] = f"{error} {error.comment}".encode()
        except GatewayError as error:
            here.said.others[f"error of {name}"] = str(error).encode()

    async def searched(association: Association) -> None:
        keys = {"PatientName": "CANARY*", "PatientID": "", "StudyDescription": "", "StudyInstanceUID": ""}
        async with aclosing(find(association, pdus.STUDY_FIND, identifier("STUDY", **keys), soon())) as rows:
            here.said.entitled += [row async for row in rows]

    def failing(data: bytes) -> Any:
        async def ask(association: Association) -> None:
            async with aclosing(find(association, pdus.STUDY_FIND, data, soon())) as rows:
                here.said.entitled += [row async for row in rows]

        return ask

    def storing(instance: Any) -> Any:
        async def give(association: Association) -> None:
            uids = pdus.CT_IMAGE, str(instance.SOPInstanceUID), pdus.EXPLICIT_LE
            await store(association, *uids, [dicom.encode(instance)], soon())

        return give

    whole = identifier("STUDY", StudyInstanceUID=STUDY)
    await with_peer("search", searched)
    await with_peer("get", lambda a: get(a, pdus.STUDY_GET, whole, soon()))
    await with_peer("move", lambda a: move(a, pdus.STUDY_MOVE, whole, "WS", soon()))
    await with_peer("move to nobody", lambda a: move(a, pdus.STUDY_MOVE, whole, "CANARYAE", soon()))
    wrong = identifier("STUDY", StudyInstanceUID=STUDY, PatientID=MRN) + PATIENT.encode()
    await with_peer("garbage", failing(wrong))
    await with_peer("level", failing(identifier(MRN, PatientName=PATIENT)))
    await with_peer("get of a patient", lambda a: get(a, pdus.STUDY_GET, identifier("STUDY", PatientID=MRN), soon()))
    here.talkative.mode = "comment"
    await with_peer("search while a region talks", searched)
    abroad = identifier("STUDY", StudyInstanceUID=dicom.uid(4))
    await with_peer("get abroad", lambda a: get(a, pdus.STUDY_GET, abroad, soon()))
    here.talkative.mode = ""
    for name, instance in {
        "store": of_the_patient(17, 1)[0],
        "store nameless": of_the_patient(18, 1, PatientID="")[0],
        "store without study": of_the_patient(19, 1, StudyInstanceUID="")[0],
    }.items():
        await with_peer(name, storing(instance))
    await with_peer("stranger", searched, ae_title="STRANGER")
    assert any(name.startswith("comment of") for name in here.said.others)


def soon() -> Deadline:
    return Deadline.after(SECONDS)


async def at_rest(home: Path) -> None:
    """Wait until the spool and its index, and the queue, hold what they were given."""
    async with asyncio.timeout(SECONDS):
        while not (  # noqa: ASYNC110 - files tell nobody
            _count(home / "spool" / "index.sqlite", "note")
            and _count(
                home / "queue" / "queue.sqlite", "delivery WHERE reason LIKE '%CANARY%' OR typeof(reason) = 'blob'"
            )
        ):
            await asyncio.sleep(0.05)


def _count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
