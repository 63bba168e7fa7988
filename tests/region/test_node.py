"""A region over its associations: what it gave counts, and its circuit breaker knows what is its fault.

Promises R01, R06, R11, R13 and R19 from the region's side.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from gateway.config import settings
from gateway.dataset.query import Level, Query, Row, Selection
from gateway.deadline import Deadline
from gateway.dimse.acceptor import Acceptor
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.suboperations import SubOperations
from gateway.errors import (
    Aborted,
    Busy,
    Closed,
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
from gateway.events import CircuitChanged, StoreRefused
from gateway.region import node as node_module
from gateway.region.breaker import CircuitState
from gateway.region.inbox import Inbox
from gateway.region.node import Region
from gateway.region.profile import Profile
from gateway.wire.limits import Limits
from tests.dimse.scripts import echo_answer, identifier, matches, row, serve, until
from tests.kit import dicom, pdus
from tests.kit.peers import free_port
from tests.kit.scripted import Message, Script, ScriptedNode, ScriptedPeer, scripted_acceptor, scripted_requestor
from tests.region.witness import Witness

REAL_TIME = True

STUDIES = Query(Level.STUDY)
STUDY = Selection(dicom.uid(1))
QUICK = Limits(connect_seconds=1.0, artim_seconds=1.0, linger_seconds=0.1, cancel_seconds=0.4)


class Watched:
    """A region, its inbox and its events."""

    def __init__(self, port: int, **profile: Any) -> None:
        self.events = Witness()
        self.inbox = Inbox(self.events)
        known = {"name": "NEODIN", "ae_title": "NEODIN", "host": "127.0.0.1", "port": port, **profile}
        chosen = settings.load(None, {"retrieve": {"quiet_seconds": 0.2}, "search": {"max_matches_per_region": 100}})
        self.region = Region(Profile(**known), chosen, self.inbox, self.events, QUICK)

    async def search(self, query: Query = STUDIES, seconds: float = 10.0) -> list[Row]:
        async with aclosing(self.region.search(query, Deadline.after(seconds))) as rows:
            return [found async for found in rows]

    async def gathered(self) -> tuple[list[Row], GatewayError | None]:
        """Return what was found, and how it ended."""
        found: list[Row] = []
        try:
            async for each in self.region.search(STUDIES, Deadline.after(10.0)):
                found.append(each)  # noqa: PERF401 - what came before the error is what is looked at
        except GatewayError as error:
            return found, error
        return found, None

    async def retrieve(self, selection: Selection = STUDY) -> tuple[SubOperations, list[str]]:
        arrived: list[str] = []

        async def receive(store: IncomingStore, series: str | None) -> int:
            async for _ in store:
                pass
            arrived.append(store.sop_instance_uid)
            return 0

        deadline = Deadline.after(10.0)
        return await self.region.retrieve(selection, receive, deadline, held_up=lambda: False), arrived

    async def fails(self, error: type[GatewayError], times: int = 1, **options: Any) -> None:
        for _ in range(times):
            with pytest.raises(error):
                await self.search(**options)

    @property
    def circuit(self) -> list[CircuitState | str]:
        return [event.state for event in self.events.of(CircuitChanged)]

    def let_the_pause_pass(self) -> None:
        self.region.breaker._until = 0.0


@asynccontextmanager
async def watched(*scripts: Script, **profile: Any) -> AsyncIterator[tuple[Watched, ScriptedNode]]:
    async with scripted_acceptor(*scripts) as node:
        watching = Watched(node.port, **profile)
        try:
            yield watching, node
        finally:
            await watching.region.aclose()


def uids(rows: list[Row]) -> list[str]:
    return [found["0020000D"]["Value"][0] for found in rows]


def fields(node: ScriptedNode) -> list[int]:
    """Return the command fields of everything that was asked, over all connections."""
    return [command["command_field"] for peer in node.peers for command in peer.commands]


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
    began = time.perf_counter()
    await watching.fails(OpenCircuit)
    assert time.perf_counter() - began < 0.05
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
    monkeypatch.setattr(node_module, "BREAKER_PATIENCE", 0.01)
    async with watched(serve(silent), max_associations=8) as (watching, _):
        await watching.fails(Stalled, 5, seconds=0.05)
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
        await watching.fails(Stalled, 3, seconds=0.02)
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


# --- how instances are had

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
    inboxes: list[Inbox] = []

    async def store(incoming: IncomingStore) -> int:
        return await inboxes[0].store(incoming)

    async with Acceptor(accept=lambda _: None, store=store, limits=QUICK) as acceptor:
        port = await acceptor.start("127.0.0.1", 0)

        async def move(peer: ScriptedPeer, request: Message) -> None:
            await how(peer, request, port)

        async with watched(offering(move), retrieve="c-move", move_destinations=("GATEWAY",), **profile) as (one, node):
            inboxes.append(one.inbox)
            yield one, node


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
