"""C-MOVE and C-GET as SCU: counters, sub-operations, silence, faults (R06, R07, R11, R15, R16 at the engine)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydicom import Dataset

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.get import get
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.move import move
from gateway.dimse.suboperations import SubOperations
from gateway.errors import (
    Aborted,
    Closed,
    DimseFailure,
    GatewayError,
    LocalProtocolError,
    RemoteProtocolError,
    Reset,
    Stalled,
    Truncated,
    UnsolicitedStore,
)
from tests.dimse.scripts import (
    CT_AS_SCP,
    GET,
    MOVE,
    QUICK,
    TIMED,
    associated_with,
    identifier,
    most_in_flight,
    serve,
    settled,
    soon,
    until,
)
from tests.kit import dicom, pdus
from tests.kit.scripted import Message, ScriptedPeer

STUDY = identifier(StudyInstanceUID=dicom.uid(1))
ROLES = pdus.user_information(16_384, pdus.role_selection(pdus.CT_IMAGE, 0, 1))


def counted(request: Message, status: int, *counts: int, data: bytes | None = None, **more: Any) -> bytes:
    """Return a response with counters: remaining, completed, failed, warning."""
    names = ("remaining", "completed", "failed", "warning")
    counters = {f"number_of_{n}_suboperations": c for n, c in zip(names, counts, strict=False)}
    command = pdus.response(request.command, status, **counters, **more)
    if data is not None:
        command["command_data_set_type"] = pdus.DATA_SET
    return pdus.message(request.context_id, command, data)


def moving(association: Association, **options: Any) -> Awaitable[SubOperations]:
    return move(association, pdus.STUDY_MOVE, STUDY, "GATEWAY", options.pop("deadline", soon()), **options)


# --- C-MOVE


async def test_a_move_asks_as_the_standard_says_and_counts() -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(counted(request, 0xFF00, 2, 0, 0, 0), counted(request, 0xFF00, 1, 1, 0, 0))
        await peer.send(counted(request, 0x0000, 0, 1, 0, 1))

    progress: list[SubOperations] = []
    async with associated_with(serve(answer), MOVE) as (association, peer):
        result = await moving(association, message_id=77, on_progress=progress.append)
        assert [(p.remaining, p.completed) for p in progress] == [(2, 0), (1, 1)]
        assert result == SubOperations(0x0000, 0, 1, 0, 1)
        assert association.clean
        request = next(m for m in peer.commands if m["command_field"] == pdus.C_MOVE_RQ)
        assert (request["message_id"], request["move_destination"]) == (77, "GATEWAY")
        assert request["affected_sop_class_uid"] == pdus.STUDY_MOVE


async def test_a_response_without_counters_is_taken() -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(counted(request, 0xFF00), counted(request, 0x0000))

    async with associated_with(serve(answer), MOVE) as (association, _):
        assert await moving(association) == SubOperations(0x0000)


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_failed_instances_are_named(count: int) -> None:
    uids = [str(dicom.uid(1, 1, n)) for n in range(count)]
    data = Dataset()
    data.FailedSOPInstanceUIDList = uids

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(counted(request, 0xB000, 0, 1, 2, 0, data=dicom.encode(data), error_comment="tape lost"))

    async with associated_with(serve(answer), MOVE) as (association, _):
        result = await moving(association)
        assert (result.status, result.completed, result.failed) == (0xB000, 1, 2)
        assert result.failed_sop_instance_uids == tuple(uids)
        assert result.comment == "tape lost"
        assert association.clean


@pytest.mark.parametrize("garbage", [b"\x08\x00X", b"\x08\x00\x58\x00UI\xff\xff1.2", b"\xff" * 40, b""])
async def test_a_malformed_list_of_failures_does_not_spoil_the_rest(garbage: bytes) -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(counted(request, 0xB000, 0, 5, 1, 0, data=garbage))

    async with associated_with(serve(answer), MOVE) as (association, _):
        result = await moving(association)
        assert (result.completed, result.failed, result.failed_sop_instance_uids) == (5, 1, ())


@pytest.mark.parametrize("status", [0xA701, 0xA702, 0xA801, 0xA900, 0xC000, 0x0122, 0xFE00])
async def test_a_failure_is_raised_with_its_status(status: int) -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(counted(request, status, error_comment="no"))

    async with associated_with(serve(answer), MOVE) as (association, _):
        with pytest.raises(DimseFailure) as caught:
            await moving(association)
        assert (caught.value.status, caught.value.comment) == (status, "no")
        assert association.clean


@TIMED
async def test_silence_is_a_stall_and_a_pending_resets_the_clock() -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        for _ in range(4):
            await asyncio.sleep(0.07)
            await peer.send(counted(request, 0xFF00, 1, 0, 0, 0))
        await peer.hold()

    progress: list[SubOperations] = []
    async with associated_with(serve(answer), MOVE, limits=QUICK) as (association, peer):
        with pytest.raises(Stalled):
            await moving(association, between=0.25, on_progress=progress.append)
        assert len(progress) == 4
        await until(lambda: peer.saw(pdus.C_CANCEL_RQ))
        await until(lambda: association.closed)


async def test_the_deadline_ends_a_move_that_goes_on_and_on() -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        while not peer.saw(pdus.C_CANCEL_RQ):
            await peer.send(counted(request, 0xFF00, 1, 0, 0, 0))
            try:
                async with asyncio.timeout(0.01):
                    await peer.recv()
            except TimeoutError:
                pass
        await peer.send(counted(request, 0xFE00, 1, 0, 0, 0))

    async with associated_with(serve(answer), MOVE) as (association, peer):
        with pytest.raises(Stalled):
            await moving(association, deadline=Deadline.after(0.5))
        await until(lambda: association.clean)
        assert peer.saw(pdus.C_CANCEL_RQ)


FAULTS: dict[str, tuple[Callable[[ScriptedPeer, Message], Awaitable[object]], type[GatewayError]]] = {
    "aborted": (lambda peer, request: peer.send(pdus.abort(0, 0)), Aborted),
    "reset": (lambda peer, request: peer.rst(), Reset),
    "closed": (lambda peer, request: peer.close(), Closed),
    "truncated": (lambda peer, request: half(peer, counted(request, 0, 0, 1, 0, 0)), Truncated),
    "another message id": (
        lambda peer, request: peer.send(counted(request, 0, message_id_being_responded_to=999)),
        RemoteProtocolError,
    ),
    "another service": (
        lambda peer, request: peer.send(counted(request, 0, command_field=pdus.C_GET_RSP)),
        RemoteProtocolError,
    ),
    "a C-STORE without a role": (
        lambda peer, request: peer.send(store_request(request.context_id, 1)),
        RemoteProtocolError,
    ),
}


async def half(peer: ScriptedPeer, data: bytes) -> None:
    await peer.send_half(data)
    await peer.close()


@pytest.mark.parametrize("what", FAULTS)
async def test_a_fault_ends_a_move_and_says_which(what: str) -> None:
    act, kind = FAULTS[what]
    go = asyncio.Event()

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(counted(request, 0xFF00, 1, 0, 0, 0))
        await go.wait()
        await act(peer, request)
        await peer.hold()

    async with associated_with(serve(answer), MOVE) as (association, _):
        with pytest.raises(GatewayError) as caught:
            await moving(association, on_progress=lambda _: go.set())
        assert type(caught.value) is kind
        assert not association.clean


# --- C-GET


def store_request(context_id: int, number: int, data: bytes = b"data", **more: Any) -> bytes:
    command = {
        "affected_sop_class_uid": pdus.CT_IMAGE,
        "command_field": pdus.C_STORE_RQ,
        "message_id": number,
        "priority": 0,
        "command_data_set_type": pdus.DATA_SET,
        "affected_sop_instance_uid": dicom.uid(1, 1, number),
    }
    return pdus.message(context_id, command | more, data)


def ct_context(peer: ScriptedPeer) -> int:
    return next(number for number, name in peer.contexts.items() if name == pdus.CT_IMAGE)


def sending(count: int, size: int = 1000, status: int = 0x0000) -> Callable[[ScriptedPeer, Message], Awaitable[None]]:
    """Return the answer to a C-GET: instances one by one, then the final response."""

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        for number in range(1, count + 1):
            await peer.send(store_request(ct_context(peer), number, bytes([number]) * size))
            stored = await peer.next_request()
            assert stored is not None
            assert stored.command["command_field"] == pdus.C_STORE_RSP
            assert stored.command["message_id_being_responded_to"] == number
            await peer.send(counted(request, 0xFF00, count - number, number, 0, 0))
        await peer.send(counted(request, status, 0, count, 0, 0))

    return answer


class Sink:
    """Reads everything and answers with a status."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.received: list[bytes] = []

    async def __call__(self, incoming: IncomingStore) -> int:
        self.received.append(b"".join([bytes(piece) async for piece in incoming]))
        return self.status


def getting(association: Association, **options: Any) -> Awaitable[SubOperations]:
    return get(association, pdus.STUDY_GET, STUDY, options.pop("deadline", soon()), **options)


def get_from(answer: Any, sink: Any, **more: Any) -> Any:
    return associated_with(serve(answer, user=ROLES), GET, CT_AS_SCP, serve_store=sink, **more)


async def test_a_get_hands_each_instance_to_the_handler() -> None:
    sink, progress = Sink(), list[SubOperations]()
    async with get_from(sending(3), sink) as (association, _):
        result = await getting(association, on_progress=progress.append)
        assert result == SubOperations(0, 0, 3, 0, 0)
        assert [p.completed for p in progress] == [1, 2, 3]
        assert association.clean
    assert sink.received == [bytes([n]) * 1000 for n in (1, 2, 3)]


async def test_the_handlers_status_is_the_answer_to_the_peer() -> None:
    async with get_from(sending(2), Sink(0xA700)) as (association, peer):
        await getting(association)
        stored = [m["status"] for m in peer.commands if m["command_field"] == pdus.C_STORE_RSP]
        assert stored == [0xA700, 0xA700]


async def test_an_instance_that_was_not_asked_for_is_refused_and_the_rest_goes_on() -> None:  # R18
    async def pick(incoming: IncomingStore) -> int:
        if incoming.sop_instance_uid == dicom.uid(1, 1, 2):
            raise UnsolicitedStore("not ours")
        return await sink(incoming)

    sink = Sink()
    async with get_from(sending(3), pick) as (association, peer):
        await getting(association)
        stored = [m["status"] for m in peer.commands if m["command_field"] == pdus.C_STORE_RSP]
        assert stored == [0, 0x0124, 0]
        assert len(sink.received) == 2


async def test_a_get_without_a_handler_is_our_mistake() -> None:
    async with associated_with(serve(sending(1), user=ROLES), GET, CT_AS_SCP) as (association, _):
        with pytest.raises(LocalProtocolError):
            await getting(association)


@TIMED
async def test_each_c_store_resets_the_clock() -> None:
    async def slow(peer: ScriptedPeer, request: Message) -> None:
        for number in range(1, 5):
            await asyncio.sleep(0.08)
            await peer.send(store_request(ct_context(peer), number))
            await peer.recv_message()
        await peer.send(counted(request, 0, 0, 4, 0, 0))

    sink = Sink()
    async with get_from(slow, sink) as (association, _):
        await getting(association, between=0.25)
        assert len(sink.received) == 4


async def test_silence_in_a_get_is_a_stall() -> None:
    async def mute(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(store_request(ct_context(peer), 1))
        await peer.hold()

    async with get_from(mute, Sink(), limits=QUICK) as (association, _):
        with pytest.raises(Stalled):
            await getting(association, between=0.1)
        await until(lambda: association.closed)


async def test_silence_in_the_middle_of_an_instance_is_a_stall() -> None:
    async def mute(peer: ScriptedPeer, request: Message) -> None:
        await peer.send_half(store_request(ct_context(peer), 1, bytes(10_000)))
        await peer.hold()

    async with get_from(mute, Sink(), limits=QUICK) as (association, _):
        started = asyncio.get_running_loop().time()
        with pytest.raises(Stalled):
            await getting(association)
        assert asyncio.get_running_loop().time() - started < 30.0  # well before the deadline


async def test_the_deadline_ends_a_get_whose_handler_waits() -> None:
    async def hang(incoming: IncomingStore) -> int:
        await asyncio.Event().wait()
        return 0

    async with get_from(sending(1), hang) as (association, _):
        with pytest.raises(Stalled):
            await getting(association, deadline=Deadline.after(0.5))
        await until(lambda: association.clean or association.closed)


CUTS: dict[str, tuple[Callable[[ScriptedPeer], Awaitable[object]], type[GatewayError]]] = {
    "aborted": (lambda peer: peer.send(pdus.abort(0, 0)), Aborted),
    "reset": (ScriptedPeer.rst, Reset),
    "closed": (ScriptedPeer.close, Closed),
    "unknown context": (lambda peer: peer.send(store_request(99, 2)), RemoteProtocolError),
    "command in a data set": (lambda peer: peer.send(store_request(ct_context(peer), 2)), RemoteProtocolError),
}


@pytest.mark.parametrize("what", CUTS)
async def test_a_cut_in_the_middle_of_an_instance_reaches_reader_and_caller(what: str) -> None:
    act, kind = CUTS[what]
    errors: list[type[BaseException]] = []
    reading = asyncio.Event()

    async def watch(incoming: IncomingStore) -> int:
        try:
            async for _ in incoming:
                reading.set()
        except GatewayError as error:
            errors.append(type(error))
            raise
        return 0

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        whole = store_request(ct_context(peer), 1, bytes(50_000))
        last_pdu = 12 + 50_000 % 16_000
        await peer.send(whole[:-last_pdu])
        await reading.wait()
        await act(peer)
        await peer.hold()

    async with get_from(answer, watch) as (association, _):
        with pytest.raises(GatewayError) as caught:
            await getting(association)
        assert type(caught.value) is kind
        assert errors == [kind]


async def test_a_get_left_midway_refuses_what_still_comes_and_is_clean_again() -> None:
    arrived = asyncio.Event()

    async def hang(incoming: IncomingStore) -> int:
        arrived.set()
        await asyncio.Event().wait()
        return 0

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(store_request(ct_context(peer), 1, bytes(5000)))
        await peer.recv()  # the C-CANCEL, and behind it the refusal of the C-STORE that was under way
        refused = await peer.recv_message()
        assert refused.command["status"] not in {0, 0xB000}
        await peer.send(store_request(ct_context(peer), 2, bytes(5000)))  # it had already been sent, as in life
        refused = await peer.recv_message()
        assert refused.command["status"] not in {0, 0xB000}
        await peer.send(counted(request, 0xFE00, 1, 0, 2, 0))

    async with get_from(answer, hang) as (association, peer):
        task = asyncio.ensure_future(getting(association))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: association.clean)
        assert peer.saw(pdus.C_CANCEL_RQ)


async def test_a_slow_reader_holds_the_peer_back() -> None:
    go = asyncio.Event()
    total = 0

    async def wait_then_read(incoming: IncomingStore) -> int:
        nonlocal total
        await go.wait()
        async for piece in incoming:
            total += len(piece)
        return 0

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        head = store_request(ct_context(peer), 1, b"")
        await peer.send(head[: -len(pdus.p_data(1, b""))])
        piece = pdus.p_data(ct_context(peer), bytes(120_000), last=False)
        for _ in range(2000):
            await peer.send(piece)
        await peer.send(pdus.p_data(ct_context(peer), b"", last=True))
        await peer.recv_message()
        await peer.send(counted(request, 0, 0, 1, 0, 0))

    async with get_from(answer, wait_then_read) as (association, peer):
        task = asyncio.ensure_future(getting(association, deadline=soon(30)))
        await until(lambda: peer.sent > 1_000_000)
        assert await settled(lambda: peer.sent) < most_in_flight()
        go.set()
        assert (await task).completed == 1
        assert total == 240_000_000
