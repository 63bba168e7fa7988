"""A retrieve from a good region and a faulty one: what came is whole, what is missing is never passed over."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydicom import Dataset

from gateway.events import AssociationRefused, StoreRefused
from tests.adversity.province import BAD, MULTIPART, Answer, Province, province
from tests.kit import dicom, pdus
from tests.kit.region import Answer as RegionAnswer
from tests.kit.region import ScriptedRegion, answer_get, answer_move, counted, store_request
from tests.kit.scripted import Message, ScriptedPeer

Monkey = pytest.MonkeyPatch

SPLIT = dicom.uid(9)  # series 1 in the good region, series 2 with three instances in the faulty one
SERIES_1 = {str(dicom.uid(9, 1, n)) for n in (1, 2)}
SERIES_2 = {str(dicom.uid(9, 2, n)) for n in (1, 2, 3)}
BAD_ONLY = dicom.uid(3)
BAD_ONLY_INSTANCES = {str(dicom.uid(3, 1, n)) for n in (1, 2)}
OTHERS = [instance for instance in BAD if instance.StudyInstanceUID == dicom.uid(4)]


def moving(answer: RegionAnswer) -> ScriptedRegion:
    region = ScriptedRegion("BAD", BAD)
    region.answers[pdus.C_MOVE_RQ] = answer
    return region


def getting(answer: RegionAnswer) -> ScriptedRegion:
    region = ScriptedRegion("BAD", BAD)
    region.answers[pdus.C_GET_RQ] = answer
    return region


async def fetch(held: Province, study: str = SPLIT, **headers: str) -> Answer:
    return await held.get(f"/studies/{study}", MULTIPART, **headers)


def assert_broken(answer: Answer) -> None:
    """Nobody can take the body for whole."""
    assert answer.status in {200, 206}
    assert not answer.whole
    assert not answer.closed


# --- nothing wrong


@pytest.mark.parametrize("service", ["c-move", "c-get"])
async def test_a_split_study_comes_back_whole(monkeypatch: Monkey, service: str) -> None:
    async with province(monkeypatch, retrieve=service) as held:
        answer = await fetch(held)
        assert (answer.status, answer.whole, answer.closed) == (200, True, True)
        assert answer.instances == SERIES_1 | SERIES_2
        assert len(answer.parts) == 5
        pixels = {str(i.SOPInstanceUID): i.PixelData for i in map(dicom.from_part10, answer.parts)}
        assert all(pixels[i.SOPInstanceUID] == i.PixelData for i in BAD if i.StudyInstanceUID == SPLIT)


# --- R15: Success before the C-STOREs


async def success_first(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    selected = region.selected(request)
    await peer.send(counted(request, 0x0000, 0, len(selected)))
    async with region.storing(request.command["move_destination"]) as sub:
        for number, instance in enumerate(selected, start=1):
            await asyncio.sleep(0.1)
            assert await region.store(sub, number, instance, request) == 0
        await sub.release()


async def test_c_stores_that_follow_the_final_response_are_waited_for(monkeypatch: Monkey) -> None:
    async with province(monkeypatch, moving(success_first)) as held:
        answer = await fetch(held)
        assert (answer.status, answer.whole, answer.closed) == (200, True, True)
        assert answer.instances == SERIES_1 | SERIES_2


# --- R16: the counters disagree with what came


async def says_more_than_it_sends(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    selected = region.selected(request)
    async with region.storing(request.command["move_destination"]) as sub:
        for number, instance in enumerate(selected[:-1], start=1):
            await region.store(sub, number, instance, request)
        await sub.release()
    await peer.send(counted(request, 0x0000, 0, len(selected)))


async def fails_one(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    selected = region.selected(request)
    async with region.storing(request.command["move_destination"]) as sub:
        for number, instance in enumerate(selected[:-1], start=1):
            await region.store(sub, number, instance, request)
        await sub.release()
    await peer.send(counted(request, 0xB000, 0, len(selected) - 1, failed=1))


@pytest.mark.parametrize("answer", [says_more_than_it_sends, fails_one])
async def test_counters_that_do_not_fit_what_came_are_never_passed_over(
    monkeypatch: Monkey, answer: RegionAnswer
) -> None:
    async with province(monkeypatch, moving(answer), retrieve="c-move") as held:
        broken = await fetch(held)
        assert_broken(broken)
        assert broken.instances <= SERIES_1 | SERIES_2


# --- the region breaks off


async def one_then(
    region: ScriptedRegion, peer: ScriptedPeer, request: Message, end: Callable[[ScriptedPeer, ScriptedPeer], Any]
) -> None:
    selected = region.selected(request)
    async with region.storing(request.command["move_destination"]) as sub:
        await region.store(sub, 1, selected[0], request)
        await peer.send(counted(request, 0xFF00, len(selected) - 1, 1))
        whole = store_request(1, 2, selected[-1], request)
        await sub.send(whole[: len(whole) - 15_000])
        await end(peer, sub)
        await peer.hold()


async def abort_both(peer: ScriptedPeer, sub: ScriptedPeer) -> None:
    await sub.send(pdus.abort(0, 0))
    await peer.send(pdus.abort(0, 0))


async def reset_both(peer: ScriptedPeer, sub: ScriptedPeer) -> None:
    await sub.rst()
    await peer.rst()


async def close_both(peer: ScriptedPeer, sub: ScriptedPeer) -> None:
    await sub.close()
    await peer.close()


async def sub_falls_silent(peer: ScriptedPeer, sub: ScriptedPeer) -> None:
    await sub.hold()
    await peer.send(pdus.abort(0, 0))


async def sub_breaks_the_protocol(peer: ScriptedPeer, sub: ScriptedPeer) -> None:
    await sub.send(pdus.pdu(8, bytes(4)))
    await sub.hold()
    await peer.send(pdus.abort(0, 0))


@pytest.mark.parametrize("end", [abort_both, reset_both, close_both, sub_falls_silent, sub_breaks_the_protocol])
async def test_a_region_that_breaks_off_in_an_instance_breaks_the_body_and_keeps_the_rest(
    monkeypatch: Monkey, end: Callable[[ScriptedPeer, ScriptedPeer], Any]
) -> None:
    async def answer(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await one_then(region, peer, request, end)

    async with province(monkeypatch, moving(answer), retrieve="c-move") as held:
        broken = await fetch(held)
        assert_broken(broken)
        assert broken.seconds < 4.0
        await held.at_rest()


GET_ENDS: dict[str, Callable[[ScriptedPeer], Awaitable[object]]] = {
    "abort": lambda peer: peer.send(pdus.abort(0, 0)),
    "reset": ScriptedPeer.rst,
    "close": ScriptedPeer.close,
    "silence": ScriptedPeer.hold,
    "nonsense": lambda peer: peer.send(pdus.pdu(8, bytes(4))),
}


@pytest.mark.parametrize("how", GET_ENDS)
async def test_the_same_with_c_get(monkeypatch: Monkey, how: str) -> None:
    async def answer(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        selected = region.selected(request)
        context_id = next(number for number, name in peer.contexts.items() if name == pdus.CT_IMAGE)
        await peer.send(store_request(context_id, 1, selected[0]))
        await peer.recv_message()
        whole = store_request(context_id, 2, selected[-1])
        await peer.send(whole[: len(whole) - 15_000])
        await GET_ENDS[how](peer)
        await peer.hold()

    async with province(monkeypatch, getting(answer), retrieve="c-get") as held:
        broken = await fetch(held)
        assert_broken(broken)
        assert broken.seconds < 4.0
        await held.at_rest()


async def test_a_region_that_fails_before_anything_came_is_told_in_the_status(monkeypatch: Monkey) -> None:
    async def fail(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await peer.send(pdus.abort(0, 0))

    async with province(monkeypatch, moving(fail), retrieve="c-move") as held:
        answer = await fetch(held, BAD_ONLY)
        assert answer.status in {502, 503}
        assert answer.states["bad"].startswith("state=aborted")


async def test_a_region_that_never_begins_to_send_is_given_up_in_time(monkeypatch: Monkey) -> None:
    async def mute(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await peer.hold()

    settings = {"retrieve": {"first_instance_seconds": 0.5}}
    async with province(monkeypatch, moving(mute), retrieve="c-move", settings=settings) as held:
        answer = await fetch(held, BAD_ONLY)
        assert answer.status in {503, 504}
        assert answer.seconds < 2.0
        await held.at_rest()
        assert held.bad.saw(pdus.C_CANCEL_RQ)


async def test_a_region_that_is_down_makes_a_retrieve_200_with_a_warning(monkeypatch: Monkey) -> None:
    async def fail(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await peer.rst()

    bad = ScriptedRegion("BAD", BAD)
    bad.answers[pdus.C_FIND_RQ] = fail
    async with province(monkeypatch, bad) as held:
        answer = await fetch(held)
        assert (answer.status, answer.closed) == (200, True)
        assert answer.instances == SERIES_1
        assert answer.states["bad"].startswith("state=reset")
        assert any("bad" in warning for warning in answer.warnings)
        strict = await fetch(held, Prefer="handling=strict")
        assert strict.status == 503


# --- the same instance, twice and wrong


async def test_an_instance_sent_twice_is_handed_on_once(monkeypatch: Monkey) -> None:
    async def twice(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        selected = region.selected(request)
        async with region.storing(request.command["move_destination"]) as sub:
            for number, instance in enumerate([*selected, *selected], start=1):
                await region.store(sub, number, instance, request)
            await sub.release()
        await peer.send(counted(request, 0x0000, 0, 2 * len(selected)))

    async with province(monkeypatch, moving(twice)) as held:
        answer = await fetch(held)
        assert len(answer.parts) == 5
        assert answer.instances == SERIES_1 | SERIES_2


# --- R18: what nobody asked for


async def unsolicited(held: Province, instance: Dataset, *, called: str = "GATEWAY", calling: str = "BAD") -> int:
    async with held.bad.storing(called, calling) as sub:
        return await held.bad.store(sub, 1, instance)


async def test_a_c_store_without_a_move_is_refused_and_told(monkeypatch: Monkey) -> None:
    async with province(monkeypatch) as held:
        assert await unsolicited(held, BAD[0]) == 0x0124
        refused = [event for event in held.events if isinstance(event, StoreRefused)]
        assert refused == [StoreRefused("BAD", "GATEWAY", "127.0.0.1")]


async def test_who_is_neither_region_nor_peer_does_not_even_associate(monkeypatch: Monkey) -> None:
    async with province(monkeypatch) as held:
        with pytest.raises(AssertionError, match="got 3"):
            await unsolicited(held, BAD[0], calling="STRANGER")
        refused = [event for event in held.events if isinstance(event, AssociationRefused)]
        assert refused == [AssociationRefused("STRANGER", "GATEWAY", "127.0.0.1", "calling-ae-title")]


async def test_an_association_that_calls_someone_else_is_rejected(monkeypatch: Monkey) -> None:
    async with province(monkeypatch) as held:
        with pytest.raises(AssertionError, match="got 3"):
            await unsolicited(held, BAD[0], called="ARCHIVE")


class Smuggler:
    """Answers a C-MOVE, and sends something else beside it."""

    def __init__(self, **how: Any) -> None:
        self.how = how
        self.status: int | None = None

    async def __call__(self, region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        asked = Message(request.context_id, dict(request.command), request.data)
        asked.command["message_id"] += self.how.get("message_id", 0)
        foreign = self.how.get("instance") or region.selected(request)[0]
        calling = self.how.get("calling", region.ae_title)
        async with region.storing(request.command["move_destination"], calling) as sub:
            self.status = await region.store(sub, 1, foreign, asked)
        await answer_move(region, peer, request)


@pytest.mark.parametrize(
    "smuggler",
    [
        Smuggler(instance=OTHERS[0]),
        Smuggler(message_id=1),
        Smuggler(calling="GOOD"),
    ],
    ids=["another study", "another message id", "another region"],
)
async def test_a_c_store_that_does_not_fit_its_move_is_refused_and_never_handed_on(
    monkeypatch: Monkey, smuggler: Smuggler
) -> None:
    async with province(monkeypatch, moving(smuggler)) as held:
        answer = await fetch(held, BAD_ONLY)
        assert smuggler.status == 0x0124
        assert (answer.status, answer.closed) == (200, True)
        assert answer.instances == BAD_ONLY_INSTANCES
        assert any(isinstance(event, StoreRefused) for event in held.events)


async def test_a_c_get_brings_nothing_that_was_not_asked_for(monkeypatch: Monkey) -> None:
    statuses: list[int] = []

    async def smuggle(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        context_id = next(number for number, name in peer.contexts.items() if name == pdus.CT_IMAGE)
        await peer.send(store_request(context_id, 99, OTHERS[0]))
        statuses.append((await peer.recv_message()).command["status"])
        await answer_get(region, peer, request)

    async with province(monkeypatch, getting(smuggle), retrieve="c-get") as held:
        answer = await fetch(held, BAD_ONLY)
        assert statuses == [0x0124]
        assert answer.instances == BAD_ONLY_INSTANCES
        assert answer.closed


async def test_a_late_c_store_is_refused_once_its_retrieve_is_over(monkeypatch: Monkey) -> None:  # R17
    requests: list[Message] = []

    async def remember(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        requests.append(request)
        await answer_move(region, peer, request)

    async with province(monkeypatch, moving(remember)) as held:
        assert (await fetch(held, BAD_ONLY)).closed
        async with held.bad.storing("GATEWAY") as sub:
            assert await held.bad.store(sub, 1, BAD[0], requests[0]) == 0x0124


# --- the client leaves


async def test_a_client_that_leaves_midway_stops_the_regions(monkeypatch: Monkey) -> None:
    statuses: list[int] = []

    async def endless(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        async with region.storing(request.command["move_destination"]) as sub:
            while not statuses or statuses[-1] == 0:
                number = len(statuses) + 1
                copy = dicom.instance(3, 1, number, size=100_000)
                statuses.append(await region.store(sub, number, copy, request))
            await sub.release()
        await peer.hold()

    async with province(monkeypatch, moving(endless), retrieve="c-move") as held:
        reader, writer = await asyncio.open_connection("127.0.0.1", held.gateway.http_port)
        path = f"/dicom-web/studies/{BAD_ONLY}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {MULTIPART}\r\n\r\n".encode())
        await reader.readexactly(500_000)
        writer.transport.abort()
        await held.at_rest()
        assert held.bad.saw(pdus.C_CANCEL_RQ)
        async with asyncio.timeout(2.0):
            while statuses[-1] == 0:  # noqa: ASYNC110 - the script tells nobody
                await asyncio.sleep(0.01)
        assert statuses[-1] in {0xA700, 0x0124}


async def test_many_clients_that_leave_leave_nothing_behind(monkeypatch: Monkey) -> None:
    async def slow(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await asyncio.sleep(0.05)
        await answer_move(region, peer, request)

    async with province(monkeypatch, moving(slow), retrieve="c-move") as held:
        for number in range(30):
            asking = asyncio.ensure_future(fetch(held))
            await asyncio.sleep(0.003 * number)
            asking.cancel()
            await asyncio.wait([asking])
        await held.at_rest()
        answer = await fetch(held)
        assert answer.instances == SERIES_1 | SERIES_2
        assert answer.closed
