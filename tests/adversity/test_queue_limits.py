"""No room: nothing is acknowledged that is not safe, reads go on, and it recovers alone (promise P03)."""

from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from pydicom import Dataset

from gateway.dimse.store import store
from gateway.errors import DimseFailure, Refused
from gateway.region.storing import Outgoing
from tests.dimse.scripts import CT
from tests.kit import dicom, pdus
from tests.kit.full_disk import no_file_longer_than
from tests.kit.region import ScriptedRegion
from tests.kit.scripted import Message, ScriptedPeer
from tests.scp.pacs import INSTANCES, Face, face, peer, rows, soon
from tests.web.storing import FakeRegion, first, origin, values

REFERENCED, FAILED, FAILURE = "00081199", "00081198", "00081197"
LARGE = [dicom.instance(7, 1, number, size=200 * 1024) for number in (1, 2, 3)]


def down(_: Outgoing) -> int:
    raise Refused("nothing listens")


def stored(response: Response) -> int:
    return len(values(response.json(), REFERENCED))


async def test_queue_that_is_full_is_503_before_anything_is_acknowledged(tmp_path: Path) -> None:
    region = FakeRegion(answer=down)
    async with origin(region, folder=tmp_path, max_bytes=300 * 1024, retry_seconds=0.1) as served:
        first_two = await served.post([dicom.part10(x) for x in LARGE[:2]])
        assert (first_two.status_code, stored(first_two)) == (202, 2)
        third = await served.post([dicom.part10(LARGE[2])])
        assert third.status_code == 503
        assert int(third.headers["Retry-After"]) > 0
        assert stored(third) == 0
        assert first(values(third.json(), FAILED)[0], FAILURE) == 0xA700
        assert len(list((tmp_path / "instances").iterdir())) == 2

        region.answer = lambda _: 0
        await served.drained()
        assert (await served.post([dicom.part10(LARGE[2])])).status_code == 200


async def test_disk_that_is_full_is_503_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with origin(FakeRegion(), folder=tmp_path) as served:
        with no_file_longer_than(100 * 1024):
            full = await served.post([dicom.part10(LARGE[0])])
        assert full.status_code == 503
        assert first(values(full.json(), FAILED)[0], FAILURE) == 0xA700
        assert list((tmp_path / "instances").iterdir()) == []
        assert served.queue.size == 0
        assert (await served.post([dicom.part10(LARGE[0])])).status_code == 200


async def test_disk_that_is_full_for_the_ledger_alone_acknowledges_nothing(tmp_path: Path) -> None:
    small = dicom.part10(dicom.instance(7, size=64))
    async with origin(FakeRegion(answer=down), folder=tmp_path) as served:
        with no_file_longer_than(2048):
            full = await served.post([small])
        assert (full.status_code, stored(full)) == (503, 0)
        assert list((tmp_path / "instances").iterdir()) == []
        again = await served.post([small])
        assert (again.status_code, stored(again)) == (202, 1)


def refusing() -> ScriptedRegion:
    async def busy(region: ScriptedRegion, peer: ScriptedPeer, message: Message) -> None:
        await peer.send(pdus.message(message.context_id, pdus.response(message.command, 0xA700)))

    region = ScriptedRegion("ARCHIVE", INSTANCES)
    region.answers[pdus.C_STORE_RQ] = busy
    return region


async def c_store(here: Face, instance: Dataset) -> int:
    async with here.associated(CT) as association:
        uids = pdus.CT_IMAGE, str(instance.SOPInstanceUID), pdus.EXPLICIT_LE
        return await store(association, *uids, [dicom.encode(instance)], soon())


@pytest.mark.parametrize("full", ["the queue", "the disk"])
async def test_c_store_without_room_is_a700_and_searches_go_on(tmp_path: Path, full: str) -> None:
    settings: dict[str, Any] = {"folder": str(tmp_path), "default": ["ARCHIVE"], "retry_seconds": 60.0}
    settings["max_bytes"] = 1 if full == "the queue" else 1 << 30
    peers = [peer(services=("store", "find"))]
    async with face(refusing(), peers=peers, sections={"store": settings}) as here:
        if full == "the queue":
            assert await c_store(here, LARGE[0]) == 0  # there is room as long as there is any
        with no_file_longer_than(1 << 30 if full == "the queue" else 100 * 1024):
            with pytest.raises(DimseFailure) as caught:
                await c_store(here, LARGE[1])
            assert caught.value.status == 0xA700
            async with here.associated() as association:
                found = await rows(association, "STUDY", StudyInstanceUID="")
        assert {x.StudyInstanceUID for x in found} == {x.StudyInstanceUID for x in INSTANCES}
