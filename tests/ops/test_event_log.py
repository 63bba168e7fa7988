"""The log: one JSON object a line, with the keys that collectors know, and whatever becomes of its stream, no error."""

import asyncio
import io
import json

from gateway.events import (
    REQUEST,
    CircuitChanged,
    Event,
    RegionOperation,
    Request,
    RequestHandled,
    RetrieveBegun,
    StoreRefused,
)
from gateway.ops.log import FLUSH_SECONDS, EventLog

ASKED = Request("request-1", "a" * 32, "b" * 16)


def logged(*events: Event) -> list[dict[str, object]]:
    stream = io.StringIO()
    log = EventLog(stream)
    for event in events:
        log(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def handled(route: str = "/dicom-web/studies", status: int = 200) -> RequestHandled:
    keys = ("PatientName", "limit")
    return RequestHandled(ASKED, "GET", route, "", keys, "5e1f", status, 0.25, 0.125, 1234, "hdirs;state=complete")


def test_a_region_operation_is_one_line_with_the_keys_that_all_lines_share() -> None:
    token = REQUEST.set(ASKED)
    [line] = logged(RegionOperation("hdirs", "search", "complete", 0.123456, 12, 0.1, 77))
    REQUEST.reset(token)
    assert str(line.pop("ts")).endswith("Z")
    assert line == {
        "level": "info",
        "event": "region-operation",
        "request_id": "request-1",
        "trace_id": "a" * 32,
        "region": "hdirs",
        "service": "search",
        "outcome": "complete",
        "duration_ms": 123.46,
        "first_match_ms": 100.0,
        "rows": 12,
        "bytes": 77,
    }


def test_what_the_gateway_does_by_itself_is_of_no_request() -> None:
    [line] = logged(RegionOperation("hdirs", "verify", "refused", 0.1, 0))
    assert "request_id" not in line
    assert line["level"] == "warning"


def test_a_request_is_one_line_with_names_of_keys_only() -> None:
    [line] = logged(handled())
    assert str(line.pop("ts")).endswith("Z")
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "request-1",
        "trace_id": "a" * 32,
        "subject_hash": "5e1f",
        "service": "GET /dicom-web/studies",
        "outcome": "complete",
        "status": 200,
        "duration_ms": 250.0,
        "first_byte_ms": 125.0,
        "bytes": 1234,
        "keys": ["PatientName", "limit"],
        "federation": "hdirs;state=complete",
    }


def test_probes_are_logged_only_when_they_fail() -> None:
    assert logged(handled("/readyz"), handled("/status/events"), RetrieveBegun("spool")) == []
    [line] = logged(handled("/readyz", 503))
    assert (line["level"], line["status"]) == ("warning", 503)


def test_a_line_end_in_an_ae_title_makes_no_second_line() -> None:
    [line] = logged(StoreRefused("EVIL\n{}", "GATEWAY", "127.0.0.1"))
    assert line["calling_ae_title"] == "EVIL\n{}"
    assert line["level"] == "warning"


def test_a_log_that_cannot_be_written_raises_nothing() -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    for stream in (Broken(), closed):
        EventLog(stream)(CircuitChanged("hdirs", "open"))


def test_text_that_no_json_can_hold_raises_nothing() -> None:
    assert logged(StoreRefused("\udcff", "GATEWAY", "127.0.0.1")) == []


async def test_on_an_event_loop_what_comes_within_a_moment_is_written_at_once_and_in_order() -> None:
    written: list[str] = []

    class Counting(io.StringIO):
        def write(self, text: str) -> int:
            if text != "\n":
                written.append(text)
            return len(text)

    log = EventLog(Counting())
    for number in range(3):
        log(CircuitChanged(f"region-{number}", "open"))
    assert written == []
    async with asyncio.timeout(30):
        while not written:  # noqa: ASYNC110 - a stream tells nobody that it was written to
            await asyncio.sleep(FLUSH_SECONDS / 4)
    assert [json.loads(line)["region"] for line in written[0].splitlines()] == ["region-0", "region-1", "region-2"]


async def test_what_is_not_written_yet_is_written_when_the_log_is_left() -> None:
    stream = io.StringIO()
    with EventLog(stream) as log:
        log(CircuitChanged("hdirs", "open"))
        assert not stream.getvalue()
    assert json.loads(stream.getvalue())["state"] == "open"
