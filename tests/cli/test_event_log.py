"""The event log: one JSON object a line, and whatever becomes of its stream, an observer that never raises."""

import io
import json

from gateway.events import CircuitChanged, Event, RegionOperation, StoreRefused
from gateway.ops.log import EventLog


def logged(*events: Event) -> list[dict[str, object]]:
    stream = io.StringIO()
    log = EventLog(stream)
    for event in events:
        log(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_its_name_its_time_and_its_fields() -> None:
    [line] = logged(RegionOperation("hdirs", "search", "complete", 0.123456, 12))
    assert str(line.pop("ts")).endswith("Z")
    assert line == {
        "event": "region-operation",
        "region": "hdirs",
        "verb": "search",
        "outcome": "complete",
        "seconds": 0.1235,
        "count": 12,
    }


def test_a_line_end_in_an_ae_title_makes_no_second_line() -> None:
    [line] = logged(StoreRefused("EVIL\n{}", "GATEWAY", "127.0.0.1"))
    assert line["calling_ae_title"] == "EVIL\n{}"


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
