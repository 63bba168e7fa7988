"""How an association comes about or does not, told by kind; and how it ends (R01, R07, R08, R13, R14)."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

import pytest

from gateway.deadline import Deadline
from gateway.dimse.echo import echo
from gateway.dimse.find import find
from gateway.dimse.requestor import Peer, connect
from gateway.errors import (
    Aborted,
    Busy,
    Closed,
    GatewayError,
    Refused,
    Rejected,
    RemoteProtocolError,
    Reset,
    Saturated,
    Stalled,
    Truncated,
    Unreachable,
)
from tests.dimse.scripts import (
    ECHO,
    FIND,
    QUICK,
    associated_with,
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
from tests.kit.peers import free_port
from tests.kit.scripted import ScriptedPeer, scripted_acceptor

Act = Callable[[ScriptedPeer], Awaitable[object]]


async def test_the_association_knows_who_it_is_with() -> None:
    async with associated_with(serve(echo_answer), ECHO) as (association, peer):
        assert (association.calling_ae_title, association.called_ae_title) == ("GATEWAY", "SCRIPTED")
        assert association.address[0] == "127.0.0.1"
        assert association.transfer_syntax(pdus.VERIFICATION) == pdus.IMPLICIT_LE
        with pytest.raises(Rejected):
            association.transfer_syntax(pdus.STUDY_FIND)
        request = peer.received[0].body
        assert (request[4:20], request[20:36]) == (b"SCRIPTED        ", b"GATEWAY         ")


# --- it does not come about


async def test_nothing_listens() -> None:  # R01
    with pytest.raises(Refused):
        await connect(Peer("127.0.0.1", free_port(), "ARCHIVE", "GATEWAY"), [ECHO], soon())


async def test_nothing_answers() -> None:
    with socket.socket() as full:  # a listener whose queue is full drops every SYN
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            started = asyncio.get_running_loop().time()
            with pytest.raises(Unreachable):
                await connect(
                    Peer("127.0.0.1", full.getsockname()[1], "ARCHIVE", "GATEWAY"), [ECHO], Deadline.after(0.3)
                )
            assert asyncio.get_running_loop().time() - started < 5.0


@pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop resolves in C
async def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(Unreachable):
        await connect(Peer("archive.invalid", 104, "ARCHIVE", "GATEWAY"), [ECHO], soon())


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "archive..example", "archive\0example"])
async def test_a_name_that_cannot_even_be_asked_for(host: str) -> None:
    with pytest.raises(GatewayError):
        await connect(Peer(host, 104, "ARCHIVE", "GATEWAY"), [ECHO], soon())


@pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop's methods cannot be replaced
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
async def test_our_own_exhaustion_is_not_blamed_on_the_peer(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    async def fails(*arguments: object, **options: object) -> None:
        raise OSError(number, "none left")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fails)
    with pytest.raises(Saturated):
        await connect(Peer("127.0.0.1", 104, "ARCHIVE", "GATEWAY"), [ECHO], soon())


@pytest.mark.parametrize(
    ("result", "source", "reason", "kind"),
    [
        (1, 1, 1, Rejected),
        (1, 1, 3, Rejected),
        (1, 1, 7, Rejected),
        (1, 2, 2, Rejected),
        (2, 1, 1, Busy),
        (2, 3, 1, Busy),
        (2, 3, 2, Busy),
    ],
)
async def test_a_rejection_says_what_it_was(result: int, source: int, reason: int, kind: type[Rejected]) -> None:  # R13
    async def reject(peer: ScriptedPeer) -> None:
        await peer.recv(pdus.A_ASSOCIATE_RQ)
        await peer.send(pdus.associate_rj(result, source, reason))
        await peer.hold()

    async with scripted_acceptor(reject) as node:
        with pytest.raises(Rejected) as caught:
            await connect(peer_of(node), [ECHO], soon())
    assert type(caught.value) is kind
    assert (caught.value.result, caught.value.source, caught.value.reason) == (result, source, reason)
    assert caught.value.retryable is (result == 2)


@pytest.mark.parametrize("reason", [1, 2, 3, 4])
async def test_no_context_accepted_is_a_rejection(reason: int) -> None:  # R13
    async def refuse(peer: ScriptedPeer) -> None:
        await peer.recv(pdus.A_ASSOCIATE_RQ)
        await peer.send(pdus.associate_ac([(1, pdus.IMPLICIT_LE, reason)]))
        await peer.hold()

    async with scripted_acceptor(refuse) as node:
        with pytest.raises(Rejected) as caught:
            await connect(peer_of(node), [ECHO], soon())
        assert not isinstance(caught.value, Busy)
        await until(node.peer.reader.at_eof)


async def half_of_the_answer(peer: ScriptedPeer) -> None:
    await peer.send_half(pdus.associate_ac([(1, pdus.IMPLICIT_LE, 0)]))


async def half_then_fin(peer: ScriptedPeer) -> None:
    await half_of_the_answer(peer)
    await peer.close()


INSTEAD_OF_AN_ANSWER: dict[str, tuple[Act, type[GatewayError]]] = {
    "abort": (lambda peer: peer.send(pdus.abort(2, 1)), Aborted),
    "reset": (ScriptedPeer.rst, Reset),
    "closed": (ScriptedPeer.close, Closed),
    "half a PDU, then closed": (half_then_fin, Truncated),
    "half a PDU, then silence": (half_of_the_answer, Stalled),
    "silence": (lambda _: asyncio.sleep(0), Stalled),
    "HTTP": (lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), RemoteProtocolError),
    "P-DATA": (lambda peer: peer.send(pdus.p_data(1, b"x")), RemoteProtocolError),
    "A-RELEASE-RP": (lambda peer: peer.send(pdus.RELEASE_RP), RemoteProtocolError),
    "A-ASSOCIATE-RQ": (
        lambda peer: peer.send(pdus.associate_rq([(1, pdus.VERIFICATION, ["1.2"])])),
        RemoteProtocolError,
    ),
    "4 GiB": (lambda peer: peer.send(pdus.pdu(2, b"", length=0xFFFFFFFF)), RemoteProtocolError),
    "maximum length 7": (
        lambda peer: peer.send(pdus.associate_ac([(1, pdus.IMPLICIT_LE, 0)], user=pdus.user_information(7))),
        RemoteProtocolError,
    ),
}


@pytest.mark.parametrize("what", INSTEAD_OF_AN_ANSWER)
async def test_what_comes_instead_of_an_answer_is_told_apart(what: str) -> None:  # R07, R08
    act, kind = INSTEAD_OF_AN_ANSWER[what]

    async def script(peer: ScriptedPeer) -> None:
        await peer.recv(pdus.A_ASSOCIATE_RQ)
        await act(peer)
        await peer.hold()

    async with scripted_acceptor(script) as node:
        with pytest.raises(GatewayError) as caught:
            await connect(peer_of(node), [ECHO], soon(), limits=QUICK)
        assert type(caught.value) is kind
        if kind is RemoteProtocolError:
            await until(lambda: any(pdu.type == pdus.A_ABORT for pdu in node.peer.received))
        await until(lambda: node.peer.reader.at_eof() or node.peer.reader.exception())


async def test_the_deadline_ends_a_peer_that_says_nothing() -> None:
    async with scripted_acceptor(ScriptedPeer.hold) as node:
        started = asyncio.get_running_loop().time()
        with pytest.raises(Stalled):
            await connect(peer_of(node), [ECHO], Deadline.after(0.2))
        assert asyncio.get_running_loop().time() - started < 5.0
        await until(lambda: node.peer.reader.at_eof() or node.peer.reader.exception())


async def test_a_cancelled_connect_leaves_no_connection() -> None:
    async with scripted_acceptor(ScriptedPeer.hold) as node:
        connecting = asyncio.ensure_future(connect(peer_of(node), [ECHO], soon()))
        await until(lambda: node.peers and node.peer.received)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: node.peer.reader.at_eof() or node.peer.reader.exception())


# --- it comes about in odd ways


@pytest.mark.parametrize("maximum", [None, 0, 8, 9, 64, 4_294_967_295])
async def test_the_peers_maximum_length_is_kept_to(maximum: int | None) -> None:  # R14
    script = serve(matches([row(1)]), user=pdus.user_information(maximum))
    async with associated_with(script, FIND) as (association, peer):
        rows = [each async for each in find(association, pdus.STUDY_FIND, identifier() + bytes(300), soon())]
        assert rows == [row(1)]
        limit = {None: 16_384, 0: 131_072}.get(maximum, maximum)
        assert max(len(pdu.body) for pdu in peer.received if pdu.type == pdus.P_DATA_TF) <= (limit or 0)


async def test_an_answer_without_user_items_is_usable() -> None:  # R14
    async with associated_with(serve(echo_answer, user=pdus.item(0x50, b"")), ECHO) as (association, _):
        await echo(association, soon())


async def test_contexts_may_be_accepted_in_part() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.recv(pdus.A_ASSOCIATE_RQ)
        await peer.send(pdus.associate_ac([(1, pdus.IMPLICIT_LE, 3), (3, pdus.EXPLICIT_LE, 0)]))
        await peer.recv(pdus.A_RELEASE_RQ)
        await peer.send(pdus.RELEASE_RP)
        await peer.hold()

    async with associated_with(script, ECHO, FIND) as (association, _):
        assert association.transfer_syntax(pdus.STUDY_FIND) == pdus.EXPLICIT_LE
        with pytest.raises(Rejected):
            association.transfer_syntax(pdus.VERIFICATION)


async def test_the_answer_may_arrive_byte_by_byte() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.recv(pdus.A_ASSOCIATE_RQ)
        for byte in pdus.associate_ac([(1, pdus.IMPLICIT_LE, 0)]):
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)
        await echo_answer(peer, await peer.recv_message())
        await peer.recv(pdus.A_RELEASE_RQ)
        await peer.send(pdus.RELEASE_RP)
        await peer.hold()

    async with associated_with(script, ECHO) as (association, _):
        await echo(association, soon())


# --- it ends


async def test_release_is_asked_for_and_answered() -> None:
    async with associated_with(serve(echo_answer), ECHO) as (association, peer):
        await association.release(soon())
        assert association.closed
        assert peer.received[-1].type == pdus.A_RELEASE_RQ
        assert not association.clean


async def test_a_peer_that_does_not_answer_a_release_is_left() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.hold()

    async with associated_with(script, ECHO, limits=QUICK) as (association, _):
        started = asyncio.get_running_loop().time()
        await association.release(soon())
        assert association.closed
        assert asyncio.get_running_loop().time() - started < 10.0


async def test_a_release_from_both_sides_at_once_is_untangled() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.recv(pdus.A_RELEASE_RQ)
        await peer.send(pdus.RELEASE_RQ)  # PS3.8 9.2.3: the requestor (us) answers first
        await peer.recv(pdus.A_RELEASE_RP)
        await peer.send(pdus.RELEASE_RP)
        await peer.hold()

    async with associated_with(script, ECHO) as (association, peer):
        await association.release(soon())
        assert association.closed
        assert [pdu.type for pdu in peer.received[1:]] == [pdus.A_RELEASE_RQ, pdus.A_RELEASE_RP]


async def test_a_release_from_both_sides_at_once_that_the_peer_does_not_answer_is_left() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.recv(pdus.A_RELEASE_RQ)
        await peer.send(pdus.RELEASE_RQ)
        await peer.hold()

    async with associated_with(script, ECHO) as (association, _):
        await association.release(soon(0.1))
        assert association.connection.is_closed


async def test_a_release_by_the_peer_is_granted_and_noticed() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(pdus.RELEASE_RQ)
        await peer.recv(pdus.A_RELEASE_RP)
        await peer.close()

    async with associated_with(script, ECHO) as (association, _):
        await until(lambda: association.closed)
        assert not association.clean
        with pytest.raises(Closed):
            await echo(association, soon())


async def test_an_abort_is_sent_and_the_socket_closed_even_if_the_peer_does_not() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.recv(pdus.A_ABORT)
        await peer.hold()

    async with associated_with(script, ECHO) as (association, peer):
        association.abort()
        assert association.closed
        with pytest.raises(GatewayError):
            await echo(association, soon())
        await until(lambda: peer.reader.at_eof() or peer.reader.exception())


IDLE_ENDINGS: dict[str, tuple[Act, type[GatewayError]]] = {
    "abort": (lambda peer: peer.send(pdus.abort(0, 0)), Aborted),
    "reset": (ScriptedPeer.rst, Reset),
    "closed": (ScriptedPeer.close, Closed),
    "unknown PDU": (lambda peer: peer.send(pdus.pdu(8, bytes(4))), RemoteProtocolError),
    "a response nobody asked for": (
        lambda peer: peer.send(pdus.message(1, pdus.response({"command_field": 0x30, "message_id": 1}))),
        RemoteProtocolError,
    ),
}


@pytest.mark.parametrize("how", IDLE_ENDINGS)
async def test_an_association_that_ends_while_idle_is_not_clean_and_says_why(how: str) -> None:
    act, kind = IDLE_ENDINGS[how]

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await act(peer)
        await peer.hold()

    async with associated_with(script, ECHO) as (association, _):
        await until(lambda: not association.clean)
        with pytest.raises(kind):
            await echo(association, soon())
