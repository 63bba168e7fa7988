"""PS3.18 10.5 and Annex I, point by point, as a user agent sees it."""

import asyncio
import gzip
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from gateway.deadline import Deadline
from gateway.errors import DimseFailure, NotStorable, Refused
from gateway.region.profile import Profile
from gateway.region.storing import Outgoing
from gateway.web.guard import HttpLimits
from gateway.web.upload import UploadLimits
from tests.kit.dicom import encode, from_part10, instance, part10, study, uid
from tests.web.fakes import exchange
from tests.web.storing import FILE, JSON, XML, FakeRegion, first, multipart, origin, values

REFERENCED, FAILED, OTHER = "00081199", "00081198", "0008119A"
SOP_CLASS, SOP_INSTANCE, RETRIEVE_URL, WARNING, FAILURE = "00081150", "00081155", "00081190", "00081196", "00081197"
STUDY = [part10(each) for each in study(1, instances=3)]


def refusing(status: int) -> Any:
    def answer(_: Outgoing) -> int:
        raise DimseFailure("NEODIN answered C-STORE with a failure", status=status)

    return answer


def without_patient_id() -> bytes:
    dataset = instance(1, 1, 9)
    dataset.PatientID = ""
    return part10(dataset)


async def test_post_to_studies_stores_every_part_and_answers_200() -> None:
    region = FakeRegion()
    async with origin(region) as served:
        response = await served.post(STUDY)
        assert response.status_code == 200
        module = response.json()
        assert [first(item, SOP_INSTANCE) for item in values(module, REFERENCED)] == [uid(1, 1, n) for n in (1, 2, 3)]
        assert sorted(region.uids) == [uid(1, 1, n) for n in (1, 2, 3)]
        assert [first(item, SOP_CLASS) for item in values(module, REFERENCED)] == ["1.2.840.10008.5.1.4.1.1.2"] * 3


async def test_what_arrives_at_the_region_is_byte_for_byte_what_was_posted() -> None:
    region = FakeRegion()
    async with origin(region) as served:
        await served.post(STUDY)
    assert [data for _, data in region.stored] == [encode(from_part10(file)) for file in STUDY]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
async def test_stored_transfer_syntax_is_kept(syntax: str) -> None:
    region, dataset = FakeRegion(), instance(transfer_syntax=syntax)
    async with origin(region) as served:
        assert (await served.post([part10(dataset)])).status_code == 200
    [(stored, data)] = region.stored
    assert stored.transfer_syntax_uid == syntax
    assert data == encode(dataset, syntax)


async def test_single_part_dicom_is_stored() -> None:
    region = FakeRegion()
    async with origin(region) as served:
        assert (await served.post_one(STUDY[0])).status_code == 200
    assert len(region.stored) == 1


async def test_answer_is_one_object_in_dicom_json_by_default() -> None:
    async with origin(FakeRegion()) as served:
        response = await served.post(STUDY)
    assert response.headers["Content-Type"] == JSON
    assert isinstance(response.json(), dict)


async def test_answer_is_native_dicom_model_when_xml_is_accepted() -> None:
    async with origin(FakeRegion()) as served:
        response = await served.post([STUDY[0], without_patient_id()], Accept=XML)
    assert response.headers["Content-Type"].startswith(XML)
    tags = {element.get("tag") for element in ET.fromstring(response.text).iter() if "tag" in element.attrib}
    assert {REFERENCED, FAILED, RETRIEVE_URL, FAILURE} <= tags


async def test_accept_that_nothing_fits_is_406_before_anything_is_stored() -> None:
    region = FakeRegion()
    async with origin(region) as served:
        assert (await served.post(STUDY, Accept="image/png")).status_code == 406
    assert not region.stored


async def test_retrieve_urls_name_the_study_and_each_instance() -> None:
    async with origin(FakeRegion()) as served:
        module = (await served.post(STUDY[:1])).json()
    at = f"/dicom-web/studies/{uid(1)}"
    assert first(module, RETRIEVE_URL) == at
    assert first(values(module, REFERENCED)[0], RETRIEVE_URL) == f"{at}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"


async def test_some_stored_and_some_not_is_202_and_tells_which() -> None:
    region = FakeRegion()
    async with origin(region) as served:
        response = await served.post([*STUDY, without_patient_id()])
        assert response.status_code == 202
        module = response.json()
        assert len(values(module, REFERENCED)) == len(region.stored) == 3
        [failed] = values(module, FAILED)
        assert first(failed, SOP_INSTANCE) == uid(1, 1, 9)
        assert first(failed, FAILURE) == 0xC120
        assert "PatientID is missing or empty" in response.headers["Warning"]


async def test_all_stored_leaves_out_the_failed_sequences() -> None:
    async with origin(FakeRegion()) as served:
        module = (await served.post(STUDY)).json()
    assert FAILED not in module
    assert OTHER not in module


async def test_none_stored_is_409_without_a_referenced_sequence() -> None:
    async with origin(FakeRegion()) as served:
        response = await served.post([without_patient_id()])
    assert response.status_code == 409
    assert REFERENCED not in response.json()
    assert RETRIEVE_URL in response.json()


async def test_study_in_the_path_that_is_not_the_instances_is_409_a900() -> None:
    region = FakeRegion()
    async with origin(region) as served:
        response = await served.post(STUDY, f"/studies/{uid(2)}")
        assert response.status_code == 409
        assert {first(item, FAILURE) for item in values(response.json(), FAILED)} == {0xA900}
        assert "its StudyInstanceUID is not that of the study it was sent to" in response.headers["Warning"]
        assert not region.stored
        assert (await served.post(STUDY, f"/studies/{uid(1)}")).status_code == 200


async def test_path_that_is_no_uid_is_400() -> None:
    async with origin(FakeRegion()) as served:
        assert (await served.post(STUDY, "/studies/../etc")).status_code in {400, 404}
        assert (await served.post(STUDY, "/studies/1.2.x")).status_code == 400


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.1.1", "1.2.840.10008.1.3.10", "1.2.3.4"])
async def test_sop_class_that_is_not_stored_is_409_0122(sop_class: str) -> None:
    async with origin(FakeRegion()) as served:
        response = await served.post([part10(instance(sop_class=sop_class))])
    assert response.status_code == 409
    assert first(values(response.json(), FAILED)[0], FAILURE) == 0x0122


async def test_mixture_of_media_types_fails_for_the_odd_part_alone() -> None:
    parts: list[tuple[str, dict[str, str], bytes]] = [(FILE, {}, STUDY[0]), ("image/png", {}, b"\x89PNG")]
    async with origin(FakeRegion()) as served:
        response = await served.post_parts(parts, FILE)
    assert response.status_code == 202
    assert [first(item, FAILURE) for item in values(response.json(), OTHER)] == [0xC000]


async def test_part_that_is_no_instance_is_among_other_failures() -> None:
    async with origin(FakeRegion()) as served:
        response = await served.post([b"not DICOM at all" * 100])
    assert response.status_code == 409
    assert FAILED not in response.json()
    assert first(values(response.json(), OTHER)[0], FAILURE) == 0xC000


async def test_part_type_may_have_parameters_be_unquoted_or_be_left_out() -> None:
    region = FakeRegion()
    parts: list[tuple[str, dict[str, str], bytes]] = [
        (f"{FILE}; transfer-syntax=1.2.840.10008.1.2.1", {}, STUDY[0]),
        ("Application/DICOM", {}, STUDY[1]),
    ]
    body = multipart([*parts, ("", {}, STUDY[2])])
    async with origin(region) as served:
        fields = {"Content-Type": "multipart/related; boundary=frontier; type=application/dicom"}
        response = await served.client.post("/studies", content=body, headers=fields)
    assert response.status_code == 200
    assert len(region.stored) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"--frontier\r\nContent-Type: application/dicom\r\n\r\n" + STUDY[0],
        multipart([(FILE, {}, STUDY[0])])[:-4],
        b"--another\r\n\r\n\r\n--another--\r\n",
        b"--frontier--\r\n",
        b"",
    ],
    ids=["cut in a part", "cut in the end", "another boundary", "no part", "nothing"],
)
async def test_malformed_body_is_400_and_nothing_of_it_is_stored(body: bytes) -> None:
    region = FakeRegion()
    async with origin(region) as served:
        fields = {"Content-Type": f'multipart/related; type="{FILE}"; boundary=frontier'}
        response = await served.client.post("/studies", content=body, headers=fields)
        assert response.status_code == 400
        assert response.headers["Content-Type"] == "application/problem+json"
        assert served.queue.size == 0
    assert not region.stored


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "image/jpeg", 'multipart/related; type="text/plain"', "multipart/form-data"]
)
async def test_other_media_types_are_415_and_told_what_is_stored(content_type: str) -> None:
    async with origin(FakeRegion()) as served:
        response = await served.post_one(STUDY[0], content_type)
    assert response.status_code == 415
    assert "application/dicom+json" in response.json()["detail"]


async def test_content_encoding_is_415() -> None:
    async with origin(FakeRegion()) as served:
        fields = {"Content-Type": FILE, "Content-Encoding": "gzip"}
        response = await served.client.post("/studies", content=gzip.compress(STUDY[0]), headers=fields)
    assert response.status_code == 415


async def test_too_many_parts_or_bytes_are_413() -> None:
    region = FakeRegion()
    async with origin(region, upload=UploadLimits(max_parts=2)) as served:
        assert (await served.post(STUDY[:2])).status_code == 200
        assert (await served.post(STUDY)).status_code == 413
    async with origin(region, upload=UploadLimits(max_bytes=4000)) as served:
        assert (await served.post(STUDY)).status_code == 413  # by its Content-Length

        async def chunks() -> Any:
            for start in range(0, 10_000, 1000):
                yield multipart([(FILE, {}, b"".join(STUDY))])[start : start + 1000]

        fields = {"Content-Type": f'multipart/related; type="{FILE}"; boundary=frontier'}
        assert (await served.client.post("/studies", content=chunks(), headers=fields)).status_code == 413
    assert len(region.stored) == 2


async def test_body_that_stands_still_is_408() -> None:
    # H05: 4 GiB are announced and ten bytes come.
    async with origin(FakeRegion(), upload=UploadLimits(stall_seconds=0.2)) as served:
        lines = ["POST /dicom-web/studies HTTP/1.1", "Host: x", f"Content-Type: {FILE}", f"Content-Length: {4 << 30}"]
        answered = await exchange(served.port, "\r\n".join([*lines, "", "0123456789"]).encode())
    assert answered.startswith(b"HTTP/1.1 408")


async def test_client_that_leaves_half_way_leaves_nothing_behind() -> None:
    region = FakeRegion()
    async with origin(region) as served:
        body = multipart([(FILE, {}, x) for x in STUDY])
        lines = ["POST /dicom-web/studies HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines.append(f'Content-Type: multipart/related; type="{FILE}"; boundary=frontier')
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write("\r\n".join([*lines, "", ""]).encode() + body[:-100])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await served.post(STUDY[:1])).status_code == 200
        assert len(region.stored) == 1
        await served.drained()


@pytest.mark.parametrize(("status", "expected"), [(0xB000, 45056), (0xB006, 45062), (0xB007, 45063)])
async def test_warning_of_the_region_is_202_with_its_warning_reason(status: int, expected: int) -> None:
    async with origin(FakeRegion(answer=lambda _: status)) as served:
        response = await served.post(STUDY[:1])
    assert response.status_code == 202
    assert first(values(response.json(), REFERENCED)[0], WARNING) == expected


@pytest.mark.parametrize(("status", "reason"), [(0xA900, 43264), (0xC000, 49152), (0x0122, 290)])
async def test_refusal_of_the_region_is_the_failure_reason(status: int, reason: int) -> None:
    async with origin(FakeRegion(answer=refusing(status))) as served:
        response = await served.post(STUDY[:1])
    assert response.status_code == 409
    assert first(values(response.json(), FAILED)[0], FAILURE) == reason


async def test_transfer_syntax_that_the_region_does_not_take_is_c122() -> None:
    def answer(_: Outgoing) -> int:
        raise NotStorable("NEODIN does not take JPEG 2000", status=0xC122)

    async with origin(FakeRegion(answer=answer)) as served:
        response = await served.post(STUDY[:1])
    assert first(values(response.json(), FAILED)[0], FAILURE) == 49442


@pytest.mark.parametrize(
    "error", [Refused("nothing listens"), DimseFailure("full", status=0xA700)], ids=["down", "A700"]
)
async def test_region_that_takes_nothing_now_is_503_where_nothing_can_be_queued(error: Exception) -> None:
    def answer(_: Outgoing) -> int:
        raise error

    async with origin(FakeRegion(answer=answer)) as served:
        response = await served.post(STUDY)
        assert served.queue.size == 0
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert {first(item, FAILURE) for item in values(response.json(), FAILED)} == {42752}


async def test_region_that_takes_nothing_now_is_202_with_a_warning_where_it_is_queued(tmp_path: Path) -> None:
    def answer(_: Outgoing) -> int:
        raise Refused("nothing listens")

    async with origin(FakeRegion(answer=answer), folder=tmp_path) as served:
        response = await served.post(STUDY)
    assert response.status_code == 202
    items = values(response.json(), REFERENCED)
    assert {first(item, WARNING) for item in items} == {0xBF00}
    assert {first(item, RETRIEVE_URL) for item in items} == {None}, "nobody can retrieve it yet"
    assert response.headers["Federation-Status"] == "neodin;state=queued;instances=0"


class Slow(FakeRegion):
    """Notes how many instances are on their way to it at once."""

    most = under_way = 0

    async def store(self, instance: Outgoing, deadline: Deadline, *, stall_seconds: float) -> int:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(10):  # turns in which the others could begin
            await asyncio.sleep(0)
        self.under_way -= 1
        return await super().store(instance, deadline, stall_seconds=stall_seconds)


class SlowOverTheWeb(Slow):
    @property
    def profile(self) -> Profile:
        return Profile(name=self.name, dicomweb="http://127.0.0.1:1/dicom-web", max_associations=3)


@pytest.mark.parametrize(("kind", "at_once"), [(Slow, 1), (SlowOverTheWeb, 2)])
async def test_web_region_is_given_several_at_once_and_one_connection_is_left_to_searches(
    kind: type[Slow], at_once: int
) -> None:
    region = kind()
    async with origin(region) as served:
        assert (await served.post(STUDY)).status_code == 200
    assert region.most == at_once
    assert len(region.stored) == len(STUDY)


async def test_answer_names_the_regions_that_have_it() -> None:
    async with origin(FakeRegion(), FakeRegion("HDIRS"), default=["HDIRS", "NEODIN"]) as served:
        response = await served.post(STUDY)
    assert (
        response.headers["Federation-Status"] == "hdirs;state=complete;instances=3, neodin;state=complete;instances=3"
    )


async def test_answer_that_one_of_two_regions_refused_says_so() -> None:
    regions = FakeRegion(), FakeRegion("HDIRS", answer=refusing(0xA900))
    async with origin(*regions, default=["HDIRS", "NEODIN"]) as served:
        response = await served.post(STUDY[:1])
    assert response.status_code == 202
    assert first(values(response.json(), REFERENCED)[0], WARNING) == 0xBF01
    assert "hdirs: NEODIN answered" in response.headers["Warning"]


@pytest.mark.parametrize(
    "start", [b"MZ", b"\x7fELF", b"#!/bin/sh", b"PK\3\4", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"]
)
async def test_preamble_that_is_a_program_is_refused(start: bytes) -> None:
    region = FakeRegion()
    async with origin(region) as served:
        response = await served.post([start + STUDY[0][len(start) :]])
    assert response.status_code == 409
    assert "program" in response.headers["Warning"]
    assert not region.stored


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*"])
async def test_preamble_of_a_tiff_is_let_pass(start: bytes) -> None:
    async with origin(FakeRegion()) as served:
        assert (await served.post([start + STUDY[0][4:]])).status_code == 200


async def test_uids_of_the_file_and_of_the_data_set_that_differ_are_a900() -> None:
    file = STUDY[0].replace(str(uid(1, 1, 1)).encode(), str(uid(1, 1, 7)).encode(), 1)
    async with origin(FakeRegion()) as served:
        response = await served.post([file])
    assert first(values(response.json(), FAILED)[0], FAILURE) == 0xA900


async def test_data_set_that_is_cut_short_is_c000_and_kept_nowhere() -> None:
    region = FakeRegion()
    async with origin(region) as served:
        response = await served.post([STUDY[0][:-100]])
        assert served.queue.size == 0
    assert response.status_code == 409
    assert not region.stored


async def test_form_posted_to_studies_is_still_a_search() -> None:
    async with origin(FakeRegion()) as served:
        fields = {"Content-Type": "application/x-www-form-urlencoded"}
        response = await served.client.post("/studies", content=b"PatientID=1", headers=fields)
    assert response.status_code == 200
    assert response.json() == []


async def test_nothing_is_posted_below_a_study_nor_deleted() -> None:
    async with origin(FakeRegion()) as served:
        assert (await served.post(STUDY, f"/studies/{uid(1)}/metadata")).status_code == 405
        response = await served.client.delete("/studies/1.2")
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


async def test_preflight_allows_a_post_from_a_viewer() -> None:
    async with origin(FakeRegion(), cors_origins=("https://viewer.example",)) as served:
        fields = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
        fields["Access-Control-Request-Headers"] = "content-type"
        response = await served.client.options("/studies", headers=fields)
    assert response.status_code == 200
    assert "POST" in response.headers["Access-Control-Allow-Methods"]


async def test_upload_slower_than_a_reader_is_not_cut(tmp_path: Path) -> None:
    body = multipart([(FILE, {}, STUDY[0])])

    async def slow() -> Any:
        for start in range(0, len(body), 512):
            yield body[start : start + 512]
            await asyncio.sleep(0.05)

    limits = HttpLimits(header_seconds=0.2, write_stall_seconds=0.2)
    async with origin(FakeRegion(), limits=limits) as served:
        fields = {"Content-Type": f'multipart/related; type="{FILE}"; boundary=frontier'}
        assert (await served.client.post("/studies", content=slow(), headers=fields)).status_code == 200


# --- metadata and bulk data


def described(dataset: Dataset, location: str = "http://client.example/pixels") -> tuple[dict[str, Any], bytes]:
    """Split an instance into its row and the bytes of its Pixel Data."""
    pixels = dataset.get("PixelData", b"")
    row: dict[str, Any] = json.loads(
        dataset.to_json(bulk_data_threshold=1024, bulk_data_element_handler=lambda _: location)
    )
    return row, pixels


async def test_json_metadata_with_bulk_data_becomes_the_instance_it_describes() -> None:
    region, dataset = FakeRegion(), instance(size=4096)
    row, pixels = described(dataset)
    parts: list[tuple[str, dict[str, str], bytes]] = [(JSON, {}, json.dumps([row]).encode())]
    parts.append(("application/octet-stream", {"Content-Location": "http://client.example/pixels"}, pixels))
    async with origin(region) as served:
        response = await served.post_parts(parts, JSON)
    assert response.status_code == 200, response.text
    [(stored, data)] = region.stored
    expected = from_part10(part10(dataset))
    expected.SpecificCharacterSet = "ISO_IR 192"
    assert stored.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert data == encode(expected)


async def test_xml_metadata_with_bulk_data_becomes_the_instances_it_describes() -> None:
    from gateway.dataset.native_xml import to_native_xml  # noqa: PLC0415

    region, datasets = FakeRegion(), study(3, instances=2, size=2048)
    parts: list[tuple[str, dict[str, str], bytes]] = []
    bulk: list[tuple[str, dict[str, str], bytes]] = []
    for number, dataset in enumerate(datasets):
        row, pixels = described(dataset, f"cid:{number}")
        parts.append((XML, {}, to_native_xml(row)))
        bulk.append(("application/octet-stream", {"Content-Location": f"cid:{number}"}, pixels))
    async with origin(region) as served:
        response = await served.post_parts([*parts, *bulk], XML)
    assert response.status_code == 200, response.text
    assert region.uids == [dataset.SOPInstanceUID for dataset in datasets]
    assert all(data.endswith(dataset.PixelData) for dataset, (_, data) in zip(datasets, region.stored, strict=True))


async def test_compressed_frames_come_each_in_a_part_of_their_own() -> None:
    region, dataset = FakeRegion(), instance(size=2048, NumberOfFrames="2")
    row, _ = described(dataset, "cid:frames")
    frames = [b"\xff\x4f\xff\x51 first", b"\xff\x4f\xff\x51 2nd "]
    parts: list[tuple[str, dict[str, str], bytes]] = [(JSON, {}, json.dumps(row).encode())]
    parts += [("image/jp2", {"Content-Location": "cid:frames"}, frame) for frame in frames]
    async with origin(region) as served:
        response = await served.post_parts(parts, JSON)
    assert response.status_code == 200, response.text
    [(stored, data)] = region.stored
    assert stored.transfer_syntax_uid == "1.2.840.10008.1.2.4.90"
    padded = [frames[0], frames[1] + b"\0"]
    fragments = b"".join(b"\xfe\xff\x00\xe0" + len(x).to_bytes(4, "little") + x for x in (b"", *padded))
    assert data.endswith(b"OB\0\0\xff\xff\xff\xff" + fragments + b"\xfe\xff\xdd\xe0\0\0\0\0")


@pytest.mark.parametrize(
    "uri", ["http://169.254.169.254/latest", "http://[::1]/", "file:///etc/passwd", "https://pacs.example/x"]
)
async def test_bulk_data_from_elsewhere_is_refused_and_never_fetched(uri: str) -> None:
    row, _ = described(instance(), uri)
    nested = dict(row, **{"00082112": {"vr": "SQ", "Value": [{"00420011": {"vr": "OB", "BulkDataURI": uri}}]}})
    nested["7FE00010"] = {"vr": "OW", "InlineBinary": "AAAA"}
    region = FakeRegion()
    async with origin(region) as served:
        for metadata in (row, nested):
            response = await served.post_parts([(JSON, {}, json.dumps([metadata]).encode())], JSON)
            assert response.status_code == 409
            assert "fetched from nowhere else" in response.headers["Warning"]
            assert uri not in response.headers["Warning"]
    assert not region.stored


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"{",
        b"[" * 2000,
        b"[1]",
        b'[{"00100020": 1}]',
        b'[{"x": {"vr": "LO"}}]',
        b'[{"00100020": {"vr": "QQ"}}]',
        b'[{"00100020": {"vr": {}}}]',
        b'[{"00100020": {"vr": ["LO"]}}]',
        b"[null]",
    ],
)
async def test_metadata_that_is_none_is_400_or_409(metadata: bytes) -> None:
    async with origin(FakeRegion()) as served:
        response = await served.post_parts([(JSON, {}, metadata)], JSON)
    assert response.status_code in {400, 409}


@pytest.mark.parametrize(
    ("key", "attribute"),
    [
        ("7FE00010", {"vr": "OB or OW", "InlineBinary": "AAAA"}),
        ("7FE00010", {"vr": "OB", "InlineBinary": "?"}),
        ("00280011", {"vr": "US", "Value": [-1]}),
    ],
)
async def test_an_attribute_that_cannot_be_read_is_named(key: str, attribute: dict[str, Any]) -> None:
    described = [{**instance(1).to_json_dict(), key: attribute}]
    async with origin(FakeRegion()) as served:
        response = await served.post_parts([(JSON, {}, json.dumps(described).encode())], JSON)
    assert response.status_code == 409
    assert f"of {key}" in response.headers["Warning"]


async def test_xml_with_a_document_type_is_400() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><NativeDicomModel>&a;</NativeDicomModel>'
    async with origin(FakeRegion()) as served:
        assert (await served.post_parts([(XML, {}, bomb)], XML)).status_code == 400


async def test_metadata_longer_than_is_taken_is_413() -> None:
    async with origin(FakeRegion(), upload=UploadLimits(max_metadata_bytes=1000)) as served:
        response = await served.post_parts([(JSON, {}, b" " * 1001)], JSON)
    assert response.status_code == 413


async def test_sequences_in_metadata_nested_too_deeply_are_refused() -> None:
    item: dict[str, Any] = {}
    for _ in range(70):
        item = {"00081140": {"vr": "SQ", "Value": [item]}}
    row, _ = described(instance(size=0))
    async with origin(FakeRegion()) as served:
        response = await served.post_parts([(JSON, {}, json.dumps([{**row, **item}]).encode())], JSON)
    assert response.status_code == 409
    assert "nested deeper than 64" in response.headers["Warning"]
