"""Regions that speak DICOMweb: Orthanc's plugin, and a gateway that is the region of another gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.uid import ExplicitVRLittleEndian

from gateway.dataset.part10 import split
from tests.interop.contract import COMPRESSED_STUDY, INSTANCES, STUDY, CompressedContract, assert_same_pixels, study
from tests.interop.serving import MULTIPART, Answer, Gateway, JsonRow, gateway, profile
from tests.kit import dicom
from tests.kit.dicom import encode, from_part10, part10
from tests.kit.peers import Orthanc, free_port, orthanc, pynetdicom_archive

RETRIEVE_AE_TITLE, RETRIEVE_URL = "00080054", "00081190"


def web_profile(name: str, url: str, **more: str) -> str:
    """Make the profile of a region that speaks DICOMweb."""
    return "".join(f'{key} = "{value}"\n' for key, value in {"name": name, "dicomweb": url, **more}.items())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc"), "ORTHANC", {"GATEWAY": free_port()}) as made:
        made.upload(INSTANCES)
        yield made


@pytest.fixture(scope="module")
def web(archive: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    text = web_profile("ORTHANC", archive.dicomweb_url)
    with gateway(tmp_path_factory.mktemp("web"), text) as served:
        yield served


@pytest.mark.peer("orthanc")
class TestOrthancOverTheWeb(CompressedContract):
    """What holds for Orthanc as a DIMSE region holds for it as a DICOMweb region."""

    @pytest.fixture
    def gateway(self, web: Gateway) -> Gateway:
        return web


@pytest.fixture(scope="module")
def dimse(archive: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("dimse"), profile(archive.ae_title, archive.port, "c-get")) as served:
        yield served


def files(answer: Answer) -> dict[str, bytes]:
    """Return the Data Set of each instance by SOP Instance UID."""
    assert answer.status == 200, answer.body
    heads = [(split(content), content) for _, content in answer.parts]
    return {meta.sop_instance_uid: content[end:] for (meta, end), content in heads}


@pytest.mark.peer("orthanc")
@pytest.mark.parametrize(
    "path",
    [
        "/studies",
        "/studies?PatientName=L%C3%A9vesque*",
        "/studies?PatientName=levesque",
        "/studies?StudyDate=20200101-&ModalitiesInStudy=CT",
        f"/studies?StudyInstanceUID={STUDY},{COMPRESSED_STUDY}",
        f"/studies/{STUDY}/series",
        f"/studies/{STUDY}/series?Modality=MR",
        f"/studies/{STUDY}/series/{dicom.uid(1, 2)}/instances",
        f"/studies/{dicom.uid(99)}/series",
    ],
)
def test_rows_are_those_that_dimse_gives(web: Gateway, dimse: Gateway, path: str) -> None:
    assert web.get(path).rows == dimse.get(path).rows


@pytest.mark.peer("orthanc")
@pytest.mark.parametrize("uid", [STUDY, COMPRESSED_STUDY])
def test_bytes_are_those_that_dimse_gives(web: Gateway, dimse: Gateway, uid: str) -> None:
    path = f"/studies/{uid}"
    assert files(web.get(path, MULTIPART)) == files(dimse.get(path, MULTIPART))


@pytest.mark.peer("orthanc")
def test_study_that_is_parted_between_a_web_and_a_dimse_region_comes_back_whole(tmp_path: Path) -> None:
    instances = study(STUDY)
    with (
        orthanc(tmp_path, "WEBBED") as one,
        pynetdicom_archive(instances=instances[3:]) as other,
        gateway(
            tmp_path, [web_profile("WEBBED", one.dicomweb_url), profile(other.ae_title, other.port, "c-get")]
        ) as served,
    ):
        one.upload(instances[:4])
        [row] = served.get("/studies").rows
        assert row[RETRIEVE_AE_TITLE]["Value"] == ["WEBBED", other.ae_title]
        answer = served.get(f"/studies/{STUDY}", MULTIPART)
        assert_same_pixels(answer, instances, ExplicitVRLittleEndian)


@pytest.mark.peer("orthanc")
def test_what_is_stored_through_the_gateway_is_in_the_archive_as_it_was_sent(tmp_path: Path) -> None:
    settings = '[store]\ndefault = ["ORTHANC"]\n'
    with (
        orthanc(tmp_path, "ORTHANC") as made,
        gateway(tmp_path, web_profile("ORTHANC", made.dicomweb_url), settings=settings) as served,
    ):
        client = DICOMwebClient(url=served.url)
        client.store_instances([from_part10(part10(instance)) for instance in INSTANCES])
        assert made.statistics()["CountInstances"] == len(INSTANCES)
        sent = {str(x.SOPInstanceUID): encode(x, x.file_meta.TransferSyntaxUID) for x in study(COMPRESSED_STUDY)}
        assert files(served.get(f"/studies/{COMPRESSED_STUDY}", MULTIPART)) == sent
        client.store_instances([from_part10(part10(INSTANCES[0]))])  # a repeat changes nothing
        assert made.statistics()["CountInstances"] == len(INSTANCES)


# --- a gateway as the region of another


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose one region is a gateway, of whose two regions one is down."""
    home, dimse_port = tmp_path_factory.mktemp("federation"), free_port()
    with (
        pynetdicom_archive(instances=INSTANCES, destinations={"GATEWAY": dimse_port}) as held,
        gateway(home, [profile(held.ae_title, held.port), profile("DOWN", free_port())], dimse_port) as inner,
        gateway(home, web_profile("NEXT", inner.url)) as outer,
    ):
        yield outer


def test_what_a_federation_lacks_is_told_by_the_one_above_it(federation: Gateway) -> None:
    answer = federation.get("/studies")
    assert len(answer.rows) == 4
    assert answer.headers["Federation-Status"] == 'next;state=partial;matches=4;missing="down"'
    assert "down of region next did not answer: results incomplete" in answer.headers["Warning"]


def test_rows_of_a_federation_lead_to_the_one_that_was_asked(federation: Gateway) -> None:
    rows: list[JsonRow] = federation.get(f"/studies/{STUDY}/series").rows
    assert [row[RETRIEVE_URL]["Value"][0] for row in rows] == [
        f"/dicom-web/studies/{STUDY}/series/{dicom.uid(1, number)}" for number in (1, 2)
    ]
    assert all(row[RETRIEVE_AE_TITLE]["Value"] == ["NEXT"] for row in rows)


def test_study_comes_through_two_gateways_byte_for_byte_and_what_is_missing_stays_told(federation: Gateway) -> None:
    answer = federation.get(f"/studies/{STUDY}", MULTIPART)
    assert_same_pixels(answer, study(STUDY), ExplicitVRLittleEndian)
    assert answer.headers["Federation-Status"].startswith("next;state=partial")
    assert 'missing="down"' in answer.headers["Federation-Status"]


def test_what_a_federation_may_hold_is_not_said_to_be_nowhere(federation: Gateway) -> None:
    answer = federation.get(f"/studies/{dicom.uid(99)}", MULTIPART)
    assert answer.status == 503
    assert "next;state=partial" in answer.headers["Federation-Status"]


def test_who_wants_all_or_nothing_gets_nothing_of_a_federation_with_a_gap(federation: Gateway) -> None:
    answer = federation.get(f"/studies/{STUDY}/metadata")
    assert answer.status == 200
    assert "next;state=partial" in answer.headers["Federation-Status"]
