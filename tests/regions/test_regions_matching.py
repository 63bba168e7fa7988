"""Attribute matching, PS3.4 C.2.2.2."""

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence as Items

from regions.matching import keys_of, matches


def held() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Gagné-Lévesque^Thérèse^Marie=山田^太郎"
    dataset.PatientID = "N0042"
    dataset.StudyDate, dataset.StudyTime = "20230615", "134502.250000"
    dataset.StudyDescription = "CT HEAD"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.ModalitiesInStudy = ["CT", "SR"]
    dataset.SeriesNumber = "007"
    dataset.Rows = 512
    request = Dataset()
    request.ScheduledProcedureStepID, request.RequestedProcedureID = "SPS1", "RP1"
    dataset.RequestAttributesSequence = Items([request])
    return dataset


def fits(**key: object) -> bool:
    identifier = Dataset()
    for keyword, value in key.items():
        setattr(identifier, keyword, value)
    return all(matches(element, held()) for element in keys_of(identifier))


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PatientName", "", True),
        ("PatientName", "*", True),
        ("PatientName", "Gagné-Lévesque^Thérèse^Marie", True),
        ("PatientName", "GAGNÉ-LÉVESQUE^THÉRÈSE^MARIE", True),
        ("PatientName", "gagn?-l?vesque*", True),
        ("PatientName", "Gagné-Lévesque", False),
        ("PatientName", "*太郎*", True),
        ("PatientName", "[a-z]*", False),
        ("PatientID", "N0042", True),
        ("PatientID", "n0042", False),
        ("PatientID", "N*2", True),
        ("PatientID", "N004", False),
        ("StudyDescription", "CT*", True),
        ("StudyDescription", "ct*", False),
        ("StudyDate", "20230615", True),
        ("StudyDate", "20230101-20231231", True),
        ("StudyDate", "20230616-", False),
        ("StudyDate", "-20230615", True),
        ("StudyDate", "-20230614", False),
        ("StudyTime", "1345", True),
        ("StudyTime", "1300-1345", True),
        ("StudyTime", "134503-", False),
        ("StudyInstanceUID", ["1.2.3", "9.9"], True),
        ("StudyInstanceUID", ["9.8", "9.9"], False),
        ("ModalitiesInStudy", "SR", True),
        ("ModalitiesInStudy", "MR", False),
        ("ModalitiesInStudy", ["MR", "CT"], True),
        ("SeriesNumber", "7", True),
        ("SeriesNumber", "70", False),
        ("Rows", 512, True),
        ("Rows", 256, False),
        ("AccessionNumber", "A1", False),
    ],
)
def test_key_matches_as_the_standard_says(keyword: str, value: object, expected: bool) -> None:
    assert fits(**{keyword: value}) is expected


@pytest.mark.parametrize(
    ("step", "procedure", "expected"), [("SPS1", "RP1", True), ("SPS1", "", True), ("SPS1", "RP2", False)]
)
def test_all_keys_of_an_item_match_within_one_item(step: str, procedure: str, expected: bool) -> None:
    item = Dataset()
    item.ScheduledProcedureStepID, item.RequestedProcedureID = step, procedure
    assert fits(RequestAttributesSequence=Items([item])) is expected


def test_sequence_whose_keys_are_empty_restricts_nothing() -> None:
    item = Dataset()
    item.ScheduledProcedureStepID = ""
    identifier = Dataset()
    identifier.RequestAttributesSequence = Items([item])
    assert not keys_of(identifier)
