"""The acceptor: whom it takes, what it serves, and how it bears those who break the rules."""

import asyncio
import contextlib
import tracemalloc
from typing import Any

import pytest

from gateway.dimse.acceptor import CALLED_AE_TITLE_NOT_RECOGNIZED, CALLING_AE_TITLE_NOT_RECOGNIZED, Acceptor, Caller
from gateway.dimse.incoming import IncomingStore
from gateway.wire.limits import Limits
from tests.dimse.callers import (
    CONTEXTS,
    aborts,
    accepting,
    calling,
    echo_request,
    gone,
    store_command,
    store_request,
    swallow,
)
from tests.dimse.scripts import QUICK, settled, until
from tests.kit import dicom, pdus
from tests.kit.peers import ECHOSCU, run
from tests.kit.scripted import Message, scripted_requestor

# --- correct peers


async def test_echoscu() -> None:
    async with accepting() as (_, port):
        assert (await run(ECHOSCU, "-aec", "GATEWAY", "127.0.0.1", port)).returncode == 0


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
    limits = Limits(artim_seconds=30.0, linger_seconds=0.1, max_unassociated=64)
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
        assert asyncio.get_running_loop().time() - started < 10.0
        # The oldest made room, long before ARTIM would have ended them.
        await asyncio.gather(*(gone(peer, 10.0) for peer in peers[:136]))
        await until(lambda: repr(acceptor) in {f"<Acceptor associated=1 waiting={count}>" for count in (63, 64)})


async def test_a_peer_that_says_nothing_is_left_when_artim_expires() -> None:
    async with accepting(limits=QUICK) as (acceptor, port), scripted_requestor(port) as peer:
        await gone(peer)
        assert repr(acceptor) == "<Acceptor associated=0 waiting=0>"


async def test_a_peer_that_drips_its_request_is_left_too() -> None:
    async with accepting(limits=QUICK) as (_, port), scripted_requestor(port) as peer:

        async def drip() -> None:
            for byte in pdus.associate_rq(CONTEXTS):
                await peer.send(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.ensure_future(drip())
        await gone(peer)
        dripping.cancel()
        await asyncio.wait([dripping])


async def test_an_association_that_is_idle_for_too_long_is_aborted() -> None:
    async with calling(limits=Limits(idle_seconds=0.3, linger_seconds=0.1)) as (_, peer):
        await gone(peer)
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
    limits = Limits(stall_seconds=0.2, idle_seconds=0.3, linger_seconds=0.05)
    async with calling(limits=limits) as (acceptor, peer):
        await peer.send(STALLS[what])
        await gone(peer)
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
        await gone(peer)
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


@pytest.mark.parametrize("what", sorted(VIOLATIONS.keys() - {"response nobody asked for"}))
async def test_what_follows_a_violation_is_not_read(what: str) -> None:
    data, answer = VIOLATIONS[what]
    async with calling() as (_, peer):
        await peer.send(data + pdus.associate_rq(CONTEXTS) + pdus.pdu(8, bytes(4)) + echo_request())
        await gone(peer)
        assert [pdu.type for pdu in peer.received] == [pdus.A_ASSOCIATE_AC, pdus.A_ABORT]
        assert aborts(peer) == [answer]


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
        assert asyncio.get_running_loop().time() - started < 10.0
        assert aborts(idle)
        assert aborts(busy)


async def test_closing_does_not_wait_for_a_handler_that_hangs() -> None:
    hanging = asyncio.Event()

    async def hang(incoming: IncomingStore) -> int:
        hanging.set()
        await asyncio.Event().wait()
        return 0

    acceptor = Acceptor(accept=lambda _: None, store=hang, limits=QUICK)
    port = await acceptor.start("127.0.0.1", 0)
    async with scripted_requestor(port) as peer:
        await peer.associate(CONTEXTS)
        await peer.send(store_request())
        await hanging.wait()
        async with asyncio.timeout(30):
            await acceptor.aclose(0.1)
        await gone(peer)
        assert aborts(peer)


async def test_a_message_keeps_its_meaning_however_it_is_cut() -> None:
    stream = store_request(1, bytes(3000)) + echo_request(2) + store_request(3, b"")
    for size in (1, 5, 4096):
        async with calling() as (_, peer):
            for at in range(0, len(stream), size):
                await peer.send(stream[at : at + size])
            answers: list[Message] = [await peer.recv_message() for _ in range(3)]
            assert [a.command["message_id_being_responded_to"] for a in answers] == [1, 2, 3]
