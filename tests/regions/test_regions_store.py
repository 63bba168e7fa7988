"""The embedded archive's C-STORE, and what its index makes of files."""

import re
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    CTImageStorage,
)

from regions.archive import Archive
from regions.truth import Truth
from tests.kit.dicom import instance
from tests.kit.peers import STORESCU, run
from tests.regions.scu import associate, find, identifier

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
