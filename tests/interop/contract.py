"""What must hold for every real archive that stands behind the gateway as a region."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from pydicom import Dataset

from tests.interop.serving import MULTIPART, Answer, Gateway
from tests.kit import dicom
from tests.kit.dicom import from_part10

STUDY = dicom.uid(1)
OTHER_STUDY = dicom.uid(2)

INSTANCES: list[Dataset] = [
    *dicom.study(1, series=2, instances=3, size=70_000),
    *dicom.study(2, series=1, instances=1, size=1_000, PatientName="Lévesque^François"),
]


@dataclass(frozen=True)
class Served:
    """One archive, behind a gateway for each way to retrieve."""

    by_move: Gateway
    by_get: Gateway


def study(uid: str) -> list[Dataset]:
    return [instance for instance in INSTANCES if instance.StudyInstanceUID == uid]


def values(answer: Answer, tag: str) -> list[object]:
    return [row[tag]["Value"][0] for row in answer.rows]


def assert_same_pixels(answer: Answer, expected: Sequence[Dataset]) -> None:
    """Each instance came once, each byte of Pixel Data as its region holds it."""
    assert answer.status == 200, answer.body
    received = [(headers, from_part10(content)) for headers, content in answer.parts]
    for headers, instance in received:
        syntax = instance.file_meta.TransferSyntaxUID
        assert headers["Content-Type"] == f"application/dicom; transfer-syntax={syntax}"
    pixels = {instance.SOPInstanceUID: instance.PixelData for _, instance in received}
    assert len(received) == len(pixels)
    assert pixels == {instance.SOPInstanceUID: instance.PixelData for instance in expected}


class RegionContract:
    """Searches and retrieves; a module with a fixture `served` makes a subclass of it."""

    @pytest.fixture(params=["by_move", "by_get"])
    def gateway(self, served: Served, request: pytest.FixtureRequest) -> Gateway:
        chosen: Gateway = getattr(served, request.param)
        return chosen

    def test_every_study_is_listed_once(self, gateway: Gateway) -> None:
        answer = gateway.get("/studies")
        assert answer.status == 200, answer.body
        assert sorted(map(str, values(answer, "0020000D"))) == [STUDY, OTHER_STUDY]
        assert answer.headers["Federation-Status"].endswith(";state=complete;matches=2")

    def test_name_beyond_ascii_is_found_and_shown(self, gateway: Gateway) -> None:
        answer = gateway.get("/studies?PatientName=L%C3%A9vesque*")
        assert values(answer, "00100010") == [{"Alphabetic": "Lévesque^François"}]

    def test_key_that_matches_nothing_gives_an_empty_list(self, gateway: Gateway) -> None:
        answer = gateway.get("/studies?PatientID=NOBODY")
        assert (answer.status, answer.rows) == (200, [])

    def test_series_are_listed_by_number(self, gateway: Gateway) -> None:
        answer = gateway.get(f"/studies/{STUDY}/series")
        assert values(answer, "0020000E") == [dicom.uid(1, 1), dicom.uid(1, 2)]
        assert values(answer, "00080060") == ["CT", "CT"]

    def test_instances_are_listed_by_number(self, gateway: Gateway) -> None:
        answer = gateway.get(f"/studies/{STUDY}/series/{dicom.uid(1, 2)}/instances")
        assert values(answer, "00080018") == [dicom.uid(1, 2, n) for n in (1, 2, 3)]

    def test_study_comes_back_byte_for_byte(self, gateway: Gateway) -> None:
        assert_same_pixels(gateway.get(f"/studies/{STUDY}", MULTIPART), study(STUDY))

    def test_series_comes_back_alone(self, gateway: Gateway) -> None:
        expected = [instance for instance in INSTANCES if instance.SeriesInstanceUID == dicom.uid(1, 2)]
        assert_same_pixels(gateway.get(f"/studies/{STUDY}/series/{dicom.uid(1, 2)}", MULTIPART), expected)

    def test_instance_comes_back_alone(self, gateway: Gateway) -> None:
        expected = [instance for instance in INSTANCES if instance.SOPInstanceUID == dicom.uid(1, 2, 3)]
        path = f"/studies/{STUDY}/series/{dicom.uid(1, 2)}/instances/{dicom.uid(1, 2, 3)}"
        assert_same_pixels(gateway.get(path, MULTIPART), expected)

    def test_metadata_names_every_instance_and_holds_no_pixels(self, gateway: Gateway) -> None:
        answer = gateway.get(f"/studies/{STUDY}/metadata")
        assert answer.status == 200, answer.body
        assert sorted(map(str, values(answer, "00080018"))) == [i.SOPInstanceUID for i in study(STUDY)]
        assert all("BulkDataURI" in row["7FE00010"] for row in answer.rows)

    def test_unknown_study_is_404(self, gateway: Gateway) -> None:
        assert gateway.get(f"/studies/{dicom.uid(99)}", MULTIPART).status == 404
