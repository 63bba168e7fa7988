"""WADO-RS (PS3.18 10.4), WADO-URI (9) and chapter 8 for them, requirement by requirement; the number in a name is the
section.

What is in a picture, a codestream or a Data Set is decided below: tests/dataset and tests/interop name those rows.
"""

from io import BytesIO
from typing import Any

import orjson
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from gateway.errors import Gone, LimitExceeded, NotFound
from tests.web.fakes import SERIES, STUDY, FakeRetrieve, FakeSearch, gateway
from tests.web.wado import (
    INSTANCE_PATH,
    LEVELS,
    SERIES_PATH,
    compressed,
    ct,
    document,
    fake,
    multiframe,
    parts,
    read,
    report,
    video,
)

INSTANCES = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'
XML = 'multipart/related; type="application/dicom+xml"'
PICTURES = {"image/jpeg": "JPEG", "image/gif": "GIF", "image/png": "PNG", "image/jp2": "JPEG2000"}


async def get(*held: Dataset, path: str = INSTANCE_PATH, accept: str | None = "*/*", **fields: str) -> Any:
    """Ask for something of these instances; no Accept field at all where accept is None."""
    row: Any = {
        "0020000E": {"vr": "UI", "Value": [SERIES]},
        "00080018": {"vr": "UI", "Value": [f"{SERIES}.1"]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
    }
    async with gateway(FakeSearch([row]), FakeRetrieve([fake(x) for x in held])) as web:
        request = web.client.build_request("GET", f"{web.url}{path}", headers=fields)
        del request.headers["accept"]
        if accept is not None:
            request.headers["accept"] = accept
        return await web.client.send(request)


def kind(answer: Any) -> str:
    """Return the media type of an answer, with that of its parts."""
    assert answer.status_code == 200, answer.text
    name, _, more = answer.headers["content-type"].partition(";")
    inner = more.partition('type="')[2].partition('"')[0]
    return f'{name}; type="{inner}"' if name == "multipart/related" else str(name)


# --- chapter 8


@pytest.mark.parametrize("query", ["colour=blue", "Window=1", "VIEWPORT=1", "00080020=20240101"])
async def test_8_3_unsupported_parameters_are_ignored_and_names_are_case_sensitive(query: str) -> None:
    assert (await get(ct(), path=f"{INSTANCE_PATH}/rendered?{query}")).status_code == 200


@pytest.mark.parametrize("query", ["window=1,2", "viewport=x", "quality=0", "annotation=,", "iccprofile=neon"])
async def test_8_3_supported_parameter_with_a_wrong_value_is_400_that_names_it(query: str) -> None:
    answer = await get(ct(), path=f"{INSTANCE_PATH}/rendered?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["detail"]


@pytest.mark.parametrize(
    ("parameter", "accept", "chosen"),
    [
        ("image/png", "image/jpeg, image/png;q=0.1", "image/png"),
        ("image/png;q=0.2,image/gif;q=0.8", "*/*", "image/gif"),
        ("image/*,image/png;q=0.1", "*/*", "image/png"),  # a wildcard has no place in it
    ],
)
async def test_8_3_3_1_accept_parameter_comes_before_the_accept_field(parameter: str, accept: str, chosen: str) -> None:
    assert kind(await get(ct(), path=f"{INSTANCE_PATH}/rendered?accept={parameter}", accept=accept)) == chosen


async def test_8_3_3_1_accept_parameter_that_the_field_does_not_allow_is_406() -> None:
    answer = await get(ct(), path=f"{INSTANCE_PATH}/rendered?accept=image/png", accept="image/jpeg")
    assert answer.status_code == 406


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("image/gif;q=0.4, image/png;q=0.8", "image/png"),
        ("image/*;q=0.9, image/jpeg;q=0.1, image/gif;q=0.95", "image/gif"),
        ("image/*, image/jpeg;q=0", "image/gif"),
        ("nonsense, ;;, image/png", "image/png"),
    ],
)
async def test_8_3_3_1_weights_count_the_closest_range_wins_and_invalid_members_are_ignored(
    accept: str, chosen: str
) -> None:
    assert kind(await get(ct(), path=f"{INSTANCE_PATH}/rendered", accept=accept)) == chosen


DEFAULTS = (
    ("", INSTANCES),
    ("/metadata", "application/dicom+json"),
    ("/frames/1", OCTETS),
    ("/bulkdata", OCTETS),
    ("/bulkdata/7FE00010", OCTETS),
    ("/pixeldata", OCTETS),
    ("/rendered", "image/jpeg"),
    ("/thumbnail", "image/jpeg"),
    ("/frames/1/rendered", "image/jpeg"),
    ("/frames/1/thumbnail", "image/jpeg"),
)
"""Resources and their default media types (Table 10.4.4-1)."""


@pytest.mark.parametrize("accept", [None, "*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"])
@pytest.mark.parametrize(("tail", "expected"), DEFAULTS)
async def test_8_7_5_no_accept_field_wildcards_and_browsers_get_the_default_of_each_resource(
    tail: str, expected: str, accept: str | None
) -> None:
    assert kind(await get(ct(), path=f"{INSTANCE_PATH}{tail}", accept=accept)) == expected


@pytest.mark.parametrize("tail", ["", "/metadata", "/rendered"])
async def test_8_7_5_dicom_and_rendered_types_together_are_400(tail: str) -> None:
    answer = await get(ct(), path=f"{INSTANCE_PATH}{tail}", accept="application/dicom+json, image/jpeg")
    assert answer.status_code == 400


@pytest.mark.parametrize("tail", [tail for tail, _ in DEFAULTS])
async def test_8_7_7_nothing_that_can_be_made_is_406_with_what_can(tail: str) -> None:
    answer = await get(ct(), path=f"{INSTANCE_PATH}{tail}", accept="audio/midi")
    assert answer.status_code == 406
    assert answer.json()["available"]


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="application/dicom"; transfer-syntax="*"',
        "multipart/related;transfer-syntax=*;type=application/dicom",
        "Multipart/Related ; Type=Application/DICOM ;  Transfer-Syntax=*",
    ],
)
async def test_8_7_values_are_tokens_or_quoted_strings_in_any_order_and_case(accept: str) -> None:
    [(head, _)] = parts(await get(compressed(), accept=accept))
    assert head["Content-Type"] == f"application/dicom; transfer-syntax={RLELossless}"


@pytest.mark.parametrize("stored", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("accept", ["*/*", f"{INSTANCES}; transfer-syntax=*"])
async def test_8_7_3_implicit_and_big_endian_are_never_on_the_web(stored: UID, accept: str) -> None:
    dataset = ct()
    dataset.file_meta.TransferSyntaxUID = UID(stored)
    [(head, content)] = parts(await get(dataset, accept=accept))
    assert head["Content-Type"] == f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    assert read(content).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    refused = await get(dataset, accept=f"{INSTANCES}; transfer-syntax={stored}")
    assert refused.status_code == 406


@pytest.mark.parametrize(
    ("accept", "sent"),
    [
        (INSTANCES, ExplicitVRLittleEndian),
        (f"{INSTANCES}; transfer-syntax=*", RLELossless),
        (f"{INSTANCES}; transfer-syntax={JPEG2000Lossless}", JPEG2000Lossless),
        (
            f"{INSTANCES}; transfer-syntax={JPEGLSLossless};q=0.3, {INSTANCES}; transfer-syntax={RLELossless}",
            RLELossless,
        ),
    ],
)
async def test_8_7_3_4_no_transfer_syntax_is_explicit_vr_little_endian_and_any_is_what_is_stored(
    accept: str, sent: str
) -> None:
    [(head, content)] = parts(await get(compressed(), accept=accept))
    assert head["Content-Type"] == f"application/dicom; transfer-syntax={sent}"
    assert (read(content).pixel_array == ct(rows=64).pixel_array).all()


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (ct(), "image/jpeg"),
        (multiframe(), "image/jpeg"),
        (video(), "video/mp4"),
        (report(), "text/html"),
        (document(), "application/pdf"),
    ],
)
async def test_8_7_2_each_category_has_its_default_rendered_type(held: Dataset, expected: str) -> None:
    assert kind(await get(held, path=f"{INSTANCE_PATH}/rendered")) == expected


@pytest.mark.parametrize("media_type", ["text/html", "text/plain", "text/xml"])
async def test_8_7_4_text_is_html_plain_or_xml(media_type: str) -> None:
    assert kind(await get(report(), path=f"{INSTANCE_PATH}/rendered", accept=media_type)) == media_type


@pytest.mark.parametrize(("media_type", "name"), PICTURES.items())
async def test_8_7_4_image_is_jpeg_gif_png_or_jpeg_2000_of_8_bits_a_channel(media_type: str, name: str) -> None:
    answer = await get(ct(), path=f"{INSTANCE_PATH}/rendered", accept=media_type)
    picture = Image.open(BytesIO(answer.content))
    assert (answer.headers["content-type"], picture.format) == (media_type, name)
    assert picture.mode in {"L", "P", "RGB"}


@pytest.mark.parametrize("tail", ["", "/frames/1", "/bulkdata", "/pixeldata"])
async def test_8_6_1_2_each_part_has_type_and_location_and_the_body_its_closing_delimiter(tail: str) -> None:
    [(head, _)] = parts(await get(ct(), path=f"{INSTANCE_PATH}{tail}"))
    assert head["Content-Type"]
    assert head["Content-Location"].startswith(f"/dicom-web{INSTANCE_PATH}")


@pytest.mark.parametrize("tail", [tail for tail, _ in DEFAULTS])
async def test_8_4_3_length_is_said_or_the_body_is_chunked(tail: str) -> None:
    answer = await get(ct(), path=f"{INSTANCE_PATH}{tail}")
    assert ("content-length" in answer.headers) != (answer.headers.get("transfer-encoding") == "chunked")


async def test_8_4_3_metadata_is_compressed_for_whom_takes_it() -> None:
    answer = await get(
        ct(ImageComments="long " * 1000), path=f"{INSTANCE_PATH}/metadata", **{"Accept-Encoding": "gzip"}
    )
    assert answer.headers["content-encoding"] == "gzip"
    assert orjson.loads(answer.content)


@pytest.mark.parametrize("tail", [tail for tail, _ in DEFAULTS])
async def test_8_5_other_methods_are_405_with_those_that_are_allowed(tail: str) -> None:
    async with gateway() as web:
        answer = await web.client.put(f"{INSTANCE_PATH}{tail}")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("path", [f"{INSTANCE_PATH}/metadata", f"{INSTANCE_PATH}/rendered", "/wado"])
async def test_8_3_3_2_charset_without_utf_8_is_400(path: str) -> None:
    answer = await get(ct(), path=f"{path}?charset=latin-1")
    assert answer.status_code == 400
    assert "charset" in answer.json()["detail"]


@pytest.mark.parametrize("tail", [tail for tail, _ in DEFAULTS])
async def test_8_9_head_works_on_every_retrieve_resource(tail: str) -> None:
    async with gateway(retrieve=FakeRetrieve([fake(ct())])) as web:
        answer = await web.client.head(f"{INSTANCE_PATH}{tail}")
    assert (answer.status_code, answer.content) == (200, b"")


# --- 10.4: resources


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind_of", ["", "/metadata", "/rendered", "/thumbnail", "/bulkdata", "/pixeldata"])
async def test_10_4_1_every_resource_is_there_at_study_series_and_instance_level(level: str, kind_of: str) -> None:
    assert (await get(ct(), path=f"/studies/{STUDY}{level}{kind_of}")).status_code == 200


@pytest.mark.parametrize("tail", ["", "/rendered", "/thumbnail"])
async def test_10_4_1_frames_are_there_as_such_rendered_and_as_a_thumbnail(tail: str) -> None:
    assert (await get(multiframe(), path=f"{INSTANCE_PATH}/frames/2{tail}")).status_code == 200


@pytest.mark.parametrize("level", [*LEVELS, f"/series/{SERIES}/instances/{SERIES}.1/frames/1"])
async def test_10_4_1_1_4_thumbnail_is_a_single_image(level: str) -> None:
    answer = await get(multiframe(), path=f"/studies/{STUDY}{level}/thumbnail")
    assert kind(answer) == "image/jpeg"
    assert max(Image.open(BytesIO(answer.content)).size) <= 128


async def test_10_4_1_1_5_every_bulk_data_uri_resolves() -> None:
    [row] = orjson.loads((await get(ct(), path=f"{INSTANCE_PATH}/metadata")).content)
    uri = row["7FE00010"]["BulkDataURI"].removeprefix("/dicom-web")
    [(_, content)] = parts(await get(ct(), path=uri))
    assert content == ct().PixelData


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (f"/studies/{STUDY}", "application/dicom"),
        (SERIES_PATH, "application/dicom"),
        (SERIES_PATH, "application/octet-stream"),
        (f"{INSTANCE_PATH}/frames/1,2", "application/octet-stream"),
    ],
)
async def test_10_4_4_single_part_of_what_has_many_is_406(path: str, accept: str) -> None:
    assert (await get(multiframe(), path=path, accept=accept)).status_code == 406


@pytest.mark.parametrize(
    ("tail", "accept"),
    [
        ("", "application/dicom"),
        ("", OCTETS),
        ("/metadata", XML),
        ("/metadata", "application/dicom+json"),
        ("/bulkdata/7FE00010", OCTETS),
        ("/bulkdata/7FE00010", "application/octet-stream"),
        ("/pixeldata", OCTETS),
        ("/frames/1", "application/octet-stream"),
        ("/thumbnail", "image/jpeg"),
    ],
)
async def test_10_4_4_media_types_that_are_required_or_optional_are_there(tail: str, accept: str) -> None:
    assert kind(await get(ct(), path=f"{INSTANCE_PATH}{tail}", accept=accept)) == accept


async def test_10_4_1_1_6_frames_are_parts_in_the_order_of_the_list() -> None:
    answer = await get(multiframe(), path=f"{INSTANCE_PATH}/frames/2,3,5")
    assert [content[:1] for _, content in parts(answer)] == [b"\2", b"\3", b"\5"]
    for frames in ("0", "2,1", "x", "1,,2"):
        assert (await get(multiframe(), path=f"{INSTANCE_PATH}/frames/{frames}")).status_code == 400


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (OCTETS, f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"),
        (f'{OCTETS}; transfer-syntax="*"', f"image/dicom-rle; transfer-syntax={RLELossless}"),
        ('multipart/related; type="image/jls"', f"image/jls; transfer-syntax={JPEGLSLossless}"),
        ('multipart/related; type="image/x-jls"', f"image/jls; transfer-syntax={JPEGLSLossless}"),
        ('multipart/related; type="image/jp2"', f"image/jp2; transfer-syntax={JPEG2000Lossless}"),
        ('multipart/related; type="image/jphc"', "image/jphc; transfer-syntax=1.2.840.10008.1.2.4.201"),
        ('multipart/related; type="image/jpeg"', "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70"),
        ('multipart/related; type="image/x-dicom-rle"', f"image/dicom-rle; transfer-syntax={RLELossless}"),
    ],
)
async def test_8_7_3_3_codestreams_have_their_media_type_and_name_their_transfer_syntax(
    accept: str, content_type: str
) -> None:
    [(head, _)] = parts(await get(compressed(), path=f"{INSTANCE_PATH}/frames/1", accept=accept))
    assert head["Content-Type"] == content_type


async def test_8_7_3_3_multi_frame_pixels_are_a_part_a_frame_and_a_video_is_one() -> None:
    assert len(parts(await get(multiframe(5), path=f"{INSTANCE_PATH}/pixeldata"))) == 5
    stored = f'{OCTETS}; transfer-syntax="*"'
    assert len(parts(await get(video(), path=f"{INSTANCE_PATH}/pixeldata", accept=stored))) == 1


# --- 10.4.3: status


async def test_10_4_3_unknown_is_404_also_under_another_series() -> None:
    async with gateway(retrieve=FakeRetrieve([NotFound("no region holds it")])) as web:
        assert (await web.client.get(INSTANCE_PATH)).status_code == 404
        assert (await web.client.get(INSTANCE_PATH.replace(SERIES, f"{SERIES}.9", 1))).status_code == 404


async def test_10_4_3_what_is_too_large_is_413() -> None:
    error = LimitExceeded("the instance has more than 10 bytes to decode", limit="job_mib")
    async with gateway(retrieve=FakeRetrieve([error])) as web:
        assert (await web.client.get(INSTANCE_PATH)).status_code == 413


async def test_8_5_a_study_known_to_be_deleted_is_410() -> None:
    async with gateway(retrieve=FakeRetrieve([Gone("it is held no more")])) as web:
        answer = await web.client.get(f"/studies/{STUDY}")
    assert (answer.status_code, answer.json()["title"]) == (410, "Gone")


async def test_8_5_range_of_a_document_is_206_and_beyond_it_416() -> None:
    path = f"{INSTANCE_PATH}/rendered"
    part = await get(document(), path=path, Range="bytes=0-3")
    assert (part.status_code, part.content) == (206, b"%PDF")
    assert (await get(document(), path=path, Range="bytes=9999999-")).status_code == 416


# --- metadata and URLs


async def test_10_4_1_1_2_metadata_has_all_attributes_and_only_binary_ones_are_elsewhere() -> None:
    dataset = ct()
    block = dataset.private_block(0x0019, "LAB", create=True)
    block.add_new(1, "LO", "kept")
    block.add_new(2, "OB", b"\1\2" * 4000)
    dataset.ImageComments = "long " * 2000
    [row] = orjson.loads((await get(dataset, path=f"{INSTANCE_PATH}/metadata")).content)
    assert row["00190010"]["Value"] == ["LAB"]
    assert row["00191001"]["Value"] == ["kept"]
    assert row["00204000"]["Value"] == [("long " * 2000).strip()]
    assert {key for key, attribute in row.items() if "BulkDataURI" in attribute} == {"00191002", "7FE00010"}


async def test_10_4_1_urls_come_from_the_configured_base_and_never_from_the_request() -> None:
    async with gateway(retrieve=FakeRetrieve([fake(ct())]), public_url="https://imaging.example.ca") as web:
        answer = await web.client.get(f"{INSTANCE_PATH}/metadata", headers={"Host": "evil.example"})
    assert "https://imaging.example.ca/dicom-web/studies/" in answer.text
    assert "evil.example" not in answer.text


# --- chapter 9: WADO-URI

UIDS = {"requestType": "WADO", "studyUID": STUDY, "seriesUID": SERIES, "objectUID": f"{SERIES}.1"}


async def by_uri(held: Dataset, **parameters: str) -> Any:
    async with gateway(retrieve=FakeRetrieve([fake(held)])) as web:
        return await web.client.get(f"http://127.0.0.1:{web.port}/wado", params={**UIDS, **parameters})


@pytest.mark.parametrize("name", UIDS)
async def test_9_1_2_1_each_of_the_four_parameters_is_mandatory(name: str) -> None:
    assert (await by_uri(ct(), **{name: ""})).status_code == 400


async def test_9_1_2_2_nothing_said_is_a_jpeg_and_dicom_is_explicit_vr_little_endian() -> None:
    assert (await by_uri(ct())).headers["content-type"] == "image/jpeg"
    dicom = await by_uri(compressed(), contentType="application/dicom")
    assert read(dicom.content).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"contentType": f"application/dicom;transfer-syntax={RLELossless}"}, 400),
        ({"contentType": "text/html;charset=utf-8"}, 400),
        ({"contentType": "application/dicom", "transferSyntax": RLELossless}, 200),
        ({"contentType": "application/dicom", "transferSyntax": ImplicitVRLittleEndian}, 406),
        ({"contentType": "audio/midi"}, 406),
        ({"windowCenter": "40"}, 400),
        ({"windowWidth": "400"}, 400),
        ({"windowCenter": "40", "windowWidth": "400"}, 200),
        ({"frameNumber": "0"}, 400),
        ({"frameNumber": "1"}, 200),
        ({"frameNumber": "9"}, 404),
        ({"region": "0,0,0.5"}, 400),
        ({"region": "0,0,0.5,1.5"}, 400),
        ({"region": "0,0,0.5,0.5"}, 200),
    ],
)
async def test_9_1_2_values_that_the_standard_forbids_are_refused(parameters: dict[str, str], status: int) -> None:
    assert (await by_uri(ct(), **parameters)).status_code == status


async def test_9_1_2_rows_and_columns_are_maxima() -> None:
    answer = await by_uri(ct(rows=256), rows="64", columns="64")
    assert Image.open(BytesIO(answer.content)).size == (64, 32)
