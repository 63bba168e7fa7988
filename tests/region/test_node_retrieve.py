"""How a region's instances are had over its associations: by C-MOVE or C-GET, and nothing that was not asked for.

Promises R15, R17, R18 and R19 from the region's side.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.dimse.acceptor import Acceptor
from gateway.dimse.incoming import IncomingStore
from gateway.errors import Closed, DimseFailure
from gateway.events import StoreRefused
from tests.dimse.scripts import identifier, matches, serve
from tests.kit import dicom, pdus
from tests.kit.scripted import Message, Script, ScriptedNode, ScriptedPeer, scripted_requestor
from tests.region.watched import QUICK, STUDY, Watched, fields, watched

REAL_TIME = True

GET_ROLES = pdus.user_information(16_384, pdus.role_selection(pdus.CT_IMAGE, 0, 1))
INSTANCE = dicom.instance(1)
Steps = Callable[[ScriptedPeer, Message], Awaitable[None]]


def finishing(request: Message, status: int = 0, completed: int = 0, failed: int = 0) -> bytes:
    counters = {"number_of_completed_suboperations": completed, "number_of_failed_suboperations": failed}
    return pdus.message(request.context_id, pdus.response(request.command, status, **counters))


async def knows_sop_classes(peer: ScriptedPeer, request: Message) -> None:
    answer = identifier(StudyInstanceUID=dicom.uid(1), SOPClassesInStudy=[pdus.CT_IMAGE])
    await matches([answer])(peer, request)


def offering(move: Steps | None = None, get: Steps | None = None) -> Script:
    """Serve C-FIND, and the retrieve services that are given."""
    services = {pdus.C_FIND_RQ: knows_sop_classes, pdus.C_MOVE_RQ: move, pdus.C_GET_RQ: get}

    async def answer(peer: ScriptedPeer, request: Message) -> None:
        service = services[request.command["command_field"]]
        assert service is not None
        await service(peer, request)

    return serve(answer, user=GET_ROLES)


async def unknown_destination(peer: ScriptedPeer, request: Message) -> None:
    await peer.send(finishing(request, 0xA801))


def sending_here(instance: Any = INSTANCE) -> Steps:
    """Bring one instance on the association of the C-GET."""

    async def get(peer: ScriptedPeer, request: Message) -> None:
        context = next(number for number, abstract in peer.contexts.items() if abstract == pdus.CT_IMAGE)
        await peer.send(pdus.message(context, store_command(instance), dicom.encode(instance)))
        answered = await peer.recv_message()
        await peer.send(finishing(request, 0, int(answered.command["status"] == 0)))

    return get


def store_command(instance: Any, **more: Any) -> dict[str, Any]:
    return {
        "affected_sop_class_uid": pdus.CT_IMAGE,
        "command_field": pdus.C_STORE_RQ,
        "message_id": 1,
        "priority": 0,
        "command_data_set_type": pdus.DATA_SET,
        "affected_sop_instance_uid": instance.SOPInstanceUID,
        **more,
    }


async def test_where_the_move_destination_is_not_known_c_get_is_tried_and_remembered() -> None:
    script = offering(unknown_destination, sending_here())
    async with watched(script, move_destinations=("GATEWAY",)) as (watching, node):
        for _ in range(2):
            result, arrived = await watching.retrieve()
            assert (result.sent, arrived) == (1, [INSTANCE.SOPInstanceUID])
        assert fields(node).count(pdus.C_MOVE_RQ) == 1


async def test_where_no_c_store_of_a_c_move_reaches_us_c_get_is_tried_and_remembered() -> None:
    async def unreachable(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(finishing(request, 0xB000, failed=1))

    async with watched(offering(unreachable, sending_here()), move_destinations=("GATEWAY",)) as (watching, node):
        for _ in range(2):
            result, arrived = await watching.retrieve()
            assert (result.sent, arrived) == (1, [INSTANCE.SOPInstanceUID])
        assert fields(node).count(pdus.C_MOVE_RQ) == 1


async def test_a_service_that_found_nothing_is_not_preferred_for_it() -> None:
    async def nothing(peer: ScriptedPeer, request: Message) -> None:
        await peer.send(finishing(request))

    async with watched(offering(unknown_destination, nothing), move_destinations=("GATEWAY",)) as (watching, node):
        for _ in range(2):
            result, arrived = await watching.retrieve()
            assert (result.sent, arrived) == (0, [])
        assert fields(node).count(pdus.C_MOVE_RQ) == 2


async def test_where_c_move_is_all_there_is_its_failure_is_told() -> None:
    async with watched(offering(unknown_destination), retrieve="c-move", move_destinations=("GATEWAY",)) as (
        watching,
        _,
    ):
        with pytest.raises(DimseFailure) as caught:
            await watching.retrieve()
        assert caught.value.status == 0xA801
        assert watching.circuit == []


@pytest.mark.parametrize("selection", [Selection(dicom.uid(2)), Selection(dicom.uid(1), dicom.uid(1, 1), ("1.2.3",))])
async def test_an_instance_that_was_not_asked_for_is_refused_on_c_get_too(selection: Selection) -> None:
    async with watched(offering(get=sending_here()), retrieve="c-get") as (watching, _):
        result, arrived = await watching.retrieve(selection)
        assert (result.sent, arrived) == (0, [])
        assert len(watching.events.of(StoreRefused)) == 1


async def test_a_study_without_known_sop_classes_is_asked_for_with_the_common_ones() -> None:
    async def answer(peer: ScriptedPeer, request: Message) -> None:
        is_get = request.command["command_field"] == pdus.C_GET_RQ
        await (sending_here() if is_get else matches([]))(peer, request)

    async with watched(serve(answer, user=GET_ROLES), retrieve="c-get") as (watching, _):
        _, arrived = await watching.retrieve()
        assert arrived == [INSTANCE.SOPInstanceUID]


# --- C-MOVE: the region opens an association of its own


@asynccontextmanager
async def moved_by(
    how: Callable[[ScriptedPeer, Message, int], Awaitable[None]], **profile: Any
) -> AsyncIterator[tuple[Watched, ScriptedNode]]:
    """Run a region whose C-MOVE does what is given, towards our acceptor's port."""
    watching: Watched | None = None

    async def store(incoming: IncomingStore) -> int:
        assert watching is not None
        return await watching.inbox.store(incoming)

    async with Acceptor(accept=lambda _: None, store=store, limits=QUICK) as acceptor:
        port = await acceptor.start("127.0.0.1", 0)

        async def move(peer: ScriptedPeer, request: Message) -> None:
            await how(peer, request, port)

        async with watched(offering(move), retrieve="c-move", move_destinations=("GATEWAY",), **profile) as (
            watching,
            node,
        ):
            yield watching, node


async def bring(port: int, instance: Any, *, calling: str = "NEODIN", **originator: Any) -> int:
    """Send one C-STORE on an association of the region's own and return the status that it is answered with."""
    async with scripted_requestor(port) as sender:
        await sender.associate([(1, pdus.CT_IMAGE, [pdus.EXPLICIT_LE])], calling=calling, called="GATEWAY")
        await sender.send(pdus.message(1, store_command(instance, **originator), dicom.encode(instance)))
        status: int = (await sender.recv_message()).command["status"]
        await sender.release()
        return status


async def test_what_a_c_move_brings_is_handed_on() -> None:
    async def how(peer: ScriptedPeer, request: Message, port: int) -> None:
        message_id = request.command["message_id"]
        originator = {"move_originator_ae_title": "GATEWAY", "move_originator_message_id": message_id}
        assert await bring(port, INSTANCE, **originator) == 0
        await peer.send(finishing(request, completed=1))

    async with moved_by(how) as (watching, _):
        result, arrived = await watching.retrieve()
        assert (result.sent, arrived) == (1, [INSTANCE.SOPInstanceUID])
        assert watching.events == []


async def test_a_success_that_runs_ahead_of_its_c_stores_is_waited_for() -> None:
    async def how(peer: ScriptedPeer, request: Message, port: int) -> None:
        await peer.send(finishing(request, completed=1))
        assert await bring(port, INSTANCE) == 0

    async with moved_by(how) as (watching, _):
        _, arrived = await watching.retrieve()
        assert arrived == [INSTANCE.SOPInstanceUID]


@pytest.mark.parametrize(
    ("instance", "command"),
    [
        (dicom.instance(2), {}),
        (INSTANCE, {"calling": "STRANGER"}),
        (INSTANCE, {"move_originator_ae_title": "STRANGER", "move_originator_message_id": 1}),
        (INSTANCE, {"move_originator_ae_title": "GATEWAY", "move_originator_message_id": 4711}),
    ],
    ids=["other study", "other region", "other originator", "other message"],
)
async def test_what_belongs_to_no_c_move_is_refused_and_told(instance: Any, command: dict[str, Any]) -> None:
    async def how(peer: ScriptedPeer, request: Message, port: int) -> None:
        assert await bring(port, instance, **command) == 0x0124
        await peer.send(finishing(request))

    async with moved_by(how) as (watching, _):
        _, arrived = await watching.retrieve()
        assert arrived == []
        assert len(watching.events.of(StoreRefused)) == 1


async def test_after_the_c_move_its_instances_are_refused() -> None:
    ports: list[int] = []

    async def how(peer: ScriptedPeer, request: Message, port: int) -> None:
        ports.append(port)
        await peer.send(finishing(request))

    async with moved_by(how) as (watching, _):
        await watching.retrieve()
        assert await bring(ports[0], INSTANCE) == 0x0124


async def test_a_c_move_that_fails_is_not_waited_for() -> None:
    async def how(peer: ScriptedPeer, request: Message, port: int) -> None:
        await peer.close()

    async with moved_by(how) as (watching, _):
        with pytest.raises(Closed):
            await watching.retrieve()


async def test_what_comes_behind_a_dead_c_move_association_is_kept_while_it_comes_and_refused_later() -> None:  # R17
    first, second, late = (dicom.instance(1, number=number) for number in (1, 2, 3))
    ports: list[int] = []

    async def how(peer: ScriptedPeer, request: Message, port: int) -> None:
        ports.append(port)
        assert await bring(port, first) == 0
        await peer.close()
        assert await bring(port, second) == 0

    async with moved_by(how, quiet_seconds=2.0) as (watching, _):
        taken: list[str] = []

        async def receive(store: IncomingStore, series: str | None) -> int:
            await discarded(store)
            taken.append(store.sop_instance_uid)
            return 0

        with pytest.raises(Closed):
            await watching.region.retrieve(STUDY, receive, Deadline.after(10.0), held_up=lambda: False)
        assert taken == [first.SOPInstanceUID, second.SOPInstanceUID]
        assert not watching.events.of(StoreRefused)
        assert await bring(ports[0], late) == 0x0124
        assert len(watching.events.of(StoreRefused)) == 1
        assert len(taken) == 2


async def discarded(store: IncomingStore) -> None:
    async for _ in store:
        pass
