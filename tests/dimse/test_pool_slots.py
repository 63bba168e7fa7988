"""Every slot of the pool is free again, whatever happens to who had it (P11)."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.echo import echo
from gateway.dimse.find import find
from gateway.dimse.get import get
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.move import move
from gateway.errors import Aborted, Busy, Closed, GatewayError, Refused, Rejected, RemoteProtocolError, Reset, Stalled
from tests.dimse.pools import ECHOING, ask, pool_of, pooled, state
from tests.dimse.scripts import (
    CT_AS_SCP,
    ECHO,
    FIND,
    GET,
    MOVE,
    QUICK,
    echo_answer,
    identifier,
    matches,
    row,
    serve,
    soon,
    until,
)
from tests.kit import dicom, pdus
from tests.kit.cancelling import cancelled_at_every_point
from tests.kit.peers import DicomNode, free_port
from tests.kit.scripted import Message, Script, ScriptedPeer


async def reject(peer: ScriptedPeer) -> None:
    await peer.recv(pdus.A_ASSOCIATE_RQ)
    await peer.send(pdus.associate_rj(1, 1, 7))
    await peer.hold()


async def reject_for_now(peer: ScriptedPeer) -> None:
    await peer.recv(pdus.A_ASSOCIATE_RQ)
    await peer.send(pdus.associate_rj(2, 3, 2))
    await peer.hold()


async def refuse_contexts(peer: ScriptedPeer) -> None:
    await peer.recv(pdus.A_ASSOCIATE_RQ)
    await peer.send(pdus.associate_ac([(1, pdus.IMPLICIT_LE, 3)]))
    await peer.hold()


async def abort_at_once(peer: ScriptedPeer) -> None:
    await peer.recv(pdus.A_ASSOCIATE_RQ)
    await peer.send(pdus.abort(2, 1))
    await peer.hold()


async def accept_and_reset(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.rst()


async def accept_and_abort(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.send(pdus.abort(0, 0))
    await peer.hold()


async def accept_and_hang(peer: ScriptedPeer) -> None:
    await peer.accept()
    await peer.hold()


async def talk_nonsense(peer: ScriptedPeer) -> None:
    await peer.recv()
    await peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    await peer.hold()


@pytest.mark.parametrize(
    ("script", "kinds"),
    [
        (reject, {Rejected}),
        (reject_for_now, {Busy}),
        (refuse_contexts, {Rejected}),
        (abort_at_once, {Aborted}),
        (ScriptedPeer.rst, {Reset, Closed}),
        (accept_and_reset, {Reset, Closed}),
        (accept_and_abort, {Aborted}),
        (accept_and_hang, {Stalled}),
        (talk_nonsense, {RemoteProtocolError}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_failure_of_any_kind_frees_the_slot(script: Script, kinds: set[type[GatewayError]]) -> None:
    async with pooled(script, script, ECHOING, size=1, limits=QUICK) as (pool, _):
        for _ in range(2):
            with pytest.raises(GatewayError) as caught:
                async with pool.acquire([ECHO], soon()) as association:
                    await echo(association, Deadline.after(0.2) if script is accept_and_hang else soon())
            assert type(caught.value) in kinds
            await until(lambda: state(pool) == "active=0 idle=0 opening=0 waiting=0 size=1")
        await ask(pool)


async def test_a_refused_connection_frees_the_slot() -> None:
    async with pool_of(DicomNode("SCRIPTED", "127.0.0.1", free_port()), size=1) as pool:
        for _ in range(5):
            with pytest.raises(Refused):
                await ask(pool)
            assert state(pool) == "active=0 idle=0 opening=0 waiting=0 size=1"


async def serve_all(peer: ScriptedPeer, request: Message) -> None:
    """Answer whatever is asked, a C-GET with two instances."""
    field = request.command["command_field"]
    if field == pdus.C_FIND_RQ:
        await matches([row(1), row(2), row(3)])(peer, request)
    elif field == pdus.C_GET_RQ:
        context_id = next(n for n, name in peer.contexts.items() if name == pdus.CT_IMAGE)
        for number in (1, 2):
            command = {
                "affected_sop_class_uid": pdus.CT_IMAGE,
                "command_field": pdus.C_STORE_RQ,
                "message_id": number,
                "priority": 0,
                "command_data_set_type": pdus.DATA_SET,
                "affected_sop_instance_uid": dicom.uid(1, 1, number),
            }
            await peer.send(pdus.message(context_id, command, bytes(50_000)))
            answer = await peer.recv_message()
            if answer.command["command_field"] == pdus.C_CANCEL_RQ:
                await peer.recv_message()
                break
        await peer.send(pdus.message(request.context_id, pdus.response(request.command)))
    elif field == pdus.C_MOVE_RQ:
        pending = pdus.response(request.command, 0xFF00, number_of_remaining_suboperations=1)
        await peer.send(pdus.message(request.context_id, pending))
        await peer.send(pdus.message(request.context_id, pdus.response(request.command)))
    else:
        await echo_answer(peer, request)


GET_ROLES = pdus.user_information(16_384, pdus.role_selection(pdus.CT_IMAGE, 0, 1))
SERVING = serve(serve_all, user=GET_ROLES)
EVERYTHING = [ECHO, FIND, MOVE, GET, CT_AS_SCP]


async def do_echo(association: Association) -> None:
    await echo(association, soon())


async def do_find(association: Association) -> None:
    assert [each async for each in find(association, pdus.STUDY_FIND, identifier(), soon())]


async def do_move(association: Association) -> None:
    await move(association, pdus.STUDY_MOVE, identifier(), "GATEWAY", soon())


async def do_get(association: Association) -> None:
    await get(association, pdus.STUDY_GET, identifier(), soon())


async def swallow(incoming: IncomingStore) -> int:
    await incoming.peek(10)
    async for _ in incoming:
        await asyncio.sleep(0)
    return 0


@pytest.mark.parametrize("start", ["cold", "warm"])
@pytest.mark.parametrize("operation", [do_echo, do_find, do_move, do_get])
async def test_cancelled_at_any_point_the_slot_is_free_again(
    operation: Callable[[Association], Awaitable[None]], start: str
) -> None:
    idle_seconds = 0.02 if start == "cold" else 60.0
    async with pooled(SERVING, size=1, idle_seconds=idle_seconds) as (pool, _):

        async def scenario() -> None:
            async with pool.acquire(EVERYTHING, soon(), serve_store=swallow) as association:
                await operation(association)

        async def check(point: int) -> None:
            await until(lambda: "active=0" in repr(pool) and "opening=0 waiting=0" in repr(pool))
            await scenario()
            await until(lambda: ("idle=1" if start == "warm" else "active=0 idle=0") in repr(pool))

        await check(0)
        assert await cancelled_at_every_point(scenario, check) >= (1 if start == "warm" else 3)


async def test_cancelled_while_waiting_nobody_loses_a_turn() -> None:
    async with pooled(ECHOING, size=1) as (pool, _):

        async def scenario() -> None:
            await ask(pool)

        async def check(point: int) -> None:
            async with pool.acquire([ECHO], soon()):
                first, second, third = (asyncio.ensure_future(ask(pool)) for _ in range(3))
                await until(lambda: "waiting=3" in repr(pool))
                for _ in range(point):
                    await asyncio.sleep(0)
                second.cancel()
            # The grant may already be on its way to the one who is cancelled in the same turn of the loop.
            first.cancel()
            await asyncio.wait([first, second])
            await third
            assert state(pool) == "active=0 idle=1 opening=0 waiting=0 size=1"

        await cancelled_at_every_point(scenario, check)


async def test_a_hundred_borrowers_cancelled_at_random_leave_nothing_behind() -> None:
    async with pooled(SERVING, size=3, wait_seconds=10.0, max_waiting=200) as (pool, _):
        operations = [do_echo, do_find, do_move, do_get]

        async def borrow(number: int) -> None:
            async with pool.acquire(EVERYTHING, soon(), serve_store=swallow) as association:
                await operations[number % 4](association)

        tasks = [asyncio.ensure_future(borrow(number)) for number in range(100)]
        for number, task in enumerate(tasks):
            await asyncio.sleep(0)
            if number % 3 == 0:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert len([result for result in results if result is None]) >= 66
        await until(lambda: "active=0" in repr(pool))
        assert "opening=0 waiting=0" in repr(pool)
