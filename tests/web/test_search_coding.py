"""Answers to searches are compressed for who takes that, and rows still leave as they come (RFC 9110 8.4)."""

import asyncio
import gzip
import json
import zlib

import pytest

from gateway.web.compression import WORTH_IT
from tests.web.fakes import FakeSearch, gateway, study_row

JSON, LINES = "application/dicom+json", "application/x-ndjson"
GZIP = {"Accept-Encoding": "gzip"}
IDENTITY = {"Accept-Encoding": "identity"}


async def raw(count: int, accept: str, fields: dict[str, str], method: str = "GET") -> tuple[dict[str, str], bytes]:
    """Search for so many studies; return the header and the body as it came."""
    search = FakeSearch([study_row(f"1.2.{number}") for number in range(count)])
    headers = {"Accept": accept, **fields}
    async with gateway(search) as web, web.client.stream(method, "/studies", headers=headers) as answer:
        assert answer.status_code == 200
        return dict(answer.headers), b"".join([piece async for piece in answer.aiter_raw()])


@pytest.mark.parametrize("accept", [JSON, LINES])
@pytest.mark.parametrize("count", [20, 250, 251, 1000])
async def test_compressed_answer_is_the_plain_one_in_less(accept: str, count: int) -> None:
    header, packed = await raw(count, accept, GZIP)
    other, plain = await raw(count, accept, IDENTITY)
    assert (header["content-encoding"], other.get("content-encoding")) == ("gzip", None)
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 3


@pytest.mark.parametrize("fields", [GZIP, IDENTITY])
@pytest.mark.parametrize("accept", [JSON, LINES])
@pytest.mark.parametrize("count", [1, 1000])
async def test_caches_are_told_what_the_answer_depends_on(fields: dict[str, str], accept: str, count: int) -> None:
    header, _ = await raw(count, accept, fields)
    assert header["vary"] == "Accept, Accept-Encoding"


async def test_xml_is_compressed_too() -> None:
    header, packed = await raw(20, 'multipart/related; type="application/dicom+xml"', GZIP)
    assert header["content-encoding"] == "gzip"
    assert gzip.decompress(packed).endswith(b"--\r\n")


async def test_what_fits_in_a_packet_is_left_as_it_is() -> None:
    header, body = await raw(1, JSON, GZIP)
    assert "content-encoding" not in header
    assert len(body) < WORTH_IT
    assert len(json.loads(body)) == 1


async def test_few_rows_have_a_length_also_when_they_are_compressed() -> None:
    header, packed = await raw(20, JSON, GZIP)
    assert int(header["content-length"]) == len(packed)


@pytest.mark.parametrize("count", [1, 20, 1000])
async def test_head_of_a_compressed_answer_has_no_body(count: int) -> None:
    _, body = await raw(count, JSON, GZIP, "HEAD")
    assert body == b""


async def test_compressed_row_can_be_read_while_other_regions_are_silent() -> None:
    silence, stream = asyncio.Event(), zlib.decompressobj(31)
    search = FakeSearch([study_row("1.2"), silence, study_row("1.3")])
    headers = {"Accept": LINES, **GZIP}
    async with gateway(search) as web, web.client.stream("GET", "/studies", headers=headers) as answer:
        pieces = answer.aiter_raw()
        first = stream.decompress(await asyncio.wait_for(anext(pieces), 30))
        assert json.loads(first)["0020000D"]["Value"] == ["1.2"]
        silence.set()
        rest = b"".join([stream.decompress(piece) async for piece in pieces])
    assert stream.eof
    assert [line.get("0020000D", {}).get("Value") for line in map(json.loads, rest.splitlines())] == [["1.3"], None]
