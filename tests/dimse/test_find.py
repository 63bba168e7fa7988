"""C-FIND as SCU: rows as they are encoded, what came before a fault is kept, and a peer is never left talking."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.find import find
from gateway.errors import (
    Aborted,
    Closed,
    DimseFailure,
    GatewayError,
    LimitExceeded,
    RemoteProtocolError,
    Reset,
    Stalled,
    Truncated,
)
from tests.dimse.scripts import (
    FIND,
    QUICK,
    TIMED,
    associated,
    associated_with,
    identifier,
    matches,
    most_in_flight,
    row,
    serve,
    settled,
    soon,
    until,
)
from tests.kit import dicom, pdus
from tests.kit.fault_proxy import fault_proxy
from tests.kit.peers import pynetdicom_archive
from tests.kit.scripted import Message, ScriptedNode, ScriptedPeer, scripted_acceptor

STUDIES = [instance for number in range(1, 8) for instance in dicom.study(number, instances=1)]


def searching(association: Association, **options: object) -> AsyncGenerator[bytes, None]:
    return find(association, pdus.STUDY_FIND, identifier(PatientName=""), soon(), **options)  # type: ignore[arg-type]


async def collect(association: Association, **options: object) -> list[bytes]:
    return [each async for each in searching(association, **options)]


async def kept(association: Association, **options: object) -> tuple[list[bytes], GatewayError | None]:
    """Return the rows that came, and the error that ended the search."""
    rows: list[bytes] = []
    try:
        async for each in searching(association, **options):
            rows.append(each)  # noqa: PERF401 - they are kept when it fails
    except GatewayError as error:
        return rows, error
    return rows, None


# --- what a correct peer may do


async def test_rows_are_the_bytes_the_peer_encoded() -> None:
    rows = [row(n) for n in range(5)]
    async with associated_with(serve(matches(rows)), FIND) as (association, peer):
        assert await collect(association) == rows
        assert await collect(association) == rows  # and the association serves again
        assert association.clean
        first, second = (m["message_id"] for m in peer.commands if m["command_field"] == pdus.C_FIND_RQ)
        assert first != second
        assert not peer.saw(pdus.C_CANCEL_RQ)


async def test_no_match_is_no_row() -> None:
    async with associated_with(serve(matches([])), FIND) as (association, _):
        assert await collect(association) == []


async def test_the_request_says_what_the_standard_asks_for() -> None:
    async with associated_with(serve(matches([])), FIND) as (association, peer):
        await collect(association)
        request = next(m for m in peer.commands if m["command_field"] == pdus.C_FIND_RQ)
        assert request["affected_sop_class_uid"] == pdus.STUDY_FIND
        assert request["command_data_set_type"] != pdus.NO_DATA_SET
        assert request["priority"] in {0, 1, 2}
        assert request["message_id"] > 0
        data = b"".join(v.fragment for pdu in peer.received for v in pdu.pdvs if not v.is_command)
        assert data == identifier(PatientName="")


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_pending_responses_may_be_cut_anywhere(size: int) -> None:
    rows = [row(n) for n in range(20)]

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        stream = b"".join(pdus.find_response(request.context_id, request.command, each) for each in rows)
        stream += pdus.find_response(request.context_id, request.command)
        for at in range(0, len(stream), size):
            await peer.send(stream[at : at + size])

    async with associated_with(serve(answer), FIND) as (association, _):
        assert await collect(association) == rows


async def test_a_pending_with_warning_is_a_match() -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(pdus.find_response(request.context_id, request.command, row(1), status=0xFF01))
        await peer.send(pdus.find_response(request.context_id, request.command))

    async with associated_with(serve(answer), FIND) as (association, _):
        assert await collect(association) == [row(1)]


async def test_command_and_identifier_may_share_a_pdu() -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        command = pdus.command_set(pdus.response(request.command, 0xFF00, command_data_set_type=pdus.DATA_SET))
        half = len(row(1)) // 2
        pieces = [(3, command), (0, row(1)[:half]), (0, b""), (2, row(1)[half:])]
        await peer.send(pdus.pdu(4, b"".join(pdus.pdv(request.context_id, *piece) for piece in pieces)))
        await peer.send(pdus.find_response(request.context_id, request.command))

    async with associated_with(serve(answer), FIND) as (association, _):
        assert await collect(association) == [row(1)]


# --- failures by status


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC000, 0xC123, 0x0122, 0x0124])
async def test_a_failure_keeps_the_rows_and_tells_status_and_comment(status: int) -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(pdus.find_response(request.context_id, request.command, row(1)))
        failed = pdus.response(request.command, status, error_comment="Out of tapes")
        await peer.send(pdus.message(request.context_id, failed))

    async with associated_with(serve(answer), FIND) as (association, _):
        rows, error = await kept(association)
        assert rows == [row(1)]
        assert isinstance(error, DimseFailure)
        assert (error.status, error.comment) == (status, "Out of tapes")
        assert association.clean  # a status ends the operation, not the association


# --- R06, R07: the line is cut


async def abort(peer: ScriptedPeer, request: Message) -> None:
    await peer.send(pdus.abort(0, 0))


async def half_a_match(peer: ScriptedPeer, request: Message) -> None:
    await peer.send_half(pdus.find_response(request.context_id, request.command, row(4)))
    await peer.close()


async def half_between_pdus(peer: ScriptedPeer, request: Message) -> None:
    command = pdus.response(request.command, 0xFF00, command_data_set_type=pdus.DATA_SET)
    await peer.send(pdus.message(request.context_id, command))
    await peer.close()


async def silence(peer: ScriptedPeer, request: Message) -> None:
    await peer.send_half(pdus.find_response(request.context_id, request.command, row(4)))


Fault = Callable[[ScriptedPeer, Message], Awaitable[object]]
CUTS: dict[str, tuple[Fault, type[GatewayError]]] = {
    "aborted": (abort, Aborted),
    "reset": (lambda peer, request: peer.rst(), Reset),
    "closed": (lambda peer, request: peer.close(), Closed),
    "truncated": (half_a_match, Truncated),
    "released": (lambda peer, request: peer.send(pdus.RELEASE_RQ), Closed),
    "timeout": (silence, Stalled),
}


@pytest.mark.parametrize("slug", CUTS)
async def test_what_came_before_the_fault_is_kept_and_the_fault_is_told(slug: str) -> None:
    fault, kind = CUTS[slug]

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        for number in (1, 2, 3):
            await peer.send(pdus.find_response(request.context_id, request.command, row(number)))
        # The rows are in the requestor's hands before the line is cut: a reset may overtake what is in flight.
        await arrived.wait()
        await fault(peer, request)
        await peer.hold()

    arrived = asyncio.Event()
    async with associated_with(serve(answer), FIND, limits=QUICK) as (association, _):
        found = searching(association)
        assert [await anext(found) for _ in range(3)] == [row(1), row(2), row(3)]
        arrived.set()
        with pytest.raises(GatewayError) as caught:
            await anext(found)
        assert type(caught.value) is kind
        assert not association.clean


async def test_a_message_without_its_data_set_is_a_cut() -> None:
    async with associated_with(serve(half_between_pdus), FIND) as (association, _):
        assert type((await kept(association))[1]) in {Closed, Truncated}


async def test_wherever_the_stream_ends_the_rows_before_are_kept() -> None:
    rows = [row(n) for n in range(3)]
    request = {"command_field": pdus.C_FIND_RQ, "message_id": 1, "affected_sop_class_uid": pdus.STUDY_FIND}
    parts = [pdus.find_response(1, request, each) for each in rows] + [pdus.find_response(1, request)]
    stream = b"".join(parts)
    ends = [sum(map(len, parts[:n])) for n in range(1, 4)]
    cuts = [*range(0, len(stream), 7), *ends]

    async def answer(peer: ScriptedPeer, message: Message) -> None:
        assert message.command["message_id"] == 1
        await peer.send(stream[: cuts[len(node.peers) - 1]])
        await peer.close()

    async with scripted_acceptor(serve(answer)) as node:
        for cut in cuts:
            async with associated(node, FIND) as association:
                found, error = await kept(association)
                assert found == rows[: sum(cut >= end for end in ends)]
                assert isinstance(error, Closed | Truncated)


# --- R10, R11: the peer breaks the protocol


def pending(request: Message, **changes: object) -> bytes:
    command = pdus.response(request.command, 0xFF00, command_data_set_type=pdus.DATA_SET)
    return pdus.message(request.context_id, {k: v for k, v in (command | changes).items() if v is not None}, row(9))


WRONG: dict[str, tuple[Callable[[Message], bytes], int | None]] = {
    "unknown context": (lambda request: pdus.p_data(99, pdus.command_set({"status": 0}), command=True), 6),
    "message id": (lambda request: pending(request, message_id_being_responded_to=4711), None),
    "no message id": (lambda request: pending(request, message_id_being_responded_to=None), None),
    "command field": (lambda request: pending(request, command_field=pdus.C_MOVE_RSP), None),
    "a request": (lambda request: pending(request, command_field=pdus.C_FIND_RQ), None),
    "no status": (lambda request: pending(request, status=None), None),
    "announced no data set": (lambda request: pending(request, command_data_set_type=pdus.NO_DATA_SET), None),
    "pending without a data set": (
        lambda request: pdus.message(request.context_id, pdus.response(request.command, 0xFF00)),
        None,
    ),
    "no command field": (
        lambda request: pdus.p_data(request.context_id, pdus.command_set({"status": 0}), command=True),
        None,
    ),
    "not a command set": (lambda request: pdus.p_data(request.context_id, b"garbage", command=True), None),
    "PDU of 4 GiB": (lambda request: pdus.pdu(4, b"", length=0xFFFFFFFF), 6),
    "PDU of no length": (lambda request: pdus.pdu(4, b""), 6),
    "PDU type 08": (lambda request: pdus.pdu(8, bytes(4)), 1),
    "an association request": (lambda request: pdus.associate_rq([(1, "1.2.3", ["1.2"])]), 2),
    "identifier of 2 MiB": (
        lambda request: pdus.message(
            request.context_id,
            pdus.response(request.command, 0xFF00, command_data_set_type=pdus.DATA_SET),
            bytes(2 << 20),
            chunk=100_000,
        ),
        None,
    ),
    "a C-STORE request": (
        lambda request: pdus.message(
            request.context_id,
            {
                "command_field": pdus.C_STORE_RQ,
                "message_id": 1,
                "command_data_set_type": 1,
                "affected_sop_class_uid": pdus.CT_IMAGE,
                "affected_sop_instance_uid": "1.2.3",
            },
            row(1),
        ),
        None,
    ),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_violation_drops_the_association_with_the_reason_and_is_no_row(what: str) -> None:
    make, reason = WRONG[what]

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(pdus.find_response(request.context_id, request.command, row(1)))
        with contextlib.suppress(ConnectionError):
            await peer.send(make(request))
        await peer.hold()

    async with associated_with(serve(answer), FIND) as (association, peer):
        rows, error = await kept(association)
        assert rows == [row(1)]
        assert type(error) is RemoteProtocolError
        assert association.closed
        await until(lambda: any(pdu.type == pdus.A_ABORT for pdu in peer.received))
        (aborted,) = [pdu for pdu in peer.received if pdu.type == pdus.A_ABORT]
        source, given = struct.unpack("xxBB", aborted.body)
        assert source == 2
        assert reason in {None, given}


# --- leaving early


async def first_row(association: Association) -> bytes:
    matches = searching(association)
    async for each in matches:
        await matches.aclose()
        return each
    raise AssertionError("no row")


async def endless(peer: ScriptedPeer, request: Message) -> None:
    """Send matches until a C-CANCEL arrives, then the Cancel status."""

    async def talk() -> None:
        number = 0
        while True:
            number += 1
            await peer.send(pdus.find_response(request.context_id, request.command, row(number)))
            await asyncio.sleep(0)

    talking = asyncio.ensure_future(talk())
    try:
        while (await peer.recv(pdus.P_DATA_TF)).command.get("command_field") != pdus.C_CANCEL_RQ:
            pass
    finally:
        talking.cancel()
        await asyncio.wait([talking])
    await peer.send(pdus.message(request.context_id, pdus.response(request.command, 0xFE00)))


async def test_leaving_early_sends_c_cancel_and_the_association_serves_again() -> None:
    async with associated_with(serve(endless), FIND) as (association, peer):
        for _ in range(3):
            assert await first_row(association) == row(1)
            await until(lambda: association.clean)
        cancels = [m for m in peer.commands if m["command_field"] == pdus.C_CANCEL_RQ]
        requests = [m for m in peer.commands if m["command_field"] == pdus.C_FIND_RQ]
        assert [c["message_id_being_responded_to"] for c in cancels] == [r["message_id"] for r in requests]


async def test_a_peer_that_ended_before_the_c_cancel_arrived_does_no_harm() -> None:
    async with associated_with(serve(matches([row(1), row(2)])), FIND) as (association, _):
        assert await first_row(association) == row(1)
        await until(lambda: association.clean)
        assert await collect(association) == [row(1), row(2)]


async def deaf(peer: ScriptedPeer, request: Message) -> None:
    """Send matches for ever, whatever is asked."""
    for number in range(10_000_000):
        await peer.send(pdus.find_response(request.context_id, request.command, row(number)))
        if peer.writer.transport.is_closing():
            return
        await asyncio.sleep(0)


async def mute(peer: ScriptedPeer, request: Message) -> None:
    """Send one match and nothing more, whatever is asked."""
    await peer.send(pdus.find_response(request.context_id, request.command, row(1)))
    await peer.hold()


@pytest.mark.parametrize("behaviour", [deaf, mute])
async def test_a_peer_that_ignores_c_cancel_is_aborted(behaviour: Fault) -> None:
    async with associated_with(serve(behaviour), FIND, limits=QUICK) as (association, _):  # type: ignore[arg-type]
        started = asyncio.get_running_loop().time()
        await first_row(association)
        await until(lambda: association.closed)
        assert asyncio.get_running_loop().time() - started < 30.0  # cancel_seconds, not the deadline


async def test_a_search_that_is_cancelled_sends_c_cancel() -> None:
    async with associated_with(serve(endless), FIND) as (association, peer):
        began = asyncio.Event()

        async def search() -> None:
            async for _ in searching(association):
                began.set()

        task = asyncio.ensure_future(search())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: peer.saw(pdus.C_CANCEL_RQ) or association.closed)
        await until(lambda: association.clean or association.closed)


# --- R12, R04: limits


@pytest.mark.parametrize("count", [9, 10, 11])
async def test_matches_are_limited(count: int) -> None:
    async with associated_with(serve(matches([row(n) for n in range(count)])), FIND) as (association, _):
        rows, error = await kept(association, max_matches=10)
        assert rows == [row(n) for n in range(min(count, 10))]
        assert isinstance(error, LimitExceeded) is (count == 11)


async def test_endless_matches_stop_at_the_limit_with_a_c_cancel() -> None:  # R12
    async with associated_with(serve(endless), FIND) as (association, peer):
        rows, error = await kept(association, max_matches=200)
        assert len(rows) == 200
        assert isinstance(error, LimitExceeded)
        await until(lambda: peer.saw(pdus.C_CANCEL_RQ))
        await until(lambda: association.clean or association.closed)


@pytest.mark.parametrize(("excess", "limited"), [(-1, False), (0, False), (1, True)])
async def test_bytes_are_limited(excess: int, limited: bool) -> None:
    rows = [row(n) for n in range(4)]
    async with associated_with(serve(matches(rows)), FIND) as (association, _):
        _, error = await kept(association, max_bytes=sum(map(len, rows)) - excess)
        assert isinstance(error, LimitExceeded) is limited


async def large(peer: ScriptedPeer, request: Message) -> None:
    """Send matches of 100 KB for ever."""
    while not peer.writer.transport.is_closing():
        await peer.send(pdus.find_response(request.context_id, request.command, row(1) + bytes(100_000)))
        await asyncio.sleep(0)


async def test_matches_nobody_reads_do_not_pile_up() -> None:
    async with associated_with(serve(large), FIND, limits=QUICK) as (association, peer):
        found = searching(association, max_matches=10_000_000)
        await anext(found)
        sent = await settled(lambda: peer.sent)
        assert sent < most_in_flight()
        await found.aclose()
        await until(lambda: association.closed)


async def test_silence_between_matches_is_a_stall() -> None:  # R04
    async with associated_with(serve(mute), FIND, limits=QUICK) as (association, _):
        started = asyncio.get_running_loop().time()
        rows, error = await kept(association, between=0.1)
        assert rows == [row(1)]
        assert isinstance(error, Stalled)
        assert asyncio.get_running_loop().time() - started < 30.0  # well before the deadline


@TIMED
async def test_a_match_resets_the_clock_between_matches() -> None:
    async def slow(peer: ScriptedPeer, request: Message) -> None:
        for number in range(5):
            await asyncio.sleep(0.07)
            await peer.send(pdus.find_response(request.context_id, request.command, row(number)))
        await peer.send(pdus.find_response(request.context_id, request.command))

    async with associated_with(serve(slow), FIND) as (association, _):
        assert len(await collect(association, between=0.25)) == 5


async def test_the_deadline_ends_a_search_however_lively_the_peer_is() -> None:
    async with associated_with(serve(endless), FIND) as (association, peer):
        found = find(association, pdus.STUDY_FIND, identifier(), Deadline.after(0.3), max_matches=10**9)
        with pytest.raises(Stalled):
            [each async for each in found]
        await until(lambda: peer.saw(pdus.C_CANCEL_RQ) or association.closed)
        await until(lambda: association.clean or association.closed)


async def test_a_drip_is_a_stall() -> None:  # R05
    with pynetdicom_archive("ARCHIVE", STUDIES) as archive:
        async with fault_proxy(archive.port) as proxy:
            proxy.to_client.after_pdu(3).drip(0.05)
            node = ScriptedNode("127.0.0.1", proxy.port)
            async with associated(node, FIND, limits=QUICK) as association:
                started = asyncio.get_running_loop().time()
                rows, error = await kept(association)
                assert len(rows) == 1
                assert isinstance(error, Stalled)
                assert asyncio.get_running_loop().time() - started < 30.0  # well before the deadline
