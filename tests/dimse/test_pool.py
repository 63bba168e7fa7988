"""The pool: few associations, shared, kept for a short time, and never lent dirty."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.echo import echo
from gateway.dimse.find import find
from gateway.dimse.pool import AssociationPool
from gateway.errors import DimseFailure, GatewayError, Reset, Saturated, Stalled
from gateway.wire.negotiation import ProposedContext
from tests.dimse.pools import ECHOING, ask, pooled, state
from tests.dimse.scripts import (
    ECHO,
    FIND,
    QUICK,
    echo_answer,
    identifier,
    matches,
    peer_of,
    row,
    serve,
    soon,
    until,
)
from tests.kit import pdus
from tests.kit.peers import DicomNode, free_port
from tests.kit.scripted import Message, Script, ScriptedPeer, scripted_acceptor

# --- few and shared


async def test_the_pool_says_how_it_stands() -> None:
    async with pooled(ECHOING, size=2) as (pool, _):
        assert state(pool) == "active=0 idle=0 opening=0 waiting=0 size=2"
        async with pool.acquire([ECHO], soon()):
            assert state(pool) == "active=1 idle=0 opening=0 waiting=0 size=2"
            async with pool.acquire([ECHO], soon()):
                assert state(pool) == "active=2 idle=0 opening=0 waiting=0 size=2"
        assert state(pool) == "active=0 idle=2 opening=0 waiting=0 size=2"


async def test_an_idle_association_is_used_again() -> None:
    async with pooled(ECHOING) as (pool, node):
        first = await ask(pool)
        assert await ask(pool) is first
        assert len(node.peers) == 1


async def test_two_at_once_get_two_and_no_third_is_opened_above_the_size() -> None:
    async with pooled(ECHOING, size=2) as (pool, node):
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(ask(pool))
        assert len(node.peers) == 2
        assert state(pool) == "active=0 idle=2 opening=0 waiting=0 size=2"


async def test_associations_that_are_being_opened_count() -> None:
    async with pooled(ScriptedPeer.hold, size=2, wait_seconds=0.2, limits=QUICK) as (pool, node):
        opening = [asyncio.ensure_future(ask(pool)) for _ in range(2)]
        await until(lambda: len(node.peers) == 2)
        assert state(pool) == "active=0 idle=0 opening=2 waiting=0 size=2"
        with pytest.raises(Saturated):
            await ask(pool)
        for error in await asyncio.gather(*opening, return_exceptions=True):
            assert isinstance(error, Stalled)
        assert len(node.peers) == 2


async def test_who_waits_is_served_in_order() -> None:
    order: list[int] = []

    async def take(pool: AssociationPool, number: int) -> None:
        async with pool.acquire([ECHO], soon()):
            order.append(number)

    async with pooled(ECHOING, size=1) as (pool, _):
        async with pool.acquire([ECHO], soon()):
            tasks = []
            for number in range(5):
                tasks.append(asyncio.ensure_future(take(pool, number)))
                await asyncio.sleep(0)
            assert state(pool) == "active=1 idle=0 opening=0 waiting=5 size=1"
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4]


async def test_the_queue_is_bounded_in_length() -> None:
    async with pooled(ECHOING, size=1, max_waiting=2) as (pool, _):
        async with pool.acquire([ECHO], soon()):
            waiting = [asyncio.ensure_future(ask(pool)) for _ in range(2)]
            await until(lambda: "waiting=2" in repr(pool))
            started = asyncio.get_running_loop().time()
            with pytest.raises(Saturated):
                await ask(pool)
            assert asyncio.get_running_loop().time() - started < 2.0  # at once, not when a turn would come
        await asyncio.gather(*waiting)


async def test_the_queue_is_bounded_in_time() -> None:
    async with pooled(ECHOING, size=1, wait_seconds=0.1) as (pool, _), pool.acquire([ECHO], soon()):
        with pytest.raises(Saturated):
            await ask(pool)
        assert state(pool) == "active=1 idle=0 opening=0 waiting=0 size=1"


async def test_the_deadline_bounds_the_wait_too() -> None:
    async with pooled(ECHOING, size=1) as (pool, _), pool.acquire([ECHO], soon()):
        with pytest.raises(GatewayError):
            async with pool.acquire([ECHO], Deadline.after(0.1)):
                pass
        assert state(pool) == "active=1 idle=0 opening=0 waiting=0 size=1"


# --- idle, but not for long


async def test_an_idle_association_is_released_after_its_time() -> None:
    async with pooled(ECHOING, idle_seconds=0.1) as (pool, node):
        await ask(pool)
        await until(lambda: state(pool).startswith("active=0 idle=0"))
        await until(lambda: node.peer.received[-1].type == pdus.A_RELEASE_RQ)


async def test_an_idle_association_makes_room_for_other_contexts() -> None:
    async with pooled(ECHOING, size=1) as (pool, node):
        await ask(pool, ECHO)
        async with pool.acquire([FIND], soon()) as association:
            assert association.transfer_syntax(pdus.STUDY_FIND)
        assert len(node.peers) == 2
        assert any(pdu.type == pdus.A_RELEASE_RQ for pdu in node.peers[0].received)


async def test_an_association_with_more_contexts_than_asked_for_will_do() -> None:
    async with pooled(ECHOING, size=4) as (pool, node):
        await ask(pool, ECHO, FIND)
        await ask(pool, ECHO)
        assert len(node.peers) == 1


ENDS: dict[str, Callable[[ScriptedPeer], Awaitable[object]]] = {
    "abort": lambda peer: peer.send(pdus.abort(0, 0)),
    "release": lambda peer: peer.send(pdus.RELEASE_RQ),
    "fin": ScriptedPeer.close,
    "rst": ScriptedPeer.rst,
    "chatter": lambda peer: peer.send(pdus.message(1, pdus.response({"command_field": 0x30, "message_id": 99}))),
    "half a PDU": lambda peer: peer.send(b"\x04\x00\x00"),
    "half a message": lambda peer: peer.send(pdus.p_data(1, b"\0\0", command=True, last=False)),
}


@pytest.mark.parametrize("how", ENDS)
async def test_an_idle_association_that_is_no_longer_good_is_not_lent(how: str) -> None:
    go = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await echo_answer(peer, await peer.recv_message())
        await go.wait()
        await ENDS[how](peer)
        await peer.hold()

    async with pooled(script, ECHOING, idle_seconds=60.0, limits=QUICK) as (pool, node):
        first = await ask(pool)
        go.set()
        await until(lambda: not first.clean)
        assert await ask(pool) is not first
        assert len(node.peers) == 2
        await until(lambda: "active=0" in repr(pool))


async def test_an_association_that_dies_before_any_answer_says_that_asking_again_is_safe() -> None:
    async def once(peer: ScriptedPeer) -> None:
        await peer.accept()
        await echo_answer(peer, await peer.recv_message())
        await peer.recv_message()
        await peer.rst()

    async with pooled(once, ECHOING) as (pool, _):
        await ask(pool)
        async with pool.acquire([ECHO], soon()) as association:
            with pytest.raises(GatewayError):
                await echo(association, soon())
            assert association.stale
        await ask(pool)


def dying(*, after: int) -> Script:
    """Return a peer that answers so many requests and resets the connection at the next."""

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        for _ in range(after):
            await echo_answer(peer, await peer.recv_message())
        await peer.recv_message()
        await peer.rst()

    return script


async def run(pool: AssociationPool, *contexts: ProposedContext) -> None:
    await pool.run(contexts or (ECHO,), soon(), lambda association: echo(association, soon()))


async def test_an_operation_on_an_association_that_died_while_idle_is_repeated_on_another() -> None:
    async with pooled(dying(after=1), ECHOING, size=1) as (pool, node):
        await run(pool)
        await run(pool)
        assert len(node.peers) == 2
        assert state(pool) == "active=0 idle=1 opening=0 waiting=0 size=1"


async def test_it_is_repeated_once_only() -> None:
    async with pooled(dying(after=1), dying(after=0), ECHOING, size=1) as (pool, node):
        await run(pool)
        with pytest.raises(Reset):
            await run(pool)
        assert len(node.peers) == 2


async def test_an_association_that_is_new_and_dies_is_not_repeated() -> None:
    async with pooled(dying(after=0), ECHOING, size=1) as (pool, node):
        with pytest.raises(Reset):
            await run(pool)
        assert len(node.peers) == 1


async def test_an_operation_that_was_answered_is_not_repeated() -> None:
    refused: list[int] = []

    async def once(peer: ScriptedPeer, request: Message) -> None:
        if request.command["command_field"] == pdus.C_ECHO_RQ:
            await echo_answer(peer, request)
            return
        refused.append(request.command["message_id"])
        await peer.send(pdus.find_response(request.context_id, request.command, row(1)))
        await asyncio.sleep(0.05)  # a reset overtakes what is still in flight
        await peer.rst()

    async def search(association: Association) -> list[bytes]:
        return [each async for each in find(association, pdus.STUDY_FIND, identifier(), soon())]

    async with pooled(serve(once), size=1) as (pool, _):
        await run(pool, ECHO, FIND)
        with pytest.raises(Reset):
            await pool.run([ECHO, FIND], soon(), search)
        assert len(refused) == 1


# --- never dirty


async def test_a_search_left_midway_is_not_lent_until_the_peer_has_ended_it() -> None:
    ended = asyncio.Event()

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        if request.command["command_field"] == pdus.C_ECHO_RQ:
            await echo_answer(peer, request)
            return
        await peer.send(pdus.find_response(request.context_id, request.command, row(1)))
        while not peer.saw(pdus.C_CANCEL_RQ):
            await peer.recv()
        await ended.wait()
        await peer.send(pdus.find_response(request.context_id, request.command, status=0xFE00))

    async with pooled(serve(answer), size=1) as (pool, node):
        async with pool.acquire([ECHO, FIND], soon()) as first:
            found = find(first, pdus.STUDY_FIND, identifier(), soon())
            assert await anext(found) == row(1)
            await found.aclose()
        assert state(pool) == "active=1 idle=0 opening=0 waiting=0 size=1"
        waiting = asyncio.ensure_future(ask(pool, ECHO, FIND))
        await until(lambda: "waiting=1" in repr(pool))
        ended.set()
        assert await waiting is first
        assert len(node.peers) == 1


async def test_a_search_that_is_not_even_closed_is_dirty() -> None:
    async with pooled(serve(matches([row(1), row(2)])), size=1) as (pool, node):
        async with pool.acquire([FIND], soon()) as first:
            found = find(first, pdus.STUDY_FIND, identifier(), soon())
            assert await anext(found) == row(1)
        async with pool.acquire([FIND], soon()) as second:
            assert second is not first
        assert len(node.peers) == 2
        await found.aclose()


async def test_a_failure_status_leaves_the_association_clean() -> None:
    async def refuse(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(pdus.message(request.context_id, pdus.response(request.command, 0xA700)))

    async with pooled(serve(refuse)) as (pool, node):
        for _ in range(3):
            async with pool.acquire([FIND], soon()) as association:
                with pytest.raises(DimseFailure):
                    await anext(find(association, pdus.STUDY_FIND, identifier(), soon()))
        assert len(node.peers) == 1


async def test_an_exception_of_the_borrower_does_not_cost_a_clean_association() -> None:
    async with pooled(ECHOING, size=1) as (pool, node):
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the borrower fails after its echo
            async with pool.acquire([ECHO], soon()) as association:
                await echo(association, soon())
                raise ZeroDivisionError
        await ask(pool)
        assert len(node.peers) == 1


# --- the end


async def test_a_closed_pool_has_released_what_was_idle_and_aborted_the_rest() -> None:
    async with scripted_acceptor(ECHOING) as node:
        pool = AssociationPool(peer_of(node), limits=QUICK)
        async with pool.acquire([ECHO], soon()) as busy:
            await ask(pool)
            waiting = [asyncio.ensure_future(ask(pool)) for _ in range(5)]
            await asyncio.sleep(0)
            await pool.aclose()
            assert busy.closed
            await asyncio.gather(*waiting, return_exceptions=True)
        assert state(pool).startswith("active=0 idle=0 opening=0 waiting=0")
        with pytest.raises(Saturated):
            await ask(pool)
        assert any(pdu.type == pdus.A_ABORT for pdu in node.peers[0].received)


async def test_closing_twice_and_closing_unused_is_harmless() -> None:
    pool = AssociationPool(peer_of(DicomNode("SCRIPTED", "127.0.0.1", free_port())), limits=QUICK)
    await pool.aclose()
    await pool.aclose()


async def test_a_pool_closed_while_it_opens_leaves_no_connection() -> None:
    async with scripted_acceptor(ScriptedPeer.hold) as node:
        pool = AssociationPool(peer_of(node), limits=QUICK)
        opening = asyncio.ensure_future(ask(pool))
        await until(lambda: node.peers)
        await pool.aclose()
        with pytest.raises(GatewayError):
            await opening
        assert state(pool).startswith("active=0 idle=0 opening=0 waiting=0")
        await until(lambda: node.peer.reader.at_eof() or node.peer.reader.exception())
