"""Move Destinations: held alone while a region does not name the originator, shared once it does."""

import asyncio

import pytest

from gateway.region.destinations import MoveDestinations
from tests.region.virtual_time import settled


class Borrower:
    """Holds a destination until told to give it back."""

    def __init__(self, destinations: MoveDestinations) -> None:
        self.ae_title = ""
        self._done = asyncio.Event()
        self.task = asyncio.ensure_future(self._borrow(destinations))

    async def _borrow(self, destinations: MoveDestinations) -> None:
        async with destinations.borrow() as self.ae_title:
            await self._done.wait()

    async def give_back(self) -> None:
        self._done.set()
        await self.task


async def held(*borrowers: Borrower) -> list[str]:
    await settled()
    return [borrower.ae_title for borrower in borrowers]


async def test_one_destination_serves_one_c_move_at_a_time() -> None:
    destinations = MoveDestinations(["GW1"])
    first, second = Borrower(destinations), Borrower(destinations)
    assert await held(first, second) == ["GW1", ""]
    await first.give_back()
    assert await held(second) == ["GW1"]
    await second.give_back()


async def test_two_destinations_serve_two_at_a_time() -> None:
    destinations = MoveDestinations(["GW1", "GW2"])
    borrowers = [Borrower(destinations) for _ in range(3)]
    assert await held(*borrowers) == ["GW1", "GW2", ""]
    await borrowers[1].give_back()
    assert await held(borrowers[2]) == ["GW2"]
    await borrowers[0].give_back()
    await borrowers[2].give_back()


async def test_who_waited_longest_is_next() -> None:
    destinations = MoveDestinations(["GW1"])
    borrowers = [Borrower(destinations) for _ in range(4)]
    for number, borrower in enumerate(borrowers):
        assert await held(*borrowers) == ["GW1"] * (number + 1) + [""] * (3 - number)
        await borrower.give_back()


async def test_one_who_gives_up_waiting_costs_no_destination() -> None:
    destinations = MoveDestinations(["GW1"])
    first, leaving, last = (Borrower(destinations) for _ in range(3))
    await settled()
    leaving.task.cancel()
    await asyncio.wait([leaving.task])
    await first.give_back()
    assert await held(last) == ["GW1"]
    await last.give_back()


async def test_one_who_gives_up_just_as_it_is_his_turn_costs_no_destination() -> None:
    destinations = MoveDestinations(["GW1"])
    first, leaving, last = (Borrower(destinations) for _ in range(3))
    await settled()
    first._done.set()
    leaving.task.cancel()
    await asyncio.wait([leaving.task])
    assert await held(last) == ["GW1"]
    await asyncio.gather(first.task, last.give_back())


async def test_an_error_gives_the_destination_back() -> None:
    destinations = MoveDestinations(["GW1"])
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with destinations.borrow():
                raise ZeroDivisionError


async def test_a_region_that_names_the_originator_has_any_number_at_a_time() -> None:
    destinations = MoveDestinations(["GW1", "GW2"])
    destinations.originator_named()
    borrowers = [Borrower(destinations) for _ in range(4)]
    assert await held(*borrowers) == ["GW1", "GW2", "GW1", "GW2"]
    for borrower in borrowers:
        await borrower.give_back()


async def test_who_waits_when_it_turns_out_that_the_region_names_the_originator_waits_no_more() -> None:
    destinations = MoveDestinations(["GW1"])
    borrowers = [Borrower(destinations) for _ in range(3)]
    assert await held(*borrowers) == ["GW1", "", ""]
    destinations.originator_named()
    borrowers.append(Borrower(destinations))
    assert await held(*borrowers) == ["GW1"] * 4
    for borrower in borrowers:
        await borrower.give_back()
