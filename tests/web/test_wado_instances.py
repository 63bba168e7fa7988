"""Instances over HTTP in the Transfer Syntax that Accept demands, and as an archive (conformance.md 1.3)."""

from io import BytesIO
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from gateway.dataset.transfer_syntax import DEFLATED_EXPLICIT_VR_LE, JPEG_2000_MC_LOSSLESS
from gateway.web import instances
from gateway.web.problem import BodyBroken
from tests.kit.dicom import encode
from tests.web.fakes import SERIES, STUDY, FakeInstance, FakeRetrieve, exchange, gateway, headed
from tests.web.wado import INSTANCE_PATH, SERIES_PATH, compressed, ct, fake, multiframe, parts, read, report

MULTIPART = 'multipart/related; type="application/dicom"'
UNKNOWN = JPEG_2000_MC_LOSSLESS  # registered, and no codec of ours


async def get(*held: Dataset | FakeInstance, path: str = f"/studies/{STUDY}", accept: str = MULTIPART) -> Any:
    retrieve = FakeRetrieve([x if isinstance(x, FakeInstance) else fake(x) for x in held])
    async with gateway(retrieve=retrieve) as web:
        return await web.client.get(path, headers={"Accept": accept})


@pytest.mark.parametrize("uid", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("accept", ["*/*", MULTIPART, f"{MULTIPART}; transfer-syntax={ExplicitVRLittleEndian}"])
async def test_compressed_instance_leaves_as_explicit_vr_little_endian_by_default(uid: str, accept: str) -> None:
    [(head, file)] = parts(await get(compressed(uid=uid), accept=accept))
    assert head["Content-Type"] == f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    dataset = read(file)
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert dataset.PixelData == ct(rows=64).PixelData
    assert dataset.PatientName == ct().PatientName


@pytest.mark.parametrize("uid", [RLELossless, JPEGLSLossless, JPEG2000Lossless, DEFLATED_EXPLICIT_VR_LE])
async def test_instance_is_transcoded_to_what_is_named(uid: str) -> None:
    [(head, file)] = parts(await get(ct(rows=64), accept=f"{MULTIPART}; transfer-syntax={uid}"))
    assert head["Content-Type"] == f"application/dicom; transfer-syntax={uid}"
    dataset = read(file)
    assert dataset.file_meta.TransferSyntaxUID == uid
    assert (dataset.pixel_array == ct(rows=64).pixel_array).all()


@pytest.mark.parametrize("bits", [8, 16, 32])
async def test_pixels_of_any_length_in_big_endian_are_the_same_in_an_instance_and_in_a_frame(bits: int) -> None:
    values = np.arange(1, 65).astype(f"<u{bits // 8}") << (bits - 8)
    dataset = ct()
    dataset.Rows, dataset.Columns = 8, 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.add_new("PixelData", "OB" if bits == 8 else "OW", values.astype(f">u{bits // 8}").tobytes())
    async with gateway(retrieve=FakeRetrieve([fake(dataset)])) as web:
        whole = await web.client.get(INSTANCE_PATH, headers={"Accept": "application/dicom; transfer-syntax=*"})
        frame = await web.client.get(f"{INSTANCE_PATH}/frames/1", headers={"Accept": "application/octet-stream"})
    assert read(whole.content).PixelData == frame.content == values.tobytes()


@pytest.mark.parametrize("uid", [ExplicitVRLittleEndian, JPEGLSLossless])
async def test_large_instance_is_transcoded_frame_by_frame(uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "SMALL", 100)
    [(_, file)] = parts(await get(multiframe(7, RLELossless), accept=f"{MULTIPART}; transfer-syntax={uid}"))
    dataset = read(file)
    assert dataset.file_meta.TransferSyntaxUID == uid
    assert (dataset.pixel_array == multiframe(7).pixel_array).all()


async def test_any_transfer_syntax_leaves_each_instance_as_it_is_stored() -> None:
    held = [compressed(1), ct(2), compressed(3, JPEG2000Lossless)]
    answer = await get(*held, accept=f"{MULTIPART}; transfer-syntax=*")
    syntaxes = [read(file).file_meta.TransferSyntaxUID for _, file in parts(answer)]
    assert syntaxes == [RLELossless, ExplicitVRLittleEndian, JPEG2000Lossless]


async def test_alternatives_are_chosen_for_each_instance() -> None:
    accept = f"{MULTIPART}; transfer-syntax={RLELossless}, {MULTIPART}; transfer-syntax={ExplicitVRLittleEndian};q=0.5"
    answer = await get(compressed(1), report(), accept=accept)
    syntaxes = [read(file).file_meta.TransferSyntaxUID for _, file in parts(answer)]
    assert syntaxes == [RLELossless, ExplicitVRLittleEndian]


async def test_instance_that_cannot_be_decoded_is_406_and_leaves_as_stored() -> None:
    held = FakeInstance(fake(ct()).data, UNKNOWN)
    refused = await get(held)
    assert refused.status_code == 406
    assert refused.json()["available"] == [f"{MULTIPART}; transfer-syntax={uid}" for uid in (UNKNOWN, "*")]
    assert (await get(held, accept=f"{MULTIPART}; transfer-syntax=*")).status_code == 200


async def test_406_offers_nothing_that_would_be_406_itself() -> None:
    held = fake(compressed(1))
    refused = await get(held, path=INSTANCE_PATH, accept="application/dicom; transfer-syntax=1.2.3")
    assert refused.status_code == 406
    offered = refused.json()["available"]
    assert f"application/dicom; transfer-syntax={JPEG2000Lossless}" in offered
    assert {(await get(held, path=INSTANCE_PATH, accept=one)).status_code for one in offered} == {200}


async def test_instance_without_pixels_in_a_compressed_transfer_syntax_changes_its_label_only() -> None:
    held = fake(report())
    [(_, file)] = parts(await get(FakeInstance(held.data, RLELossless, held.sop_instance_uid, held.sop_class_uid)))
    dataset = read(file)
    assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert dataset.ContentSequence == report().ContentSequence


@pytest.mark.parametrize("stored", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
@pytest.mark.parametrize("asked", [JPEGLSLossless, DeflatedExplicitVRLittleEndian])
async def test_instance_without_pixels_is_had_in_every_transfer_syntax_of_the_images_beside_it(
    stored: str, asked: str
) -> None:
    written = fake(report())
    data = [encode(report(), ExplicitVRLittleEndian if stored == RLELossless else stored)]
    held = FakeInstance(data, stored, written.sop_instance_uid, written.sop_class_uid)
    async with gateway(retrieve=FakeRetrieve([fake(ct()), held])) as web:
        headers = {"Accept": f"{MULTIPART}; transfer-syntax={asked}"}
        answer = await web.client.get(f"/studies/{STUDY}", headers=headers)
    [(_, image), (_, document)] = parts(answer)
    assert read(image).file_meta.TransferSyntaxUID == read(document).file_meta.TransferSyntaxUID == asked
    assert read(document).ContentSequence == report().ContentSequence


async def test_damaged_codestream_after_others_breaks_the_body() -> None:
    damaged = compressed(2, JPEG2000Lossless)
    damaged.PixelData = damaged.PixelData[:80] + bytes(len(damaged.PixelData) - 80)
    damaged["PixelData"].is_undefined_length = True
    async with gateway(retrieve=FakeRetrieve([fake(ct()), fake(damaged)])) as web:
        raw = await exchange(web.port, headed("Connection: close", target=f"/dicom-web/studies/{STUDY}"))
    assert raw.startswith(b"HTTP/1.1 200")
    assert not raw.endswith(b"0\r\n\r\n")
    assert web.events == [BodyBroken("malformed-dataset")]


async def test_single_part_is_refused_for_a_series_and_given_for_an_instance() -> None:
    assert (await get(ct(), path=SERIES_PATH, accept="application/dicom")).status_code == 406
    answer = await get(compressed(), path=INSTANCE_PATH, accept="application/dicom")
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    assert answer.headers["cache-control"].startswith("private")


# --- ZIP


@pytest.mark.parametrize("path", [f"/studies/{STUDY}", SERIES_PATH])
async def test_zip_has_plain_files_in_a_folder_for_each_series(path: str) -> None:
    other = fake(ct(3))
    other.series_instance_uid = f"{SERIES}9"
    answer = await get(ct(1), other, compressed(2), path=path, accept="application/zip")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="dicom.zip"'
    with ZipFile(BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == [
            "series-001/instance-00001.dcm",
            "series-002/instance-00001.dcm",
            "series-001/instance-00002.dcm",
        ]
        files = [read(archive.read(name)) for name in names]
    assert [str(file.SOPInstanceUID) for file in files] == [f"{SERIES}.{number}" for number in (1, 3, 2)]
    assert {file.file_meta.TransferSyntaxUID for file in files} == {ExplicitVRLittleEndian}


async def test_zip_names_nobody() -> None:
    answer = await get(ct(PatientName="Gagnon^Luc", PatientID="MRN77"), accept="application/zip")
    with ZipFile(BytesIO(answer.content)) as archive:
        listed = repr([(info.filename, info.comment, info.extra) for info in archive.infolist()])
    assert "Gagnon" not in listed + str(answer.headers)
    assert "MRN77" not in listed + str(answer.headers)


async def test_zip_of_files_as_they_are_stored() -> None:
    answer = await get(compressed(), accept="application/zip; transfer-syntax=*")
    with ZipFile(BytesIO(answer.content)) as archive:
        [name] = archive.namelist()
        assert read(archive.read(name)).file_meta.TransferSyntaxUID == RLELossless


async def test_zip_that_breaks_off_has_no_table_of_contents() -> None:
    from gateway.errors import IncompleteRetrieve  # noqa: PLC0415

    async with gateway(retrieve=FakeRetrieve([fake(ct()), IncompleteRetrieve("one is missing")])) as web:
        raw = await exchange(web.port, headed("Accept: application/zip", target=f"/dicom-web/studies/{STUDY}"))
    assert raw.startswith(b"HTTP/1.1 200")
    assert b"PK\x01\x02" not in raw
    assert not raw.endswith(b"0\r\n\r\n")


async def test_single_instance_is_no_archive() -> None:
    assert (await get(ct(), path=INSTANCE_PATH, accept="application/zip")).status_code == 406
