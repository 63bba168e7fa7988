"""Storage Commitment: a peer hears of every instance whether it is safe, once, on whichever association it keeps."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.config import disable_value_validation

from gateway.assembly import running
from gateway.config.settings import load
from gateway.errors import ConfigError
from gateway.events import CommitmentReported, DeliveryQuarantined, PeerOperation
from tests.kit import dicom, pdus
from tests.kit.region import ScriptedRegion, store_request
from tests.kit.scripted import Message, Script, ScriptedPeer, scripted_acceptor, scripted_requestor
from tests.scp.pacs import INSTANCES, Face, face, peer

HELD = INSTANCES[0]
NEW = dicom.instance(9, size=5000)
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
TRANSACTION = dicom.uid(77, 1)
CONTEXTS = [(1, pdus.STORAGE_COMMITMENT, [pdus.EXPLICIT_LE]), (3, pdus.CT_IMAGE, [pdus.EXPLICIT_LE])]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for what a peer may still do."""
    monkeypatch.setattr("gateway.scp.reporter.GRACE_SECONDS", 0.05)
    monkeypatch.setattr("gateway.scp.reporter.POLL_SECONDS", 0.05)


def references(*pairs: tuple[str, str]) -> list[Dataset]:
    items = [Dataset() for _ in pairs]
    for item, (sop_class, sop_instance) in zip(items, pairs, strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return items


def of(*instances: Dataset) -> list[tuple[str, str]]:
    return [(str(x.SOPClassUID), str(x.SOPInstanceUID)) for x in instances]


def request(
    asked: Sequence[tuple[str, str]], transaction: str | None = TRANSACTION, message_id: int = 7, **more: Any
) -> bytes:
    information = Dataset()
    if transaction is not None:
        information.TransactionUID = transaction
    information.ReferencedSOPSequence = references(*asked)
    command = {
        "requested_sop_class_uid": pdus.STORAGE_COMMITMENT,
        "command_field": pdus.N_ACTION_RQ,
        "message_id": message_id,
        "command_data_set_type": pdus.DATA_SET,
        "requested_sop_instance_uid": pdus.STORAGE_COMMITMENT_INSTANCE,
        "action_type_id": 1,
        **more,
    }
    return pdus.message(1, command, dicom.encode(information))


@dataclass(frozen=True)
class Report:
    """What a peer was told: UIDs, and Failure Reasons."""

    event: int
    transaction: str
    committed: set[str]
    failed: dict[str, int]

    @classmethod
    def read(cls, message: Message) -> "Report":
        assert message.command["command_field"] == pdus.N_EVENT_REPORT_RQ
        assert message.command["affected_sop_class_uid"] == pdus.STORAGE_COMMITMENT
        assert message.command["affected_sop_instance_uid"] == pdus.STORAGE_COMMITMENT_INSTANCE
        told = dicom.decode(message.data)
        return cls(
            message.command["event_type_id"],
            str(told.TransactionUID),
            {str(x.ReferencedSOPInstanceUID) for x in told.get("ReferencedSOPSequence", [])},
            {str(x.ReferencedSOPInstanceUID): x.FailureReason for x in told.get("FailedSOPSequence", [])},
        )


def answer(message: Message, status: int = 0) -> bytes:
    return pdus.message(message.context_id, pdus.response(message.command, status))


async def asked(scu: ScriptedPeer, *arguments: Any, **more: Any) -> int:
    """Ask, and return the status of the N-ACTION-RSP."""
    with disable_value_validation():
        await scu.send(request(*arguments, **more))
    response = await scu.recv_message()
    assert response.command["command_field"] == pdus.N_ACTION_RSP
    assert response.command["message_id_being_responded_to"] == 7
    return int(response.command["status"])


async def told(scu: ScriptedPeer) -> Report:
    """Take a report on the association, and answer it."""
    message = await scu.recv_message()
    await scu.send(answer(message))
    return Report.read(message)


@contextlib.asynccontextmanager
async def committing(
    folder: Path, *regions: ScriptedRegion, port: int = 0, store: dict[str, Any] | None = None, **commitment: float
) -> AsyncIterator[Face]:
    """Run a gateway for the peer WS, which stores and asks; with a port it can be called there."""
    address: dict[str, Any] = {"commitment": {"host": "127.0.0.1", "port": port}} if port else {}
    sections = {
        "store": {"folder": str(folder), "default": ["ARCHIVE"], **(store or {})},
        "commitment": {"retry_seconds": 0.1, "longest_retry_seconds": 0.2, **commitment},
    }
    who = peer(services=("echo", "store", "commit"), **address)
    async with face(*regions, peers=[who], sections=sections) as here:
        yield here


@contextlib.asynccontextmanager
async def calling(here: Face) -> AsyncIterator[ScriptedPeer]:
    async with scripted_requestor(here.port) as scu:
        await scu.associate(CONTEXTS, called="GATEWAY", calling="WS")
        yield scu


async def stored(scu: ScriptedPeer, instance: Dataset = NEW) -> int:
    await scu.send(store_request(3, 5, instance))
    return int((await scu.recv_message()).command["status"])


def archive(status: int = 0) -> ScriptedRegion:
    """Make a region that answers C-STORE with a status."""

    async def answer_store(region: ScriptedRegion, peer: ScriptedPeer, message: Message) -> None:
        await peer.send(answer(message, status))

    region = ScriptedRegion("ARCHIVE", INSTANCES)
    region.answers[pdus.C_STORE_RQ] = answer_store
    return region


def listening(reports: list[Report], status: int = 0) -> Script:
    """Take one report on an association that the gateway opens, and answer it."""

    async def script(peer: ScriptedPeer) -> None:
        role = pdus.role_selection(pdus.STORAGE_COMMITMENT, 0, 1)
        associate = await peer.accept(user=pdus.user_information(16_384, role))
        # PS3.4 J.3.3: on an association of its own the SCP proposes its role, SCU no, SCP yes.
        assert pdus.role_selection(pdus.STORAGE_COMMITMENT, 0, 1) in associate.body
        message = await peer.next_request()
        assert message is not None
        reports.append(Report.read(message))
        await peer.send(answer(message, status))
        assert await peer.next_request() is None
        await peer.send(pdus.RELEASE_RP)
        await peer.hold()

    return script


async def test_what_a_region_answers_for_is_committed_on_the_association_that_stays_open(tmp_path: Path) -> None:
    async with committing(tmp_path) as here, calling(here) as scu:
        assert await asked(scu, of(HELD)) == 0x0000
        report = await told(scu)
        assert report == Report(1, TRANSACTION, {str(HELD.SOPInstanceUID)}, {})
        assert await here.until(CommitmentReported) == CommitmentReported("ws", "complete", 1, 0)
        assert [(x.service, x.status, x.count) for x in here.of(PeerOperation)] == [("commit", "0000", 1)]


async def test_what_nobody_has_fails_with_no_such_instance_beside_what_is_safe(tmp_path: Path) -> None:
    nowhere = (pdus.CT_IMAGE, dicom.uid(404))
    async with committing(tmp_path) as here, calling(here) as scu:
        assert await asked(scu, [*of(HELD), nowhere]) == 0x0000
        assert await told(scu) == Report(2, TRANSACTION, {str(HELD.SOPInstanceUID)}, {nowhere[1]: 0x0112})


async def test_instance_of_another_class_is_a_conflict(tmp_path: Path) -> None:
    uid = str(HELD.SOPInstanceUID)
    async with committing(tmp_path) as here, calling(here) as scu:
        assert await asked(scu, [(MR_IMAGE, uid)]) == 0x0000
        assert await told(scu) == Report(2, TRANSACTION, set(), {uid: 0x0119})


async def test_what_was_delivered_is_committed_though_its_region_does_not_answer_any_more(tmp_path: Path) -> None:
    region = archive()
    async with committing(tmp_path, region) as here, calling(here) as scu:
        assert await stored(scu) == 0x0000
        region.answers[pdus.C_FIND_RQ] = refuse_find
        assert await asked(scu, of(NEW)) == 0x0000
        assert await told(scu) == Report(1, TRANSACTION, {str(NEW.SOPInstanceUID)}, {})


async def test_what_waits_in_the_queue_is_committed(tmp_path: Path) -> None:
    async with committing(tmp_path, archive(0xA700), store={"retry_seconds": 60.0}) as here, calling(here) as scu:
        assert await stored(scu) == 0x0000
        assert await asked(scu, of(NEW)) == 0x0000
        assert await told(scu) == Report(1, TRANSACTION, {str(NEW.SOPInstanceUID)}, {})


async def test_what_waits_and_whose_file_is_damaged_is_not_committed(tmp_path: Path) -> None:
    async with committing(tmp_path, archive(0xA700), store={"retry_seconds": 60.0}) as here, calling(here) as scu:
        assert await stored(scu) == 0x0000
        (file,) = (tmp_path / "instances").iterdir()
        file.write_bytes(file.read_bytes()[:-1])
        assert await asked(scu, of(NEW)) == 0x0000
        assert await told(scu) == Report(2, TRANSACTION, set(), {str(NEW.SOPInstanceUID): 0x0110})


async def test_what_the_region_refused_from_the_queue_is_not_committed(tmp_path: Path) -> None:
    store = {"retry_seconds": 0.05, "longest_retry_seconds": 0.05, "answer": "durable"}
    async with committing(tmp_path, archive(0xC000), store=store) as here, calling(here) as scu:
        assert await stored(scu) == 0x0000
        await here.until(DeliveryQuarantined)
        assert await asked(scu, of(NEW)) == 0x0000
        assert await told(scu) == Report(2, TRANSACTION, set(), {str(NEW.SOPInstanceUID): 0x0110})


async def refuse_find(region: ScriptedRegion, peer: ScriptedPeer, message: Message) -> None:
    await peer.send(pdus.find_response(message.context_id, message.command, status=0xC000))


async def test_region_that_does_not_answer_makes_a_failure_and_never_a_commitment(tmp_path: Path) -> None:
    region = archive()
    region.answers[pdus.C_FIND_RQ] = refuse_find
    uid = dicom.uid(404)
    async with committing(tmp_path, region) as here, calling(here) as scu:
        assert await asked(scu, [(pdus.CT_IMAGE, uid)]) == 0x0000
        assert await told(scu) == Report(2, TRANSACTION, set(), {uid: 0x0110})


async def test_peer_that_releases_is_told_on_an_association_of_ours_as_scp(tmp_path: Path) -> None:
    reports: list[Report] = []
    async with scripted_acceptor(listening(reports)) as there, committing(tmp_path, port=there.port) as here:
        async with calling(here) as scu:
            assert await asked(scu, of(HELD)) == 0x0000
            await scu.release()
        assert await here.until(CommitmentReported) == CommitmentReported("ws", "complete", 1, 0)
        assert reports == [Report(1, TRANSACTION, {str(HELD.SOPInstanceUID)}, {})]


async def test_peer_that_goes_on_storing_is_told_on_an_association_of_ours(tmp_path: Path) -> None:
    reports: list[Report] = []
    async with (
        scripted_acceptor(listening(reports)) as there,
        committing(tmp_path, archive(), port=there.port) as here,
        calling(here) as scu,
    ):
        assert await asked(scu, of(HELD)) == 0x0000
        storing = store_request(3, 5, NEW)
        await scu.send(storing[:2000])
        assert (await here.until(CommitmentReported)).outcome == "complete"
        assert len(reports) == 1
        await scu.send(storing[2000:])
        assert (await scu.recv_message()).command["command_field"] == pdus.C_STORE_RSP


async def test_peer_that_cannot_be_called_is_told_after_a_restart(tmp_path: Path) -> None:
    reports: list[Report] = []
    async with committing(tmp_path, port=1) as here, calling(here) as scu:
        assert await asked(scu, of(HELD)) == 0x0000
        await scu.release()
    async with scripted_acceptor(listening(reports)) as there, committing(tmp_path, port=there.port) as here:
        assert await here.until(CommitmentReported) == CommitmentReported("ws", "complete", 1, 0)
    assert reports == [Report(1, TRANSACTION, {str(HELD.SOPInstanceUID)}, {})]
    async with committing(tmp_path, port=1) as here, calling(here) as scu:
        assert await asked(scu, of(HELD)) == 0x0000  # nothing is left of the first: its UID is free


async def test_peer_that_refuses_its_report_is_told_again_and_not_for_ever(tmp_path: Path) -> None:
    reports: list[Report] = []
    script = listening(reports, status=0x0110)
    async with (
        scripted_acceptor(script) as there,
        committing(tmp_path, port=there.port, give_up_seconds=2.0) as here,
        calling(here) as scu,
    ):
        assert await asked(scu, of(HELD)) == 0x0000
        await scu.release()
        assert await here.until(CommitmentReported) == CommitmentReported("ws", "refused", 0, 0)
        assert len(reports) > 1


async def test_peer_without_an_address_that_has_gone_is_given_up_in_the_end(tmp_path: Path) -> None:
    async with committing(tmp_path, give_up_seconds=1.0) as here, calling(here) as scu:
        assert await asked(scu, of(HELD)) == 0x0000
        await scu.release()
        assert await here.until(CommitmentReported) == CommitmentReported("ws", "unreachable", 0, 0)


async def test_transaction_that_is_under_way_is_a_duplicate(tmp_path: Path) -> None:
    async with committing(tmp_path, port=1) as here:
        async with calling(here) as scu:
            assert await asked(scu, of(HELD)) == 0x0000
            await scu.release()
        async with calling(here) as scu:
            assert await asked(scu, of(HELD)) == 0x0131


@pytest.mark.parametrize(
    ("status", "arguments", "more"),
    [
        (0x0118, (), {"requested_sop_class_uid": pdus.CT_IMAGE}),
        (0x0112, (), {"requested_sop_instance_uid": "1.2.3"}),
        (0x0123, (), {"action_type_id": 2}),
        (0x0115, (None,), {}),
        (0x0115, ("not a UID",), {}),
    ],
)
async def test_request_that_is_none_is_refused(
    tmp_path: Path, status: int, arguments: tuple[Any, ...], more: dict[str, Any]
) -> None:
    async with committing(tmp_path) as here, calling(here) as scu:
        assert await asked(scu, of(HELD), *arguments, **more) == status


@pytest.mark.parametrize("pairs", [[], [("", dicom.uid(1))], [(pdus.CT_IMAGE, "../x")]])
async def test_request_without_instances_is_refused(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    async with committing(tmp_path) as here, calling(here) as scu:
        assert await asked(scu, pairs) == 0x0115


async def test_peer_without_the_service_gets_no_context_for_it(tmp_path: Path) -> None:
    async with face(peers=[peer(services=("echo",))]) as here, scripted_requestor(here.port) as scu:
        answer = await scu.associate([*CONTEXTS, (5, pdus.VERIFICATION, [pdus.IMPLICIT_LE])], calling="WS")
        assert pdus.accepted(1, pdus.EXPLICIT_LE, result=3) in answer.body


async def test_service_without_a_folder_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"store\.folder"):
        async with running(load(), [], peers=[peer(services=("commit",))]):
            pass
