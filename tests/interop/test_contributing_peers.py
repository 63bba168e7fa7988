"""Tools and PACS that others wrote contribute by C-STORE: what they sent is what QIDO, C-FIND and WADO give."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset

from gateway.dataset.part10 import split
from regions.archive import Archive
from tests.interop.serving import MULTIPART, Gateway, gateway, peer, profile
from tests.kit.dicom import encode, part10, study
from tests.kit.peers import DCMSEND, Finished, free_port, orthanc, run

SETTINGS = '[store]\ndefault = ["EMPTY"]\n[spool]\nbackground_instances = 0\n'
SENT = [*study(1, series=2, instances=2), *study(2, instances=1)]
STUDIES = sorted({str(dataset.StudyInstanceUID) for dataset in SENT})


@dataclass(frozen=True, slots=True)
class Clinic:
    """A gateway before an empty archive, and the peer CLINIC, which may do everything.

    Attributes:
        port: where CLINIC takes instances.
        folder: with a file for each instance of ``SENT``.
    """

    gateway: Gateway
    port: int
    folder: Path

    async def pynetdicom(self, application: str, *arguments: str | int | Path) -> Finished:
        """Run an application of pynetdicom's own to its success."""
        address = "127.0.0.1", self.gateway.dimse_port, "-aet", "CLINIC", "-aec", "GATEWAY", "-v"
        done = await run(Path(sys.executable), "-m", "pynetdicom", application, *address, *arguments, seconds=60)
        assert done.returncode == 0, done.output
        return done

    def listed(self) -> list[str]:
        """Return the studies that QIDO gives."""
        return sorted(str(row["0020000D"]["Value"][0]) for row in self.gateway.get("/studies").rows)

    def retrieved(self, uid: str) -> dict[str, bytes]:
        """Return the Data Sets of a study as WADO gives them."""
        return data_sets(content for _, content in self.gateway.get(f"/studies/{uid}", MULTIPART).parts)

    def retrieved_all(self) -> dict[str, bytes]:
        return {uid: data for one in STUDIES for uid, data in self.retrieved(one).items()}


def data_sets(files: Iterator[bytes]) -> dict[str, bytes]:
    """Return what is behind the File Meta Information of each file, by SOP Instance UID."""
    return {meta.sop_instance_uid: file[end:] for file in files for meta, end in [split(file)]}


def encoded(datasets: list[Dataset]) -> dict[str, bytes]:
    return {str(dataset.SOPInstanceUID): encode(dataset) for dataset in datasets}


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    dimse_port, port, folder = free_port(), free_port(), tmp_path / "files"
    folder.mkdir()
    for number, dataset in enumerate(SENT):
        (folder / f"{number}.dcm").write_bytes(part10(dataset))
    services = "echo", "find", "get", "move", "store"
    with Archive("EMPTY", tmp_path / "archive", destinations={"GATEWAY": ("127.0.0.1", dimse_port)}) as archive:
        text, peers = profile("EMPTY", archive.port), [peer("CLINIC", port, *services)]
        with gateway(tmp_path, text, dimse_port, settings=SETTINGS, peers=peers) as one:
            yield Clinic(one, port, folder)


@pytest.mark.peer("dcmtk")
async def test_dcmsend_contributes_a_folder(clinic: Clinic) -> None:
    titles = "-aet", "CLINIC", "-aec", "GATEWAY", "127.0.0.1", clinic.gateway.dimse_port
    sent = await run(DCMSEND, "-v", *titles, "--scan-directories", clinic.folder)
    assert sent.returncode == 0, sent.output
    assert clinic.listed() == STUDIES
    assert clinic.retrieved_all() == encoded(SENT)


async def test_applications_of_pynetdicom_use_the_gateway_as_their_archive(clinic: Clinic, tmp_path: Path) -> None:
    await clinic.pynetdicom("echoscu")
    await clinic.pynetdicom("storescu", clinic.folder)
    assert clinic.listed() == STUDIES
    assert clinic.retrieved_all() == encoded(SENT)
    told = await clinic.pynetdicom("findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=")
    assert [uid for uid in STUDIES if uid in told.output] == STUDIES
    study_of = "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDIES[0]}"
    got, moved = tmp_path / "got", tmp_path / "moved"
    await clinic.pynetdicom("getscu", *study_of, "-od", got)
    assert files(got) == clinic.retrieved(STUDIES[0])
    taking = "-aem", "CLINIC", "--store", "--store-aet", "CLINIC", "--store-port", clinic.port, "-od", moved
    await clinic.pynetdicom("movescu", *study_of, *taking)
    assert files(moved) == clinic.retrieved(STUDIES[0])


def files(folder: Path) -> dict[str, bytes]:
    return data_sets(path.read_bytes() for path in folder.iterdir())


@pytest.mark.peer("orthanc")
async def test_orthanc_contributes_what_it_holds(clinic: Clinic, tmp_path: Path) -> None:
    await asyncio.to_thread(orthanc_contributes, clinic, tmp_path)
    assert clinic.listed() == STUDIES


def orthanc_contributes(clinic: Clinic, home: Path) -> None:
    with orthanc(home, "CLINIC", {"GATEWAY": clinic.gateway.dimse_port}, dicomweb=False) as pacs:
        pacs.upload(SENT)
        held = json.loads(pacs.request("GET", "/instances"))
        pacs.request("POST", "/modalities/GATEWAY/store", json.dumps(held).encode())
        assert clinic.retrieved_all() == data_sets(pacs.request("GET", f"/instances/{uid}/file") for uid in held)
