"""Scripted requestors, and acceptors for them to call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from gateway.dimse.acceptor import Acceptor
from gateway.dimse.incoming import IncomingStore
from gateway.wire.limits import Limits
from tests.dimse.scripts import UNHURRIED
from tests.kit import dicom, pdus
from tests.kit.scripted import ScriptedPeer, scripted_requestor

CONTEXTS = [(1, pdus.VERIFICATION, [pdus.IMPLICIT_LE]), (3, pdus.CT_IMAGE, [pdus.EXPLICIT_LE])]
Handler = Callable[[IncomingStore], Awaitable[int]]


async def swallow(incoming: IncomingStore) -> int:
    async for _ in incoming:
        pass
    return 0


@contextlib.asynccontextmanager
async def accepting(
    store: Handler = swallow, limits: Limits = UNHURRIED, **more: Any
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


async def gone(peer: ScriptedPeer, seconds: float = 30.0) -> str:
    async with asyncio.timeout(seconds):
        return await peer.hold()
