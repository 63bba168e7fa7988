"""Frames and pixel data over HTTP, as conformance.md 1.3 lists them (PS3.18 10.4.1.1.6, 10.4.1.1.7)."""

import re
from typing import Any

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from gateway.dataset.transfer_syntax import DEFLATED_EXPLICIT_VR_LE, IMPLICIT_VR_LE
from gateway.federation.workers import Workers, WorkLimits
from tests.web.fakes import FakeRetrieve, exchange, gateway, headed
from tests.web.wado import INSTANCE_PATH, SERIES_PATH, VIDEO, compressed, ct, fake, multiframe, parts, report, video

OCTETS = 'multipart/related; type="application/octet-stream"'
OHIF = 'multipart/related; type="application/octet-stream"; transfer-syntax="*"'


async def get(*datasets: Any, path: str = f"{INSTANCE_PATH}/frames/1", **headers: str) -> Any:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway(retrieve=FakeRetrieve([fake(dataset) for dataset in datasets])) as web:
        return await web.client.get(path, headers=fields)


async def test_each_frame_is_a_part_in_the_order_of_the_list() -> None:
    answer = await get(multiframe(), path=f"{INSTANCE_PATH}/frames/2,3,5", accept=OCTETS)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith('multipart/related; type="application/octet-stream"; boundary=')
    for (head, frame), number in zip(parts(answer), (2, 3, 5), strict=True):
        assert list(head.items()) == [
            ("Content-Type", f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"),
            ("Content-Location", f"/dicom-web{INSTANCE_PATH}/frames/{number}"),
        ]
        assert frame == bytes([number]) * 128


@pytest.mark.parametrize("frames", ["0", "1,1", "3,2", "1,,2", "", "a", "-1", "1.0", "1;2", "٣", "+1", "1-3", "9" * 12])
async def test_frame_list_that_is_not_ascending_from_1_is_400(frames: str) -> None:
    answer = await get(multiframe(), path=f"{INSTANCE_PATH}/frames/{frames}")
    assert answer.status_code == (404 if frames == "" else 400)
    if frames:
        assert "frame list" in answer.json()["detail"]


async def test_frame_beyond_the_last_is_404_and_tells_how_many_there_are() -> None:
    answer = await get(multiframe(), path=f"{INSTANCE_PATH}/frames/5,6")
    assert answer.status_code == 404
    assert "5" in answer.json()["detail"]


async def test_instance_without_pixels_has_no_frames() -> None:
    assert (await get(report())).status_code == 404


@pytest.mark.parametrize(
    ("uid", "media_type"),
    [(RLELossless, "image/dicom-rle"), (JPEG2000Lossless, "image/jp2"), (JPEGLSLossless, "image/jls")],
)
async def test_ohif_gets_the_stored_codestream_with_its_media_type_and_transfer_syntax(
    uid: str, media_type: str
) -> None:
    dataset = compressed(uid=uid)
    answer = await get(dataset, accept=OHIF)
    [(head, frame)] = parts(answer)
    assert head["Content-Type"] == f"{media_type}; transfer-syntax={uid}"
    from pydicom.encaps import get_frame  # noqa: PLC0415

    stored = get_frame(dataset.PixelData, 0, number_of_frames=1)
    assert frame.rstrip(b"\0") == stored.rstrip(b"\0")


async def test_part_header_is_spelt_with_capitals() -> None:
    async with gateway(retrieve=FakeRetrieve([fake(ct())])) as web:
        raw = await exchange(
            web.port, headed(f"Accept: {OHIF}", "Connection: close", target=f"/dicom-web{INSTANCE_PATH}/frames/1")
        )
    assert re.search(rb"\r\nContent-Type: application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1\r\n", raw)


@pytest.mark.parametrize("uid", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
async def test_octets_without_a_transfer_syntax_are_decompressed(uid: str) -> None:
    [(head, frame)] = parts(await get(compressed(uid=uid), accept=OCTETS))
    assert head["Content-Type"] == f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"
    assert frame == ct(rows=64).PixelData


@pytest.mark.parametrize("stored", [IMPLICIT_VR_LE, str(ExplicitVRBigEndian), DEFLATED_EXPLICIT_VR_LE])
async def test_native_frames_are_little_endian_however_they_came(stored: str) -> None:
    from pydicom.uid import UID  # noqa: PLC0415

    dataset = ct(transfer_syntax=stored)
    pixels = dataset.PixelData
    if UID(stored) == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(pixels, "<u2").astype(">u2").tobytes()
    for accept in (OCTETS, OHIF):
        [(head, frame)] = parts(await get(dataset, accept=accept))
        assert head["Content-Type"].endswith(f"transfer-syntax={ExplicitVRLittleEndian}")
        assert frame == pixels


async def test_frames_are_made_in_a_transfer_syntax_that_is_named() -> None:
    accept = f'multipart/related; type="image/jls"; transfer-syntax={JPEGLSLossless}'
    answer = await get(multiframe(3), path=f"{INSTANCE_PATH}/frames/1,2,3", accept=accept)
    import imagecodecs  # noqa: PLC0415

    found = parts(answer)
    assert [head["Content-Type"] for head, _ in found] == [f"image/jls; transfer-syntax={JPEGLSLossless}"] * 3
    assert [set(np.ravel(imagecodecs.jpegls_decode(frame))) for _, frame in found] == [{1}, {2}, {3}]


async def test_frames_are_made_in_processes_of_their_own() -> None:
    async with (
        Workers(WorkLimits(processes=2)) as workers,
        gateway(retrieve=FakeRetrieve([fake(multiframe(9, RLELossless))]), workers=workers) as web,
    ):
        answer = await web.client.get(f"{INSTANCE_PATH}/pixeldata", headers={"Accept": OCTETS})
    assert [frame for _, frame in parts(answer)] == [bytes([number]) * 128 for number in range(1, 10)]


async def test_one_frame_can_be_a_single_part() -> None:
    answer = await get(ct(), accept="application/octet-stream")
    assert answer.headers["content-type"] == f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"
    assert answer.headers["content-location"] == f"/dicom-web{INSTANCE_PATH}/frames/1"
    assert answer.content == ct().PixelData


async def test_several_frames_are_no_single_part() -> None:
    answer = await get(multiframe(), path=f"{INSTANCE_PATH}/frames/1,2", accept="application/octet-stream")
    assert answer.status_code == 406
    assert answer.json()["available"][0].startswith("multipart/related")


async def test_unacceptable_media_type_is_406_with_what_is_available() -> None:
    answer = await get(ct(), accept="application/dicom+json")
    assert answer.status_code == 406
    assert f"transfer-syntax={ExplicitVRLittleEndian}" in answer.json()["available"][0]


async def test_damaged_codestream_is_a_status_that_names_no_patient() -> None:
    dataset = compressed(uid=JPEG2000Lossless)
    dataset.PixelData = dataset.PixelData[:80] + bytes(len(dataset.PixelData) - 80)
    dataset["PixelData"].is_undefined_length = True
    answer = await get(dataset, accept="application/octet-stream")
    assert answer.status_code == 502
    assert "Tremblay" not in answer.text


@pytest.mark.parametrize(("level", "count"), [("", 7), ("series", 7), ("instance", 5)])
async def test_pixel_data_resources_have_every_frame(level: str, count: int) -> None:
    path = {"": SERIES_PATH.partition("/series")[0], "series": SERIES_PATH, "instance": INSTANCE_PATH}[level]
    held = [multiframe()] if level == "instance" else [multiframe(), report(), ct(2), ct(3)]
    answer = await get(*held, path=f"{path}/pixeldata", accept=OCTETS)
    found = parts(answer)
    assert len(found) == count
    assert [head["Content-Location"].rpartition("/instances/")[2] for head, _ in found[4:6]] == [
        "1.2.3.4.1/frames/5",
        "1.2.3.4.2/frames/1",
    ][: len(found) - 4]


async def test_pixel_data_of_a_series_without_pixels_is_404() -> None:
    assert (await get(report(), path=f"{SERIES_PATH}/pixeldata")).status_code == 404


# --- video


@pytest.mark.parametrize("path", ["frames/1", "rendered", "bulkdata/7FE00010", "pixeldata"])
async def test_video_is_one_stream_of_its_own_media_type(path: str) -> None:
    answer = await get(video(), path=f"{INSTANCE_PATH}/{path}", accept="video/mp4")
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "video/mp4"
    assert answer.headers["accept-ranges"] == "bytes"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content == VIDEO


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=4990-5010", 4990, 5011),
        ("bytes=10000-", 10000, 10040),
        ("bytes=-7", 10033, 10040),
        ("bytes=0-99999999", 0, 10040),
    ],
)
@pytest.mark.parametrize("path", ["frames/1", "rendered", "bulkdata/7FE00010"])
async def test_range_of_a_video_is_206(path: str, asked: str, start: int, stop: int) -> None:
    answer = await get(video(), path=f"{INSTANCE_PATH}/{path}", accept="video/*", range=asked)
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(VIDEO)}"
    assert int(answer.headers["content-length"]) == stop - start
    assert answer.content == VIDEO[start:stop]


async def test_range_beyond_the_end_is_416_and_tells_the_size() -> None:
    answer = await get(video(), path=f"{INSTANCE_PATH}/rendered", range="bytes=20000-")
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(VIDEO)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "items=1-2", "bytes=5-2", "bytes=-", "nonsense"])
async def test_range_that_is_not_understood_is_ignored(asked: str) -> None:
    answer = await get(video(), path=f"{INSTANCE_PATH}/rendered", range=asked)
    assert (answer.status_code, answer.content) == (200, VIDEO)


async def test_range_of_another_version_is_the_whole() -> None:
    whole = await get(video(), path=f"{INSTANCE_PATH}/rendered")
    tag = whole.headers["etag"]
    same = await get(video(), path=f"{INSTANCE_PATH}/rendered", range="bytes=1-2", if_range=tag)
    other = await get(video(), path=f"{INSTANCE_PATH}/rendered", range="bytes=1-2", if_range='"else"')
    assert (same.status_code, other.status_code) == (206, 200)


@pytest.mark.parametrize("path", ["frames/1", "rendered", "bulkdata/7FE00010"])
async def test_video_that_the_caller_has_is_not_sent_again(path: str) -> None:
    place = f"{INSTANCE_PATH}/{path}"
    tag = (await get(video(), path=place, accept="video/*")).headers["etag"]
    for known in (tag, f'"other", {tag}', "*"):
        again = await get(video(), path=place, accept="video/*", if_none_match=known, range="bytes=1-2")
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "content-length" not in again.headers
    other = await get(video(), path=place, accept="video/*", if_none_match='"other"')
    assert (other.status_code, other.content) == (200, VIDEO)


@pytest.mark.parametrize("at", [0, len(VIDEO) - 1])
async def test_tag_changes_with_the_bytes(at: int) -> None:
    changed = bytearray(VIDEO)
    changed[at] ^= 1
    tags = [
        (await get(held, path=f"{INSTANCE_PATH}/rendered")).headers["etag"]
        for held in (video(), video(bytes(changed)), video())
    ]
    assert tags[0] == tags[2] != tags[1]


async def test_head_is_of_the_whole_whatever_range_is_asked_for() -> None:
    async with gateway(retrieve=FakeRetrieve([fake(video())])) as web:
        answer = await web.client.head(f"{INSTANCE_PATH}/rendered", headers={"Range": "bytes=0-9"})
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(VIDEO)


async def test_video_is_not_decoded_to_octets() -> None:
    answer = await get(video(), accept=OCTETS)
    assert answer.status_code == 406
    assert "video/mp4" in answer.text
