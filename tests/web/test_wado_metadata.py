"""Metadata over HTTP: XML, compression, and tags of what is known (conformance.md 1.3, 1.6; PS3.18 10.4.1.1.2)."""

import gzip
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from pydicom import Dataset

from tests.web.fakes import SERIES, STUDY, FakeInstance, FakeRetrieve, gateway
from tests.web.wado import INSTANCE_PATH, LEVELS, SERIES_PATH, ct, fake, parts

XML = 'multipart/related; type="application/dicom+xml"'
NATIVE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def verbose(number: int) -> Dataset:
    """Return an instance whose metadata is worth compressing."""
    return ct(number, ImageComments="words " * 400)


async def get(*held: FakeInstance, path: str = f"{SERIES_PATH}/metadata", **headers: str) -> Any:
    fields = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway(retrieve=FakeRetrieve(held)) as web:
        return await web.client.get(path, headers=fields)


def warm(*datasets: Dataset) -> list[FakeInstance]:
    """Return instances that are here whole before they are asked for."""
    held = [fake(dataset) for dataset in datasets]
    for instance in held:
        instance.complete = True
    return held


@pytest.mark.parametrize("level", LEVELS)
async def test_native_dicom_model_is_a_part_for_each_instance(level: str) -> None:
    answer = await get(fake(ct(1)), path=f"/studies/{STUDY}{level}/metadata", accept=XML)
    assert answer.headers["content-type"].startswith(XML)
    [(head, body)] = parts(answer)
    assert head["Content-Type"] == "application/dicom+xml"
    model = ET.fromstring(body)
    found = {x.get("tag"): x for x in model.iter(f"{NATIVE}DicomAttribute")} or {
        x.get("tag"): x for x in model.iter("DicomAttribute")
    }
    assert "".join(found["0020000D"].itertext()).strip() == STUDY
    [bulk] = found["7FE00010"]
    assert bulk.get("uri") == f"/dicom-web{INSTANCE_PATH}/bulkdata/7FE00010"


async def test_xml_weighs_against_json() -> None:
    assert (await get(fake(ct()), accept=f"{XML};q=0.5, application/dicom+json")).json()
    assert parts(await get(fake(ct()), accept=f"{XML}, application/dicom+json;q=0.5"))


async def test_gzip_is_for_those_who_accept_it_and_each_element_can_be_read_when_it_arrives() -> None:
    held = [fake(verbose(number)) for number in (1, 2)]
    async with (
        gateway(retrieve=FakeRetrieve(held)) as web,
        web.client.stream("GET", f"{SERIES_PATH}/metadata", headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        raw = b"".join([piece async for piece in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == "Accept, Accept-Encoding"
    plain = await get(*held)
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 3


@pytest.mark.parametrize("encoding", ["identity", "br", "gzip;q=0", "gzip;q=banana", "*;q=0", ""])
async def test_what_does_not_accept_gzip_gets_none(encoding: str) -> None:
    answer = await get(fake(verbose(1)), Accept_Encoding=encoding)
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "br, gzip;q=0.5", "*", "deflate, GZIP"])
async def test_gzip_is_found_among_others(encoding: str) -> None:
    assert (await get(fake(verbose(1)), Accept_Encoding=encoding)).headers["content-encoding"] == "gzip"


async def test_what_is_known_before_its_first_byte_has_a_tag_and_need_not_be_sent_again() -> None:
    held = warm(verbose(1), verbose(2))
    first = await get(*held)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    again = await get(*held, If_None_Match=tag)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    weak = await get(*held, If_None_Match=f'"x", W/{tag}')
    assert weak.status_code == 304
    assert (await get(*held, If_None_Match='"x"')).status_code == 200


async def test_tag_is_of_the_set_of_instances_whatever_their_order() -> None:
    one, two = warm(verbose(1), verbose(2))
    tags = [(await get(*held)).headers["etag"] for held in ((one, two), (two, one), (one,))]
    assert tags[0] == tags[1] != tags[2]


async def test_tag_changes_with_what_is_in_an_instance_and_with_its_form() -> None:
    tags = {
        (await get(*warm(verbose(1)))).headers["etag"],
        (await get(*warm(ct(1, ImageComments="other " * 400)))).headers["etag"],
        (await get(*warm(verbose(1)), Accept_Encoding="gzip")).headers["etag"],
        (await get(*warm(verbose(1)), accept="application/json")).headers["etag"],
    }
    assert len(tags) == 4


async def test_what_still_arrives_has_no_tag() -> None:
    assert "etag" not in (await get(fake(ct(1)), fake(ct(2)))).headers


async def test_metadata_is_kept_without_addresses_and_read_again_with_those_of_now() -> None:
    held = fake(ct(1))
    first = await get(held)
    assert b"dicom-web" not in held.notes["metadata"]
    held.data = [b"not read again"]
    async with gateway(retrieve=FakeRetrieve([held]), public_url="https://images.example.ca") as web:
        again = (await web.client.get(f"{INSTANCE_PATH}/metadata")).json()
    address = f"https://images.example.ca/dicom-web{INSTANCE_PATH}/bulkdata/7FE00010"
    assert again[0]["7FE00010"]["BulkDataURI"] == address
    assert again[0]["00100010"] == first.json()[0]["00100010"]


async def test_address_in_an_attribute_is_not_taken_for_one_of_ours() -> None:
    hostile = '"BulkDataURI":"evil'
    [row] = (await get(fake(ct(1, ImageComments=hostile)))).json()
    assert row["00204000"]["Value"] == [hostile]


async def test_instance_that_is_not_there_under_this_series_is_404() -> None:
    from gateway.errors import NotFound  # noqa: PLC0415

    async with gateway(retrieve=FakeRetrieve([NotFound("no such instance in this series")])) as web:
        for tail in ("", "/metadata", "/frames/1", "/rendered", "/thumbnail", "/bulkdata", "/bulkdata/7FE00010"):
            answer = await web.client.get(f"/studies/{STUDY}/series/9.9/instances/{SERIES}.1{tail}")
            assert answer.status_code == 404, tail


@pytest.mark.parametrize("tail", ["", "/metadata", "/frames/1", "/rendered", "/bulkdata/7FE00010", "/pixeldata"])
async def test_head_tells_what_get_would(tail: str) -> None:
    async with gateway(retrieve=FakeRetrieve([fake(ct())])) as web:
        head = await web.client.head(INSTANCE_PATH + tail)
        got = await web.client.get(INSTANCE_PATH + tail)
    assert head.status_code == got.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"].partition(";")[0] == got.headers["content-type"].partition(";")[0]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_are_405_with_those_that_are_allowed(method: str) -> None:
    async with gateway() as web:
        answer = await web.client.request(method, f"{INSTANCE_PATH}/rendered")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
