"""A region that calls an instance a duplicate (0111) has it: it is delivered, unless what it has is another one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydicom import Dataset

from gateway.dimse.store import store
from gateway.errors import DimseFailure
from gateway.events import DeliveryQuarantined, RegionOperation
from gateway.spool.ledger import Delivery, Ledger
from tests.dimse.scripts import CT
from tests.kit import dicom, pdus
from tests.kit.peers import SECONDS
from tests.kit.region import Answer, ScriptedRegion
from tests.kit.scripted import Message, ScriptedPeer
from tests.region.web_archive import Handler, listing, webbed
from tests.scp.pacs import Face, face, peer, soon
from tests.web.storing import first, origin, values

INSTANCE = dicom.instance(1)
ELSEWHERE = dicom.instance(1, 2, SOPInstanceUID=INSTANCE.SOPInstanceUID)
OTHER_CLASS = dicom.instance(1, SOPClassUID="1.2.840.10008.5.1.4.1.1.4")
REFERENCED, FAILED, FAILURE, WARNING = "00081199", "00081198", "00081197", "00081196"


def answering(status: int) -> Answer:
    async def answer(region: ScriptedRegion, peer: ScriptedPeer, message: Message) -> None:
        await peer.send(pdus.message(message.context_id, pdus.response(message.command, status)))

    return answer


def region(*held: Dataset) -> ScriptedRegion:
    made = ScriptedRegion("ARCHIVE", held)
    made.answers[pdus.C_STORE_RQ] = answering(0x0111)
    return made


@asynccontextmanager
async def storing(archive: ScriptedRegion, **settings: Any) -> AsyncIterator[Face]:
    sections = {"store": {"default": ["ARCHIVE"], **settings}}
    async with face(archive, peers=[peer(services=("store",))], sections=sections) as here:
        yield here


async def contribute(here: Face) -> int:
    async with here.associated(CT) as association:
        uids = pdus.CT_IMAGE, str(INSTANCE.SOPInstanceUID), pdus.EXPLICIT_LE
        return await store(association, *uids, [dicom.encode(INSTANCE)], soon())


async def test_what_the_region_shows_is_delivered_and_told_of() -> None:
    async with storing(region(INSTANCE)) as here:
        assert await contribute(here) == 0
        [told] = [x for x in here.of(RegionOperation) if x.verb == "store"]
    assert (told.outcome, told.code, told.count) == ("complete", "0111", 1)


@pytest.mark.parametrize("held", [[ELSEWHERE], [OTHER_CLASS], []])
async def test_another_instance_of_that_uid_is_a_conflict_that_nobody_calls_stored(held: list[Dataset]) -> None:
    async with storing(region(*held)) as here:
        with pytest.raises(DimseFailure) as caught:
            await contribute(here)
    assert caught.value.status == 0x0111


async def test_region_that_answers_no_such_search_is_believed() -> None:
    archive = region()
    archive.answers[pdus.C_FIND_RQ] = answering(0xA900)
    async with storing(archive) as here:
        assert await contribute(here) == 0


async def test_region_that_cannot_say_now_is_asked_again(tmp_path: Path) -> None:
    archive = region(INSTANCE)
    honest = archive.answers[pdus.C_FIND_RQ]

    async def breaks(region: ScriptedRegion, peer: ScriptedPeer, message: Message) -> None:
        await peer.send(pdus.abort())

    archive.answers[pdus.C_FIND_RQ] = breaks
    async with storing(archive, folder=str(tmp_path), retry_seconds=0.1) as here:
        assert await contribute(here) == 0
        await until(tmp_path, "waiting")
        archive.answers[pdus.C_FIND_RQ] = honest
        await until(tmp_path)
        assert [x.code for x in here.of(RegionOperation)][-1] == "0111"
        assert not here.of(DeliveryQuarantined)


async def test_conflict_in_the_queue_is_quarantined_with_what_to_do(tmp_path: Path) -> None:
    archive = region(ELSEWHERE)
    async with storing(archive, folder=str(tmp_path), answer="durable") as here:
        assert await contribute(here) == 0
        told = await here.until(DeliveryQuarantined)
        assert told.status == 0x0111
        await until(tmp_path, "quarantined")
    [delivery] = deliveries(tmp_path)
    assert "another instance of this SOP Instance UID" in delivery.reason


def deliveries(folder: Path) -> list[Delivery]:
    with Ledger(folder) as ledger:
        return ledger.deliveries()


async def until(folder: Path, *states: str) -> None:
    """Wait until the deliveries in the queue have these states."""
    async with asyncio.timeout(SECONDS):
        while tuple(x.state for x in deliveries(folder)) != states:  # noqa: ASYNC110 - the queue tells nobody
            await asyncio.sleep(0.01)


# --- a region over the web


def web_region(*held: Dataset, code: int) -> Handler:
    """Refuse all instances as duplicates, with this status, and show these."""
    item = {
        "00081155": {"vr": "UI", "Value": [str(INSTANCE.SOPInstanceUID)]},
        "00081197": {"vr": "US", "Value": [0x0111]},
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return listing([row(x) for x in held])
        await request.read()
        answer = listing({FAILED: {"vr": "SQ", "Value": [item]}})
        answer.set_status(code)
        return answer

    return handler


def row(instance: Dataset) -> dict[str, Any]:
    keywords = {"00080016": "SOPClassUID", "00080018": "SOPInstanceUID", "0020000E": "SeriesInstanceUID"}
    return {tag: {"vr": "UI", "Value": [str(instance[keyword].value)]} for tag, keyword in keywords.items()}


@pytest.mark.parametrize("code", [200, 202, 409])
async def test_web_region_that_shows_it_has_it_and_the_answer_says_so(code: int) -> None:
    async with webbed(web_region(INSTANCE, code=code)) as (watching, requests):
        async with origin(watching.region, default=["WEBBED"]) as served:
            response = await served.post([dicom.part10(INSTANCE)])
        assert response.status_code == 202
        [item] = values(response.json(), REFERENCED)
        assert first(item, WARNING) == 0xBF02
        assert "already" in response.headers["Warning"]
        assert [x.method for x in requests] == ["POST", "GET"]


async def test_web_region_that_shows_another_one_has_not_got_it() -> None:
    async with webbed(web_region(OTHER_CLASS, code=409)) as (watching, _):
        async with origin(watching.region, default=["WEBBED"]) as served:
            response = await served.post([dicom.part10(INSTANCE)])
        assert response.status_code == 409
        [item] = values(response.json(), FAILED)
        assert first(item, FAILURE) == 0x0111
