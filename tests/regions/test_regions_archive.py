"""The embedded archive, asked by DCMTK and by pynetdicom."""

import re
import shutil
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from regions.archive import Archive
from regions.elements import decode
from regions.province import Truth
from regions.truth import TrueStudy
from tests.kit.dicom import instance
from tests.kit.peers import ECHOSCU, FINDSCU, GETSCU, MOVESCU, STORESCU, DicomNode, pynetdicom_scp, run

FIND, MOVE, GET = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
)


def identifier(level: str, **keys: Any) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def associate(archive: Archive, *contexts: Any, **more: Any) -> Any:
    ae = AE("TESTSCU")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    association = ae.associate("127.0.0.1", archive.port, list(contexts), ae_title=archive.ae.ae_title, **more)
    assert association.is_established
    return association


def find(
    archive: Archive, query: Dataset, model: str = FIND, syntax: str = ExplicitVRLittleEndian
) -> list[tuple[int, Dataset]]:
    association = associate(archive, build_context(model, syntax))
    try:
        responses = [(status.Status, row) for status, row in association.send_c_find(query, model)]
    finally:
        association.release()
    assert responses[-1][0] == 0x0000, responses[-1]
    return [(status, row) for status, row in responses[:-1] if row is not None]


def failure(archive: Archive, query: Dataset) -> Dataset:
    association = associate(archive, build_context(FIND, ExplicitVRLittleEndian))
    try:
        status: Dataset = next(status for status, _ in association.send_c_find(query, FIND))
        return status
    finally:
        association.release()


class Inbox:
    """Remembers each C-STORE: its Data Set bytes, transfer syntax and move originator."""

    def __init__(self) -> None:
        self.stores: dict[str, tuple[bytes, str, str, int]] = {}
        self.refused: set[str] = set()

    def __call__(self, event: evt.Event) -> int:
        request = event.request
        if request.AffectedSOPInstanceUID in self.refused:
            return 0xA700
        self.stores[request.AffectedSOPInstanceUID] = (
            request.DataSet.getvalue(),
            event.context.transfer_syntax,
            request.MoveOriginatorApplicationEntityTitle,
            request.MoveOriginatorMessageID,
        )
        return 0x0000


@pytest.fixture(scope="module")
def destination() -> Iterator[tuple[DicomNode, Inbox]]:
    received = Inbox()
    with pynetdicom_scp("INBOX", [(evt.EVT_C_STORE, received)], transfer_syntaxes=SYNTAXES) as node:
        yield node, received


@pytest.fixture
def inbox(neodin: Archive, hdirs: Archive, destination: tuple[DicomNode, Inbox]) -> Inbox:
    """A Move Destination that both archives know as INBOX, empty."""
    node, received = destination
    neodin.destinations["INBOX"] = hdirs.destinations["INBOX"] = (node.host, node.port)
    received.stores.clear()
    received.refused.clear()
    return received


SYNTAXES = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203",
)  # fmt: skip


def stored(province: Path, study: TrueStudy, region: str) -> dict[str, bytes]:
    """The Data Set bytes of a study as they lie in a region's files."""
    found = {}
    for one in study.held_by(region):
        content = (province / one.files[region]).read_bytes()
        found[one.sop_instance_uid] = content[144 + struct.unpack_from("<L", content, 140)[0] :]
    return found


# --- C-ECHO and association


async def test_echoscu_gets_an_answer(neodin: Archive) -> None:
    assert (await run(ECHOSCU, "-aec", "NEODIN", "127.0.0.1", neodin.port)).returncode == 0


async def test_archive_answers_to_its_own_name_only(neodin: Archive) -> None:
    finished = await run(ECHOSCU, "-aec", "SWODIN", "127.0.0.1", neodin.port)
    assert "Called AE Title Not Recognized" in finished.output


# --- C-FIND


def test_study_search_finds_what_the_region_holds(neodin: Archive, true: Truth) -> None:
    rows = find(neodin, identifier("STUDY", StudyInstanceUID="", PatientName="", NumberOfStudyRelatedInstances=""))
    counts = {row.StudyInstanceUID: row.NumberOfStudyRelatedInstances for _, row in rows}
    expected = {study.study_instance_uid: len(study.held_by("NEODIN")) for study in true.held_by("NEODIN")}
    assert counts == expected
    assert {status for status, _ in rows} == {0xFF00}


async def test_findscu_finds_by_part_of_a_name(neodin: Archive, true: Truth) -> None:
    keys = ("QueryRetrieveLevel=STUDY", "PatientName=*lévesque*", "StudyInstanceUID", "SpecificCharacterSet=ISO_IR 192")
    arguments = [part for key in keys for part in ("-k", key)]
    finished = await run(FINDSCU, "-v", "-S", "-aec", "NEODIN", *arguments, "127.0.0.1", neodin.port)
    expected = {s.study_instance_uid for s in true.held_by("NEODIN") if "Lévesque" in true.patient(s.patient).name}
    assert expected
    assert {uid.rstrip("\0 ") for uid in re.findall(r"\(0020,000d\) UI \[([^\]]+)", finished.output)} == expected


def test_computed_attributes_are_those_of_what_is_held(hdirs: Archive, true: Truth) -> None:
    study = true.study("report-elsewhere")
    keys = {
        "ModalitiesInStudy": "",
        "SOPClassesInStudy": "",
        "NumberOfStudyRelatedSeries": "",
        "InstanceAvailability": "",
    }
    ((_, row),) = find(hdirs, identifier("STUDY", StudyInstanceUID=study.study_instance_uid, **keys))
    held = study.held_by("HDIRS")
    assert sorted(row.ModalitiesInStudy) == ["DOC", "SR"]
    assert set(row.SOPClassesInStudy) == {one.sop_class_uid for one in held}
    assert row.NumberOfStudyRelatedSeries == 2
    assert (row.InstanceAvailability, row.RetrieveAETitle) == ("ONLINE", "HDIRS")


def test_search_goes_down_the_hierarchy(hdirs: Archive, true: Truth) -> None:
    study = true.study("different-counts")
    uid = study.study_instance_uid
    series = find(
        hdirs, identifier("SERIES", StudyInstanceUID=uid, SeriesInstanceUID="", NumberOfSeriesRelatedInstances="")
    )
    assert {row.SeriesInstanceUID: row.NumberOfSeriesRelatedInstances for _, row in series} == {
        one.series_instance_uid: len(one.instances) for one in study.series
    }
    first = study.series[0]
    keys = {
        "SeriesInstanceUID": first.series_instance_uid,
        "SOPInstanceUID": "",
        "AvailableTransferSyntaxUID": "",
        "Rows": None,
    }
    images = find(hdirs, identifier("IMAGE", StudyInstanceUID=uid, **keys))
    assert {row.SOPInstanceUID: row.AvailableTransferSyntaxUID for _, row in images} == {
        one.sop_instance_uid: one.transfer_syntax_uid for one in first.instances
    }
    assert all(row.Rows for _, row in images)


def test_patient_root_search_counts_the_patient_s_studies(neodin: Archive, true: Truth) -> None:
    study = true.study("ct-volume")
    number = study.patient_ids["NEODIN"]
    query = identifier("PATIENT", PatientID=number, PatientName="", NumberOfPatientRelatedStudies="")
    ((_, row),) = find(neodin, query, PatientRootQueryRetrieveInformationModelFind)
    mine = [s for s in true.held_by("NEODIN") if s.patient_ids["NEODIN"] == number]
    assert row.NumberOfPatientRelatedStudies == len(mine)
    assert row.PatientName == true.patient(study.patient).name


def test_answer_is_in_the_character_set_of_the_instance(hdirs: Archive, true: Truth) -> None:
    for study in true.held_by("HDIRS"):
        ((_, row),) = find(hdirs, identifier("STUDY", StudyInstanceUID=study.study_instance_uid, PatientName=""))
        if study.character_set:
            assert row.PatientName == true.patient(study.patient).name
        else:
            assert "SpecificCharacterSet" not in row


def test_key_that_is_not_supported_is_said_to_be_so(neodin: Archive) -> None:
    rows = find(neodin, identifier("STUDY", StudyInstanceUID="", SeriesDescription="whatever"))
    assert rows
    assert {status for status, _ in rows} == {0xFF01}
    assert all("SeriesDescription" not in row for _, row in rows)


def test_search_without_the_key_above_is_refused(neodin: Archive) -> None:
    status = failure(neodin, identifier("SERIES", SeriesInstanceUID=""))
    assert status.Status == 0xA900
    assert "StudyInstanceUID" in status.ErrorComment
    assert failure(neodin, identifier("PATIENT", PatientID="")).Status == 0xA900


def test_implicit_association_gets_the_same_rows(neodin: Archive) -> None:
    query = identifier("STUDY", StudyInstanceUID="", PatientName="", OtherPatientIDsSequence=[], StudyDescription="")
    explicit = find(neodin, query)
    implicit = find(neodin, query, syntax=ImplicitVRLittleEndian)
    assert [row for _, row in implicit] == [row for _, row in explicit]


def test_cancelled_search_ends_with_cancel(neodin: Archive, true: Truth) -> None:
    study = true.study("ct-volume")
    association = associate(neodin, build_context(FIND, ExplicitVRLittleEndian))
    keys = {"StudyInstanceUID": study.study_instance_uid, "SeriesInstanceUID": study.series[0].series_instance_uid}
    answers = association.send_c_find(identifier("IMAGE", SOPInstanceUID="", **keys), FIND, msg_id=5)
    association.send_c_cancel(5, query_model=FIND)
    statuses = [status.Status for status, _ in answers]
    association.release()
    # A C-CANCEL may come too late for so short a list; what it may not do is confuse the archive.
    assert statuses[-1] in {0xFE00, 0x0000}
    assert set(statuses[:-1]) <= {0xFF00}


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


# pynetdicom drops a socket that could not be connected without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
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


# --- C-STORE


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Archive]:
    with Archive("FRESH", tmp_path / "fresh") as archive:
        yield archive


async def test_storescu_stores_and_the_instance_is_found_and_kept(fresh: Archive, tmp_path: Path) -> None:
    dcmwrite(tmp_path / "one.dcm", instance(3, 1, 1), enforce_file_format=True)
    finished = await run(STORESCU, "-aec", "FRESH", "127.0.0.1", fresh.port, tmp_path / "one.dcm")
    assert finished.returncode == 0, finished.output
    ((_, row),) = find(
        fresh, identifier("STUDY", StudyInstanceUID="", PatientName="", NumberOfStudyRelatedInstances="")
    )
    assert (row.PatientName, row.NumberOfStudyRelatedInstances) == ("Tremblay^Zoé3", 1)


def store(archive: Archive, dataset: Dataset) -> int:
    association = associate(archive, build_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID))
    try:
        return int(association.send_c_store(dataset).Status)
    finally:
        association.release()


def test_what_is_stored_is_still_there_after_a_restart(fresh: Archive) -> None:
    assert store(fresh, instance(1)) == 0x0000
    fresh.stop()
    with Archive("FRESH", fresh.folder) as again:
        assert again.index.counts() == (1, 1)


def test_instance_stored_twice_is_held_once(fresh: Archive) -> None:
    assert [store(fresh, instance(1, PatientID=number)) for number in ("A", "B")] == [0, 0]
    assert fresh.index.counts() == (1, 1)
    assert len(list((fresh.folder / "received").iterdir())) == 1
    ((_, row),) = find(fresh, identifier("STUDY", StudyInstanceUID="", PatientID=""))
    assert row.PatientID == "B"


def test_names_from_the_wire_are_never_paths(fresh: Archive) -> None:
    assert store(fresh, instance(1, PatientID="../../etc", StudyID="/etc/passwd")) == 0x0000
    outside = [path for path in fresh.folder.parent.rglob("*") if path.is_file() and fresh.folder not in path.parents]
    assert not outside
    for path in (fresh.folder / "received").iterdir():
        assert re.fullmatch(r"[0-9a-f]{32}\.dcm", path.name)


def test_bytes_that_are_no_data_set_are_refused_and_not_kept(fresh: Archive) -> None:
    association = associate(fresh, build_context(CTImageStorage, ExplicitVRLittleEndian))
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, "1.2.3"
    request.DataSet = BytesIO(b"\xff" * 64)
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    association.release()
    assert response.Status == 0xC000
    assert not list((fresh.folder / "received").iterdir())


def test_files_that_others_put_into_the_folder_are_indexed(province: Path, true: Truth, tmp_path: Path) -> None:
    study = true.study("amended-report")
    (tmp_path / "some" / "where").mkdir(parents=True)
    for n, one in enumerate(study.instances):
        shutil.copy(province / one.files["HDIRS"], tmp_path / "some" / "where" / f"{n}.dcm")
    (tmp_path / "note.dcm").write_text("no DICOM at all")
    with Archive("STRANGER", tmp_path) as archive:
        rows = find(archive, identifier("STUDY", StudyInstanceUID="", NumberOfStudyRelatedInstances=""))
    assert [(row.StudyInstanceUID, row.NumberOfStudyRelatedInstances) for _, row in rows] == [
        (study.study_instance_uid, len(study.instances))
    ]


def test_sequences_of_undefined_length_are_indexed(tmp_path: Path, province: Path, true: Truth) -> None:
    one = true.study("foreign-copy").instances[0]
    dataset = dcmread(province / one.files["GTAWEST"])
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
    dataset.save_as(tmp_path / "undefined.dcm")
    with Archive("STRANGER", tmp_path) as archive:
        ((_, row),) = find(archive, identifier("STUDY", StudyInstanceUID="", OtherPatientIDsSequence=[]))
    assert row.OtherPatientIDsSequence == dataset.OtherPatientIDsSequence


def test_several_requests_share_an_archive(neodin: Archive, inbox: Inbox, true: Truth) -> None:
    studies = [study for study in true.held_by("NEODIN") if len(study.held_by("NEODIN")) < 30][:4]
    with ThreadPoolExecutor(4) as pool:
        finals = list(
            pool.map(lambda s: move(neodin, identifier("STUDY", StudyInstanceUID=s.study_instance_uid))[-1], studies)
        )
    assert [final.NumberOfCompletedSuboperations for final in finals] == [len(s.held_by("NEODIN")) for s in studies]
