"""What must hold for every real archive that stands behind the gateway as a region."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from tests.interop.serving import MULTIPART, Answer, Gateway
from tests.kit import dicom
from tests.kit.dicom import from_part10

STUDY, OTHER_STUDY, COMPRESSED_STUDY, IMPLICIT_STUDY = (dicom.uid(number) for number in range(1, 5))


def compressed(instance: Dataset) -> Dataset:
    instance.compress(RLELossless, generate_instance_uid=False)
    return instance


INSTANCES: list[Dataset] = [
    *dicom.study(1, series=2, instances=3, size=70_000),
    *dicom.study(2, series=1, instances=1, size=1_000, PatientName="Lévesque^François"),
    compressed(dicom.instance(3, size=4_000)),
    dicom.instance(4, size=4_000, transfer_syntax=ImplicitVRLittleEndian),
]


STUDIES = sorted({str(instance.StudyInstanceUID) for instance in INSTANCES})


@dataclass(frozen=True)
class Served:
    """One archive, behind a gateway for each way to retrieve."""

    by_move: Gateway
    by_get: Gateway


def study(uid: str) -> list[Dataset]:
    return [instance for instance in INSTANCES if instance.StudyInstanceUID == uid]


def values(answer: Answer, tag: str) -> list[object]:
    return [row[tag]["Value"][0] for row in answer.rows]


def assert_same_pixels(answer: Answer, expected: Sequence[Dataset], transfer_syntax: str) -> None:
    """Each instance came once, labelled with its Transfer Syntax, each byte of Pixel Data as its region holds it."""
    assert answer.status == 200, answer.body
    received = [(headers, from_part10(content)) for headers, content in answer.parts]
    for headers, instance in received:
        assert headers["Content-Type"] == f"application/dicom; transfer-syntax={transfer_syntax}"
        assert instance.file_meta.TransferSyntaxUID == transfer_syntax
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
        assert sorted(map(str, values(answer, "0020000D"))) == STUDIES
        assert answer.headers["Federation-Status"].endswith(f";state=complete;matches={len(STUDIES)}")

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
        assert_same_pixels(gateway.get(f"/studies/{STUDY}", MULTIPART), study(STUDY), ExplicitVRLittleEndian)

    def test_series_comes_back_alone(self, gateway: Gateway) -> None:
        expected = [instance for instance in INSTANCES if instance.SeriesInstanceUID == dicom.uid(1, 2)]
        answer = gateway.get(f"/studies/{STUDY}/series/{dicom.uid(1, 2)}", MULTIPART)
        assert_same_pixels(answer, expected, ExplicitVRLittleEndian)

    def test_instance_comes_back_alone(self, gateway: Gateway) -> None:
        expected = [instance for instance in INSTANCES if instance.SOPInstanceUID == dicom.uid(1, 2, 3)]
        path = f"/studies/{STUDY}/series/{dicom.uid(1, 2)}/instances/{dicom.uid(1, 2, 3)}"
        assert_same_pixels(gateway.get(path, MULTIPART), expected, ExplicitVRLittleEndian)

    def test_implicit_vr_leaves_as_explicit_vr(self, gateway: Gateway) -> None:
        answer = gateway.get(f"/studies/{IMPLICIT_STUDY}", MULTIPART)
        assert_same_pixels(answer, study(IMPLICIT_STUDY), ExplicitVRLittleEndian)

    def test_metadata_names_every_instance_and_holds_no_pixels(self, gateway: Gateway) -> None:
        answer = gateway.get(f"/studies/{STUDY}/metadata")
        assert answer.status == 200, answer.body
        assert sorted(map(str, values(answer, "00080018"))) == [i.SOPInstanceUID for i in study(STUDY)]
        assert all("BulkDataURI" in row["7FE00010"] for row in answer.rows)

    def test_unknown_study_is_404(self, gateway: Gateway) -> None:
        assert gateway.get(f"/studies/{dicom.uid(99)}", MULTIPART).status == 404


class CompressedContract(RegionContract):
    """The same, of an archive that sends compressed and uncompressed instances side by side."""

    def test_compressed_instance_leaves_as_it_is_stored(self, gateway: Gateway) -> None:
        answer = gateway.get(f"/studies/{COMPRESSED_STUDY}", MULTIPART)
        assert_same_pixels(answer, study(COMPRESSED_STUDY), RLELossless)

    def test_compressed_instance_is_decompressed_where_no_transfer_syntax_is_named(self, gateway: Gateway) -> None:
        answer = gateway.get(f"/studies/{COMPRESSED_STUDY}", 'multipart/related; type="application/dicom"')
        [(headers, content)] = answer.parts
        received = from_part10(content)
        assert headers["Content-Type"] == f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
        assert received.PixelData == study(COMPRESSED_STUDY)[0].pixel_array.tobytes()
