"""The embedded archive's C-MOVE and C-GET, asked by DCMTK and by pynetdicom."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
)

from regions.archive import Archive
from regions.elements import decode
from regions.truth import TrueStudy, Truth
from tests.kit.peers import GETSCU, MOVESCU, pynetdicom_scp, run
from tests.regions.scu import GET, MOVE, Inbox, associate, identifier, stored

# --- C-MOVE


def move(archive: Archive, query: Dataset, destination: str = "INBOX", message_id: int = 77) -> list[Dataset]:
    association = associate(archive, build_context(MOVE, ExplicitVRLittleEndian))
    try:
        return [status for status, _ in association.send_c_move(query, destination, MOVE, msg_id=message_id)]
    finally:
        association.release()


async def test_movescu_has_the_study_sent_to_its_destination(
    neodin: Archive, inbox: Inbox, province: Path, true: Truth
) -> None:
    study = true.study("split-instances")
    keys = ("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study.study_instance_uid}")
    arguments = [part for key in keys for part in ("-k", key)]
    finished = await run(
        MOVESCU, "-S", "-aet", "MOVER", "-aec", "NEODIN", "-aem", "INBOX", *arguments, "127.0.0.1", neodin.port
    )
    assert finished.returncode == 0, finished.output
    assert {uid: store[0] for uid, store in inbox.stores.items()} == stored(province, study, "NEODIN")
    assert {store[2] for store in inbox.stores.values()} == {"MOVER"}


@pytest.mark.parametrize(
    "purpose", ["split-series", "report-elsewhere", "implicit", "big-endian", "us-multi-frame", "no-character-set"]
)
def test_bytes_arrive_as_they_are_stored(
    hdirs: Archive, inbox: Inbox, province: Path, true: Truth, purpose: str
) -> None:
    study = true.study(purpose)
    final = move(hdirs, identifier("STUDY", StudyInstanceUID=study.study_instance_uid))[-1]
    held = study.held_by("HDIRS")
    assert (final.Status, final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations) == (
        0x0000,
        len(held),
        0,
    )
    assert {uid: store[0] for uid, store in inbox.stores.items()} == stored(province, study, "HDIRS")
    assert {uid: store[1] for uid, store in inbox.stores.items()} == {
        i.sop_instance_uid: i.transfer_syntax_uid for i in held
    }


def test_sub_operations_name_the_mover_and_its_message(neodin: Archive, inbox: Inbox, true: Truth) -> None:
    move(neodin, identifier("STUDY", StudyInstanceUID=true.study("copied").study_instance_uid), message_id=4711)
    assert {store[2:] for store in inbox.stores.values()} == {("TESTSCU", 4711)}


def test_pending_responses_count_down(neodin: Archive, inbox: Inbox, true: Truth) -> None:
    study = true.study("copied")
    statuses = move(neodin, identifier("STUDY", StudyInstanceUID=study.study_instance_uid))
    total = len(study.held_by("NEODIN"))
    assert [s.NumberOfRemainingSuboperations for s in statuses[:-1]] == list(range(total - 1, 0, -1))
    assert [s.NumberOfCompletedSuboperations for s in statuses[:-1]] == list(range(1, total))


def test_only_what_is_named_is_moved(neodin: Archive, inbox: Inbox, true: Truth) -> None:
    study = true.study("copied")
    series = study.series[1]
    two = [one.sop_instance_uid for one in series.instances[:2]]
    keys = {"StudyInstanceUID": study.study_instance_uid, "SeriesInstanceUID": series.series_instance_uid}
    move(neodin, identifier("IMAGE", SOPInstanceUID=two, **keys))
    assert sorted(inbox.stores) == sorted(two)
    inbox.stores.clear()
    move(neodin, identifier("SERIES", **keys))
    assert set(inbox.stores) == {one.sop_instance_uid for one in series.instances}


def test_unknown_destination_is_a801(neodin: Archive, true: Truth) -> None:
    (status,) = move(neodin, identifier("STUDY", StudyInstanceUID=true.study("copied").study_instance_uid), "NOWHERE")
    assert status.Status == 0xA801
    assert "NOWHERE" in status.ErrorComment


def test_destination_that_is_down_is_a702(neodin: Archive, true: Truth) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        neodin.destinations["DOWN"] = reserved.getsockname()
        study = true.study("copied")
        (status,) = move(neodin, identifier("STUDY", StudyInstanceUID=study.study_instance_uid), "DOWN")
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xA702, len(study.held_by("NEODIN")))


def test_refused_instances_are_counted_and_named(neodin: Archive, inbox: Inbox, true: Truth) -> None:
    study = true.study("copied")
    uids = [one.sop_instance_uid for one in study.held_by("NEODIN")]
    inbox.refused = set(uids[:2])
    association = associate(neodin, build_context(MOVE, ExplicitVRLittleEndian))
    query = identifier("STUDY", StudyInstanceUID=study.study_instance_uid)
    *_, (final, failed) = association.send_c_move(query, "INBOX", MOVE)
    association.release()
    assert (final.Status, final.NumberOfFailedSuboperations) == (0xB000, 2)
    assert final.NumberOfCompletedSuboperations == len(uids) - 2
    assert set(failed.FailedSOPInstanceUIDList) == set(uids[:2])


def test_study_that_is_not_held_is_moved_with_nothing(neodin: Archive, inbox: Inbox) -> None:
    (status,) = move(neodin, identifier("STUDY", StudyInstanceUID="1.2.3.4"))
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0x0000, 0)


def test_move_without_a_study_is_refused(neodin: Archive, inbox: Inbox) -> None:
    (status,) = move(neodin, identifier("STUDY", StudyInstanceUID=""))
    assert status.Status == 0xA900
    assert not inbox.stores


def test_cancelled_move_stops_and_says_what_remains(neodin: Archive, true: Truth) -> None:
    study = true.study("ct-volume")
    query = identifier("STUDY", StudyInstanceUID=study.study_instance_uid)
    association = associate(neodin, build_context(MOVE, ExplicitVRLittleEndian))
    arrived: list[str] = []

    def cancel_on_the_third(event: evt.Event) -> int:
        arrived.append(event.request.AffectedSOPInstanceUID)
        if len(arrived) == 3:
            association.send_c_cancel(9, query_model=MOVE)
            cancelled.wait(10)
        return 0x0000

    cancelled = threading.Event()  # the archive has C-CANCEL before it has the third answer

    def seen(event: evt.Event) -> None:
        if event.message.command_set.CommandField == 0x0FFF:
            cancelled.set()

    neodin._server.bind(evt.EVT_DIMSE_RECV, seen)
    with pynetdicom_scp("INBOX", [(evt.EVT_C_STORE, cancel_on_the_third)]) as node:
        neodin.destinations["INBOX"] = (node.host, node.port)
        *_, (final, _) = association.send_c_move(query, "INBOX", MOVE, msg_id=9)
        association.release()
    assert final.Status == 0xFE00
    assert final.NumberOfRemainingSuboperations == len(study.held_by("NEODIN")) - 3
    assert len(arrived) == 3


# --- C-GET


async def test_getscu_writes_the_study_to_files(neodin: Archive, true: Truth, tmp_path: Path) -> None:
    study = true.study("report-elsewhere")
    keys = ("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study.study_instance_uid}")
    arguments = [part for key in keys for part in ("-k", key)]
    finished = await run(GETSCU, "-S", "-aec", "NEODIN", "-od", tmp_path, *arguments, "127.0.0.1", neodin.port)
    assert finished.returncode == 0, finished.output
    got = {dcmread(path).SOPInstanceUID for path in tmp_path.iterdir()}  # noqa: ASYNC240 - the loop has nothing else to do
    assert got == {one.sop_instance_uid for one in study.held_by("NEODIN")}


def get(archive: Archive, study: TrueStudy, sop_class: str, syntax: str) -> tuple[Dataset, Inbox]:
    received = Inbox()
    contexts = [build_context(GET, ExplicitVRLittleEndian), build_context(sop_class, syntax)]
    more = {"ext_neg": [build_role(sop_class, scp_role=True)], "evt_handlers": [(evt.EVT_C_STORE, received)]}
    association = associate(archive, *contexts, **more)
    *_, (final, _) = association.send_c_get(identifier("STUDY", StudyInstanceUID=study.study_instance_uid), GET)
    association.release()
    return final, received


def test_get_sends_stored_bytes_on_the_same_association(hdirs: Archive, province: Path, true: Truth) -> None:
    study = true.study("implicit")
    final, received = get(hdirs, study, CTImageStorage, ImplicitVRLittleEndian)
    assert final.Status == 0x0000
    assert {uid: store[0] for uid, store in received.stores.items()} == stored(province, study, "HDIRS")


@pytest.mark.parametrize(("purpose", "sop_class"), [("implicit", CTImageStorage), ("big-endian", MRImageStorage)])
def test_native_instances_are_converted_when_only_explicit_is_taken(
    hdirs: Archive, province: Path, true: Truth, purpose: str, sop_class: str
) -> None:
    study = true.study(purpose)
    final, received = get(hdirs, study, sop_class, ExplicitVRLittleEndian)
    assert final.NumberOfCompletedSuboperations == len(study.held_by("HDIRS"))
    for one in study.held_by("HDIRS"):
        original = dcmread(province / one.files["HDIRS"])
        sent = decode(received.stores[one.sop_instance_uid][0], ExplicitVRLittleEndian)
        assert (sent.PixelData != original.PixelData) == (purpose == "big-endian")
        del original.PixelData, sent.PixelData
        assert sent.to_json_dict() == original.to_json_dict()


def test_compressed_instances_fail_where_they_are_not_taken(neodin: Archive, true: Truth) -> None:
    study = true.study("split-instances")
    final, received = get(neodin, study, CTImageStorage, ExplicitVRLittleEndian)
    assert (final.Status, final.NumberOfFailedSuboperations) == (0xA702, len(study.held_by("NEODIN")))
    assert not received.stores


def test_several_requests_share_an_archive(neodin: Archive, inbox: Inbox, true: Truth) -> None:
    studies = [study for study in true.held_by("NEODIN") if len(study.held_by("NEODIN")) < 30][:4]
    with ThreadPoolExecutor(4) as pool:
        finals = list(
            pool.map(lambda s: move(neodin, identifier("STUDY", StudyInstanceUID=s.study_instance_uid))[-1], studies)
        )
    assert [final.NumberOfCompletedSuboperations for final in finals] == [len(s.held_by("NEODIN")) for s in studies]
