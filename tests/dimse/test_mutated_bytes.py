"""Good conversations with their bytes changed, by either side: declared errors alone, in time, and nothing left."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random
from typing import Any

import pytest

from gateway.deadline import Deadline
from gateway.dimse.acceptor import Acceptor
from gateway.dimse.association import Association
from gateway.dimse.echo import echo
from gateway.dimse.find import find
from gateway.dimse.get import get
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.move import move
from gateway.dimse.pool import AssociationPool
from gateway.dimse.requestor import Peer, connect
from gateway.dimse.store import store
from gateway.errors import GatewayError, LocalProtocolError, RemoteProtocolError
from gateway.wire.limits import Limits
from gateway.wire.negotiation import ProposedContext
from tests.dimse.scripts import ECHO, row, soon, until
from tests.kit import dicom, pdus

HURRIED = Limits(
    artim_seconds=0.5, linger_seconds=0.1, stall_seconds=0.5, idle_seconds=0.5, cancel_seconds=0.3, connect_seconds=5.0
)
SYNTAX, INSTANCE = pdus.EXPLICIT_LE, dicom.instance(size=2000)
CLASSES = (pdus.VERIFICATION, pdus.STUDY_FIND, pdus.STUDY_MOVE, pdus.STUDY_GET, pdus.CT_IMAGE)
NUMBERS = {name: 2 * n + 1 for n, name in enumerate(CLASSES)}
ROLES = pdus.user_information(16_384, pdus.role_selection(pdus.CT_IMAGE, 1, 1))
COUNTERS: dict[str, Any] = {
    f"number_of_{name}_suboperations": 1 for name in ("remaining", "completed", "failed", "warning")
}

Pieces = Sequence[bytes]


def message(sop_class: str, field: int, data: bytes | None = None, **more: Any) -> bytes:
    kind = pdus.NO_DATA_SET if data is None else pdus.DATA_SET
    command = {"affected_sop_class_uid": sop_class, "command_field": field, "command_data_set_type": kind, **more}
    return pdus.message(NUMBERS[sop_class], command, data, chunk=700)


STORE = message(
    pdus.CT_IMAGE,
    pdus.C_STORE_RQ,
    dicom.encode(INSTANCE),
    message_id=5,
    priority=0,
    affected_sop_instance_uid=INSTANCE.SOPInstanceUID,
)
CALLS: Sequence[Pieces] = (
    (message(pdus.VERIFICATION, pdus.C_ECHO_RQ, message_id=1), pdus.RELEASE_RQ),
    (STORE, message(pdus.CT_IMAGE, pdus.C_CANCEL_RQ, message_id_being_responded_to=5), STORE, pdus.RELEASE_RQ),
)


def answer(sop_class: str, field: int, status: int, data: bytes | None = None, **more: Any) -> bytes:
    return message(sop_class, field, data, message_id_being_responded_to=1, status=status, **more)


ANSWERS: dict[str, Pieces] = {
    "echo": (answer(pdus.VERIFICATION, pdus.C_ECHO_RSP, 0), pdus.RELEASE_RQ),
    "find": (
        *(answer(pdus.STUDY_FIND, pdus.C_FIND_RSP, 0xFF00, row(n)) for n in range(3)),
        answer(pdus.STUDY_FIND, pdus.C_FIND_RSP, 0),
        pdus.RELEASE_RP,
    ),
    "move": (
        answer(pdus.STUDY_MOVE, pdus.C_MOVE_RSP, 0xFF00, **COUNTERS),
        answer(pdus.STUDY_MOVE, pdus.C_MOVE_RSP, 0xB000, row(1), **COUNTERS),
        pdus.RELEASE_RP,
    ),
    "get": (
        STORE,
        answer(pdus.STUDY_GET, pdus.C_GET_RSP, 0xFF00, **COUNTERS),
        STORE,
        answer(pdus.STUDY_GET, pdus.C_GET_RSP, 0, **COUNTERS),
        pdus.RELEASE_RP,
    ),
    "store": (answer(pdus.CT_IMAGE, pdus.C_STORE_RSP, 0), pdus.RELEASE_RQ),
}


def mutated(random: Random, pieces: Pieces) -> bytes:
    """Return a conversation with up to three of its places changed."""
    changed = [bytearray(piece) for piece in pieces]
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        number = random.randrange(len(changed))
        piece = changed[number]
        at = random.randrange(len(piece) or 1)
        match random.randrange(7):
            case 0:
                piece[at : at + 1] = random.randbytes(1)
            case 1:
                del piece[at : at + random.randrange(1, 30)]
            case 2:
                piece[at:at] = random.randbytes(random.randrange(1, 30))
            case 3:
                del piece[at:]
            case 4:
                lie = random.choice((0, 1, 7, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF))
                piece[at : at + 4] = struct.pack(random.choice("<>") + "I", lie)
            case 5:
                changed.insert(number, piece[:])
            case _:
                random.shuffle(changed)
    return b"".join(changed)


async def write(random: Random, writer: asyncio.StreamWriter, data: bytes) -> bool:
    """Write it in one piece or many, then end in one of four ways; return whether there is more to read."""
    size = random.choice((1 << 20, 1 << 20, 100, 7))
    for at in range(0, len(data), size):
        if writer.is_closing():  # uvloop takes nothing for a peer that is gone
            return False
        writer.write(data[at : at + size])
        if random.random() < 0.1:
            await asyncio.sleep(0)
    match random.choice(("wait", "half-close", "close", "reset")):
        case "half-close":
            writer.write_eof()
        case "close":
            writer.close()
            return False
        case "reset":
            writer.transport.abort()
            return False
        case _:
            pass
    return True


async def read_out(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


@contextlib.asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fail if anything was reported to the loop, or a task is left."""
    loop, reported = asyncio.get_running_loop(), list[Any]()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    before = asyncio.all_tasks()
    try:
        yield
    finally:
        loop.set_exception_handler(None)
    assert reported == []
    await until(lambda: asyncio.all_tasks() <= before)


@pytest.mark.parametrize("seed", range(4))
async def test_an_acceptor_survives_whatever_it_is_sent(seed: int) -> None:
    contexts = [(NUMBERS[name], name, [SYNTAX]) for name in CLASSES]
    beginning = pdus.associate_rq(contexts, user=ROLES)

    async def take(incoming: IncomingStore) -> int:
        return len(b"".join([bytes(fragment) async for fragment in incoming])) % 2

    async def call(random: Random) -> None:
        pieces = (beginning, *random.choice(CALLS))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            if await write(random, writer, mutated(random, pieces)):
                await read_out(reader)
        writer.transport.abort()

    async with nothing_left(), Acceptor(accept=lambda _: None, store=take, limits=HURRIED) as acceptor:
        port = await acceptor.start("127.0.0.1", 0)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(call(Random(seed * 1000 + number)))
        await until(lambda: repr(acceptor) == "<Acceptor associated=0 waiting=0>")
        async with await connect(Peer("127.0.0.1", port, "GATEWAY", "GOOD"), [ECHO], soon()) as association:
            await echo(association, soon())


async def searching(association: Association) -> None:
    async for _ in find(association, pdus.STUDY_FIND, row(0), Deadline.after(2.0), between=0.5):
        pass


OPERATIONS: dict[str, Callable[[Association], Awaitable[object]]] = {
    "echo": lambda at: echo(at, Deadline.after(2.0)),
    "find": searching,
    "move": lambda at: move(at, pdus.STUDY_MOVE, row(0), "GATEWAY", Deadline.after(2.0), between=0.5),
    "get": lambda at: get(at, pdus.STUDY_GET, row(0), Deadline.after(2.0), between=0.5),
    "store": lambda at: store(at, pdus.CT_IMAGE, "1.2", SYNTAX, [bytes(3000)], Deadline.after(2.0), patience=0.5),
}


@pytest.mark.parametrize("service", OPERATIONS)
async def test_a_requestor_survives_whatever_it_is_answered(service: str) -> None:
    proposed = [ProposedContext(name, (SYNTAX,), scp_role=name == pdus.CT_IMAGE) for name in CLASSES]
    accepted = pdus.associate_ac([(number, SYNTAX, 0) for number in NUMBERS.values()], user=ROLES)

    async def take(incoming: IncomingStore) -> int:
        return len(b"".join([bytes(fragment) async for fragment in incoming])) % 2

    ends: list[type[GatewayError] | None] = []

    async def ask(random: Random) -> None:
        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await reader.read(1 << 16)
                writer.write(accepted)
                await reader.read(1 << 16)
                if await write(random, writer, mutated(random, ANSWERS[service])):
                    await read_out(reader)
            writer.transport.abort()

        server = await asyncio.start_server(play, "127.0.0.1", 0)
        peer = Peer("127.0.0.1", server.sockets[0].getsockname()[1], "REGION", "GATEWAY")
        pool = AssociationPool(peer, limits=HURRIED, idle_seconds=0.1)
        try:
            await pool.run(proposed, Deadline.after(5.0), OPERATIONS[service], serve_store=take)
            ends.append(None)
        except GatewayError as error:
            ends.append(type(error))
        finally:
            await pool.aclose()
            server.close()

    async with nothing_left(), asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(ask(Random(f"{service} {number}")))
    assert len(ends) == 40
    assert LocalProtocolError not in ends  # nothing that is the peer's mistake is taken for one of ours
    assert {None, RemoteProtocolError} <= set(ends)
