"""Tools that others wrote, as clients of the gateway: DCMTK's, dicomweb-client, curl."""

import asyncio
from pathlib import Path

import orjson
import pytest
from dicomweb_client.api import DICOMwebClient

from tests.interop.contract import STUDIES, STUDY, study
from tests.interop.serving import JSON, MULTIPART, Gateway
from tests.kit import dicom
from tests.kit.peers import ECHOSCU, STORESCU, run

CURL = Path("/usr/bin/curl")


@pytest.mark.peer("dcmtk")
async def test_echoscu_is_answered(served_gateway: Gateway) -> None:
    echoed = await run(ECHOSCU, "-v", "-aec", "GATEWAY", "127.0.0.1", served_gateway.dimse_port)
    assert echoed.returncode == 0, echoed.output


@pytest.mark.peer("dcmtk")
async def test_store_that_nobody_asked_for_is_refused(served_gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "unsolicited.dcm"
    file.write_bytes(dicom.part10(dicom.instance(7)))
    titles = "-aet", "PYNETDICOM", "-aec", "GATEWAY"  # a region's, of which we asked nothing
    stored = await run(STORESCU, "-d", *titles, "127.0.0.1", served_gateway.dimse_port, file)
    assert "0x0124" in stored.output
    assert stored.returncode != 0


class TestDicomwebClient:
    @pytest.fixture
    def client(self, served_gateway: Gateway) -> DICOMwebClient:
        return DICOMwebClient(served_gateway.url)

    def test_lists_studies_series_and_instances(self, client: DICOMwebClient) -> None:
        assert {row["0020000D"]["Value"][0] for row in client.search_for_studies()} == set(STUDIES)
        assert len(client.search_for_series(STUDY)) == 2
        assert len(client.search_for_instances(STUDY, dicom.uid(1, 1))) == 3

    def test_retrieves_a_study(self, client: DICOMwebClient) -> None:
        received = client.retrieve_study(STUDY, media_types=(("application/dicom", "*"),))
        assert {i.SOPInstanceUID: i.PixelData for i in received} == {
            i.SOPInstanceUID: i.PixelData for i in study(STUDY)
        }

    def test_retrieves_one_instance(self, client: DICOMwebClient) -> None:
        uids = STUDY, dicom.uid(1, 1), dicom.uid(1, 1, 2)
        received = client.retrieve_instance(*uids, media_types=(("application/dicom", "*"),))
        assert received.SOPInstanceUID == uids[2]

    def test_reads_metadata(self, client: DICOMwebClient) -> None:
        metadata = client.retrieve_study_metadata(STUDY)
        assert {row["00080018"]["Value"][0] for row in metadata} == {i.SOPInstanceUID for i in study(STUDY)}


class TestCurl:
    async def test_lists_studies(self, served_gateway: Gateway) -> None:
        listed = await run(
            CURL, "-sS", "--fail", "-H", f"Accept: {JSON}", f"{served_gateway.url}/studies?PatientName=*"
        )
        assert len(orjson.loads(listed.output)) == len(STUDIES)

    async def test_saves_a_study_to_a_file(self, served_gateway: Gateway, tmp_path: Path) -> None:
        file = tmp_path / "study.multipart"
        url = f"{served_gateway.url}/studies/{STUDY}"
        saved = await run(CURL, "-sS", "--fail", "-H", f"Accept: {MULTIPART}", "-o", file, url)
        assert saved.returncode == 0, saved.output
        body = await asyncio.to_thread(file.read_bytes)
        assert all(instance.PixelData in body for instance in study(STUDY))
