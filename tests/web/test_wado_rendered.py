"""Rendered resources and thumbnails over HTTP (conformance.md 1.3; PS3.18 10.4.1.1.3, 10.4.1.1.4, 8.3.5)."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset

from gateway.dataset.query import Selection
from gateway.dataset.rendition import Viewport, Window
from gateway.errors import RequestError
from gateway.federation.completeness import RegionState
from gateway.web.parameters import pairs
from gateway.web.rendered_parameters import rendering, thumbnail
from tests.web.fakes import ONE_MISSING, SERIES, STUDY, FakeRetrieve, FakeSearch, gateway
from tests.web.wado import INSTANCE_PATH, LEVELS, PDF, SERIES_PATH, ct, document, fake, multiframe, parts, report

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
STUDY_PATH = f"/studies/{STUDY}"


def rows(*numbers: int) -> list[Any]:
    """What a search at series or instance level finds."""
    return [
        {
            "00080018": {"vr": "UI", "Value": [f"{SERIES}.{number}"]},
            "00080060": {"vr": "CS", "Value": ["CT"]},
            "0020000D": {"vr": "UI", "Value": [STUDY]},
            "0020000E": {"vr": "UI", "Value": [SERIES]},
        }
        for number in numbers
    ]


async def get(*datasets: Dataset, path: str = f"{INSTANCE_PATH}/rendered", accept: str = "*/*", **more: Any) -> Any:
    retrieve = FakeRetrieve([fake(dataset) for dataset in datasets])
    search = more.pop("search", FakeSearch(rows(1)))
    async with gateway(search, retrieve) as web:
        answer: Any = await web.client.get(path, headers={"Accept": accept})
        answer.selections = retrieve.selections
    return answer


def picture(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return Image.open(BytesIO(answer.content))


@pytest.mark.parametrize(
    ("accept", "media_type", "name"),
    [
        ("*/*", "image/jpeg", "JPEG"),
        ("image/*", "image/jpeg", "JPEG"),
        ("image/png", "image/png", "PNG"),
        ("image/gif", "image/gif", "GIF"),
        ("image/jp2", "image/jp2", "JPEG2000"),
        ("image/png;q=0.5, image/gif", "image/gif", "GIF"),
        (BROWSER, "image/jpeg", "JPEG"),
    ],
)
async def test_image_is_rendered_in_the_media_type_that_weighs_most(accept: str, media_type: str, name: str) -> None:
    answer = await get(ct(), accept=accept)
    assert answer.headers["content-type"] == media_type
    shown = picture(answer)
    assert (shown.format, shown.size) == (name, (512, 16))


async def test_rendered_pixels_are_those_of_the_window() -> None:
    dataset = ct()
    stored = np.frombuffer(dataset.PixelData, "<u2").reshape(16, 512).astype(float)
    shown = np.asarray(
        picture(await get(dataset, path=f"{INSTANCE_PATH}/rendered?window=20000,4000,linear", accept="image/png"))
    )
    expected = np.clip(((stored - 19999.5) / 3999 + 0.5) * 255, 0, 255)
    assert shown.shape[:2] == (16, 512)
    assert np.abs(shown.reshape(16, 512, -1)[..., 0] - expected).max() <= 1.5


async def test_viewport_scales_and_keeps_the_aspect() -> None:
    answer = await get(ct(rows=64), path=f"{INSTANCE_PATH}/rendered?viewport=256%2C256", accept="image/jpeg")
    assert picture(answer).size == (256, 32)


async def test_multipart_is_there_for_whom_names_it() -> None:
    answer = await get(ct(), accept='multipart/related; type="image/png"')
    [(head, content)] = parts(answer)
    assert head["Content-Type"] == "image/png"
    assert head["Content-Location"] == f"/dicom-web{INSTANCE_PATH}/rendered"
    assert Image.open(BytesIO(content)).size == (512, 16)


@pytest.mark.parametrize(
    "accept", ["application/json", "image/tiff", "application/pdf", 'multipart/related; type="application/json"']
)
async def test_what_an_image_is_not_rendered_as_is_406(accept: str) -> None:
    answer = await get(ct(), accept=accept)
    assert answer.status_code == 406
    assert "image/jpeg" in answer.json()["available"]


async def test_dicom_and_rendered_types_together_are_400() -> None:
    assert (await get(ct(), accept="image/jpeg, application/dicom")).status_code == 400


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("viewport=", "viewport"),
        ("viewport=256", "viewport"),
        ("viewport=0,256", "viewport"),
        ("viewport=256,-1", "viewport"),
        ("viewport=1e9,1", "viewport"),
        ("viewport=99999,99999", "viewport"),
        ("viewport=1,2,3,4,5,6,7", "viewport"),
        ("viewport=1,2,a", "viewport"),
        ("viewport=1,2,0,0,0,5", "viewport"),
        ("viewport=1,2&viewport=1,2", "viewport"),
        ("window=40,400", "window"),
        ("window=40,400,cubic", "window"),
        ("window=40,0,linear", "window"),
        ("window=a,400,linear", "window"),
        ("window=nan,400,linear", "window"),
        ("window=40,1e999,linear", "window"),
        ("quality=0", "quality"),
        ("quality=101", "quality"),
        ("quality=90.5", "quality"),
        ("annotation=", "annotation"),
        ("annotation=patient,,technique", "annotation"),
        ("iccprofile=cmyk", "iccprofile"),
    ],
)
async def test_malformed_parameter_is_400_and_named(query: str, name: str) -> None:
    answer = await get(ct(), path=f"{INSTANCE_PATH}/rendered?{query}")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"{name}: expected")
    assert answer.selections == []


def test_parameters_are_read_as_the_standard_has_them() -> None:
    query = b"viewport=512,256,10,20.5,-100,50&window=40.5,400,linear-exact&quality=75"
    query += b"&annotation=patient,technique&iccprofile=sRGB&unknown=1"
    look = rendering(pairs(query))
    assert look.viewport == Viewport(512, 256, 10, 20.5, -100, 50)
    assert look.window == Window(40.5, 400, "linear-exact")
    assert (look.quality, look.annotation, look.icc_profile) == (75, frozenset({"patient", "technique"}), "srgb")
    assert rendering(pairs(b"viewport=512,256,,,,-7")).viewport == Viewport(512, 256, 0, 0, None, -7)
    assert rendering(pairs(b"annotation=patient,colour")).annotation == {"patient"}
    assert rendering(pairs(b"")) == type(look)()


def test_thumbnail_has_a_viewport_and_shows_no_name() -> None:
    assert thumbnail(pairs(b"annotation=patient&viewport=64,32")).annotation == frozenset()
    assert thumbnail(pairs(b"viewport=64,32")).viewport == Viewport(64, 32)
    with pytest.raises(RequestError):
        thumbnail(pairs(b"viewport=64,32,1,1,1,1"))


# --- frames


async def test_frame_is_rendered_alone() -> None:
    answer = await get(multiframe(), path=f"{INSTANCE_PATH}/frames/4/rendered", accept="image/png")
    assert answer.headers["content-location"] == f"/dicom-web{INSTANCE_PATH}/frames/4/rendered"
    assert picture(answer).size == (16, 8)


async def test_several_frames_are_parts() -> None:
    path = f"{INSTANCE_PATH}/frames/1,3/rendered"
    found = parts(await get(multiframe(), path=path, accept="*/*"))
    assert [head["Content-Type"] for head, _ in found] == ["image/jpeg"] * 2
    assert (await get(multiframe(), path=path, accept="image/jpeg")).status_code == 406


async def test_frame_that_is_not_there_is_404() -> None:
    assert (await get(multiframe(), path=f"{INSTANCE_PATH}/frames/6/rendered")).status_code == 404


async def test_gif_of_a_loop_has_all_frames_and_a_jpeg_the_representative_one() -> None:
    loop = picture(await get(multiframe(), accept="image/gif"))
    assert loop.n_frames == 5
    assert picture(await get(multiframe(), accept="image/jpeg")).size == (16, 8)


# --- series and studies


@pytest.mark.parametrize("path", [SERIES_PATH, STUDY_PATH])
@pytest.mark.parametrize("kind", ["rendered", "thumbnail"])
async def test_one_picture_stands_for_many_and_only_its_instance_is_retrieved(path: str, kind: str) -> None:
    search = FakeSearch(rows(1, 2, 3))
    answer = await get(ct(2), path=f"{path}/{kind}?viewport=64,64", accept="image/jpeg", search=search)
    assert picture(answer).size == (64, 2)
    assert answer.selections == [Selection(STUDY, SERIES, (f"{SERIES}.2",))]


@pytest.mark.parametrize("path", [SERIES_PATH, STUDY_PATH])
async def test_every_instance_is_rendered_for_whom_names_multipart(path: str) -> None:
    answer = await get(ct(1), report(), ct(3), path=f"{path}/rendered", accept='multipart/related; type="image/jpeg"')
    assert [head["Content-Location"].split("/")[-2] for head, _ in parts(answer)] == [f"{SERIES}.1", f"{SERIES}.3"]


async def test_study_is_shown_by_a_series_with_images() -> None:
    found = rows(1, 2)
    found[0]["00080060"]["Value"] = ["SR"]
    found[0]["0020000E"]["Value"] = ["1.2.3.9"]
    answer = await get(ct(1), path=f"{STUDY_PATH}/thumbnail", search=FakeSearch(found))
    assert answer.status_code == 200
    assert answer.selections[0].series == SERIES


async def test_the_instance_that_stands_for_a_series_is_looked_up_once() -> None:
    search = FakeSearch(rows(1, 2, 3))
    async with gateway(search, FakeRetrieve([fake(ct(2))])) as web:
        for tail in ("thumbnail", "rendered", "thumbnail?viewport=9,9"):
            assert (await web.client.get(f"{SERIES_PATH}/{tail}")).status_code == 200
    assert len(search.queries) == 1


async def test_series_that_nobody_holds_is_404_and_503_when_a_region_is_missing() -> None:
    path = f"{SERIES_PATH}/thumbnail"
    assert (await get(ct(), path=path, search=FakeSearch())).status_code == 404
    missing = (RegionState("neodin", "complete", 0), ONE_MISSING[1])
    answer = await get(ct(), path=path, search=FakeSearch(states=missing))
    assert answer.status_code == 503
    assert answer.headers["federation-status"].endswith("hdirs;state=timeout")


# --- thumbnails


@pytest.mark.parametrize("level", LEVELS)
async def test_thumbnail_is_a_small_jpeg_at_every_level(level: str) -> None:
    shown = picture(await get(ct(rows=256), path=f"/studies/{STUDY}{level}/thumbnail"))
    assert (shown.format, max(shown.size)) == ("JPEG", 128)


async def test_thumbnail_of_a_frame() -> None:
    assert picture(await get(multiframe(), path=f"{INSTANCE_PATH}/frames/2/thumbnail")).format == "JPEG"
    assert (await get(multiframe(), path=f"{INSTANCE_PATH}/frames/2,3/thumbnail")).status_code == 400


async def test_what_has_no_picture_has_no_thumbnail() -> None:
    for dataset in (document(), report()):
        answer = await get(dataset, path=f"{INSTANCE_PATH}/thumbnail")
        assert answer.status_code == 404
        assert "/rendered shows reports, documents and videos" in answer.json()["detail"]


# --- documents and reports


@pytest.mark.parametrize("accept", [BROWSER, "application/pdf", "*/*"])
async def test_browser_that_follows_a_link_to_a_report_gets_the_pdf(accept: str) -> None:
    answer = await get(document(), accept=accept)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == 'inline; filename="document.pdf"'
    assert answer.content == PDF


async def test_document_is_not_passed_off_as_another_media_type() -> None:
    answer = await get(document(), accept="image/jpeg")
    assert answer.status_code == 406
    assert answer.json()["available"] == ["application/pdf"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (BROWSER, "text/html"),
        ("*/*", "text/html"),
        ("text/plain", "text/plain"),
        ("text/xml", "text/xml"),
        ("text/plain;q=0.2, text/xml;q=0.1", "text/plain"),
    ],
)
async def test_structured_report_is_text_that_a_person_reads(accept: str, media_type: str) -> None:
    answer = await get(report(), accept=accept)
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["content-security-policy"] == "sandbox"
    name = report().ConceptNameCodeSequence[0].CodeMeaning
    assert name in answer.text


async def test_what_has_no_rendered_form_is_404() -> None:
    dataset = report()
    del dataset.ContentSequence
    assert (await get(dataset)).status_code == 404
