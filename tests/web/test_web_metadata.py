"""Metadata over HTTP: the DICOM JSON Model of each instance, bulk data by reference (PS3.18 10.4.1.1.2)."""

import asyncio
from typing import Any

import orjson
import pytest

from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from gateway.errors import Truncated
from tests.kit.dicom import encode, instance
from tests.web.fakes import SERIES, STUDY, FakeInstance, FakeRetrieve, ct, gateway, headed

PATH = f"/studies/{STUDY}/metadata"


async def metadata(*instances: Any, path: str = PATH, **headers: str) -> Any:
    async with gateway(retrieve=FakeRetrieve(instances)) as web:
        answer = await web.client.get(path, headers=headers)
    assert answer.status_code == 200
    return answer


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT_VR_LE, IMPLICIT_VR_LE])
async def test_each_instance_is_an_element_with_its_attributes(transfer_syntax: str) -> None:
    answer = await metadata(ct(1, transfer_syntax), ct(2, transfer_syntax))
    assert answer.headers["content-type"] == "application/dicom+json"
    rows = answer.json()
    assert [row["00080018"]["Value"][0] for row in rows] == [f"{SERIES}.1", f"{SERIES}.2"]
    assert rows[0]["00100010"]["Value"][0]["Alphabetic"].startswith("Tremblay^Zoé")
    assert list(rows[0]) == sorted(rows[0])


async def test_pixel_data_is_where_the_instance_is() -> None:
    [row] = (await metadata(ct(1))).json()
    assert row["7FE00010"] == {
        "vr": "OW",
        "BulkDataURI": f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1/bulkdata/7FE00010",
    }


async def test_bulk_data_inside_a_sequence_is_found_by_its_item_number() -> None:
    from pydicom import Dataset, Sequence  # noqa: PLC0415

    inner = Dataset()
    inner.add_new("EncapsulatedDocument", "OB", bytes(4096))
    dataset = instance(size=0)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = STUDY, SERIES, f"{SERIES}.1"
    dataset.ReferencedImageSequence = Sequence([Dataset(), inner])
    [row] = (await metadata(FakeInstance([encode(dataset)]))).json()
    uri = row["00081140"]["Value"][1]["00420011"]["BulkDataURI"]
    assert uri.endswith(f"/instances/{SERIES}.1/bulkdata/00081140/2/00420011")


async def test_application_json_is_the_same_body() -> None:
    answer = await metadata(ct(1), Accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.json()) == 1


@pytest.mark.parametrize("level", ["", f"/series/{SERIES}", f"/series/{SERIES}/instances/{SERIES}.1"])
async def test_metadata_is_there_at_three_levels(level: str) -> None:
    assert len((await metadata(ct(1), path=f"/studies/{STUDY}{level}/metadata")).json()) == 1


async def test_malformed_instance_is_marked_and_the_others_are_whole() -> None:
    malformed = FakeInstance([b"\x08\x00\x16\x00UI\xff\xff1.2", b"3"], sop_instance_uid=f"{SERIES}.2")
    rows = (await metadata(ct(1), malformed, ct(3))).json()
    assert [row["00080018"]["Value"][0] for row in rows] == [f"{SERIES}.{n}" for n in (1, 2, 3)]
    assert rows[1]["00081197"] == {"vr": "US", "Value": [272]}
    assert "00081197" not in rows[0]


async def test_first_instance_that_breaks_off_is_a_status() -> None:
    broken = FakeInstance([ct(1).data[0], Truncated("the region closed inside a PDU")])
    async with gateway(retrieve=FakeRetrieve([broken])) as web:
        answer = await web.client.get(PATH)
    assert answer.status_code == 502


async def test_element_is_sent_before_the_next_instance_arrives() -> None:
    more = asyncio.Event()
    async with gateway(retrieve=FakeRetrieve([ct(1), more, ct(2)])) as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(headed(target=f"/dicom-web{PATH}"))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        chunk = await asyncio.wait_for(reader.readexactly(int(await reader.readline(), 16)), 30)
        assert orjson.loads(chunk + b"]")[0]["00080018"]["Value"] == [f"{SERIES}.1"]
        more.set()
        await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 30)
        writer.close()
    assert b"200 OK" in head
