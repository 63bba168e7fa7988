"""What leaves is told to the audit trail first; where that cannot be told, nothing leaves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.access.permit import Recorder
from gateway.access.principal import Principal
from gateway.assembly import running
from gateway.config.settings import load
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import AuditUnavailable
from tests.kit import dicom
from tests.kit.full_disk import no_file_longer_than
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion
from tests.scp.pacs import region_profile

STUDY = dicom.uid(1)
PATIENT = PatientIdentifier("north", "MRN00001")
STORED = "multipart/related; type=application/dicom; transfer-syntax=*"


@contextlib.asynccontextmanager
async def recorded(recorder: Recorder | None, log: str = "") -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    port = free_port()
    overrides: dict[str, dict[str, Any]] = {
        "access": {"mode": "open"},
        "ops": {"port": 0},
        "http": {"port": 0},
        "dimse": {"port": port},
        "audit": {"folder": log},
    }
    async with contextlib.AsyncExitStack() as stack:
        region = await stack.enter_async_context(ScriptedRegion("NORTH", dicom.study(1, instances=2)).running(port))
        gateway = running(load(overrides=overrides), [region_profile(region)], recorder=recorder)
        made = await stack.enter_async_context(gateway)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield f"http://127.0.0.1:{made.http_port}/dicom-web", session


async def test_searches_and_retrieves_are_told_with_patient_study_and_count() -> None:
    told: list[tuple[Any, ...]] = []
    ended = asyncio.Event()

    async def record(principal: Principal, event: str, outcome: str = "success", **more: Any) -> None:
        told.append(
            (principal.address, event, outcome, set(more["patients"]), list(more["studies"]), more["instances"])
        )
        if event == "retrieve":
            ended.set()

    async with recorded(record) as (url, session):
        async with session.get(f"{url}/studies?PatientName=*") as answer:
            assert answer.status == 200
        async with session.get(f"{url}/studies/{STUDY}", headers={"Accept": STORED}) as answer:
            assert answer.status == 200
            await answer.read()
        await asyncio.wait_for(ended.wait(), 30)
    who = "127.0.0.1"
    assert told == [
        (who, "search", "success", {PATIENT}, [STUDY], 0),
        (who, "retrieve-begin", "success", {PATIENT}, [STUDY], 0),
        (who, "retrieve", "success", {PATIENT}, [STUDY], 2),
    ]


async def test_who_reads_the_description_of_a_study_is_told_to_have_read_that() -> None:
    told: list[str] = []
    ended = asyncio.Event()

    async def record(_: Principal, event: str, outcome: str = "success", **more: Any) -> None:
        told.append(f"{event} {outcome} {more['instances']}")
        if event == "metadata":
            ended.set()

    async with recorded(record) as (url, session), session.get(f"{url}/studies/{STUDY}/metadata") as answer:
        assert answer.status == 200
        await answer.read()
        await asyncio.wait_for(ended.wait(), 30)
    assert told == ["retrieve-begin success 0", "metadata success 2"]


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/studies", "application/dicom+json"),
        ("/studies", "application/x-ndjson"),
        (f"/studies/{STUDY}/series", "application/dicom+json"),
        (f"/studies/{STUDY}", STORED),
        (f"/studies/{STUDY}/metadata", "application/dicom+json"),
        (f"/studies/{STUDY}/rendered", "image/png"),
    ],
)
async def test_nothing_leaves_that_cannot_be_told(path: str, accept: str) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise AuditUnavailable("the disk is full")

    async with recorded(fail) as (url, session), session.get(url + path, headers={"Accept": accept}) as answer:
        assert answer.status == 503
        assert answer.content_type == "application/problem+json"
        assert "Tremblay" not in await answer.text()


def written(folder: Path) -> int:
    [segment] = folder.glob("*/*.jsonl")
    return segment.stat().st_size


@pytest.mark.parametrize("path", ["/studies?PatientName=*", f"/studies/{STUDY}", f"/studies/{STUDY}/metadata"])
async def test_a_full_disk_of_the_audit_log_stops_every_release_until_there_is_room_again(
    tmp_path: Path, path: str
) -> None:  # P04
    async with recorded(None, str(tmp_path)) as (url, session):

        async def ask() -> tuple[int, bytes]:
            async with session.get(url + path, headers={"Accept": "*/*"}) as answer:
                return answer.status, await answer.read()

        assert (await ask())[0] == 200
        with no_file_longer_than(written(tmp_path)):
            status, body = await ask()
        assert status == 503
        assert b"the audit log cannot be written" in body
        assert not any(known in body for known in (b"MRN00001", STUDY.encode()))
        assert (await ask())[0] == 200
