"""Retrieve over HTTP (PS3.18 10.4): every instance as it came, and a broken body when one is missing."""

import asyncio
import re
from array import array
from io import BytesIO

import pytest
from pydicom import dcmread

from gateway.dataset.query import Selection
from gateway.dataset.transfer_syntax import EXPLICIT_VR_BE, EXPLICIT_VR_LE, IMPLICIT_VR_LE, JPEG_2000_LOSSLESS
from gateway.errors import GatewayError, IncompleteRetrieve, NoRegionAnswered, NotFound, Stalled
from tests.kit.dicom import instance
from tests.web.fakes import (
    ONE_MISSING,
    SERIES,
    STUDY,
    FakeInstance,
    FakeRetrieve,
    ct,
    exchange,
    gateway,
    headed,
    joined,
)
from tests.web.wado import parts

ANY = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
INSTANCE = f"/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1"


async def test_study_is_a_multipart_body_with_each_instance_as_it_was_sent() -> None:
    sent = [ct(1), ct(2, pieces=7)]
    async with gateway(retrieve=FakeRetrieve(sent)) as web:
        answer = await web.client.get(f"/studies/{STUDY}", headers=ANY)
    assert answer.status_code == 200
    assert web.retrieve.selections == [Selection(STUDY)]
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    for (head, file), arrived in zip(parts(answer), sent, strict=True):
        assert list(head.items()) == [
            ("Content-Type", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
            ("Content-Location", f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{arrived.sop_instance_uid}"),
        ]
        assert file.endswith(joined(arrived.data))
        dataset = dcmread(BytesIO(file))
        assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == arrived.sop_instance_uid
        assert dataset.file_meta.TransferSyntaxUID == EXPLICIT_VR_LE


async def test_boundary_is_new_each_time() -> None:
    async with gateway(retrieve=FakeRetrieve([ct()])) as web:
        answers = [await web.client.get(INSTANCE) for _ in range(2)]
    first, second = (re.search(r"boundary=(\w{32,})", answer.headers["content-type"]) for answer in answers)
    assert first
    assert second
    assert first[1] != second[1]


@pytest.mark.parametrize(
    ("path", "selection"),
    [
        (f"/studies/{STUDY}/series/{SERIES}", Selection(STUDY, SERIES)),
        (INSTANCE, Selection(STUDY, SERIES, (f"{SERIES}.1",))),
        (f"{INSTANCE}/metadata", Selection(STUDY, SERIES, (f"{SERIES}.1",))),
    ],
)
async def test_only_what_the_path_names_is_retrieved(path: str, selection: Selection) -> None:
    async with gateway(retrieve=FakeRetrieve([ct()])) as web:
        assert (await web.client.get(path)).status_code == 200
    assert web.retrieve.selections == [selection]


async def test_single_instance_can_be_had_as_a_file() -> None:
    async with gateway(retrieve=FakeRetrieve([ct()])) as web:
        answer = await web.client.get(INSTANCE, headers={"Accept": "application/dicom"})
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_VR_LE}"
    assert answer.headers["content-location"] == f"/dicom-web{INSTANCE}"
    assert dcmread(BytesIO(answer.content)).SOPInstanceUID == f"{SERIES}.1"


@pytest.mark.parametrize("stored", [IMPLICIT_VR_LE, EXPLICIT_VR_BE])
@pytest.mark.parametrize("headers", [ANY, {}])
async def test_implicit_and_big_endian_are_re_encoded_while_they_stream(stored: str, headers: dict[str, str]) -> None:
    async with gateway(retrieve=FakeRetrieve([ct(transfer_syntax=stored, size=4096)])) as web:
        answer = await web.client.get(f"/studies/{STUDY}", headers=headers)
    [(head, file)] = parts(answer)
    assert head["Content-Type"] == f"application/dicom; transfer-syntax={EXPLICIT_VR_LE}"
    dataset = dcmread(BytesIO(file))
    original = instance(size=4096)
    words = array("H", original.PixelData)
    if stored == EXPLICIT_VR_BE:
        words.byteswap()
    assert dataset.file_meta.TransferSyntaxUID == EXPLICIT_VR_LE
    assert dataset.PixelData == words.tobytes()
    assert dataset.PatientName == original.PatientName
    assert dataset.StudyInstanceUID == STUDY


async def test_default_transfer_syntax_can_be_what_is_stored() -> None:
    retrieve = FakeRetrieve([FakeInstance([b"\0" * 64], JPEG_2000_LOSSLESS)])
    async with gateway(retrieve=retrieve, default_transfer_syntax="stored") as web:
        assert (await web.client.get(f"/studies/{STUDY}")).status_code == 200


# --- how complete it is


async def test_region_that_did_not_answer_is_named_and_the_status_stays_200() -> None:
    async with gateway(retrieve=FakeRetrieve([ct()], ONE_MISSING)) as web:
        answer = await web.client.get(f"/studies/{STUDY}")
    assert answer.status_code == 200
    assert answer.headers["federation-status"] == "neodin;state=complete;instances=1, hdirs;state=timeout"
    assert "hdirs" in answer.headers["warning"]


async def test_instance_known_to_be_missing_makes_it_206() -> None:
    async with gateway(retrieve=FakeRetrieve([ct()], ONE_MISSING, partial=True)) as web:
        answer = await web.client.get(f"/studies/{STUDY}")
    assert answer.status_code == 206
    assert "hdirs" in answer.headers["warning"]


@pytest.mark.parametrize("partial", [True, False])
async def test_strict_caller_gets_503_instead(partial: bool) -> None:
    async with gateway(retrieve=FakeRetrieve([ct()], ONE_MISSING, partial=partial)) as web:
        answer = await web.client.get(f"/studies/{STUDY}", headers={"Prefer": "handling=strict"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.headers["federation-status"].endswith("hdirs;state=timeout")


async def test_unknown_study_is_404_with_the_states_of_the_regions() -> None:
    status = "neodin;state=complete;instances=0, hdirs;state=complete;instances=0"
    retrieve = FakeRetrieve(on_enter=[NotFound("no region holds this study", federation_status=status)])
    async with gateway(retrieve=retrieve) as web:
        answer = await web.client.get(f"/studies/{STUDY}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "/docs/errors/not-found"
    assert answer.headers["federation-status"] == status


@pytest.mark.parametrize("path", ["", "/metadata", f"/series/{SERIES}/instances/{SERIES}.1/frames/1"])
async def test_what_nobody_holds_is_503_while_a_region_is_down(path: str) -> None:
    async with gateway(retrieve=FakeRetrieve([], ONE_MISSING)) as web:
        answer = await web.client.get(f"/studies/{STUDY}{path}")
    assert answer.status_code == 503
    assert answer.json()["type"] == "/docs/errors/region-missing"
    assert answer.json()["detail"].endswith("hdirs did not answer: ask again later")
    assert answer.headers["retry-after"]


async def test_all_regions_down_is_503() -> None:
    async with gateway(retrieve=FakeRetrieve(on_enter=[NoRegionAnswered("no region answered")])) as web:
        answer = await web.client.get(f"/studies/{STUDY}/metadata")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    ("error", "status"), [(Stalled("no instance arrived in time"), 504), (NotFound("no such series"), 404)]
)
async def test_failure_before_the_first_instance_is_a_status(error: GatewayError, status: int) -> None:
    async with gateway(retrieve=FakeRetrieve([error])) as web:
        answer = await web.client.get(f"/studies/{STUDY}")
    assert answer.status_code == status
    assert answer.headers["federation-status"].startswith("neodin;")
    assert answer.json()["detail"] == str(error)


async def test_status_waits_for_the_first_instance_and_the_rest_is_sent_as_it_comes() -> None:
    first, second, whole = asyncio.Event(), asyncio.Event(), ct(1)
    held = FakeInstance([*whole.data[:2], second, *whole.data[2:]], EXPLICIT_VR_LE, whole.sop_instance_uid)
    async with gateway(retrieve=FakeRetrieve([first, held])) as web:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(headed(target=f"/dicom-web/studies/{STUDY}"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 0.1)
        first.set()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert head.startswith(b"HTTP/1.1 200 OK")
        await asyncio.wait_for(reader.readuntil(joined(whole.data[1:2])), 30)  # before the third piece exists
        second.set()
        await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 30)
        writer.close()


BROKEN = {
    "an instance that stops half way": FakeRetrieve([ct(1), FakeInstance([b"abc", Stalled("silent")])]),
    "instances that do not arrive": FakeRetrieve([ct(1), IncompleteRetrieve("some instances did not arrive")]),
    "what is found missing at the end": FakeRetrieve([ct(1)], on_exit=[IncompleteRetrieve("counts disagree")]),
    "a defect": FakeRetrieve([ct(1), ValueError("Tremblay")]),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("tail", ["", "/metadata"])
async def test_body_after_the_first_byte_ends_without_its_end_because_of(what: str, tail: str) -> None:
    async with gateway(retrieve=BROKEN[what]) as web:
        raw = await exchange(web.port, headed(target=f"/dicom-web/studies/{STUDY}{tail}"))
    assert raw.startswith(b"HTTP/1.1 200")
    assert b"ransfer-encoding: chunked" in raw
    assert not raw.endswith(b"0\r\n\r\n")
    assert b"--\r\n" not in raw[-10:]
    assert b"]" not in raw[-10:]
    assert len(web.events) == 1


@pytest.mark.parametrize("accept", ["*/*", "application/dicom"])
async def test_curl_notices_a_broken_body(accept: str) -> None:
    retrieve = FakeRetrieve([FakeInstance([b"x" * 100_000, IncompleteRetrieve("some instances did not arrive")])])
    async with gateway(retrieve=retrieve) as web:
        curl = await asyncio.create_subprocess_exec(
            "curl", "-sS", "-o", "/dev/null", "-H", f"Accept: {accept}", f"{web.url}{INSTANCE}",
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, errors = await curl.communicate()
    assert curl.returncode == 18, errors


async def test_head_tells_the_status_and_stops_the_retrieval() -> None:
    async with gateway(retrieve=FakeRetrieve([ct(1), ct(2)])) as web:
        answer = await web.client.head(f"/studies/{STUDY}")
        assert web.retrieve.left.is_set()
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("multipart/related")
    assert web.retrieve.sent == 0


async def test_hostile_uids_of_a_region_do_not_reach_a_header() -> None:
    hostile = FakeInstance([b"x"], sop_instance_uid="1\r\nX-Evil: 1", series_instance_uid="../..")
    async with gateway(retrieve=FakeRetrieve([hostile])) as web:
        answer = await web.client.get(f"/studies/{STUDY}")
        single = await web.client.get(INSTANCE, headers={"Accept": "application/dicom"})
    [(head, _)] = parts(answer)
    assert list(head) == ["Content-Type"]
    assert "x-evil" not in single.headers
    assert "content-location" not in single.headers
