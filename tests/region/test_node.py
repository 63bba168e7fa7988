"""A region over its associations: what it gave counts, and its circuit breaker knows what is its fault.

Promises R01, R06, R11, R13 and R19 from the region's side.
"""

import asyncio
from contextlib import aclosing

import pytest

from gateway.dataset.query import Row
from gateway.deadline import Deadline
from gateway.errors import (
    Aborted,
    Busy,
    DatasetError,
    DimseFailure,
    GatewayError,
    LimitExceeded,
    OpenCircuit,
    Refused,
    Rejected,
    RemoteProtocolError,
    Stalled,
)
from gateway.region import guard as guard_module
from gateway.region.breaker import CircuitState
from tests.dimse.scripts import echo_answer, identifier, matches, row, serve, until
from tests.kit import dicom, pdus
from tests.kit.peers import free_port
from tests.kit.scripted import Message, Script, ScriptedPeer
from tests.region.watched import STUDIES, Watched, fields, watched

REAL_TIME = True


def uids(rows: list[Row]) -> list[str]:
    return [found["0020000D"]["Value"][0] for found in rows]


async def failing(peer: ScriptedPeer, request: Message) -> None:
    await peer.send(pdus.find_response(request.context_id, request.command, status=0xC000))


async def aborting(peer: ScriptedPeer, request: Message) -> None:
    await peer.send(pdus.abort())
    await peer.hold()


async def silent(peer: ScriptedPeer, request: Message) -> None:
    await peer.hold()


def rejecting(**reason: int) -> Script:
    async def script(peer: ScriptedPeer) -> None:
        await peer.recv(pdus.A_ASSOCIATE_RQ)
        await peer.send(pdus.associate_rj(**reason))
        await peer.hold()

    return script


async def no_context(peer: ScriptedPeer) -> None:
    await peer.recv(pdus.A_ASSOCIATE_RQ)
    await peer.send(pdus.associate_ac([(number, pdus.IMPLICIT_LE, 3) for number in (1, 3, 5)]))
    await peer.hold()


# --- what it gives


async def test_each_match_is_a_row() -> None:
    async with watched(serve(matches([row(1), row(2)]))) as (watching, _):
        assert uids(await watching.search()) == [dicom.uid(1), dicom.uid(2)]


async def test_what_it_gave_before_it_aborted_stands() -> None:
    async with watched(serve(matches([row(1), row(2), row(3)], pdus.abort()))) as (watching, _):
        found, error = await watching.gathered()
        assert isinstance(error, Aborted)
        assert uids(found) == [dicom.uid(1), dicom.uid(2), dicom.uid(3)]


async def test_a_match_that_cannot_be_decoded_costs_no_other() -> None:
    broken = identifier(StudyInstanceUID=dicom.uid(2))[:-3] + b"\xff\xff\xff"
    nested = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 70
    async with watched(serve(matches([row(1), broken + b"\x08\0", nested, row(3)]))) as (watching, _):
        found, error = await watching.gathered()
        assert isinstance(error, DatasetError)
        assert str(error) == "2 matches of region neodin could not be decoded"
        assert uids(found) == [dicom.uid(1), dicom.uid(3)]


async def test_more_than_is_taken_from_one_region_is_told_after_what_is() -> None:
    async with watched(serve(matches([row(1)] * 101))) as (watching, node):
        found, error = await watching.gathered()
        assert isinstance(error, LimitExceeded)
        assert len(found) == 100
        await until(lambda: pdus.C_CANCEL_RQ in fields(node))


async def test_a_search_that_is_left_early_is_cancelled() -> None:
    async def endless(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(pdus.find_response(request.context_id, request.command, row(1)))
        await peer.recv_message()
        await peer.send(pdus.find_response(request.context_id, request.command, status=0xFE00))

    async with watched(serve(endless)) as (watching, node):
        async with aclosing(watching.region.search(STUDIES, Deadline.after(10.0))) as rows:
            await anext(rows)
        await until(lambda: pdus.C_CANCEL_RQ in fields(node))


async def test_searches_share_an_idle_association() -> None:
    async with watched(serve(matches([row(1)]))) as (watching, node):
        for _ in range(3):
            await watching.search()
        assert len(node.peers) == 1


async def test_an_association_that_died_while_it_was_idle_is_replaced() -> None:
    async def once(peer: ScriptedPeer) -> None:
        await peer.accept()
        first = await peer.recv_message()
        await peer.send(pdus.find_response(first.context_id, first.command))
        await peer.recv_message()
        await peer.rst()

    async with watched(once, serve(matches([row(1)]))) as (watching, node):
        assert await watching.search() == []
        assert uids(await watching.search()) == [dicom.uid(1)]
        assert len(node.peers) == 2
        assert watching.region.breaker.state is CircuitState.CLOSED


async def test_a_new_association_that_dies_is_not_tried_again() -> None:
    async with watched(serve(aborting), serve(matches([row(1)]))) as (watching, node):
        await watching.fails(Aborted)
        assert len(node.peers) == 1


async def test_an_association_that_dies_after_a_match_is_not_tried_again() -> None:
    async with watched(serve(matches([row(1)], pdus.abort())), serve(matches([row(2)]))) as (watching, node):
        await watching.fails(Aborted)
        assert len(node.peers) == 1


# --- the circuit breaker


async def test_the_fifth_refusal_opens_the_circuit_and_then_nothing_is_sent_at_all() -> None:
    watching = Watched(free_port())
    await watching.fails(Refused, 5)
    assert watching.circuit == [CircuitState.OPEN]
    began = asyncio.get_running_loop().time()
    await watching.fails(OpenCircuit)
    assert asyncio.get_running_loop().time() - began < 0.05
    await watching.region.aclose()


async def test_a_retrieve_counts_like_a_search() -> None:
    watching = Watched(free_port(), retrieve="c-get")
    for _ in range(4):
        with pytest.raises(Refused):
            await watching.retrieve()
    assert watching.circuit == []
    with pytest.raises(Refused):
        await watching.retrieve()
    assert watching.circuit == [CircuitState.OPEN]
    await watching.region.aclose()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (serve(aborting), Aborted),
        (rejecting(result=2, source=3, reason=2), Busy),
        (rejecting(result=1, source=1, reason=3), Rejected),
        (serve(matches([row(1)], pdus.p_data(99, b"x"))), RemoteProtocolError),
    ],
    ids=["aborts", "is busy", "rejects us", "breaks the protocol"],
)
async def test_what_is_the_regions_fault_opens_the_circuit(script: Script, error: type[GatewayError]) -> None:
    async with watched(script) as (watching, _):
        await watching.fails(error, 5)
        assert watching.circuit == [CircuitState.OPEN]


@pytest.mark.parametrize(
    ("script", "error"),
    [(serve(failing), DimseFailure), (no_context, Rejected)],
    ids=["a status", "a service that it does not offer"],
)
async def test_an_answer_however_bad_does_not_open_the_circuit(script: Script, error: type[GatewayError]) -> None:
    async with watched(script) as (watching, _):
        await watching.fails(error, 6)
        assert watching.circuit == []


async def test_a_caller_in_a_hurry_proves_nothing_about_the_region() -> None:
    async with watched(serve(silent)) as (watching, _):
        await watching.fails(GatewayError, 6, seconds=0.02)
        assert watching.circuit == []


async def test_silence_beyond_patience_opens_the_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "BREAKER_PATIENCE", 0.01)
    async with watched(serve(silent), max_associations=8) as (watching, _):
        await watching.fails(Stalled, 5, seconds=0.2)
        assert watching.circuit == [CircuitState.OPEN]


async def opened(watching: Watched) -> None:
    for _ in range(5):
        watching.region.breaker.fail()
    watching.let_the_pause_pass()


async def test_a_region_that_was_left_alone_is_asked_for_an_echo_first() -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        is_echo = request.command["command_field"] == pdus.C_ECHO_RQ
        await (echo_answer if is_echo else matches([row(1)]))(peer, request)

    async with watched(serve(answer)) as (watching, node):
        await opened(watching)
        assert len(await watching.search()) == 1
        assert fields(node) == [pdus.C_ECHO_RQ, pdus.C_FIND_RQ]
        assert watching.circuit == [CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED]


async def test_a_failed_echo_spares_the_region_the_search() -> None:
    async with watched(serve(aborting)) as (watching, node):
        await opened(watching)
        await watching.fails(Aborted)
        assert fields(node) == [pdus.C_ECHO_RQ]
        assert watching.circuit == [CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.OPEN]
        assert watching.region.breaker.retry_after > 40


async def test_an_echo_that_nobody_waited_for_is_tried_again_by_the_next() -> None:
    async with watched(serve(silent)) as (watching, _):
        await opened(watching)
        await watching.fails(Stalled, 3, seconds=0.2)
        assert watching.region.breaker.retry_after == 0


async def test_a_region_without_echo_is_not_shut_out_for_ever() -> None:
    async def only_find(peer: ScriptedPeer) -> None:
        await peer.recv(pdus.A_ASSOCIATE_RQ)
        accepted = [(number, pdus.EXPLICIT_LE, 3 if number == 1 else 0) for number in (1, 3, 5)]
        await peer.send(pdus.associate_ac(accepted))
        while (request := await peer.next_request()) is not None:
            await matches([row(1)])(peer, request)
        await peer.send(pdus.RELEASE_RP)
        await peer.hold()

    async with watched(only_find) as (watching, _):
        await opened(watching)
        await watching.fails(Rejected)
        assert len(await watching.search()) == 1
