"""C-MOVE and C-GET for a peer: every instance once, its bytes untouched, and honest counters."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, evt

from gateway.dimse.acceptor import Acceptor
from gateway.dimse.association import Association
from gateway.dimse.get import get
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.move import move
from gateway.dimse.suboperations import SubOperations
from gateway.errors import DimseFailure, Stalled
from gateway.events import PeerOperation
from gateway.scp.destination import Destination
from gateway.scp.outgoing import Forms
from gateway.scp.retrieve import Tally
from gateway.wire.command import Command, CommandField
from gateway.wire.negotiation import AcceptancePolicy, ProposedContext
from gateway.wire.status import describe
from tests.dimse.scripts import BOTH, GET, MOVE, QUICK, peer_of
from tests.kit import dicom, pdus
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion, counted
from tests.kit.scripted import Message, ScriptedPeer, scripted_acceptor, scripted_requestor
from tests.scp.pacs import INSTANCES, SERIES, STUDY, face, identifier, peer, soon

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance

PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
OF_STUDY = {str(i.SOPInstanceUID): i for i in INSTANCES if i.StudyInstanceUID == STUDY}


@dataclass
class Sink:
    """A peer's Storage SCP, and what it has got.

    Attributes:
        answers: the status for an instance, Success where nothing is said.
    """

    port: int = 0
    received: dict[str, bytes] = field(default_factory=dict)
    syntaxes: dict[str, str] = field(default_factory=dict)
    originators: set[tuple[str | None, int | None]] = field(default_factory=set)
    answers: Mapping[str, int] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def store(self, incoming: IncomingStore) -> int:
        assert incoming.sop_instance_uid not in self.received, "an instance came twice"
        self.begun.set()
        data = b"".join([bytes(fragment) async for fragment in incoming])
        if self.hold is not None:
            await self.hold.wait()
        self.received[incoming.sop_instance_uid] = data
        self.syntaxes[incoming.sop_instance_uid] = incoming.transfer_syntax_uid
        self.originators.add((incoming.move_originator_ae_title, incoming.move_originator_message_id))
        return self.answers.get(incoming.sop_instance_uid, 0)


@contextlib.asynccontextmanager
async def sink(**how: Any) -> AsyncIterator[Sink]:
    held = Sink(**how)
    policy = AcceptancePolicy({pdus.CT_IMAGE, pdus.VERIFICATION})
    acceptor = Acceptor(accept=lambda _: None, store=held.store, limits=QUICK, policy=policy)
    held.port = await acceptor.start("127.0.0.1", 0)
    try:
        yield held
    finally:
        await acceptor.aclose(0)


async def moved(
    association: Association, level: str = "STUDY", *, to: str = "WS", model: str = pdus.STUDY_MOVE, **keys: Any
) -> SubOperations:
    return await move(association, model, identifier(level, **keys), to, soon())


# --- C-MOVE


async def test_a_study_goes_to_its_destination_byte_for_byte() -> None:
    async with sink() as there, face(peers=[peer(port=there.port)]) as here, here.associated(MOVE) as association:
        result = await moved(association, StudyInstanceUID=STUDY)
        assert (result.status, result.completed, result.failed, result.warning) == (0, 4, 0, 0)
        assert there.received == {uid: dicom.encode(i) for uid, i in OF_STUDY.items()}
        assert there.originators == {("WS", 1)}
        [told] = here.of(PeerOperation)
        assert (told.service, told.status, told.count) == ("move", "0000", 4)


@pytest.mark.parametrize(
    ("level", "keys", "count"),
    [
        ("SERIES", {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}, 2),
        ("SERIES", {"StudyInstanceUID": STUDY, "SeriesInstanceUID": [SERIES, dicom.uid(1, 2)]}, 4),
        ("STUDY", {"StudyInstanceUID": [STUDY, dicom.uid(2)]}, 5),
        ("IMAGE", {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": dicom.uid(1, 1, 2)}, 1),
        ("STUDY", {"StudyInstanceUID": "9.9.9"}, 0),
    ],
)
async def test_what_is_selected_is_moved_and_no_more(level: str, keys: dict[str, Any], count: int) -> None:
    async with sink() as there, face(peers=[peer(port=there.port)]) as here, here.associated(MOVE) as association:
        result = await moved(association, level, **keys)
        assert (result.status, result.completed, len(there.received)) == (0, count, count)


async def test_a_patient_is_moved_with_all_studies() -> None:
    both = [*dicom.study(1), *dicom.study(2, PatientID="MRN00001"), *dicom.study(3)]
    region = ScriptedRegion("ARCHIVE", both)
    by_patient = ProposedContext(PATIENT_MOVE, BOTH)
    async with (
        sink() as there,
        face(region, peers=[peer(port=there.port)]) as here,
        here.associated(by_patient) as association,
    ):
        result = await moved(association, "PATIENT", model=PATIENT_MOVE, PatientID="MRN00001")
        assert (result.status, result.completed) == (0, 6)
        # A study of somebody else is not moved, whatever its UID.
        keys = {"PatientID": "MRN00001", "StudyInstanceUID": dicom.uid(3)}
        result = await moved(association, "STUDY", model=PATIENT_MOVE, **keys)
        assert (result.status, result.completed, len(there.received)) == (0, 0, 6)


async def test_counters_tell_how_far_it_is() -> None:
    told: list[SubOperations] = []
    async with sink() as there, face(peers=[peer(port=there.port)]) as here, here.associated(MOVE) as association:
        asked = identifier("STUDY", StudyInstanceUID=STUDY)
        await move(association, pdus.STUDY_MOVE, asked, "WS", soon(), on_progress=told.append)
    assert [x.completed for x in told] == [1, 2, 3, 4]
    # One more at the least, as long as the regions have not told how many there are.
    assert all(x.remaining in {1, 4 - (x.completed or 0)} for x in told)


def test_what_remains_is_counted_down() -> None:
    tally = Tally(total=5, completed=2, warned=1, failed={"1.2.3": None})
    told = {"completed": 2, "failed": 1, "warning": 1}
    assert tally.counters(remaining=False) == {f"number_of_{name}_suboperations": x for name, x in told.items()}
    assert tally.counters(remaining=True)["number_of_remaining_suboperations"] == 1


@pytest.mark.parametrize(("to", "allowed"), [("ELSEWHERE", ()), ("PACS", ()), ("WS", ("PACS",))])
async def test_instances_go_to_no_destination_that_is_not_configured(to: str, allowed: tuple[str, ...]) -> None:
    async with sink() as there:
        peers = [peer(may_move_to=allowed), peer("PACS", there.port)]
        async with face(peers=peers) as here, here.associated(MOVE) as association:
            with pytest.raises(DimseFailure) as caught:
                await moved(association, to=to, StudyInstanceUID=STUDY)
        assert (caught.value.status, there.received) == (0xA801, {})


async def test_a_peer_may_move_to_another_where_its_profile_says_so() -> None:
    async with sink() as there:
        peers = [peer(may_move_to=("PACS",)), peer("PACS", there.port)]
        async with face(peers=peers) as here, here.associated(MOVE) as association:
            assert (await moved(association, to="PACS", StudyInstanceUID=STUDY)).completed == 4


async def test_an_instance_that_is_refused_is_named_and_the_others_arrive() -> None:
    refused, doubted = str(dicom.uid(1, 1, 2)), str(dicom.uid(1, 2, 1))
    answers = {refused: 0xA700, doubted: 0xB007}
    async with (
        sink(answers=answers) as there,
        face(peers=[peer(port=there.port)]) as here,
        here.associated(MOVE) as association,
    ):
        result = await moved(association, StudyInstanceUID=STUDY)
        assert (result.status, result.completed, result.warning, result.failed) == (0xB000, 2, 1, 1)
        assert result.failed_sop_instance_uids == (refused,)


@pytest.mark.parametrize("status", [0x0111, 0xB007])
async def test_a_destination_that_has_an_instance_already_or_doubts_it_makes_a_warning_and_no_failure(
    status: int,
) -> None:
    """Who is told of a failure sends for the instance again, and again in vain."""
    answers = dict.fromkeys(OF_STUDY, status)
    async with (
        sink(answers=answers) as there,
        face(peers=[peer(port=there.port)]) as here,
        here.associated(MOVE) as association,
    ):
        result = await moved(association, StudyInstanceUID=STUDY)
        assert (result.status, result.completed, result.warning, result.failed) == (0xB000, 0, 4, 0)
        assert result.failed_sop_instance_uids == ()
        assert result.comment == f"C-STORE answered with {describe(status)}"[:64]


async def test_a_failure_is_told_before_a_warning() -> None:
    first, second, *_ = OF_STUDY
    async with (
        sink(answers={first: 0x0111, second: 0xA700}) as there,
        face(peers=[peer(port=there.port)]) as here,
        here.associated(MOVE) as association,
    ):
        result = await moved(association, StudyInstanceUID=STUDY)
        assert (result.status, result.completed, result.warning, result.failed) == (0xB000, 2, 1, 1)
        assert result.failed_sop_instance_uids == (second,)
        assert result.comment == "WS answered C-STORE with A700H (out of resources)"


async def test_a_destination_that_never_answers_is_given_up_in_time() -> None:
    async def hang(there: ScriptedPeer) -> None:
        await there.accept()
        await there.hold()

    limits = replace(QUICK, idle_seconds=0.3)
    async with scripted_acceptor(hang) as node, Destination(peer_of(node), limits, Forms()) as target:
        with pytest.raises(Stalled, match="SCRIPTED did not answer C-STORE"):
            await target.send(cast("Instance", Whole()), ("WS", 1))
        assert target.down is not None  # or each of a thousand instances would be waited for


class Whole:
    """An instance that is here."""

    complete = True
    sop_class_uid, sop_instance_uid, transfer_syntax_uid = pdus.CT_IMAGE, "1.2.3", pdus.EXPLICIT_LE

    async def bursts(self) -> AsyncIterator[list[memoryview]]:
        yield [memoryview(bytes(100))]


async def test_a_destination_that_is_down_is_a_failure_with_every_instance_named() -> None:
    async with face(peers=[peer(port=free_port())]) as here, here.associated(MOVE) as association:
        context_id = association.context(pdus.STUDY_MOVE).context_id
        association.send_message(context_id, move_request(), identifier("STUDY", StudyInstanceUID=STUDY))
        final = await last(association)
        assert final.command.status == 0xA702
        assert final.command.number_of_failed_suboperations == 4
        named = dicom.decode(final.data).FailedSOPInstanceUIDList
        assert set(named) == set(OF_STUDY)
        assert "nothing listens" in final.command.error_comment


async def test_a_region_that_breaks_off_makes_a_warning_that_names_what_is_missing() -> None:
    async def breaks_off(region: ScriptedRegion, asking: ScriptedPeer, request: Message) -> None:
        first, *missing = region.selected(request)
        if not missing or "SOPInstanceUID" in dicom.decode(request.data):  # what is missing, asked for again
            await asking.send(counted(request, 0xA702, 0, 0, 1))
            return
        async with region.storing(request.command["move_destination"]) as sub:
            await region.store(sub, 1, first, request)
            await sub.release()
        await asking.send(counted(request, 0xB000, 0, 1, 3))

    region = ScriptedRegion("ARCHIVE", INSTANCES)

    async def refuses(region: ScriptedRegion, asking: ScriptedPeer, request: Message) -> None:
        await asking.send(counted(request, 0xA702, 0, 0, 1))

    region.answers |= {pdus.C_MOVE_RQ: breaks_off, pdus.C_GET_RQ: refuses}
    async with (
        sink() as there,
        face(region, peers=[peer(port=there.port)]) as here,
        here.associated(MOVE) as association,
    ):
        result = await moved(association, StudyInstanceUID=STUDY)
        assert (result.status, result.completed, result.failed) == (0xB000, 1, 3)
        assert set(result.failed_sop_instance_uids) == set(OF_STUDY) - set(there.received)


async def test_c_cancel_ends_it_with_what_remains() -> None:
    go = asyncio.Event()
    async with (
        sink(hold=go) as there,
        face(peers=[peer(port=there.port)]) as here,
        here.associated(MOVE) as association,
    ):
        context_id = association.context(pdus.STUDY_MOVE).context_id
        association.send_message(context_id, move_request(), identifier("STUDY", StudyInstanceUID=STUDY))
        cancel = Command(command_field=CommandField.C_CANCEL_RQ, message_id_being_responded_to=7)
        await there.begun.wait()
        association.send_message(context_id, cancel)
        asyncio.get_running_loop().call_later(0.2, go.set)
        final = await last(association)
        assert final.command.status == 0xFE00
        # What was under way is brought to its end.
        assert final.command.number_of_completed_suboperations == len(there.received) == 1
        assert final.command.number_of_remaining_suboperations in {1, 3}
        assert (await moved(association, "STUDY", StudyInstanceUID=dicom.uid(2))).completed == 1


async def test_back_pressure_reaches_the_region() -> None:
    """A destination that takes nothing keeps the region from sending more than there is room for."""
    large = [dicom.instance(1, 1, number, size=4 << 20) for number in range(1, 9)]
    region, go = Counting("ARCHIVE", large), asyncio.Event()
    async with (
        sink(hold=go) as there,
        face(region, peers=[peer(port=there.port)], spool={"max_bytes": 1 << 20, "memory_bytes": 8 << 20}) as here,
        here.associated(MOVE) as association,
        asyncio.TaskGroup() as group,
    ):
        moving = group.create_task(moved(association, StudyInstanceUID=STUDY))
        await asyncio.wait({moving}, timeout=1.0)
        assert region.begun < len(large)
        go.set()
        assert (await moving).completed == len(large)
        assert region.begun == len(large)
        assert there.received == {str(i.SOPInstanceUID): dicom.encode(i) for i in large}


class Counting(ScriptedRegion):
    """Counts the instances that it has begun to send."""

    begun = 0

    async def store(self, peer: ScriptedPeer, number: int, instance: Dataset, request: Message | None = None) -> int:
        self.begun += 1
        return await super().store(peer, number, instance, request)


def move_request() -> Command:
    return Command(
        command_field=CommandField.C_MOVE_RQ,
        affected_sop_class_uid=pdus.STUDY_MOVE,
        message_id=7,
        priority=0,
        move_destination="WS",
    )


async def last(association: Association) -> Any:
    while True:
        message: Any = await association.receive(soon())
        if message.command.status != 0xFF00:
            return message


# --- C-GET


async def test_c_get_brings_a_study_on_the_same_association() -> None:
    held = Sink()
    as_scp = ProposedContext(pdus.CT_IMAGE, (pdus.EXPLICIT_LE,), scp_role=True)
    async with face() as here, here.associated(GET, as_scp, serve_store=held.store) as association:
        result = await get(association, pdus.STUDY_GET, identifier("STUDY", StudyInstanceUID=STUDY), soon())
        assert (result.status, result.completed, result.failed) == (0, 4, 0)
        assert held.received == {uid: dicom.encode(i) for uid, i in OF_STUDY.items()}


async def test_c_get_of_a_sop_class_that_is_not_offered_fails_by_name() -> None:
    held = Sink()
    as_scp = ProposedContext("1.2.840.10008.5.1.4.1.1.4", (pdus.EXPLICIT_LE,), scp_role=True)
    async with face() as here, here.associated(GET, as_scp, serve_store=held.store) as association:
        with pytest.raises(DimseFailure) as caught:
            await get(association, pdus.STUDY_GET, identifier("STUDY", StudyInstanceUID=STUDY), soon())
        assert (caught.value.status, held.received) == (0xA702, {})
        assert caught.value.comment.startswith(f"WS takes no instance of {pdus.CT_IMAGE}")
        assert association.clean


async def test_c_get_of_what_the_peer_has_already_is_a_warning() -> None:
    held = Sink(answers=dict.fromkeys(OF_STUDY, 0x0111))
    as_scp = ProposedContext(pdus.CT_IMAGE, (pdus.EXPLICIT_LE,), scp_role=True)
    async with face() as here, here.associated(GET, as_scp, serve_store=held.store) as association:
        result = await get(association, pdus.STUDY_GET, identifier("STUDY", StudyInstanceUID=STUDY), soon())
        assert (result.status, result.completed, result.warning, result.failed) == (0xB000, 0, 4, 0)
        assert result.comment == "C-STORE answered with 0111H (duplicate SOP Instance)"


async def test_c_get_may_be_cancelled() -> None:
    """The peer gives up after its first instance; the association is good for the next request."""
    as_scp = ProposedContext(pdus.CT_IMAGE, (pdus.EXPLICIT_LE,), scp_role=True)
    started = asyncio.Event()

    async def slow(incoming: IncomingStore) -> int:
        started.set()
        await asyncio.Event().wait()
        return 0

    async with face() as here, here.associated(GET, as_scp, serve_store=slow) as association:
        async with asyncio.TaskGroup() as group:
            asked = identifier("STUDY", StudyInstanceUID=STUDY)
            getting = group.create_task(get(association, pdus.STUDY_GET, asked, soon()))
            await started.wait()
            getting.cancel()
        async with asyncio.timeout(2.0):
            while association.draining:  # noqa: ASYNC110 - it tells its owner only
                await asyncio.sleep(0.01)
        assert association.clean
        [told] = here.of(PeerOperation)
        assert (told.service, told.status) == ("get", "FE00")


# --- what a destination cannot take as it is stored


@contextlib.asynccontextmanager
async def taking(*transfer_syntaxes: str) -> AsyncIterator[tuple[int, dict[str, Dataset]]]:
    """Run a Storage SCP of pynetdicom that takes CT in these Transfer Syntaxes only."""
    received: dict[str, Dataset] = {}

    def stored(event: evt.Event) -> int:
        instance = event.dataset
        instance.file_meta = event.file_meta
        received[instance.SOPInstanceUID] = instance
        return 0

    entity = AE(ae_title="WS")
    entity.add_supported_context(pdus.CT_IMAGE, list(transfer_syntaxes))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)])
    assert server is not None
    try:
        yield server.server_address[1], received
    finally:
        await asyncio.to_thread(server.shutdown)


async def delivered(instance: Dataset, accepted: str) -> Dataset:
    async with taking(accepted) as (port, received), face(compressed_or_not(instance), peers=[peer(port=port)]) as here:
        async with here.associated(MOVE) as association:
            result = await moved(association, StudyInstanceUID=STUDY)
            assert (result.status, result.completed) == (0, 1), result
        return received[instance.SOPInstanceUID]


def compressed_or_not(instance: Dataset) -> ScriptedRegion:
    """Make a region that sends its instance as it is stored, by C-MOVE."""
    region = ScriptedRegion("ARCHIVE", [instance])

    async def move_it(region: ScriptedRegion, asking: ScriptedPeer, request: Message) -> None:
        syntax = str(instance.file_meta.TransferSyntaxUID)
        async with scripted_requestor(region.gateway_port) as sub:
            await sub.associate([(1, pdus.CT_IMAGE, [syntax])], called="GATEWAY", calling="ARCHIVE")
            data = dicom.encode(instance, syntax)
            command = {
                "affected_sop_class_uid": pdus.CT_IMAGE,
                "command_field": pdus.C_STORE_RQ,
                "message_id": 1,
                "priority": 0,
                "command_data_set_type": pdus.DATA_SET,
                "affected_sop_instance_uid": instance.SOPInstanceUID,
                "move_originator_ae_title": "GATEWAY",
                "move_originator_message_id": request.command["message_id"],
            }
            await sub.send(pdus.message(1, command, data))
            status = (await sub.recv_message()).command["status"]
            await sub.release()
        await asking.send(counted(request, 0xB000 if status else 0, 0, int(not status), int(bool(status))))

    region.answers[pdus.C_MOVE_RQ] = move_it
    return region


async def test_what_is_stored_explicit_is_sent_implicit_to_who_takes_nothing_else() -> None:
    instance = dicom.instance(1, size=70_000)
    got = await delivered(instance, pdus.IMPLICIT_LE)
    assert got.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert got.PixelData == instance.PixelData
    assert got.PatientName == instance.PatientName


async def test_what_is_stored_implicit_is_sent_explicit_to_who_takes_nothing_else() -> None:
    instance = dicom.instance(1, size=70_000, transfer_syntax=ImplicitVRLittleEndian)
    got = await delivered(instance, pdus.EXPLICIT_LE)
    assert got.PixelData == instance.PixelData


def compressed() -> Dataset:
    instance = dicom.instance(1, size=8192)
    instance.compress(RLELossless, generate_instance_uid=False)
    return instance


async def test_what_is_compressed_goes_as_it_is_to_who_takes_it() -> None:
    instance = compressed()
    got = await delivered(instance, RLELossless)
    assert got.PixelData == instance.PixelData


async def test_what_is_compressed_is_decoded_for_who_cannot_take_it() -> None:
    got = await delivered(compressed(), pdus.IMPLICIT_LE)
    assert got.PixelData == dicom.instance(1, size=8192).PixelData


async def test_what_is_damaged_and_cannot_be_decoded_has_failed() -> None:
    instance = compressed()
    instance.PixelData = instance.PixelData[:40] + b"\xff" * 8
    region = compressed_or_not(instance)
    async with (
        taking(pdus.EXPLICIT_LE) as (port, received),
        face(region, peers=[peer(port=port)]) as here,
        here.associated(MOVE) as association,
    ):
        with pytest.raises(DimseFailure) as caught:
            await moved(association, StudyInstanceUID=STUDY)
        assert (caught.value.status, received) == (0xA702, {})
