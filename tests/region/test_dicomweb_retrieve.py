"""Retrieves of a region over WADO-RS: instance by instance as they arrive, and never more than was asked for."""

import asyncio

import pytest
from aiohttp import web

from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.dimse.incoming import IncomingStore
from gateway.errors import (
    GatewayError,
    PartlyAnswered,
    Rejected,
    RemoteProtocolError,
    Stalled,
    Truncated,
)
from gateway.events import StoreRefused
from gateway.region import dicomweb_client, dicomweb_retrieve
from tests.dimse.scripts import settled, until
from tests.kit import dicom
from tests.region.web_archive import MULTIPART, STUDY, Handler, body, files, raw, sending, server, status, webbed

REAL_TIME = True
INSTANCES = dicom.study(1, series=1, instances=3, size=40_000)
WHOLE = {str(x.SOPInstanceUID): dicom.encode(x) for x in INSTANCES}
SERIES = dicom.uid(1, 1)


async def test_each_instance_is_handed_on_as_it_is_stored() -> None:
    async with webbed(sending(body(*files(*INSTANCES)))) as (watching, requests):
        result, arrived = await watching.retrieve()
        assert arrived == WHOLE
        assert (result.status, result.completed, result.failed) == (0, 3, 0)
        assert requests.paths == [f"/studies/{dicom.uid(1)}"]
        assert requests[0].headers["Accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_it_does_not_matter_how_the_bytes_are_cut(size: int) -> None:
    content = body(*files(dicom.instance(1, size=500)))

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": MULTIPART})
        await response.prepare(request)
        for at in range(0, len(content), size):
            await response.write(content[at : at + size])
        return response

    async with webbed(handler) as (watching, _):
        _, arrived = await watching.retrieve()
        assert arrived == {dicom.uid(1, 1, 1): dicom.encode(dicom.instance(1, size=500))}


async def test_an_instance_is_handed_on_before_it_is_here_whole() -> None:
    content, go_on = body(*files(INSTANCES[0])), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": MULTIPART})
        await response.prepare(request)
        await response.write(content[:20_000])
        await go_on.wait()
        await response.write(content[20_000:])
        return response

    async def receive(store: IncomingStore, series: str | None) -> int:
        assert series == SERIES
        await anext(store)
        go_on.set()
        await store.received()
        return 0

    async with webbed(handler) as (watching, _):
        result = await watching.region.retrieve(STUDY, receive, Deadline.after(5), held_up=lambda: False)
        assert result.completed == 1


async def test_single_instances_are_asked_for_one_by_one_and_one_that_is_gone_costs_no_other() -> None:
    uids = [str(x.SOPInstanceUID) for x in INSTANCES]

    async def handler(request: web.Request) -> web.StreamResponse:
        uid = request.path.rpartition("/")[2]
        if uid == uids[1]:
            return web.Response(status=410)
        return await sending(body(*files(INSTANCES[uids.index(uid)])))(request)

    async with webbed(handler) as (watching, requests):
        result, arrived = await watching.retrieve(Selection(dicom.uid(1), SERIES, tuple(uids)))
        assert arrived == {uid: WHOLE[uid] for uid in (uids[0], uids[2])}
        assert (result.status, result.completed, result.failed) == (0xB000, 2, 1)
        assert sorted(requests.paths) == sorted(f"/studies/{dicom.uid(1)}/series/{SERIES}/instances/{x}" for x in uids)


async def test_a_study_that_is_not_there_brings_nothing() -> None:
    async with webbed(status(404)) as (watching, _):
        result, arrived = await watching.retrieve()
        assert (result.completed, result.failed, arrived) == (0, 0, {})


# --- what is not whole


async def test_a_body_without_its_closing_boundary_is_not_complete() -> None:
    async with webbed(sending(body(*files(*INSTANCES), closed=False))) as (watching, _):
        arrived: dict[str, bytes] = {}
        with pytest.raises(Truncated):
            await watching.retrieve(arrived=arrived)
        assert len(arrived) == 2  # the end of the third was not told


async def test_what_reads_an_instance_that_breaks_off_learns_so() -> None:
    content = body(*files(INSTANCES[0]))
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {MULTIPART}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    met: list[GatewayError] = []

    async def receive(store: IncomingStore, series: str | None) -> int:
        try:
            async for _ in store:
                pass
        except GatewayError as error:
            met.append(error)
            raise
        return 0

    async with raw(head + content[:20_000]) as watching:
        with pytest.raises(Truncated):
            await watching.region.retrieve(STUDY, receive, Deadline.after(5), held_up=lambda: False)
    assert [type(error) for error in met] == [Truncated]


async def test_a_part_of_it_is_no_success() -> None:
    async with webbed(sending(body(*files(INSTANCES[0])), code=206)) as (watching, _):
        result, _ = await watching.retrieve()
        assert (result.completed, result.failed) == (1, 1)


async def test_what_a_federation_lacks_is_told_behind_what_it_sends() -> None:
    header = "a;state=complete, b;state=timeout"
    async with webbed(sending(body(*files(*INSTANCES)), Federation_Status=header)) as (watching, _):
        arrived: dict[str, bytes] = {}
        with pytest.raises(PartlyAnswered) as caught:
            await watching.retrieve(arrived=arrived)
        assert caught.value.parts == ("b",)
        assert arrived == WHOLE


# --- what nobody asked for


async def test_an_instance_of_another_study_is_refused_and_told() -> None:
    foreign = dicom.instance(2)
    async with webbed(sending(body(*files(foreign, *INSTANCES)))) as (watching, _):
        result, arrived = await watching.retrieve()
        assert arrived == WHOLE
        assert (result.completed, result.failed) == (3, 1)
        assert len(watching.events.of(StoreRefused)) == 1


async def test_an_instance_that_was_not_named_is_refused() -> None:
    async with webbed(sending(body(*files(*INSTANCES)))) as (watching, _):
        uid = str(INSTANCES[1].SOPInstanceUID)
        _, arrived = await watching.retrieve(Selection(dicom.uid(1), SERIES, (uid,)))
        assert arrived == {uid: WHOLE[uid]}


@pytest.mark.parametrize("part", [b"", b"no DICOM", bytes(128) + b"DICM", b"MZ" + files(INSTANCES[0])[0][2:]])
async def test_a_part_that_is_no_file_costs_no_other(part: bytes) -> None:
    async with webbed(sending(body(part, *files(*INSTANCES)))) as (watching, _):
        result, arrived = await watching.retrieve()
        assert arrived == WHOLE
        assert (result.completed, result.failed) == (3, 1)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"<html></html>", "text/html"),
        (b"[]", "application/dicom+json"),
        (files(INSTANCES[0])[0], "application/dicom"),
        (body(*files(INSTANCES[0])), "multipart/related"),
        (b"x" * 100_000, MULTIPART),
        (b"--of-the-parts\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", MULTIPART),
    ],
)
async def test_what_is_no_answer_to_a_retrieve_is_an_error_of_the_region(content: bytes, media_type: str) -> None:
    async with webbed(sending(content, media_type=media_type)) as (watching, _):
        with pytest.raises(RemoteProtocolError):
            await watching.retrieve()


async def test_a_redirect_is_not_followed() -> None:
    async with server(sending(body(*files(*INSTANCES)))) as elsewhere:
        async with webbed(status(307, Location=elsewhere.url)) as (watching, _):
            with pytest.raises(Rejected):
                await watching.retrieve()
        assert elsewhere == []


# --- how fast, and how much


def dripping(first: bytes, drop: bytes, seconds: float) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": MULTIPART})
        await response.prepare(request)
        await response.write(first)
        while True:
            await asyncio.sleep(seconds)
            await response.write(drop)

    return handler


@pytest.mark.parametrize("seconds", [0.02, 60.0])
async def test_who_sends_nothing_or_next_to_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(dicomweb_client, "STALL_SECONDS", 0.3)
    content = body(*files(*INSTANCES))
    async with webbed(dripping(content[:50_000], b"x", seconds)) as (watching, _):
        arrived: dict[str, bytes] = {}
        with pytest.raises(Stalled):
            await watching.retrieve(arrived=arrived)
        assert len(arrived) == 1


async def test_no_more_is_read_than_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb_retrieve, "HIGH_WATER", 2 << 20)
    sent, go_on = 0, asyncio.Event()
    whole = body(*files(dicom.instance(1, size=60 << 20)))

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": MULTIPART})
        await response.prepare(request)
        for at in range(0, len(whole), 1 << 16):
            await response.write(whole[at : at + (1 << 16)])
            sent += 1 << 16
        return response

    async def receive(store: IncomingStore, series: str | None) -> int:
        await go_on.wait()
        async for _ in store:
            pass
        return 0

    async with webbed(handler) as (watching, _):
        task = asyncio.ensure_future(watching.region.retrieve(STUDY, receive, Deadline.after(20), held_up=lambda: True))
        await until(lambda: sent)
        await settled(lambda: sent)  # on a clock that counts only when neither end has anything to do
        assert sent < 32 << 20  # ours, and what the kernel's buffers take
        go_on.set()
        assert (await task).completed == 1
        assert sent >= len(whole)


async def test_a_retrieve_that_is_left_frees_its_connection() -> None:
    left = asyncio.Event()
    content = body(*files(*INSTANCES))

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            response = web.StreamResponse(headers={"Content-Type": MULTIPART})
            await response.prepare(request)
            await response.write(content[:50_000])
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with webbed(handler) as (watching, _):
        arrived: dict[str, bytes] = {}
        task = asyncio.ensure_future(watching.retrieve(arrived=arrived))
        await until(lambda: bool(arrived))
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.wait_for(left.wait(), 30)


async def test_who_cannot_take_an_instance_stops_the_retrieve() -> None:
    async def receive(store: IncomingStore, series: str | None) -> int:
        raise Stalled("no room")

    async with webbed(sending(body(*files(*INSTANCES)))) as (watching, _):
        with pytest.raises(Stalled, match="no room"):
            await watching.region.retrieve(STUDY, receive, Deadline.after(5), held_up=lambda: False)
