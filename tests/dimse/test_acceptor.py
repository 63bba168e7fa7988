"""The acceptor: C-ECHO and C-STORE from strangers, fragment by fragment, within bounds whatever they do."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.dimse.acceptor import CALLED_AE_TITLE_NOT_RECOGNIZED, CALLING_AE_TITLE_NOT_RECOGNIZED, Acceptor, Caller
from gateway.dimse.incoming import IncomingStore
from gateway.errors import Aborted, Closed, GatewayError, LimitExceeded, Reset, Stalled, Truncated, UnsolicitedStore
from gateway.wire.limits import Limits
from tests.dimse.scripts import QUICK, settled, until
from tests.kit import dicom, pdus
from tests.kit.peers import ECHOSCU, STORESCU, run
from tests.kit.scripted import Message, PeerGoneError, ScriptedPeer, scripted_requestor

CONTEXTS = [(1, pdus.VERIFICATION, [pdus.IMPLICIT_LE]), (3, pdus.CT_IMAGE, [pdus.EXPLICIT_LE])]
Handler = Callable[[IncomingStore], Awaitable[int]]


async def swallow(incoming: IncomingStore) -> int:
    async for _ in incoming:
        pass
    return 0


@contextlib.asynccontextmanager
async def accepting(
    store: Handler = swallow, limits: Limits = QUICK, **more: Any
) -> AsyncIterator[tuple[Acceptor, int]]:
    acceptor = Acceptor(accept=more.pop("accept", lambda _: None), store=store, limits=limits, **more)
    port = await acceptor.start("127.0.0.1", 0)
    try:
        yield acceptor, port
    finally:
        await acceptor.aclose(0)


@contextlib.asynccontextmanager
async def calling(store: Handler = swallow, **more: Any) -> AsyncIterator[tuple[Acceptor, ScriptedPeer]]:
    """Run the body with a scripted requestor that has an association with an acceptor."""
    async with accepting(store, **more) as (acceptor, port), scripted_requestor(port) as peer:
        await peer.associate(CONTEXTS)
        yield acceptor, peer


def echo_request(message_id: int = 1) -> bytes:
    command = {
        "affected_sop_class_uid": pdus.VERIFICATION,
        "command_field": pdus.C_ECHO_RQ,
        "message_id": message_id,
        "command_data_set_type": pdus.NO_DATA_SET,
    }
    return pdus.message(1, command)


def store_command(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "affected_sop_class_uid": pdus.CT_IMAGE,
        "command_field": pdus.C_STORE_RQ,
        "message_id": number,
        "priority": 0,
        "command_data_set_type": pdus.DATA_SET,
        "affected_sop_instance_uid": dicom.uid(1, 1, number),
        **more,
    }


def store_request(number: int = 1, data: bytes = b"data", **more: Any) -> bytes:
    return pdus.message(3, store_command(number, **more), data)


def aborts(peer: ScriptedPeer) -> list[bytes]:
    return [pdu.body[2:] for pdu in peer.received if pdu.type == pdus.A_ABORT]


async def gone(peer: ScriptedPeer, seconds: float = 5.0) -> str:
    async with asyncio.timeout(seconds):
        return await peer.hold()


# --- correct peers


async def test_echoscu() -> None:
    async with accepting() as (_, port):
        assert (await run(ECHOSCU, "-aec", "GATEWAY", "127.0.0.1", port)).returncode == 0


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


async def test_requests_may_be_pipelined_and_are_answered_in_order() -> None:
    async with calling() as (_, peer):
        await peer.send(b"".join([echo_request(1), store_request(2), store_request(3), echo_request(4)]))
        answers = [(await peer.recv_message()).command for _ in range(4)]
        assert [a["message_id_being_responded_to"] for a in answers] == [1, 2, 3, 4]
        assert [a["status"] for a in answers] == [0, 0, 0, 0]
        assert answers[1]["affected_sop_instance_uid"] == dicom.uid(1, 1, 2)
        await peer.release()


async def test_an_unknown_request_is_answered_as_such_and_the_association_goes_on() -> None:
    async with calling() as (_, peer):
        command = {"command_field": pdus.C_FIND_RQ, "message_id": 5, "command_data_set_type": pdus.DATA_SET}
        await peer.send(pdus.message(1, command, b"identifier"))
        answer = (await peer.recv_message()).command
        assert (answer["command_field"], answer["status"]) == (pdus.C_FIND_RSP, 0x0211)
        await peer.send(echo_request(6))
        assert (await peer.recv_message()).command["status"] == 0
        await peer.release()


async def test_a_c_cancel_for_nothing_is_passed_over() -> None:
    async with calling() as (_, peer):
        cancel = {
            "command_field": pdus.C_CANCEL_RQ,
            "message_id_being_responded_to": 9,
            "command_data_set_type": pdus.NO_DATA_SET,
        }
        await peer.send(pdus.message(1, cancel) + echo_request())
        assert (await peer.recv_message()).command["command_field"] == pdus.C_ECHO_RSP


# --- who may associate


@pytest.mark.parametrize("rejection", [CALLED_AE_TITLE_NOT_RECOGNIZED, CALLING_AE_TITLE_NOT_RECOGNIZED])
async def test_a_caller_may_be_rejected_with_the_reason(rejection: Any) -> None:
    callers: list[Caller] = []

    def accept(caller: Caller) -> Any:
        callers.append(caller)
        return rejection

    async with accepting(accept=accept) as (acceptor, port), scripted_requestor(port) as peer:
        await peer.send(pdus.associate_rq(CONTEXTS, called="NOT-US", calling="STRANGER"))
        assert (await peer.recv()).encoded == pdus.associate_rj(1, 1, rejection.reason)
        assert callers == [Caller("STRANGER", "NOT-US", "127.0.0.1")]
        await gone(peer)
        assert repr(acceptor) == "<Acceptor associated=0 waiting=0>"


async def test_another_application_context_is_rejected() -> None:
    async with accepting() as (_, port), scripted_requestor(port) as peer:
        rq = pdus.associate_rq(CONTEXTS).replace(pdus.APPLICATION_CONTEXT.encode(), b"1.2.840.10008.3.1.1.2")
        await peer.send(rq)
        assert (await peer.recv()).encoded == pdus.associate_rj(1, 1, 2)


async def test_associations_are_limited_for_each_peer_and_in_all() -> None:
    limits = Limits(max_associations=3, max_associations_per_peer=2)
    async with accepting(limits=limits) as (acceptor, port), contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(scripted_requestor(port)) for _ in range(3)]
        for peer in peers[:2]:
            await peer.associate(CONTEXTS)
        await peers[2].send(pdus.associate_rq(CONTEXTS))
        assert (await peers[2].recv()).encoded == pdus.associate_rj(2, 3, 2)  # transient: local limit exceeded
        assert repr(acceptor) == "<Acceptor associated=2 waiting=0>"
        await peers[0].release()
        await until(lambda: repr(acceptor) == "<Acceptor associated=1 waiting=0>")
        late = await stack.enter_async_context(scripted_requestor(port))
        await late.associate(CONTEXTS)


# --- R08: those who only connect


async def test_200_half_open_connections_do_not_block_a_good_peer() -> None:
    limits = Limits(artim_seconds=0.8, linger_seconds=0.1, max_unassociated=64)
    async with accepting(limits=limits) as (acceptor, port), contextlib.AsyncExitStack() as stack:
        half = pdus.associate_rq(CONTEXTS)[:40]
        peers = []
        for number in range(200):
            peer = await stack.enter_async_context(scripted_requestor(port))
            await peer.send(half[: number % 40])
            peers.append(peer)
        started = asyncio.get_running_loop().time()
        good = await stack.enter_async_context(scripted_requestor(port))
        await good.associate(CONTEXTS)
        await good.send(echo_request())
        assert (await good.recv_message()).command["status"] == 0
        assert asyncio.get_running_loop().time() - started < 0.5
        await asyncio.gather(*(gone(peer, 3.0) for peer in peers))
        assert repr(acceptor) == "<Acceptor associated=1 waiting=0>"


async def test_a_peer_that_says_nothing_is_left_when_artim_expires() -> None:
    async with accepting() as (acceptor, port), scripted_requestor(port) as peer:
        await gone(peer, 2.0)
        assert repr(acceptor) == "<Acceptor associated=0 waiting=0>"


async def test_a_peer_that_drips_its_request_is_left_too() -> None:
    async with accepting() as (_, port), scripted_requestor(port) as peer:

        async def drip() -> None:
            for byte in pdus.associate_rq(CONTEXTS):
                await peer.send(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.ensure_future(drip())
        await gone(peer, 2.0)
        dripping.cancel()
        await asyncio.wait([dripping])


async def test_an_association_that_is_idle_for_too_long_is_aborted() -> None:
    async with calling(limits=Limits(idle_seconds=0.3, linger_seconds=0.1)) as (_, peer):
        await gone(peer, 2.0)
        assert aborts(peer)


STALLS = {
    "half a PDU": pdus.p_data(3, bytes(1000))[:50],
    "half a PDU header": b"\x04\x00\x00",
    "half a command": pdus.p_data(3, pdus.command_set(store_command())[:20], command=True, last=False),
    "a command without its data set": pdus.p_data(3, pdus.command_set(store_command()), command=True),
    "half a data set": store_request(data=bytes(100))[:-50],
}


@pytest.mark.parametrize("what", STALLS)
async def test_silence_in_the_middle_is_a_stall(what: str) -> None:
    limits = Limits(stall_seconds=0.3, idle_seconds=0.4, linger_seconds=0.1)
    async with calling(limits=limits) as (acceptor, peer):
        await peer.send(STALLS[what])
        await gone(peer, 3.0)
        assert aborts(peer)
        await until(lambda: repr(acceptor) == "<Acceptor associated=0 waiting=0>")


async def test_a_drip_in_the_middle_of_an_instance_is_a_stall() -> None:  # R05
    async with calling(limits=Limits(stall_seconds=0.4, linger_seconds=0.1)) as (_, peer):

        async def drip() -> None:
            await peer.send(store_request(data=bytes(100_000))[:200])
            while True:
                await peer.send(b"\0")
                await asyncio.sleep(0.02)

        dripping = asyncio.ensure_future(drip())
        await gone(peer, 3.0)
        assert aborts(peer)
        dripping.cancel()
        await asyncio.wait([dripping])


# --- R09 to R11: those who break the protocol

VIOLATIONS = {
    "PDU of 4 GiB": (pdus.pdu(4, b"", length=0xFFFFFFFF), b"\x02\x06"),
    "PDU of no length": (pdus.pdu(4, b""), b"\x02\x06"),
    "PDU of 3 bytes": (pdus.pdu(4, bytes(3)), b"\x02\x06"),
    "PDU type 00": (pdus.pdu(0, bytes(4)), b"\x02\x01"),
    "PDU type 08": (pdus.pdu(8, bytes(4)), b"\x02\x01"),
    "second request": (pdus.associate_rq(CONTEXTS), b"\x02\x02"),
    "unknown context": (pdus.p_data(99, b"x", command=True), b"\x02\x06"),
    "response nobody asked for": (
        pdus.message(1, pdus.response({"command_field": 0x30, "message_id": 1})),
        b"\x02\x00",
    ),
    "store without data set": (
        pdus.message(3, store_command(command_data_set_type=pdus.NO_DATA_SET)),
        b"\x02\x00",
    ),
    "store without instance": (
        pdus.message(3, {k: v for k, v in store_command().items() if k != "affected_sop_instance_uid"}, b"x"),
        b"\x02\x00",
    ),
    "data set without command": (pdus.p_data(3, b"x"), b"\x02\x00"),
    "command inside a data set": (
        pdus.p_data(3, pdus.command_set(store_command()), command=True) + echo_request(),
        b"\x02\x00",
    ),
}


@pytest.mark.parametrize("what", VIOLATIONS)
async def test_a_violation_is_answered_with_an_abort_and_its_reason(what: str) -> None:
    data, answer = VIOLATIONS[what]
    async with calling() as (acceptor, peer):
        await peer.send(data)
        await gone(peer)
        assert aborts(peer) == [answer]
        await until(lambda: repr(acceptor) == "<Acceptor associated=0 waiting=0>")


async def test_a_claimed_length_costs_no_memory() -> None:  # R09
    async with accepting() as (_, port):
        tracemalloc.start()
        try:
            for header in (pdus.pdu(1, b"", length=0xFFFFFFFF), pdus.pdu(1, b"", length=512 * 1024)):
                async with scripted_requestor(port) as peer:
                    await peer.send(header)
                    await settled(lambda: len(peer.received), 0.1)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


# --- C-STORE, fragment by fragment


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
                got += await asyncio.wait_for(pieces.get(), 5)
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

    async with calling(handler) as (acceptor, peer):
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
        sending = asyncio.ensure_future(send_forever(peer, piece, 1000))
        sent = await settled(lambda: peer.sent)
        assert sent < 20 << 20  # 1 MiB with us, the rest in the buffers of two sockets: of 120 MB
        assert held[0].buffered < (1 << 20) + (512 << 10)
        go.set()
        await sending
        assert (await peer.recv_message()).command["status"] == 0
        assert total == 120_000_000


async def test_a_paused_peer_is_not_taken_for_a_stalled_one() -> None:
    go = asyncio.Event()

    async def wait_then_read(incoming: IncomingStore) -> int:
        await go.wait()
        return await swallow(incoming)

    limits = Limits(high_water=1 << 16, stall_seconds=0.3, idle_seconds=0.3)
    async with calling(wait_then_read, limits=limits) as (_, peer):
        await peer.send(pdus.p_data(3, pdus.command_set(store_command()), command=True))
        sending = asyncio.ensure_future(send_forever(peer, pdus.p_data(3, bytes(120_000), last=False), 200))
        await settled(lambda: peer.sent, quiet=0.8)
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
            sending = asyncio.ensure_future(send_forever(peer, pdus.pdu(4, pdus.pdv(3, 0, b"\0") * 18_000), 20))
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


# --- the end


async def test_closing_lets_associations_end_within_the_grace() -> None:
    acceptor = Acceptor(accept=lambda _: None, store=swallow, limits=QUICK)
    port = await acceptor.start("127.0.0.1", 0)
    async with scripted_requestor(port) as peer:
        await peer.associate(CONTEXTS)

        async def finish() -> None:
            await peer.send(store_request())
            await peer.recv_message()
            await peer.release()

        finishing = asyncio.ensure_future(finish())
        await acceptor.aclose(3.0)
        await finishing
        assert not aborts(peer)


async def test_closing_aborts_what_does_not_end() -> None:
    acceptor = Acceptor(accept=lambda _: None, store=swallow, limits=QUICK)
    port = await acceptor.start("127.0.0.1", 0)
    async with scripted_requestor(port) as idle, scripted_requestor(port) as busy, scripted_requestor(port) as half:
        await idle.associate(CONTEXTS)
        await busy.associate(CONTEXTS)
        await busy.send(store_request(data=bytes(1000))[:-10])
        await half.send(b"\x01")
        started = asyncio.get_running_loop().time()
        ends = [asyncio.ensure_future(gone(peer)) for peer in (idle, busy, half)]
        await acceptor.aclose(0.2)
        await asyncio.gather(*ends)
        assert asyncio.get_running_loop().time() - started < 2.0
        assert aborts(idle)
        assert aborts(busy)


async def test_a_message_keeps_its_meaning_however_it_is_cut() -> None:
    stream = store_request(1, bytes(3000)) + echo_request(2) + store_request(3, b"")
    for size in (1, 5, 4096):
        async with calling() as (_, peer):
            for at in range(0, len(stream), size):
                await peer.send(stream[at : at + size])
            answers: list[Message] = [await peer.recv_message() for _ in range(3)]
            assert [a.command["message_id_being_responded_to"] for a in answers] == [1, 2, 3]
