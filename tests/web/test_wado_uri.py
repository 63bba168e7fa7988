"""WADO-URI over HTTP, as conformance.md 1.5 lists it (PS3.18 chapter 9)."""

from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from gateway.dataset.query import Selection
from tests.web.fakes import SERIES, STUDY, FakeInstance, FakeRetrieve, gateway
from tests.web.wado import PDF, compressed, ct, document, fake, multiframe, read, report, video

UIDS = f"studyUID={STUDY}&seriesUID={SERIES}&objectUID={SERIES}.1"
BASE = f"/wado?requestType=WADO&{UIDS}"


async def get(held: Dataset, query: str = "", *, path: str = BASE, accept: str = "*/*") -> Any:
    retrieve = FakeRetrieve([held if isinstance(held, FakeInstance) else fake(held)])
    async with gateway(retrieve=retrieve) as web:
        answer: Any = await web.client.get(f"{path}{query}", headers={"Accept": accept})
        answer.selections = retrieve.selections
    return answer


def picture(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return Image.open(BytesIO(answer.content))


@pytest.mark.parametrize("root", ["", "/dicom-web"])
async def test_it_is_at_the_root_and_below_the_base(root: str) -> None:
    async with gateway(retrieve=FakeRetrieve([fake(ct())])) as web:
        answer = await web.client.get(f"http://127.0.0.1:{web.port}{root}{BASE}")
    assert answer.status_code == 200
    assert web.retrieve.selections == [Selection(STUDY, SERIES, (f"{SERIES}.1",))]


async def test_image_is_a_jpeg_when_nothing_is_said() -> None:
    assert picture(await get(ct())).format == "JPEG"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"/wado?{UIDS}", "requestType"),
        (f"/wado?requestType=wado&{UIDS}", "requestType"),
        (f"/wado?requestType=WADO&seriesUID={SERIES}&objectUID=1.2", "studyUID"),
        (f"/wado?requestType=WADO&studyUID={STUDY}&objectUID=1.2", "seriesUID"),
        (f"/wado?requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}", "objectUID"),
        (f"/wado?requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID=../etc", "objectUID"),
        (f"{BASE}&studyUID=1.2", "studyUID"),
    ],
)
async def test_each_mandatory_parameter_is_missed_by_name(path: str, name: str) -> None:
    answer = await get(ct(), path=path)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(name)
    assert answer.selections == []


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("&windowCenter=40", "windowWidth"),
        ("&windowWidth=400", "windowCenter"),
        ("&windowCenter=a&windowWidth=400", "windowCenter"),
        ("&windowCenter=40&windowWidth=0", "windowCenter"),
        ("&rows=0", "rows"),
        ("&columns=-5", "columns"),
        ("&frameNumber=0", "frameNumber"),
        ("&frameNumber=one", "frameNumber"),
        ("&region=0,0,1", "region"),
        ("&region=0,0,1,1.5", "region"),
        ("&region=0.5,0,0.5,1", "region"),
        ("&imageQuality=0", "imageQuality"),
        ("&imageQuality=101", "imageQuality"),
        ("&annotation=", "annotation"),
        ("&anonymize=yes", "anonymize"),
        ("&contentType=application/dicom;transfer-syntax=1.2.840.10008.1.2.1", "contentType"),
        ("&contentType=text/plain;charset=utf-8", "contentType"),
        ("&contentType=", "contentType"),
        ("&contentType=nonsense", "contentType"),
        ("&contentType=application/dicom&rows=10", "rows"),
        ("&contentType=application/dicom&windowCenter=1&windowWidth=2", "windowCenter"),
        ("&contentType=application/dicom&frameNumber=1", "frameNumber"),
        ("&contentType=application/dicom&transferSyntax=fast", "transferSyntax"),
    ],
)
async def test_malformed_parameter_is_400_and_named(query: str, name: str) -> None:
    answer = await get(ct(), query)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(name)


async def test_unknown_parameter_is_ignored() -> None:
    assert (await get(ct(), "&presentationUID=1.2&nonsense=%20")).status_code == 200


@pytest.mark.parametrize("held", [ct, compressed])
async def test_instance_itself_is_explicit_vr_little_endian_by_default(held: Any) -> None:
    answer = await get(held(), "&contentType=application%2Fdicom")
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    assert read(answer.content).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


@pytest.mark.parametrize("uid", [RLELossless, JPEGLSLossless])
async def test_transfer_syntax_is_a_parameter_of_its_own(uid: str) -> None:
    answer = await get(compressed(), f"&contentType=application/dicom&transferSyntax={uid}")
    assert read(answer.content).file_meta.TransferSyntaxUID == uid


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.102", "1.2.3"])
async def test_transfer_syntax_that_cannot_be_made_is_406(uid: str) -> None:
    answer = await get(compressed(), f"&contentType=application/dicom&transferSyntax={uid}")
    assert answer.status_code == 406


async def test_accept_field_decides_without_content_type() -> None:
    assert (await get(ct(), accept="application/dicom")).headers["content-type"].startswith("application/dicom;")
    assert picture(await get(ct(), accept="image/png")).format == "PNG"
    assert picture(await get(ct(), accept="text/html,application/xhtml+xml,*/*;q=0.8")).format == "JPEG"


async def test_content_type_must_agree_with_the_accept_field() -> None:
    assert (await get(ct(), "&contentType=image/png", accept="image/jpeg")).status_code == 406
    assert picture(await get(ct(), "&contentType=image/png,image/jpeg", accept="image/jpeg")).format == "JPEG"


@pytest.mark.parametrize("media_type", ["application/json", "image/tiff"])
async def test_media_type_that_is_not_made_is_406(media_type: str) -> None:
    answer = await get(ct(), f"&contentType={media_type}")
    assert answer.status_code == 406
    assert answer.selections == []


async def test_what_an_image_is_not_rendered_as_is_406_with_single_parts_only() -> None:
    answer = await get(ct(), "&contentType=text/html")
    assert answer.status_code == 406
    assert answer.json()["available"] == ["image/jpeg", "image/gif", "image/png", "image/jp2"]


async def test_rows_and_columns_are_maxima_and_the_aspect_is_kept() -> None:
    assert picture(await get(ct(rows=64), "&rows=32&columns=512")).size == (256, 32)
    assert picture(await get(ct(rows=64), "&columns=128")).size == (128, 16)
    assert picture(await get(ct(rows=64), "&rows=16")).size == (128, 16)


async def test_region_is_a_part_of_the_image_in_fractions() -> None:
    assert picture(await get(ct(rows=64), "&region=0.5,0.25,1,0.5")).size == (256, 16)


async def test_frame_number_chooses_the_frame() -> None:
    shades = []
    for number in (1, 5):
        shown = picture(await get(multiframe(), f"&frameNumber={number}&contentType=image/png"))
        shades.append(shown.convert("L").getpixel((3, 3)))
    assert shades[0] < shades[1]
    assert (await get(multiframe(), "&frameNumber=6")).status_code == 404


@pytest.mark.parametrize(
    ("held", "query", "media_type"),
    [
        (document, "", "application/pdf"),
        (document, "&contentType=application/pdf", "application/pdf"),
        (report, "", "text/html; charset=utf-8"),
        (report, "&contentType=text/plain", "text/plain; charset=utf-8"),
        (video, "&contentType=video/mp4", "video/mp4"),
    ],
)
async def test_documents_reports_and_videos_are_what_they_are(held: Any, query: str, media_type: str) -> None:
    answer = await get(held(), query)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    if held is document:
        assert answer.content == PDF


async def test_post_is_405() -> None:
    async with gateway() as web:
        assert (await web.client.post(BASE)).status_code == 405
