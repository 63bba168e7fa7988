"""Scripts of peers, and the few names every test of `gateway.dimse` needs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.requestor import Peer, connect
from gateway.wire.limits import Limits
from gateway.wire.negotiation import ProposedContext
from tests.kit import dicom, pdus
from tests.kit.peers import DicomNode
from tests.kit.scripted import Message, Script, ScriptedNode, ScriptedPeer, scripted_acceptor

BOTH = (pdus.EXPLICIT_LE, pdus.IMPLICIT_LE)
ECHO = ProposedContext(pdus.VERIFICATION, (pdus.IMPLICIT_LE,))
FIND = ProposedContext(pdus.STUDY_FIND, BOTH)
MOVE = ProposedContext(pdus.STUDY_MOVE, BOTH)
GET = ProposedContext(pdus.STUDY_GET, BOTH)
CT = ProposedContext(pdus.CT_IMAGE, BOTH)
CT_AS_SCP = ProposedContext(pdus.CT_IMAGE, (pdus.EXPLICIT_LE,), scp_role=True)

# Limits that no peer meets who answers, on uvloop either, whose clock is nobody's but the machine's.
UNHURRIED = Limits(
    connect_seconds=20.0, artim_seconds=20.0, linger_seconds=0.1, stall_seconds=20.0, idle_seconds=60.0,
    cancel_seconds=20.0,
)  # fmt: skip

# Limits of a second where the product has ten, for a test that waits until one is met.
QUICK = Limits(
    connect_seconds=5.0, artim_seconds=1.0, linger_seconds=0.1, stall_seconds=1.0, idle_seconds=5.0, cancel_seconds=1.0
)

# For a promise that something is in time by tenths of a second: kept on the clock that counts only what is waited for.
TIMED = pytest.mark.asyncio(loop_factories=["asyncio"])


def soon(seconds: float = 60.0) -> Deadline:
    """Return a deadline that only a broken test meets."""
    return Deadline.after(seconds)


def peer_of(node: DicomNode | ScriptedNode) -> Peer:
    """Return how our side reaches a node."""
    return Peer(node.host, node.port, getattr(node, "ae_title", "SCRIPTED"), "GATEWAY")


@contextlib.asynccontextmanager
async def associated(
    node: DicomNode | ScriptedNode, *contexts: ProposedContext, limits: Limits = UNHURRIED, **more: Any
) -> AsyncIterator[Association]:
    """Run the body with an association, then release it."""
    association = await connect(peer_of(node), contexts or (FIND,), soon(), limits=limits, **more)
    async with association:
        yield association


@contextlib.asynccontextmanager
async def associated_with(
    script: Script, *contexts: ProposedContext, **more: Any
) -> AsyncIterator[tuple[Association, ScriptedPeer]]:
    """Run the body with an association to a scripted acceptor."""
    async with scripted_acceptor(script) as node, associated(node, *contexts, **more) as association:
        yield association, node.peer


def identifier(level: str = "STUDY", **keys: Any) -> bytes:
    """Return an Identifier in Explicit VR Little Endian."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    if level == "STUDY" and "StudyInstanceUID" not in keys:
        dataset.StudyInstanceUID = ""
    return dicom.encode(dataset)


def row(number: int) -> bytes:
    """Return the Identifier of one match."""
    return identifier(StudyInstanceUID=dicom.uid(number), PatientID=f"MRN{number:05}")


# --- what acceptors do


Answer = Callable[[ScriptedPeer, Message], Awaitable[None]]


def serve(answer: Answer, **accept: Any) -> Script:
    """Return a script that accepts, answers each request and agrees to a release; `answer` may end the connection."""

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept(**accept)
        while True:
            request = await peer.next_request()
            if request is None:
                await peer.send(pdus.RELEASE_RP)
                await peer.hold()
                return
            await answer(peer, request)

    return script


def matches(rows: Iterable[bytes], *last: bytes) -> Answer:
    """Return the answer to a C-FIND: these rows, then these bytes, or Success."""

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        for each in rows:
            await peer.send(pdus.find_response(request.context_id, request.command, each))
        if last:
            await peer.send(*last)
        else:
            await peer.send(pdus.find_response(request.context_id, request.command))

    return answer


async def echo_answer(peer: ScriptedPeer, request: Message) -> None:
    await peer.send(pdus.message(request.context_id, pdus.response(request.command)))


async def settled(measure: Callable[[], int], quiet: float = 0.3) -> int:
    """Return what the measure says once it has not changed for a while."""
    last, since = measure(), asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() - since < quiet:
        await asyncio.sleep(0.02)
        if measure() != last:
            last, since = measure(), asyncio.get_running_loop().time()
    return last


def most_in_flight() -> int:
    """Return how much of a stream that nobody reads two kernels and we may hold at the most."""
    largest = [int(Path(f"/proc/sys/net/ipv4/tcp_{side}mem").read_text().split()[2]) for side in "rw"]
    return sum(largest) + (4 << 20)


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is watched belongs to a peer, who tells nobody
            await asyncio.sleep(0.005)
