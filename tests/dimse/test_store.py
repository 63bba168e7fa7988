"""C-STORE as SCU: bytes as given, in the PDUs the peer can take, no faster than it takes them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.store import store
from gateway.errors import Aborted, DimseFailure, GatewayError, Rejected, Reset, Stalled
from tests.dimse.scripts import (
    CT,
    ECHO,
    TIMED,
    associated_with,
    echo_answer,
    most_in_flight,
    serve,
    settled,
    soon,
    until,
)
from tests.kit import dicom, pdus
from tests.kit.scripted import Message, ScriptedPeer

UID = str(dicom.uid(1, 1, 1))


async def storing(association: Association, data: Any, **options: Any) -> int:
    deadline = options.pop("deadline", soon())
    return await store(association, pdus.CT_IMAGE, UID, pdus.EXPLICIT_LE, data, deadline, **options)


def taking(kept: list[Message], status: int = 0) -> Any:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        kept.append(request)
        await peer.send(pdus.message(request.context_id, pdus.response(request.command, status, error_comment="full")))

    return answer


@pytest.mark.parametrize("maximum", [8, 100, 16_384, 0])
@pytest.mark.parametrize("size", [0, 2, 5000])
async def test_the_bytes_arrive_as_they_were_given(maximum: int, size: int) -> None:
    size *= max(maximum, 100) // 100
    kept: list[Message] = []
    content = bytes(n % 251 for n in range(size))
    async with associated_with(serve(taking(kept), user=pdus.user_information(maximum)), CT) as (association, peer):
        pieces = [content[at : at + 777] for at in range(0, size, 777)]
        assert await storing(association, pieces, move_originator=("PACS", 12)) == 0
        assert association.clean
        command = kept[0].command
        assert kept[0].data == content
        assert (command["affected_sop_class_uid"], command["affected_sop_instance_uid"]) == (pdus.CT_IMAGE, UID)
        assert (command["move_originator_ae_title"], command["move_originator_message_id"]) == ("PACS", 12)
        if maximum:
            assert max(len(pdu.body) for pdu in peer.received if pdu.type == pdus.P_DATA_TF) <= maximum


async def test_data_may_come_from_an_asynchronous_source() -> None:
    async def source() -> AsyncIterator[bytes]:
        for number in range(10):
            await asyncio.sleep(0)
            yield bytes([number]) * 1000

    kept: list[Message] = []
    async with associated_with(serve(taking(kept)), CT) as (association, _):
        await storing(association, source())
        assert kept[0].data == b"".join(bytes([n]) * 1000 for n in range(10))
        assert "move_originator_ae_title" not in kept[0].command


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
async def test_a_warning_is_returned(status: int) -> None:
    async with associated_with(serve(taking([], status)), CT) as (association, _):
        assert await storing(association, [b"data"]) == status


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0x0122, 0x0124])
async def test_a_refusal_is_raised_and_the_association_goes_on(status: int) -> None:
    async with associated_with(serve(taking([], status)), CT) as (association, _):
        for _ in range(2):
            with pytest.raises(DimseFailure) as caught:
                await storing(association, [b"data"])
            assert (caught.value.status, caught.value.comment) == (status, "full")
        assert association.clean


async def test_no_context_for_the_transfer_syntax_is_a_rejection() -> None:
    async with associated_with(serve(taking([])), CT, ECHO) as (association, _):
        with pytest.raises(Rejected):
            await store(association, pdus.CT_IMAGE, UID, "1.2.840.10008.1.2.4.90", [b"data"], soon())
        assert association.clean


async def test_a_peer_that_does_not_read_is_not_pushed() -> None:
    produced = 0

    def source() -> Iterator[bytes]:
        nonlocal produced
        while True:
            produced += 100_000
            yield bytes(100_000)

    async def deaf(peer: ScriptedPeer) -> None:
        await peer.accept()
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with associated_with(deaf, CT) as (association, _):
        task = asyncio.ensure_future(storing(association, source(), deadline=Deadline.after(1.5)))
        assert await settled(lambda: produced) < most_in_flight()
        with pytest.raises(Stalled):
            await task
        await until(lambda: association.closed)


@TIMED
@pytest.mark.parametrize("deaf", [True, False])
async def test_a_peer_that_takes_or_answers_nothing_is_a_stall(deaf: bool) -> None:
    async def hang(peer: ScriptedPeer) -> None:
        await peer.accept()
        if deaf:
            peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        await peer.hold()

    async with associated_with(hang, CT) as (association, _):
        began = asyncio.get_running_loop().time()
        with pytest.raises(Stalled):
            await storing(association, (bytes(100_000) for _ in range(1000 if deaf else 1)), patience=0.3)
        assert asyncio.get_running_loop().time() - began < 5.0
        await until(lambda: association.closed)


@TIMED
async def test_a_source_that_is_slow_is_not_the_peers_fault() -> None:
    async def source() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0.5)
            yield bytes(1000)

    async with associated_with(serve(taking([])), CT) as (association, _):
        assert await storing(association, source(), patience=0.3) == 0


@pytest.mark.parametrize("how", ["abort", "reset"])
async def test_a_peer_that_ends_midway_ends_the_store(how: str) -> None:
    async def leave(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.recv()
        await peer.recv()
        if how == "abort":
            await peer.send(pdus.abort(0, 0))
        await peer.rst()

    def source() -> Iterator[bytes]:
        while True:
            yield bytes(50_000)

    async with associated_with(leave, CT) as (association, _):
        with pytest.raises(GatewayError) as caught:
            await storing(association, source())
        assert type(caught.value) in {Aborted, Reset}


async def test_a_source_that_fails_leaves_no_half_instance_behind() -> None:
    def source() -> Iterator[bytes]:
        yield bytes(100_000)
        raise ZeroDivisionError

    kept: list[Message] = []
    async with associated_with(serve(taking(kept)), CT) as (association, peer):
        with pytest.raises(ZeroDivisionError):
            await storing(association, source())
        assert association.closed
        await until(lambda: any(pdu.type == pdus.A_ABORT for pdu in peer.received))
        assert kept == []


async def test_a_store_that_is_cancelled_midway_aborts() -> None:
    async def source() -> AsyncIterator[bytes]:
        yield bytes(100_000)
        await asyncio.Event().wait()

    async with associated_with(serve(echo_answer), CT) as (association, peer):
        task = asyncio.ensure_future(storing(association, source()))
        await until(lambda: any(pdu.type == pdus.P_DATA_TF for pdu in peer.received))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: any(pdu.type == pdus.A_ABORT for pdu in peer.received))
