"""PACS and tools that others wrote, with the gateway as their archive: same UIDs as QIDO gives, same bytes as WADO."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from tests.interop.contract import COMPRESSED_STUDY, INSTANCES, OTHER_STUDY, STUDY
from tests.interop.serving import MULTIPART, Gateway, gateway, peer, profile
from tests.kit import dicom
from tests.kit.peers import (
    ECHOSCU,
    FINDSCU,
    GETSCU,
    MOVESCU,
    STORESCP,
    Finished,
    Orthanc,
    dcmqrscp,
    free_port,
    orthanc,
    require,
    run,
    running,
)

# dcmqrscp sends nothing compressed.
HELD = [instance for instance in INSTANCES if instance.StudyInstanceUID != COMPRESSED_STUDY]
STUDIES = sorted({str(instance.StudyInstanceUID) for instance in HELD})


@dataclass(frozen=True)
class Province:
    """A gateway with an archive behind it and two peers in front of it.

    Attributes:
        workstation_port: where the peer WS takes instances.
    """

    gateway: Gateway
    workstation_port: int
    pacs: Orthanc

    async def tool(self, tool: Path, *arguments: str | int | Path) -> Finished:
        """Run a tool of DCMTK as the peer WS."""
        titles = "-aet", "WS", "-aec", "GATEWAY", "127.0.0.1", self.gateway.dimse_port
        return await run(tool, "-v", *titles, *arguments)

    def wado(self, study: str) -> dict[str, bytes]:
        """Return the Data Sets of a study as WADO-RS gives them."""
        parts = self.gateway.get(f"/studies/{study}", MULTIPART).parts
        return dict(data_set(content) for _, content in parts)


def data_set(part10: bytes) -> tuple[str, bytes]:
    """Split a Part 10 file: its SOP Instance UID, and the bytes behind its File Meta Information."""
    instance = dicom.from_part10(part10)
    length = int.from_bytes(part10[140:144], "little")
    return str(instance.SOPInstanceUID), part10[144 + length :]


@pytest.fixture(scope="module")
def province(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Province]:
    home, dimse_port, workstation_port = tmp_path_factory.mktemp("pacs"), free_port(), free_port()
    with (
        dcmqrscp(home, "ARCHIVE", {"GATEWAY": dimse_port}, HELD) as archive,
        orthanc(home, "PACS", {"GATEWAY": dimse_port}, dicomweb=False) as pacs,
        gateway(
            home,
            profile(archive.ae_title, archive.port),
            dimse_port,
            peers=[peer("WS", workstation_port), peer("PACS", pacs.port)],
        ) as served,
    ):
        yield Province(served, workstation_port, pacs)


def found(finished: Finished, tag: str) -> list[str]:
    """Return the values of an attribute in what findscu prints."""
    responses = finished.output.partition("Find Response: 1")[2]
    return re.findall(rf"\({tag}\) \w\w \[([^\]]*?)[ \0]*\]", responses)


# --- DCMTK


@pytest.mark.peer("dcmtk")
async def test_echoscu(province: Province) -> None:
    assert (await province.tool(ECHOSCU)).returncode == 0


@pytest.mark.peer("dcmtk")
async def test_who_has_no_profile_is_rejected_with_the_reason(province: Province) -> None:
    told = await run(ECHOSCU, "-aet", "STRANGER", "-aec", "GATEWAY", "127.0.0.1", province.gateway.dimse_port)
    assert "Calling AE Title Not Recognized" in told.output
    told = await run(ECHOSCU, "-aet", "WS", "-aec", "ELSEWHERE", "127.0.0.1", province.gateway.dimse_port)
    assert "Called AE Title Not Recognized" in told.output


@pytest.mark.peer("dcmtk")
async def test_findscu_finds_what_qido_finds_at_every_level(province: Province) -> None:
    qido = province.gateway.get
    keys = "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientName"
    studies = found(await province.tool(FINDSCU, "-S", *keys), "0020,000d")
    assert sorted(studies) == sorted(str(row["0020000D"]["Value"][0]) for row in qido("/studies").rows) == STUDIES
    keys = "-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={STUDY}", "-k", "SeriesInstanceUID"
    series = found(await province.tool(FINDSCU, "-S", *keys), "0020,000e")
    assert set(series) == {row["0020000E"]["Value"][0] for row in qido(f"/studies/{STUDY}/series").rows}
    for uid in series:
        keys = "-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={STUDY}", "-k", f"SeriesInstanceUID={uid}"
        images = found(await province.tool(FINDSCU, "-S", *keys, "-k", "SOPInstanceUID"), "0008,0018")
        listed = qido(f"/studies/{STUDY}/series/{uid}/instances").rows
        assert sorted(images) == sorted(str(row["00080018"]["Value"][0]) for row in listed)
        assert len(images) == 3


@pytest.mark.peer("dcmtk")
async def test_findscu_of_patient_root(province: Province) -> None:
    keys = "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID", "-k", "PatientName"
    patients = found(await province.tool(FINDSCU, "-P", *keys), "0010,0020")
    assert sorted(patients) == sorted({str(instance.PatientID) for instance in HELD})


@pytest.mark.peer("dcmtk")
async def test_findscu_of_patient_root_counts_what_a_patient_has(province: Province) -> None:
    patient = str(HELD[0].PatientID)
    counts = "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"
    keys = [word for count in counts for word in ("-k", count)]
    told = await province.tool(FINDSCU, "-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", f"PatientID={patient}", *keys)
    held = [instance for instance in HELD if instance.PatientID == patient]
    uids = [{str(x[key].value) for x in held} for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    assert [found(told, tag) for tag in ("0020,1200", "0020,1202", "0020,1204")] == [[str(len(x))] for x in uids]


@pytest.mark.peer("dcmtk")
async def test_findscu_that_cancels_is_given_its_final_response(province: Province) -> None:
    told = await province.tool(FINDSCU, "-S", "--cancel", 1, "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
    assert "Sending Cancel Request" in told.output
    # The few studies may all have left before the C-CANCEL came.
    assert re.search(r"Received Final Find Response \((Cancel|Success)", told.output), told.output
    assert told.returncode == 0


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("study", STUDIES)
async def test_getscu_gets_the_bytes_that_wado_gives(province: Province, tmp_path: Path, study: str) -> None:
    keys = "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"
    got = await province.tool(GETSCU, "-S", "+B", "-od", tmp_path, *keys)
    assert got.returncode == 0, got.output
    assert files(tmp_path) == province.wado(study)


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("study", STUDIES)
async def test_movescu_gets_the_bytes_that_wado_gives(province: Province, tmp_path: Path, study: str) -> None:
    folder, port = tmp_path / "received", province.workstation_port
    folder.mkdir()
    scp: list[str | Path] = [require(STORESCP), "-aet", "WS", "+xa", "+B", "-od", folder, f"{port}"]
    keys = "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"
    with running(scp, port, tmp_path / "storescp.log"):
        moved = await province.tool(MOVESCU, "-S", "-aem", "WS", *keys)
    assert moved.returncode == 0, moved.output
    assert files(folder) == province.wado(study)


@pytest.mark.peer("dcmtk")
async def test_movescu_to_an_unknown_destination_is_refused(province: Province) -> None:
    keys = "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"
    moved = await province.tool(MOVESCU, "-S", "-aem", "PACS", *keys)
    assert "MoveDestinationUnknown" in moved.output
    assert moved.returncode != 0


def files(folder: Path) -> dict[str, bytes]:
    return dict(data_set(path.read_bytes()) for path in folder.iterdir())


# --- Orthanc


@pytest.mark.peer("orthanc")
async def test_orthanc_verifies_queries_and_retrieves(province: Province) -> None:
    await asyncio.to_thread(orthanc_retrieves, province)


def orthanc_retrieves(province: Province) -> None:
    pacs = province.pacs
    pacs.request("POST", "/modalities/GATEWAY/echo", b"{}")
    asked = {"Level": "Study", "Query": {"PatientName": "*", "StudyInstanceUID": STUDY, "ModalitiesInStudy": ""}}
    query = json.loads(pacs.request("POST", "/modalities/GATEWAY/query", json.dumps(asked).encode()))
    answers = json.loads(pacs.request("GET", f"{query['Path']}/answers?simplify&expand"))
    assert [(x["StudyInstanceUID"], x["PatientName"]) for x in answers] == [(STUDY, "Tremblay^Zoé1")]
    series = json.loads(pacs.request("POST", f"{query['Path']}/answers/0/query-series", b"{}"))
    found = json.loads(pacs.request("GET", f"{series['Path']}/answers?simplify&expand"))
    assert {x["SeriesInstanceUID"] for x in found} == {str(dicom.uid(1, 1)), str(dicom.uid(1, 2))}
    pacs.request("POST", f"{query['Path']}/answers/0/retrieve", b"PACS")
    kept = json.loads(pacs.request("GET", "/instances"))
    stored = dict(data_set(pacs.request("GET", f"/instances/{uid}/file")) for uid in kept)
    expected = province.wado(STUDY)
    assert stored.keys() == expected.keys()
    assert {pixels(x) for x in stored.values()} == {pixels(x) for x in expected.values()}


def pixels(data: bytes) -> bytes:
    return bytes(dicom.decode(data).PixelData)


# --- pynetdicom


async def test_pynetdicom_finds_gets_and_moves(province: Province) -> None:
    assert await asyncio.to_thread(pynetdicom_patients, province) == {str(i.PatientID) for i in HELD}
    expected = province.wado(OTHER_STUDY)
    assert await asyncio.to_thread(pynetdicom_gets, province, OTHER_STUDY) == set(expected)
    assert await asyncio.to_thread(pynetdicom_moves, province, OTHER_STUDY) == set(expected)


def pynetdicom_patients(province: Province) -> set[str]:
    entity = AE(ae_title="WS")
    entity.add_requested_context(PatientRootQueryRetrieveInformationModelFind)
    association = entity.associate("127.0.0.1", province.gateway.dimse_port, ae_title="GATEWAY")
    assert association.is_established
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.PatientID = "PATIENT", ""
    answers = list(association.send_c_find(asked, PatientRootQueryRetrieveInformationModelFind))
    association.release()
    assert answers[-1][0].Status == 0x0000
    return {str(row.PatientID) for _, row in answers[:-1] if row is not None}


def of_study(study: str) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", study
    return asked


def pynetdicom_gets(province: Province, study: str) -> set[str]:
    received: set[str] = set()

    def stored(event: evt.Event) -> int:
        received.add(str(event.dataset.SOPInstanceUID))
        return 0

    entity = AE(ae_title="WS")
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    entity.add_requested_context(CTImageStorage, [ExplicitVRLittleEndian])
    association = entity.associate(
        "127.0.0.1",
        province.gateway.dimse_port,
        ae_title="GATEWAY",
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, stored)],
    )
    answers = list(association.send_c_get(of_study(study), StudyRootQueryRetrieveInformationModelGet))
    association.release()
    assert answers[-1][0].Status == 0x0000
    return received


def pynetdicom_moves(province: Province, study: str) -> set[str]:
    received: set[str] = set()

    def stored(event: evt.Event) -> int:
        received.add(str(event.dataset.SOPInstanceUID))
        return 0

    entity = AE(ae_title="WS")
    entity.add_supported_context(CTImageStorage)
    server = entity.start_server(
        ("127.0.0.1", province.workstation_port), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)]
    )
    assert server is not None
    try:
        entity.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
        association = entity.associate("127.0.0.1", province.gateway.dimse_port, ae_title="GATEWAY")
        answers = list(association.send_c_move(of_study(study), "WS", StudyRootQueryRetrieveInformationModelMove))
        association.release()
    finally:
        server.shutdown()
    assert answers[-1][0].Status == 0x0000
    return received
