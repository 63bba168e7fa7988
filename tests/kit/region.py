"""A region made of script: an honest archive until a test replaces one of its answers.

region = ScriptedRegion("BAD", instances)
region.answers[pdus.C_FIND_RQ] = abort_after_three
async with region.running(gateway_port): ...
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from pydicom import Dataset

from tests.kit import dicom, pdus
from tests.kit.scripted import Message, ScriptedNode, ScriptedPeer, read_proposed, scripted_acceptor, scripted_requestor

Answer = Callable[["ScriptedRegion", ScriptedPeer, Message], Awaitable[None]]


class ScriptedRegion:
    """Attributes:
    ae_title: its AE title.
    instances: what it holds.
    answers: by command field, how it answers.
    node: where it listens, and its connections.
    gateway_port: where the gateway's AE listens.
    """

    def __init__(self, ae_title: str, instances: Sequence[Dataset]) -> None:
        self.ae_title = ae_title
        self.instances = instances
        self.answers: dict[int, Answer] = {
            pdus.C_ECHO_RQ: answer_echo,
            pdus.C_FIND_RQ: answer_find,
            pdus.C_MOVE_RQ: answer_move,
            pdus.C_GET_RQ: answer_get,
        }
        self.node = ScriptedNode("127.0.0.1", 0)
        self.gateway_port = 0

    @contextlib.asynccontextmanager
    async def running(self, gateway_port: int = 0) -> AsyncIterator["ScriptedRegion"]:
        """Listen while the body runs."""
        self.gateway_port = gateway_port
        async with scripted_acceptor(self._serve) as node:
            self.node = node
            yield self

    async def _serve(self, peer: ScriptedPeer) -> None:
        request = await peer.recv(pdus.A_ASSOCIATE_RQ)
        contexts = read_proposed(request)
        peer.contexts = {number: abstract for number, abstract, _ in contexts}
        roles = [pdus.role_selection(name, 0, 1) for name in dict.fromkeys(peer.contexts.values())]
        user = pdus.user_information(131_072, *(roles if pdus.STUDY_GET in peer.contexts.values() else []))
        answers = [(number, pdus.EXPLICIT_LE, 0 if pdus.EXPLICIT_LE in names else 4) for number, _, names in contexts]
        await peer.send(pdus.associate_ac(answers, self.ae_title, "GATEWAY", user))
        while (message := await peer.next_request()) is not None:
            await self.answers[message.command["command_field"]](self, peer, message)
        await peer.send(pdus.RELEASE_RP)
        await peer.hold()

    # --- pieces of answers

    def rows(self, request: Message) -> list[bytes]:
        """Return the encoded matches of a C-FIND."""
        return [dicom.encode(row) for row in dicom.matches(self.instances, dicom.decode(request.data))]

    def selected(self, request: Message) -> list[Dataset]:
        """Return the instances that a C-MOVE or C-GET asks for."""
        identifier = dicom.decode(request.data)
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        wanted = {
            k: {*identifier[k].value} if identifier[k].VM > 1 else {identifier[k].value}
            for k in keys
            if identifier.get(k)
        }
        return [i for i in self.instances if all(i[k].value in values for k, values in wanted.items())]

    def saw(self, command_field: int) -> bool:
        """Whether any connection brought a command of this kind."""
        return any(peer.saw(command_field) for peer in self.node.peers)

    @contextlib.asynccontextmanager
    async def storing(self, called: str, calling: str | None = None) -> AsyncIterator[ScriptedPeer]:
        """Associate with the gateway to send it instances, as a C-MOVE makes an archive do."""
        async with scripted_requestor(self.gateway_port) as peer:
            contexts = [(1, pdus.CT_IMAGE, [pdus.EXPLICIT_LE])]
            await peer.associate(contexts, called=called, calling=calling or self.ae_title)
            yield peer

    async def store(self, peer: ScriptedPeer, number: int, instance: Dataset, request: Message | None = None) -> int:
        """Send one instance on behalf of a C-MOVE; return the status of the answer."""
        await peer.send(store_request(1, number, instance, request))
        return int((await peer.recv_message()).command["status"])


def store_request(context_id: int, number: int, instance: Dataset, request: Message | None = None) -> bytes:
    """Return the PDUs of a C-STORE; the request is the C-MOVE that it belongs to."""
    command = {
        "affected_sop_class_uid": instance.SOPClassUID,
        "command_field": pdus.C_STORE_RQ,
        "message_id": number,
        "priority": 0,
        "command_data_set_type": pdus.DATA_SET,
        "affected_sop_instance_uid": instance.SOPInstanceUID,
    }
    if request is not None:
        originator = {
            "move_originator_ae_title": "GATEWAY",
            "move_originator_message_id": request.command["message_id"],
        }
        command |= originator
    return pdus.message(context_id, command, dicom.encode(instance))


def counted(request: Message, status: int, remaining: int, completed: int, failed: int = 0) -> bytes:
    """Return a C-MOVE or C-GET response with its counters."""
    counters = {
        "number_of_remaining_suboperations": remaining,
        "number_of_completed_suboperations": completed,
        "number_of_failed_suboperations": failed,
        "number_of_warning_suboperations": 0,
    }
    return pdus.message(request.context_id, pdus.response(request.command, status, **counters))


async def answer_echo(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    await peer.send(pdus.message(request.context_id, pdus.response(request.command)))


async def send_rows(peer: ScriptedPeer, request: Message, rows: Iterable[bytes]) -> None:
    for row in rows:
        await peer.send(pdus.find_response(request.context_id, request.command, row))


async def answer_find(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    await send_rows(peer, request, region.rows(request))
    await peer.send(pdus.find_response(request.context_id, request.command))


async def answer_move(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    selected = region.selected(request)
    failed = 0
    async with region.storing(request.command["move_destination"]) as sub:
        for done, instance in enumerate(selected, start=1):
            failed += await region.store(sub, done, instance, request) != 0
            await peer.send(counted(request, 0xFF00, len(selected) - done, done - failed, failed))
        await sub.release()
    await peer.send(counted(request, 0xB000 if failed else 0, 0, len(selected) - failed, failed))


async def answer_get(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    selected = region.selected(request)
    context_id = next(number for number, name in peer.contexts.items() if name == pdus.CT_IMAGE)
    failed = 0
    for done, instance in enumerate(selected, start=1):
        await peer.send(store_request(context_id, done, instance))
        answer = await peer.next_request()
        if answer is None or answer.command["command_field"] != pdus.C_STORE_RSP:
            return
        failed += answer.command["status"] != 0
        await peer.send(counted(request, 0xFF00, len(selected) - done, done - failed, failed))
    await peer.send(counted(request, 0xB000 if failed else 0, 0, len(selected) - failed, failed))
