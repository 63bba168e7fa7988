"""In which forms rows leave: JSON, Native DICOM Model, lines, and never in one huge piece (PS3.18 10.6.4)."""

import asyncio
import json
import xml.etree.ElementTree as ET
from email import message_from_bytes
from typing import Any

import pytest
from starlette.types import Message as AsgiMessage

from gateway.dataset.query import Row
from gateway.web.app import WebSettings
from gateway.web.negotiation import Unavailable, search_type
from tests.web.fakes import STUDY, FakeRetrieve, FakeSearch, application, gateway, study_row
from tests.web.test_web_negotiation import ranges

JSON, XML, LINES = "application/dicom+json", "multipart/related", "application/x-ndjson"
XML_PARTS = 'multipart/related; type="application/dicom+xml"'


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("multipart/*", XML),
        ("multipart/related", XML),
        (XML_PARTS, XML),
        ("Multipart/Related; Type=application/DICOM+xml", XML),
        ("application/x-ndjson", LINES),
        ("application/json", "application/json"),
        (f"{XML_PARTS};q=0.4, application/dicom+json;q=0.5", JSON),
        (f"{XML_PARTS};q=0.6, application/dicom+json;q=0.5", XML),
        (f'multipart/related; type="application/dicom", {XML_PARTS};q=0.1', XML),
        ("application/x-ndjson, */*;q=0.1", LINES),
        ("application/dicom+json;q=0, application/json;q=0, */*", XML),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
    ],
)
def test_form_is_chosen_by_weight_and_by_the_most_specific_range(accept: str | None, chosen: str) -> None:
    assert search_type(ranges(accept)) == chosen


@pytest.mark.parametrize("value", ["application%2Fx-ndjson", "application/x-ndjson", "text/csv,application/x-ndjson"])
def test_accept_parameter_chooses_the_form(value: str) -> None:
    assert search_type(ranges("*/*", f"accept={value}")) == LINES


@pytest.mark.parametrize(
    "accept", ["text/csv", "application/dicom+xml", 'multipart/related; type="application/dicom"', f"{XML_PARTS}; q=0"]
)
def test_refusal_lists_the_forms_there_are(accept: str) -> None:
    with pytest.raises(Unavailable) as caught:
        search_type(ranges(accept))
    assert caught.value.available == (JSON, "application/json", XML_PARTS, LINES)


async def parts(rows: list[Row]) -> tuple[Any, Any]:
    async with gateway(FakeSearch(rows)) as web:
        answer = await web.client.get("/studies", headers={"Accept": XML_PARTS})
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    read = message_from_bytes(head + answer.content).get_payload()
    return answer, read if isinstance(read, list) else []


async def test_native_dicom_model_is_one_part_for_each_match() -> None:
    answer, found = await parts([study_row("1.2"), study_row("1.3")])
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom+xml"; boundary=')
    assert answer.headers["federation-status"].startswith("neodin;state=complete")
    assert [part.get_content_type() for part in found] == ["application/dicom+xml"] * 2
    for part, uid in zip(found, ("1.2", "1.3"), strict=True):
        body = part.get_payload(decode=True)
        assert isinstance(body, bytes)
        model = ET.fromstring(body)
        values = {x.get("keyword"): [value.text for value in x.iter() if value.text] for x in model}
        assert values["StudyInstanceUID"] == [uid]
        assert values["RetrieveURL"] == [f"/dicom-web/studies/{uid}"]
        assert "Zoé" in values["PatientName"]


async def test_native_dicom_model_of_no_match_is_a_body_that_ends() -> None:
    answer, found = await parts([])
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    assert (answer.status_code, found) == (200, [])
    assert answer.content == f"\r\n--{boundary}--\r\n".encode()


async def sent(accept: str, rows: list[Row], method: str = "GET") -> list[AsgiMessage]:
    """Ask the application itself and keep the messages that it sends."""
    messages: list[AsgiMessage] = []

    async def send(message: AsgiMessage) -> None:
        messages.append(message)

    async def receive() -> AsgiMessage:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    scope = {
        "type": "http", "method": method, "path": "/dicom-web/studies", "root_path": "", "query_string": b"",
        "headers": [(b"accept", accept.encode())], "client": None,
    }  # fmt: skip
    await application(FakeSearch(rows), FakeRetrieve(), WebSettings())(scope, receive, send)
    return messages


@pytest.mark.parametrize("accept", [JSON, XML_PARTS, LINES])
async def test_ten_thousand_rows_are_never_one_huge_buffer(accept: str) -> None:
    start, *pieces = await sent(accept, [study_row(f"1.2.{number}") for number in range(10_000)])
    assert start["status"] == 200
    assert max(len(piece["body"]) for piece in pieces) < 512 * 1024
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert sum(len(piece["body"]) for piece in pieces) > 2_000_000


async def test_many_rows_are_the_array_that_few_would_be() -> None:
    rows = [study_row(f"1.2.{number}") for number in range(1001)]
    async with gateway(FakeSearch(rows)) as web:
        answer = await web.client.get("/studies")
    found = answer.json()
    assert [row["0020000D"]["Value"][0] for row in found] == [f"1.2.{number}" for number in range(1001)]
    assert all(list(row) == sorted(row) for row in found)
    assert json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode() == answer.content
    assert answer.headers["federation-status"].startswith("neodin")


@pytest.mark.parametrize("accept", [JSON, XML_PARTS])
async def test_head_of_many_rows_has_no_body(accept: str) -> None:
    start, *pieces = await sent(accept, [study_row()] * 1000, "HEAD")
    assert start["status"] == 200
    assert pieces == [{"type": "http.response.body", "body": b"", "more_body": False}]


@pytest.mark.parametrize("size", [0, 1, 249, 250, 251, 500, 501])
async def test_array_is_whole_at_every_size(size: int) -> None:
    _, *pieces = await sent(JSON, [study_row()] * size)
    assert len(json.loads(b"".join(piece["body"] for piece in pieces))) == size


async def test_name_that_is_null_is_left_out_because_ohif_dies_of_it() -> None:
    row: Row = {
        **study_row(),
        "00100010": {"vr": "PN", "Value": [None]},
        "00080090": {"vr": "PN", "Value": [None, {"Alphabetic": "Roy^Émile"}]},
    }
    async with gateway(FakeSearch([row])) as web:
        [shown] = (await web.client.get(f"/studies?StudyInstanceUID={STUDY}")).json()
    assert shown["00100010"] == {"vr": "PN"}
    assert shown["00080090"] == {"vr": "PN", "Value": [{"Alphabetic": "Roy^Émile"}]}
    assert row["00100010"] == {"vr": "PN", "Value": [None]}
