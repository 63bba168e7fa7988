"""Which service brings a region's instances: the one that is seen to work, whatever others find out meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from gateway.config import settings
from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.suboperations import SubOperations
from gateway.errors import Aborted, DimseFailure, GatewayError, Rejected, Stalled
from gateway.region.contexts import GET, MOVE
from gateway.region.inbox import Inbox, Receiver
from gateway.region.profile import Profile
from gateway.region.transfer import Transfer, retrieve_services
from tests.region.arriving import Arriving
from tests.region.virtual_time import settled
from tests.region.witness import Witness

STUDY = Selection("1")
UNKNOWN_DESTINATION = DimseFailure("no", status=0xA801)
Service = Callable[[Receiver], Awaitable[SubOperations]]


def region(**changes: Any) -> Profile:
    known = {"name": "A", "ae_title": "A", "host": "127.0.0.1", "port": 104, "move_destinations": ["GATEWAY"]}
    return Profile(**{**known, **changes})


async def brings(receive: Receiver) -> SubOperations:
    await receive(Arriving().arrive(), None)
    return SubOperations(status=0, completed=1)


def fails(error: GatewayError, *, after: int = 0) -> Service:
    async def service(receive: Receiver) -> SubOperations:
        for number in range(after):
            await receive(Arriving(number=number).arrive(), None)
        raise error

    return service


class Scripted(Transfer):
    """A transfer whose two services are scripted."""

    def __init__(self, profile: Profile, **services: Service) -> None:
        super().__init__(profile, settings.load(), cast("Any", None), Inbox(Witness()), self._none)
        self._scripts = services
        self.used: list[str] = []
        self.under_way = 0

    async def _none(self, selection: Selection, deadline: Deadline) -> list[str]:
        return []

    async def fetch(self) -> int:
        """Run one retrieve; return how many instances came."""
        arrived: list[IncomingStore] = []

        async def receive(store: IncomingStore, series: str | None) -> int:
            arrived.append(store)
            return 0

        await self.run(STUDY, receive, Deadline.after(60.0), lambda: False)
        return len(arrived)

    async def _perform(self, name: str, receive: Receiver) -> SubOperations:
        self.used.append(name)
        self.under_way += 1
        try:
            return await self._scripts[name](receive)
        finally:
            self.under_way -= 1

    async def _move(self, selection: Selection, receive: Receiver, *_: Any) -> SubOperations:
        return await self._perform("move", receive)

    async def _get(self, selection: Selection, receive: Receiver, *_: Any) -> SubOperations:
        return await self._perform("get", receive)


@pytest.mark.parametrize(
    ("retrieve", "destinations", "tried"),
    [
        ("auto", ["GATEWAY"], (MOVE, GET)),
        ("auto", [], (GET,)),
        ("c-move", ["GATEWAY"], (MOVE,)),
        ("c-get", ["GATEWAY"], (GET,)),
    ],
)
def test_the_profile_says_what_is_tried(retrieve: str, destinations: list[str], tried: tuple[str, ...]) -> None:
    assert retrieve_services(region(retrieve=retrieve, move_destinations=destinations)) == tried


@pytest.mark.parametrize(
    "error", [UNKNOWN_DESTINATION, DimseFailure("no", status=0x0122), Rejected("no context", source=3, reason=0)]
)
async def test_what_the_first_service_cannot_do_the_next_one_does(error: GatewayError) -> None:
    transfer = Scripted(region(), move=fails(error), get=brings)
    assert [await transfer.fetch() for _ in range(2)] == [1, 1]
    assert transfer.used == ["move", "get", "get"]


@pytest.mark.parametrize("error", [Aborted("gone"), Stalled("silent"), DimseFailure("full", status=0xA701)])
async def test_a_region_that_is_ill_is_not_asked_twice(error: GatewayError) -> None:
    transfer = Scripted(region(), move=fails(error), get=brings)
    with pytest.raises(type(error)):
        await transfer.fetch()
    assert transfer.used == ["move"]


async def test_a_service_that_brought_something_is_not_replaced_midway() -> None:
    transfer = Scripted(region(), move=fails(UNKNOWN_DESTINATION, after=1), get=brings)
    with pytest.raises(DimseFailure):
        await transfer.fetch()
    assert transfer.used == ["move"]


async def test_the_last_service_tells_how_it_failed() -> None:
    transfer = Scripted(region(), move=fails(UNKNOWN_DESTINATION), get=fails(Rejected("no context")))
    with pytest.raises(Rejected):
        await transfer.fetch()


async def test_what_another_retrieve_found_out_meanwhile_changes_nothing_midway() -> None:
    gate = asyncio.Event()
    first = True

    async def move(receive: Receiver) -> SubOperations:
        nonlocal first
        if first:
            first = False
            await gate.wait()
        raise UNKNOWN_DESTINATION

    transfer = Scripted(region(), move=move, get=brings)
    slow = asyncio.ensure_future(transfer.fetch())
    await settled()
    assert await transfer.fetch() == 1
    gate.set()
    assert await slow == 1


@pytest.mark.parametrize(("most", "at_once"), [(4, 3), (2, 1), (1, 1)])
async def test_one_association_is_left_to_searches(most: int, at_once: int) -> None:
    gate = asyncio.Event()

    async def held(receive: Receiver) -> SubOperations:
        await gate.wait()
        return SubOperations(status=0)

    transfer = Scripted(region(max_associations=most), move=held)
    fetching = [asyncio.ensure_future(transfer.fetch()) for _ in range(6)]
    await settled()
    assert transfer.under_way == at_once
    gate.set()
    await asyncio.gather(*fetching)
