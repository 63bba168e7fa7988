"""Which light a region has: every rule, and what outweighs what."""

from typing import Any

import pytest

from gateway.dimse.pool import Usage
from gateway.events import RegionOperation, RetrieveAnswered
from gateway.ops.advice import advice
from gateway.ops.lights import DAY, Facts, Light, Reason, light
from gateway.ops.record import RegionRecord, quantiles
from gateway.region.breaker import CircuitState
from gateway.region.profile import Profile

PROFILE = Profile(name="HDIRS", ae_title="HDIRS_AE", host="10.0.0.7", port=104, move_destinations=("GW1",))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def operation(outcome: str = "complete", verb: str = "search", code: str = "", first: float | None = None) -> Any:
    return RegionOperation("hdirs", verb, outcome, 0.1, 0, first, code=code)


def record(*events: Any, clock: Clock | None = None) -> RegionRecord:
    clock = clock or Clock()
    made = RegionRecord(clock)
    for event in events:
        clock.now += 1
        if isinstance(event, RegionOperation):
            made.note(event)
        else:
            made.moved(event)
    return made


def seen(made: RegionRecord, **more: Any) -> tuple[Light, tuple[Reason, ...]]:
    return light(Facts(made, more.pop("circuit", CircuitState.CLOSED), **more))


@pytest.mark.parametrize(
    ("events", "colour", "reason"),
    [
        ([], Light.GREY, Reason.NOT_ASKED),
        ([operation()], Light.GREEN, Reason.ANSWERS),
        ([operation(verb="verify")], Light.GREEN, Reason.ANSWERS),
        ([operation("limited")], Light.GREEN, Reason.ANSWERS),
        ([operation("refused")], Light.RED, Reason.ABSENT),
        ([operation(), operation("timeout")], Light.RED, Reason.ABSENT),
        ([operation("timeout"), operation(verb="verify")], Light.AMBER, Reason.FAILED),
        ([operation("failed", code="A700")], Light.AMBER, Reason.FAILED),
        ([operation("rejected", code="1/3")], Light.RED, Reason.ABSENT),
        ([operation("rejected", code="3/0")], Light.AMBER, Reason.FAILED),
        ([operation(), operation("saturated")], Light.GREEN, Reason.ANSWERS),
        ([operation(first=5.0)], Light.AMBER, Reason.SLOW),
        ([operation(), RetrieveAnswered("hdirs", "c-move", 0xA801, 0, 0)], Light.AMBER, Reason.UNKNOWN_DESTINATION),
        ([operation(), RetrieveAnswered("hdirs", "c-get", 0xA801, 0, 0)], Light.GREEN, Reason.ANSWERS),
    ],
)
def test_what_was_noticed_last_decides(events: list[Any], colour: Light, reason: Reason) -> None:
    assert seen(record(*events)) == (colour, (reason,))


@pytest.mark.parametrize("circuit", [CircuitState.OPEN, CircuitState.HALF_OPEN])
def test_a_region_that_is_left_alone_is_red_whatever_it_said_before(circuit: CircuitState) -> None:
    assert seen(record(operation()), circuit=circuit) == (Light.RED, (Reason.LEFT_ALONE,))


@pytest.mark.parametrize(
    ("days", "colour", "reason"),
    [
        (-1, Light.RED, Reason.CERTIFICATE_ENDED),
        (20, Light.AMBER, Reason.CERTIFICATE_ENDS),
        (22, Light.GREEN, Reason.ANSWERS),
    ],
)
def test_a_certificate_that_ends_soon_is_amber_and_one_that_has_ended_red(
    days: int, colour: Light, reason: Reason
) -> None:
    assert seen(record(operation()), certificate_seconds=days * DAY) == (colour, (reason,))


def test_operations_that_wait_for_an_association_make_it_amber() -> None:
    assert seen(record(operation()), usage=Usage(4, 0, 2, 4)) == (Light.AMBER, (Reason.CROWDED,))
    assert seen(record(operation()), usage=Usage(4, 0, 0, 4)) == (Light.GREEN, (Reason.ANSWERS,))


def test_a_failure_is_forgiven_after_five_minutes_of_answers() -> None:
    clock = Clock()
    made = record(operation("timeout"), operation(), clock=clock)
    assert seen(made)[0] is Light.AMBER
    clock.now += 301
    assert seen(made)[0] is Light.GREEN


def test_first_matches_of_long_ago_count_no_more() -> None:
    clock = Clock()
    made = record(operation(first=9.0), clock=clock)
    clock.now += 1000
    assert made.first_matches == ()


def test_quantiles_are_of_what_there_is() -> None:
    assert quantiles(()) is None
    assert quantiles((0.2,)) == (0.2, 0.2)
    found = quantiles(tuple(number / 100 for number in range(101)))
    assert found is not None
    assert found == pytest.approx((0.5, 0.95))


@pytest.mark.parametrize("french", [False, True])
@pytest.mark.parametrize(
    ("outcome", "code", "names"),
    [
        ("refused", "", ["10.0.0.7:104"]),
        ("unreachable", "certificate", ["10.0.0.7"]),
        ("rejected", "1/3", ["GATEWAY"]),
        ("rejected", "1/7", ["HDIRS_AE"]),
        ("failed", "A801", ["GW1"]),
        ("failed", "C123", ["C123"]),
        ("truncated", "", ["truncated"]),
        ("never-heard-of", "", ["never-heard-of"]),
    ],
)
def test_advice_names_what_has_to_be_looked_at(outcome: str, code: str, names: list[str], french: bool) -> None:
    said = advice(outcome, code, PROFILE, "GATEWAY", french=french)
    text = f"{said.what} {said.remedy}"
    assert all(name in text for name in names)
    assert "{" not in text
