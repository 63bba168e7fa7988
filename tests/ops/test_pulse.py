"""The light C-ECHO: it finds out what nobody has asked for, and disturbs nobody."""

import asyncio

import pytest

from gateway.deadline import Deadline
from gateway.dimse.pool import Usage
from gateway.errors import Refused
from gateway.events import Event, RegionOperation
from gateway.ops.pulse import Echoes
from gateway.region.breaker import Breaker, CircuitState
from gateway.region.profile import Profile
from tests.kit import pdus
from tests.ops.serving import archive, nobody, watched


class Region:
    """A region that counts how often it is asked."""

    def __init__(self, name: str = "A", usage: Usage | None = None, error: Exception | None = None) -> None:
        self.profile = Profile(name=name, ae_title=name, host="127.0.0.1", port=104)
        self.breaker = Breaker(self.profile.id)
        self.associations = usage or Usage(0, 1, 0, 4)
        self.asked = 0
        self._error = error

    async def examine(self, deadline: Deadline) -> None:
        assert deadline.remaining <= 5.0
        self.asked += 1
        if self._error is not None:
            raise self._error


async def asked(region: Region) -> list[Event]:
    events: list[Event] = []

    def observe(event: Event) -> None:
        events.append(event)

    await Echoes([region], observe, 30.0).ask(region)
    return events


async def test_a_region_that_is_at_rest_is_asked_and_told_of() -> None:
    [event] = await asked(region := Region())
    assert isinstance(event, RegionOperation)
    assert (event.region, event.verb, event.outcome, region.asked) == ("a", "verify", "complete", 1)


async def test_a_region_that_does_not_answer_is_told_of() -> None:
    [event] = await asked(Region(error=Refused("nobody")))
    assert isinstance(event, RegionOperation)
    assert event.outcome == "refused"


@pytest.mark.parametrize("usage", [Usage(1, 0, 0, 4), Usage(0, 0, 3, 4)])
async def test_a_region_that_is_at_work_is_not_disturbed(usage: Usage) -> None:
    region = Region(usage=usage)
    assert await asked(region) == []
    assert region.asked == 0


async def test_a_region_whose_circuit_is_open_is_left_alone() -> None:
    region = Region()
    for _ in range(Breaker.THRESHOLD):
        region.breaker.fail()
    assert await asked(region) == []
    assert region.asked == 0


async def test_all_regions_are_asked_again_and_again_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ops.pulse.FIRST_SECONDS", 0.0)
    enough, seen = asyncio.Event(), list[str]()

    def observe(event: Event) -> None:
        assert isinstance(event, RegionOperation)
        seen.append(event.region)
        if len(seen) >= 9:
            enough.set()

    regions = [Region(name) for name in "ABC"]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Echoes(regions, observe, 0.01).run())
        async with asyncio.timeout(30):
            await enough.wait()
        task.cancel()
    assert set(seen[:3]) == {"a", "b", "c"}
    assert min(region.asked for region in regions) >= 2


async def test_lights_come_on_without_anybody_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ops.pulse.FIRST_SECONDS", 0.0)
    monkeypatch.setattr("gateway.ops.status.FRESH_SECONDS", 0.0)
    region = archive()
    async with watched(region, absent=[nobody()], settings={"ops": {"echo_seconds": 0.05}}) as here:
        async with asyncio.timeout(30):
            while {x["light"] for x in (await here.status())["regions"]} != {"green", "red"}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert region.saw(pdus.C_ECHO_RQ)
    assert not region.saw(pdus.C_FIND_RQ)


async def test_a_region_that_comes_back_is_let_in_again_without_a_caller_who_has_to_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.ops.pulse.FIRST_SECONDS", 0.0)
    async with watched(archive(), settings={"ops": {"echo_seconds": 0.02}}) as here:
        breaker = here.gateway.regions[0].breaker
        for _ in range(Breaker.THRESHOLD):
            breaker.fail()
        breaker._until = 0.0
        async with asyncio.timeout(30):
            while breaker.state is not CircuitState.CLOSED:  # noqa: ASYNC110 - a breaker tells no task
                await asyncio.sleep(0.01)
