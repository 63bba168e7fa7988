"""Attributes are replaced while a Data Set passes by; all the rest is what it was, by pydicom's reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import RLELossless

from gateway.dataset.rewriting import Front, Rewriter, modification
from gateway.dataset.writer import from_json_model
from gateway.errors import DatasetError
from tests.kit import dicom, pdus

PATIENT_ID, ISSUER, QUALIFIERS = "00100020", "00100021", "00100024"
ABOUT = {
    "04000562": {"vr": "DT", "Value": ["20260102030405.000000+0000"]},
    "04000563": {"vr": "LO", "Value": ["GATEWAY"]},
    "04000564": {"vr": "LO", "Value": ["archive"]},
    "04000565": {"vr": "CS", "Value": ["COERCE"]},
}
BOTH = [pdus.EXPLICIT_LE, pdus.IMPLICIT_LE]


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def front(data: bytes, syntax: str, target: str, size: int) -> Front:
    made = Front(syntax, target, [PATIENT_ID, ISSUER, QUALIFIERS])
    for piece in pieces(data, size):
        if made.feed(piece):
            break
    return made


def rewritten(instance: Dataset, syntax: str = pdus.EXPLICIT_LE, size: int = 1 << 20) -> Dataset:
    """Give an instance another Patient ID and issuer, and take its qualifiers away."""
    data = dicom.encode(instance, syntax)
    found = front(data, syntax, syntax, size).found
    changes = {
        PATIENT_ID: from_json_model({PATIENT_ID: {"vr": "LO", "Value": ["LOCAL"]}}, syntax),
        ISSUER: from_json_model({ISSUER: {"vr": "LO", "Value": ["CLINIC"]}}, syntax),
        QUALIFIERS: b"",
    }
    before = {key: found[key] for key in changes if key in found}
    rewriter = Rewriter(syntax, changes, modification(before, ABOUT, syntax))
    out = b"".join(bytes(x) for piece in pieces(data, size) for x in rewriter.feed(piece))
    return dicom.decode(out + b"".join(map(bytes, rewriter.finish())), syntax)


def qualified() -> Dataset:
    instance = dicom.instance(1, size=40_000, IssuerOfPatientID="HDIRS")
    item = Dataset()
    item.UniversalEntityID, item.UniversalEntityIDType = "1.2.3", "ISO"
    instance.IssuerOfPatientIDQualifiersSequence = [item]
    return instance


def changed(instance: Dataset) -> None:
    """Do to an instance what was to be done to it, but for what tells of it."""
    instance.PatientID, instance.IssuerOfPatientID = "LOCAL", "CLINIC"
    if "IssuerOfPatientIDQualifiersSequence" in instance:
        del instance.IssuerOfPatientIDQualifiersSequence


@pytest.mark.parametrize("syntax", BOTH)
@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_what_is_replaced_is_kept_in_the_original_attributes_and_all_else_is_as_it_was(syntax: str, size: int) -> None:
    instance = qualified()
    got = rewritten(instance, syntax, size)
    (item,) = got.OriginalAttributesSequence
    (before,) = item.ModifiedAttributesSequence
    assert (before.PatientID, before.IssuerOfPatientID) == ("MRN00001", "HDIRS")
    assert before.IssuerOfPatientIDQualifiersSequence == instance.IssuerOfPatientIDQualifiersSequence
    assert (item.ReasonForTheAttributeModification, item.ModifyingSystem) == ("COERCE", "GATEWAY")
    assert (item.SourceOfPreviousValues, item.AttributeModificationDateTime) == (
        "archive",
        "20260102030405.000000+0000",
    )
    del got.OriginalAttributesSequence
    changed(instance)
    assert [(x.tag, x.value) for x in got] == [(x.tag, x.value) for x in instance]


def test_attributes_that_were_not_there_come_in_their_places() -> None:
    got = rewritten(dicom.instance(1))
    tags = [int(x.tag) for x in got]
    assert tags == sorted(tags)
    assert (got.PatientID, got.IssuerOfPatientID) == ("LOCAL", "CLINIC")


def test_data_set_that_ends_before_them_gets_them_at_its_end() -> None:
    instance = Dataset()
    instance.Modality = "CT"
    got = rewritten(instance)
    assert got.PatientID == "LOCAL"
    assert len(got.OriginalAttributesSequence) == 1


@pytest.mark.parametrize("size", [5, 1 << 20])
def test_changes_made_before_stay_behind_the_new_one(size: int) -> None:
    instance = dicom.instance(1)
    earlier, values = Dataset(), Dataset()
    values.PatientID = "FIRST"
    earlier.ModifiedAttributesSequence, earlier.ModifyingSystem = [values], "OTHER"
    instance.OriginalAttributesSequence = [earlier]
    got = rewritten(instance, size=size)
    assert [x.ModifyingSystem for x in got.OriginalAttributesSequence] == ["GATEWAY", "OTHER"]
    assert got.OriginalAttributesSequence[1].ModifiedAttributesSequence[0].PatientID == "FIRST"


def test_empty_sequence_of_original_attributes_is_filled() -> None:
    instance = dicom.instance(1)
    instance.OriginalAttributesSequence = []
    assert len(rewritten(instance).OriginalAttributesSequence) == 1


def test_same_attributes_inside_of_sequences_are_left_alone() -> None:
    instance = dicom.instance(1)
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID = "OTHER", "ELSEWHERE"
    instance.OtherPatientIDsSequence = [item]
    (kept,) = rewritten(instance).OtherPatientIDsSequence
    assert (kept.PatientID, kept.IssuerOfPatientID) == ("OTHER", "ELSEWHERE")


@pytest.mark.parametrize("size", [333, 1 << 20])
def test_compressed_pixels_pass_fragment_by_fragment(size: int) -> None:
    instance = dicom.instance(1, size=8192)
    instance.compress(RLELossless, generate_instance_uid=False)
    assert rewritten(instance, RLELossless, size).PixelData == instance.PixelData


def test_pixels_are_passed_on_as_they_arrive() -> None:
    data = dicom.encode(dicom.instance(1, size=1 << 20))
    rewriter = Rewriter(pdus.EXPLICIT_LE, {}, b"")
    longest = passed = 0
    for number, piece in enumerate(pieces(data, 65536), start=1):
        passed += sum(map(len, rewriter.feed(piece)))
        longest = max(longest, number * 65536 - passed)
    assert longest <= 2 * 65536


def test_front_needs_no_more_than_the_front() -> None:
    data = dicom.encode(dicom.instance(1, size=1 << 20))
    made = Front(pdus.EXPLICIT_LE, pdus.EXPLICIT_LE, [PATIENT_ID])
    assert made.feed(data[:600])
    assert dicom.decode(made.found[PATIENT_ID]).PatientID == "MRN00001"


@pytest.mark.parametrize("target", BOTH)
@pytest.mark.parametrize("syntax", [*BOTH, pdus.EXPLICIT_BE])
def test_front_is_given_in_the_transfer_syntax_that_is_sent(syntax: str, target: str) -> None:
    found = front(dicom.encode(qualified(), syntax), syntax, target, 100).found
    got = dicom.decode(b"".join(found[key] for key in sorted(found)), target)
    assert (got.PatientID, got.IssuerOfPatientID) == ("MRN00001", "HDIRS")
    assert got.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3"


@given(st.binary(max_size=300))
def test_any_bytes_are_rewritten_or_refused(data: bytes) -> None:
    rewriter = Rewriter(pdus.EXPLICIT_LE, {PATIENT_ID: b""}, b"")
    try:
        rewriter.feed(data)
        rewriter.finish()
    except DatasetError:
        return
