"""Bulk data over HTTP: every BulkDataURI that is emitted resolves (conformance.md 1.3, PS3.18 10.4.1.1.5)."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydicom import Dataset, Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from gateway.dataset.transfer_syntax import EXPLICIT_VR_BE, IMPLICIT_VR_LE
from tests.web.fakes import STUDY, FakeRetrieve, gateway
from tests.web.wado import (
    INSTANCE_PATH,
    LEVELS,
    PDF,
    SERIES_PATH,
    compressed,
    ct,
    document,
    fake,
    multiframe,
    parts,
    report,
)

OCTETS = 'multipart/related; type="application/octet-stream"'
SINGLE = "application/octet-stream"


async def get(*datasets: Dataset, path: str, **headers: str) -> Any:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway(retrieve=FakeRetrieve([fake(dataset) for dataset in datasets])) as web:
        return await web.client.get(path, headers=fields)


def nested() -> Dataset:
    """Return a CT with long values of several VRs, one of them inside two Sequences."""
    deep, shallow, dataset = Dataset(), Dataset(), ct()
    deep.add_new("EncapsulatedDocument", "OB", b"deep" * 1000)
    shallow.ReferencedImageSequence = Sequence([Dataset(), deep])
    dataset.ReferencedStudySequence = Sequence([shallow])
    dataset.add_new("RedPaletteColorLookupTableData", "OW", bytes(range(256)) * 16)
    dataset.add_new(0x00190010, "LO", "LAB")
    dataset.add_new(0x00191001, "OF", b"\0\0\x80\x3f" * 1000)
    dataset.add_new(0x00191002, "UN", b"unknown!" * 500)
    return dataset


def uris(value: Any) -> Iterator[tuple[str, str]]:
    """Walk a row and yield the VR and the address of what it leaves out."""
    if isinstance(value, dict):
        if "BulkDataURI" in value:
            yield value["vr"], value["BulkDataURI"]
        for inner in value.values():
            yield from uris(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from uris(inner)


@pytest.mark.parametrize("stored", [ExplicitVRLittleEndian, IMPLICIT_VR_LE, EXPLICIT_VR_BE])
async def test_every_bulk_data_uri_of_the_metadata_resolves_to_its_value_in_little_endian(stored: str) -> None:
    dataset = nested()
    dataset.file_meta.TransferSyntaxUID = UID(stored)
    async with gateway(retrieve=FakeRetrieve([fake(dataset)])) as web:
        [row] = (await web.client.get(f"{INSTANCE_PATH}/metadata")).json()
        found = {}
        for _, uri in uris(row):
            answer = await web.client.get(uri.removeprefix("/dicom-web"), headers={"Accept": SINGLE})
            assert answer.status_code == 200, (uri, answer.text)
            assert answer.headers["content-location"] == uri
            assert int(answer.headers["content-length"]) == len(answer.content)
            found[uri.partition("/bulkdata/")[2]] = answer.content
    assert set(found) == {"00081110/1/00081140/2/00420011", "00191001", "00191002", "00281201", "7FE00010"}
    assert found["00081110/1/00081140/2/00420011"] == b"deep" * 1000
    # OW words stand in the other byte order in Big Endian; pydicom writes their bytes as they are.
    if stored != EXPLICIT_VR_BE:
        assert found["00281201"] == bytes(range(256)) * 16
        assert found["00191001"] == b"\0\0\x80\x3f" * 1000
        assert found["7FE00010"] == dataset.PixelData
    else:
        assert found["00281201"][:4] == b"\x01\x00\x03\x02"


async def test_bulk_data_is_multipart_unless_a_single_part_is_asked_for() -> None:
    for accept in ("*/*", OCTETS, f"{OCTETS}; transfer-syntax=*"):
        answer = await get(nested(), path=f"{INSTANCE_PATH}/bulkdata/00281201", accept=accept)
        [(head, value)] = parts(answer)
        assert head["Content-Type"] == "application/octet-stream"
        assert value == bytes(range(256)) * 16


@pytest.mark.parametrize(
    "path", ["00420011", "00100010", "00081110", "00081110/9/00081140", "x", "../metadata", "00081110/1", "7FE00010/1"]
)
async def test_what_is_no_bulk_data_is_404(path: str) -> None:
    answer = await get(nested(), path=f"{INSTANCE_PATH}/bulkdata/{path.replace('..', '%2e%2e')}", accept=SINGLE)
    assert answer.status_code == 404


async def test_multi_frame_pixel_data_is_one_part_for_each_frame() -> None:
    answer = await get(multiframe(uid=RLELossless), path=f"{INSTANCE_PATH}/bulkdata/7FE00010", accept=OCTETS)
    found = parts(answer)
    assert [frame for _, frame in found] == [bytes([n]) * 128 for n in range(1, 6)]
    assert {head["Content-Type"] for head, _ in found} == {f"{SINGLE}; transfer-syntax={ExplicitVRLittleEndian}"}


async def test_content_location_of_a_frame_of_pixel_data_resolves() -> None:
    async with gateway(retrieve=FakeRetrieve([fake(multiframe())])) as web:
        answer = await web.client.get(f"{INSTANCE_PATH}/bulkdata/7FE00010", headers={"Accept": OCTETS})
        location = parts(answer)[2][0]["Content-Location"]
        frame = await web.client.get(location.removeprefix("/dicom-web"), headers={"Accept": SINGLE})
    assert frame.content == bytes([3]) * 128


async def test_compressed_pixel_data_leaves_as_stored_for_whom_any_transfer_syntax_will_do() -> None:
    path = f"{INSTANCE_PATH}/bulkdata/7FE00010"
    [(head, _)] = parts(await get(compressed(), path=path, accept=f'{OCTETS}; transfer-syntax="*"'))
    assert head["Content-Type"] == f"image/dicom-rle; transfer-syntax={RLELossless}"


@pytest.mark.parametrize("level", LEVELS)
async def test_bulk_data_resources_have_all_values_at_three_levels(level: str) -> None:
    answer = await get(nested(), path=f"/studies/{STUDY}{level}/bulkdata", accept=OCTETS)
    assert answer.status_code == 200
    found = {head["Content-Location"].partition("/bulkdata/")[2]: value for head, value in parts(answer)}
    assert set(found) == {"00081110/1/00081140/2/00420011", "00191001", "00191002", "00281201", "7FE00010"}
    assert found["7FE00010"] == ct().PixelData


@pytest.mark.parametrize("level", LEVELS)
async def test_octets_of_an_instance_resource_are_its_bulk_data(level: str) -> None:
    answer = await get(report(), ct(1), path=f"/studies/{STUDY}{level}", accept=OCTETS)
    assert answer.headers["content-type"].startswith('multipart/related; type="application/octet-stream"')
    assert [value for _, value in parts(answer)] == [ct().PixelData]


# --- documents


async def test_document_is_had_as_octets_and_as_what_it_is_without_its_padding() -> None:
    path = f"{INSTANCE_PATH}/bulkdata/00420011"
    assert len(PDF) % 2 == 1
    octets = await get(document(), path=path, accept=SINGLE)
    assert (octets.headers["content-type"], octets.content) == (SINGLE, PDF)
    pdf = await get(document(), path=path, accept="application/pdf")
    assert (pdf.headers["content-type"], pdf.content) == ("application/pdf", PDF)
    part = await get(document(), path=path, accept='multipart/related; type="application/pdf"')
    assert [value for _, value in parts(part)] == [PDF]


async def test_range_of_a_document_is_206() -> None:
    answer = await get(document(), path=f"{INSTANCE_PATH}/bulkdata/00420011", accept=SINGLE, range="bytes=0-4")
    assert (answer.status_code, answer.content) == (206, b"%PDF-")


@pytest.mark.parametrize("media_type", ["text/html", "text/xml", "image/svg+xml"])
async def test_active_document_can_do_nothing_in_our_name(media_type: str) -> None:
    dataset = document(b"<script>alert(1)</script>", media_type)
    for path in ("bulkdata/00420011", "rendered"):
        answer = await get(dataset, path=f"{INSTANCE_PATH}/{path}", accept=media_type)
        assert answer.headers["content-type"] == media_type
        assert answer.headers["content-security-policy"] == "sandbox"
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("hostile", ["text/html\r\nX-Evil: 1", "text/html; x=y", "nonsense", "*/*"])
async def test_hostile_media_type_of_a_document_does_not_reach_a_header(hostile: str) -> None:
    dataset = document(b"<b>", "text/plain")
    dataset.MIMETypeOfEncapsulatedDocument = hostile
    answer = await get(dataset, path=f"{INSTANCE_PATH}/rendered")
    assert "x-evil" not in answer.headers
    assert answer.status_code == 406 or answer.headers["content-type"] == SINGLE


async def test_series_of_documents_has_no_pixel_data_but_bulk_data() -> None:
    assert (await get(document(), path=f"{SERIES_PATH}/pixeldata")).status_code == 404
    assert (await get(document(), path=f"{SERIES_PATH}/bulkdata")).status_code == 200
