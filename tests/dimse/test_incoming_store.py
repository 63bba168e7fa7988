"""C-STORE as SCP: handed on piece by piece, held back by a slow reader, and never half an instance for a whole one."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.dimse.incoming import IncomingStore
from gateway.errors import Aborted, Closed, GatewayError, LimitExceeded, Reset, Stalled, Truncated, UnsolicitedStore
from gateway.wire.limits import Limits
from tests.dimse.callers import accepting, calling, echo_request, store_command, store_request, swallow
from tests.dimse.scripts import QUICK, most_in_flight, settled, until
from tests.kit import dicom, pdus
from tests.kit.peers import STORESCU, run
from tests.kit.scripted import PeerGoneError, ScriptedPeer


@pytest.mark.parametrize("pdu", [4096, 131072])
async def test_storescu(tmp_path: Path, pdu: int) -> None:
    instances = dicom.study(1, instances=3, size=204_800)
    for number, instance in enumerate(instances):
        (tmp_path / f"{number}.dcm").write_bytes(dicom.part10(instance))
    received: dict[str, bytes] = {}

    async def keep(incoming: IncomingStore) -> int:
        received[incoming.sop_instance_uid] = b"".join([bytes(piece) async for piece in incoming])
        assert incoming.transfer_syntax_uid == pdus.EXPLICIT_LE
        assert incoming.move_originator_ae_title is None
        return 0

    async with accepting(keep) as (acceptor, port):
        files = [tmp_path / f"{number}.dcm" for number in range(3)]
        sent = await run(STORESCU, "-aec", "GATEWAY", "--max-send-pdu", pdu, "127.0.0.1", port, *files)
        assert sent.returncode == 0, sent.output
        await until(lambda: repr(acceptor) == "<Acceptor associated=0 waiting=0>")
    held = {uid: bytes(dicom.decode(data).PixelData) for uid, data in received.items()}
    assert held == {str(i.SOPInstanceUID): i.PixelData for i in instances}


async def test_fragments_are_handed_on_while_the_instance_is_still_arriving() -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()

    async def forward(incoming: IncomingStore) -> int:
        async for piece in incoming:
            pieces.put_nowait(bytes(piece))
        return 0

    async with calling(forward) as (_, peer):
        await peer.send(pdus.p_data(3, pdus.command_set(store_command()), command=True))
        for number in range(5):
            content = bytes([number]) * 1000
            await peer.send(pdus.p_data(3, content, last=number == 4))
            got = b""
            while len(got) < 1000:
                got += await asyncio.wait_for(pieces.get(), 30)
            assert got == content
        assert (await peer.recv_message()).command["status"] == 0


async def test_peek_leaves_everything_to_be_read() -> None:
    seen: list[bytes] = []

    async def look(incoming: IncomingStore) -> int:
        seen.extend([await incoming.peek(4), await incoming.peek(12), await incoming.peek(10_000)])
        seen.append(b"".join([bytes(piece) async for piece in incoming]))
        seen.append(await incoming.peek(5))
        return 0

    async with calling(look) as (_, peer):
        await peer.send(pdus.message(3, store_command(), b"0123456789" * 10, chunk=7))
        assert (await peer.recv_message()).command["status"] == 0
    whole = b"0123456789" * 10
    assert seen == [whole[:4], whole[:12], whole, whole, b""]


async def test_the_response_waits_for_the_last_fragment_even_if_the_handler_does_not() -> None:
    kept: list[IncomingStore] = []

    async def leave_it_to_others(incoming: IncomingStore) -> int:
        kept.append(incoming)
        return 0

    async with calling(leave_it_to_others) as (_, peer):
        request = store_request(data=bytes(50_000))
        await peer.send(request[:-100])
        await until(lambda: kept and kept[0].buffered > 40_000)
        assert len(peer.received) == 1  # nothing but the A-ASSOCIATE-AC
        await peer.send(request[-100:])
        assert (await peer.recv_message()).command["status"] == 0
        await kept[0].received()
        assert sum([len(piece) async for piece in kept[0]]) == 50_000


@pytest.mark.parametrize("size", [0, 1, 2, 100_000])
async def test_instances_of_any_size_arrive_whole(size: int) -> None:
    received: list[bytes] = []

    async def keep(incoming: IncomingStore) -> int:
        received.append(b"".join([bytes(piece) async for piece in incoming]))
        return 0

    async with calling(keep) as (_, peer):
        content = bytes(n % 251 for n in range(size))
        for number in range(1, 4):
            await peer.send(store_request(number, content))
            await peer.recv_message()
        assert received == [content] * 3


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB007, 0xA700, 0xC000, 0x0124])
async def test_the_handlers_status_is_the_answer(status: int) -> None:  # R18: 0x0124 refuses an unsolicited C-STORE
    kept: list[IncomingStore] = []

    async def refuse(incoming: IncomingStore) -> int:
        kept.append(incoming)
        return status

    async with calling(refuse) as (_, peer):
        await peer.send(store_request(data=bytes(30_000)))
        answer = (await peer.recv_message()).command
        assert (answer["status"], answer["command_field"]) == (status, pdus.C_STORE_RSP)
        failure = status >> 12 in {0xA, 0xC, 0x0} and status != 0
        assert kept[0].buffered == (0 if failure else 30_000)  # nothing is kept of what was refused
        await peer.send(echo_request())
        assert (await peer.recv_message()).command["command_field"] == pdus.C_ECHO_RSP


async def test_what_is_refused_is_swallowed_without_being_held() -> None:  # R18
    async def refuse(incoming: IncomingStore) -> int:
        incoming.discard()
        return UnsolicitedStore.dimse_status

    async with calling(refuse) as (_, peer):
        tracemalloc.start()
        try:
            await peer.send(pdus.p_data(3, pdus.command_set(store_command()), command=True))
            piece = pdus.p_data(3, bytes(100_000), last=False)
            for _ in range(300):
                await peer.send(piece)
            await peer.send(pdus.p_data(3, b"", last=True))
            assert (await peer.recv_message()).command["status"] == 0x0124
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()


async def test_what_is_promised_is_answered_once_and_waits_for_the_last_fragment_but_for_no_handler() -> None:
    promised, answered = asyncio.Event(), asyncio.Event()

    async def promise(incoming: IncomingStore) -> int:
        await incoming.peek(1)
        incoming.promise(0xB000)
        promised.set()
        await answered.wait()
        await swallow(incoming)
        return 0

    async with calling(promise) as (_, peer):
        request = store_request(data=bytes(60_000))
        await peer.send(request[:-10_000])
        await asyncio.wait_for(promised.wait(), 5)
        assert not peer.commands
        await peer.send(request[-10_000:])
        assert (await peer.recv_message()).command["status"] == 0xB000
        answered.set()
        await peer.send(store_request(2))
        assert (await peer.recv_message()).command["message_id_being_responded_to"] == 2


async def test_a_promise_is_not_kept_for_what_was_discarded() -> None:
    async def think_better_of_it(incoming: IncomingStore) -> int:
        incoming.promise(0)
        incoming.discard()
        return 0xA700

    async with calling(think_better_of_it) as (_, peer):
        await peer.send(store_request(data=bytes(60_000)))
        assert (await peer.recv_message()).command["status"] == 0xA700


async def test_who_reads_what_is_discarded_does_not_take_it_for_whole() -> None:
    told = asyncio.get_running_loop().create_future()

    async def read_while_it_is_refused(incoming: IncomingStore) -> int:
        async def read() -> None:
            try:
                await swallow(incoming)
            except GatewayError as error:
                told.set_result(error)
            else:
                told.set_result(None)

        reading = asyncio.ensure_future(read())
        await incoming.peek(1)
        incoming.discard()
        await asyncio.wait([reading])
        return 0xA700

    async with calling(read_while_it_is_refused) as (_, peer):
        await peer.send(store_request(data=bytes(60_000))[:-10_000])
        assert isinstance(await asyncio.wait_for(told, 30), Aborted)


@pytest.mark.parametrize(
    ("error", "status"), [(LimitExceeded("full", limit="spool"), 0xA700), (UnsolicitedStore("whose?"), 0x0124)]
)
async def test_an_error_the_handler_raises_is_its_status(error: GatewayError, status: int) -> None:
    async def fail(incoming: IncomingStore) -> int:
        raise error

    async with calling(fail) as (_, peer):
        await peer.send(store_request())
        assert (await peer.recv_message()).command["status"] == status


async def test_no_error_of_a_handler_is_answered_with_success() -> None:
    class Odd(GatewayError):
        dimse_status = 0x0000

    async def fail(incoming: IncomingStore) -> int:
        raise Odd

    async with calling(fail) as (_, peer):
        await peer.send(store_request())
        assert (await peer.recv_message()).command["status"] >> 12 in {0x0, 0xA, 0xC}
        assert peer.commands[-1]["status"] != 0


async def test_a_defect_of_a_handler_fails_one_store_and_is_reported() -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))

    async def defect(incoming: IncomingStore) -> int:
        raise ZeroDivisionError

    async with calling(defect) as (_, peer):
        for number in (1, 2):
            await peer.send(store_request(number))
            assert (await peer.recv_message()).command["status"] == 0x0110
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError] * 2


async def half_and_close(peer: ScriptedPeer) -> None:
    await peer.send(pdus.p_data(3, bytes(100))[:50])
    await peer.close()


ENDINGS: dict[str, tuple[Callable[[ScriptedPeer], Awaitable[object]], type[GatewayError]]] = {
    "abort": (lambda peer: peer.send(pdus.abort(0, 0)), Aborted),
    "reset": (ScriptedPeer.rst, Reset),
    "closed": (ScriptedPeer.close, Closed),
    "truncated": (half_and_close, Truncated),
    "stalled": (lambda peer: peer.send(pdus.p_data(3, bytes(100))[:50]), Stalled),
}


@pytest.mark.parametrize("how", ENDINGS)
async def test_an_instance_cut_off_is_told_to_every_reader(how: str) -> None:  # R07
    act, kind = ENDINGS[how]
    errors: list[type[BaseException]] = []
    reading = asyncio.Event()

    async def watch(awaitable: Awaitable[object]) -> None:
        try:
            await awaitable
        except GatewayError as error:
            errors.append(type(error))

    async def handler(incoming: IncomingStore) -> int:
        async with asyncio.TaskGroup() as group:
            group.create_task(watch(swallow(incoming)))
            group.create_task(watch(incoming.received()))
            group.create_task(watch(incoming.peek(50_000)))
            reading.set()
        return 0

    async with calling(handler, limits=QUICK) as (acceptor, peer):
        await peer.send(pdus.p_data(3, pdus.command_set(store_command()), command=True))
        await peer.send(pdus.p_data(3, bytes(40_000), last=False))
        await reading.wait()
        with contextlib.suppress(ConnectionError):
            await act(peer)
        await until(lambda: len(errors) == 3)
        assert errors == [kind] * 3
        await until(lambda: repr(acceptor) == "<Acceptor associated=0 waiting=0>")


# --- back-pressure


async def send_forever(peer: ScriptedPeer, piece: bytes, count: int) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(count):
            await peer.send(piece)
        await peer.send(pdus.p_data(3, b"", last=True))


async def test_an_instance_nobody_reads_stays_in_the_peers_hands() -> None:
    held: list[IncomingStore] = []
    go = asyncio.Event()
    total = 0

    async def wait_then_read(incoming: IncomingStore) -> int:
        nonlocal total
        held.append(incoming)
        await go.wait()
        async for piece in incoming:
            total += len(piece)
        return 0

    async with calling(wait_then_read, limits=Limits(high_water=1 << 20)) as (_, peer):
        await peer.send(pdus.p_data(3, pdus.command_set(store_command()), command=True))
        piece = pdus.p_data(3, bytes(120_000), last=False)
        sending = asyncio.ensure_future(send_forever(peer, piece, 2000))
        sent = await settled(lambda: peer.sent)
        assert sent < most_in_flight()
        assert held[0].buffered < (1 << 20) + (512 << 10)
        go.set()
        await sending
        assert (await peer.recv_message()).command["status"] == 0
        assert total == 240_000_000


async def test_a_paused_peer_is_not_taken_for_a_stalled_one() -> None:
    go = asyncio.Event()

    async def wait_then_read(incoming: IncomingStore) -> int:
        await go.wait()
        return await swallow(incoming)

    limits = Limits(high_water=1 << 16, stall_seconds=1.0, idle_seconds=1.0)
    async with calling(wait_then_read, limits=limits) as (_, peer):
        await peer.send(pdus.p_data(3, pdus.command_set(store_command()), command=True))
        sending = asyncio.ensure_future(send_forever(peer, pdus.p_data(3, bytes(120_000), last=False), 200))
        await settled(lambda: peer.sent, quiet=1.3)
        go.set()
        await sending
        assert (await peer.recv_message()).command["status"] == 0


async def test_many_small_instances_nobody_reads_stay_in_the_peers_hands() -> None:
    held: list[IncomingStore] = []

    async def keep(incoming: IncomingStore) -> int:
        held.append(incoming)
        return 0

    async with calling(keep, limits=Limits(high_water=1 << 20)) as (_, peer):

        async def flood() -> None:
            with contextlib.suppress(ConnectionError, PeerGoneError):
                for number in range(1, 2000):
                    await peer.send(store_request(number, bytes(100_000)))

        sending = asyncio.ensure_future(flood())
        await settled(lambda: peer.sent)
        assert sum(incoming.buffered for incoming in held) < 2 << 20
        for _ in range(20):
            count = len(held)
            for incoming in held:
                incoming.discard()
            await until(lambda count=count: len(held) > count)  # type: ignore[misc]
        sending.cancel()
        await asyncio.wait([sending])


@pytest.mark.asyncio(loop_factories=["asyncio"])  # tracing memory makes it slow
async def test_fragments_of_one_byte_do_not_multiply_in_memory() -> None:
    """What one byte costs us to hold counts against the high water, not only the byte."""

    held: list[IncomingStore] = []

    async def hang(incoming: IncomingStore) -> int:
        held.append(incoming)
        await asyncio.Event().wait()
        return 0

    async with calling(hang, limits=Limits(high_water=128 << 10)) as (_, peer):
        tracemalloc.start()
        try:
            await peer.send(pdus.p_data(3, pdus.command_set(store_command()), command=True))
            sending = asyncio.ensure_future(send_forever(peer, pdus.pdu(4, pdus.pdv(3, 0, b"\0") * 18_000), 4))
            await until(lambda: held)
            await settled(lambda: held[0].buffered)
            assert tracemalloc.get_traced_memory()[0] < 8 << 20
            sending.cancel()
            await asyncio.wait([sending])
        finally:
            tracemalloc.stop()


async def test_a_peek_is_not_defeated_by_small_fragments() -> None:
    """Reading is never paused for good while somebody waits for the head."""
    heads: list[bytes] = []

    async def look(incoming: IncomingStore) -> int:
        heads.append(await incoming.peek(30_000))
        incoming.discard()
        return 0xC000

    async with calling(look, limits=Limits(high_water=64 << 10)) as (_, peer):
        await peer.send(pdus.p_data(3, pdus.command_set(store_command()), command=True))
        for last in (0, 0, 0, 2):
            await peer.send(pdus.pdu(4, pdus.pdv(3, 0, b"\0") * 9_999 + pdus.pdv(3, last, b"\0")))
        assert (await peer.recv_message()).command["status"] == 0xC000
        assert heads == [bytes(30_000)]
