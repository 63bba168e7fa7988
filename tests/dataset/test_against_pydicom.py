"""For every file that pydicom ships, our DICOM JSON Model is pydicom's; what differs is in one table."""

import json
from base64 import b64decode
from collections.abc import Callable

import pytest

from gateway.dataset.dictionary import vr_of
from gateway.dataset.json_model import JsonModelBuilder, dumps, to_json_model
from gateway.dataset.query import Attribute
from gateway.dataset.transfer_syntax import transfer_syntax
from gateway.dataset.values import WORD_SIZES, swapped
from gateway.errors import DatasetError
from tests.dataset.oracle import Sample, chunks, differences, samples

REFUSED = {
    "rtplan_truncated.dcm": "cut in the middle of an element: the rest of the Data Set is not known",
    "MR_truncated.dcm": "the same, inside Pixel Data",
    "DICOMDIR-nooffset": "an item is longer than the Sequence that holds it",
}
"""Files that pydicom reads as far as it comes; we never take a part of a Data Set for the whole."""

BEYOND_PYDICOM = {"badVR.dcm": "pydicom refuses an IS of 1A; the row keeps it as text"}


NONE: Attribute = {}
"""Stands for an attribute that one side does not have."""


def group_length(key: str, ours: Attribute, _theirs: Attribute, _sample: Sample) -> bool:
    """Group lengths are retired, describe another encoding, and are not in the model (PS3.18 F.2.2)."""
    return ours is NONE and key.endswith("0000")


def empty_sequence(_key: str, ours: Attribute, theirs: Attribute, _sample: Sample) -> bool:
    """An empty Sequence has no Value, like any empty attribute (PS3.18 F.2.5)."""
    return ours == {"vr": "SQ"} and theirs == {"vr": "SQ", "Value": []}


def empty_value(_key: str, ours: Attribute, theirs: Attribute, _sample: Sample) -> bool:
    """An empty value among several is null, not an empty string (PS3.18 F.2.5)."""
    return ours == {**theirs, "Value": [value or None for value in theirs.get("Value", [])]}


def padding(_key: str, ours: Attribute, theirs: Attribute, _sample: Sample) -> bool:
    """Padding is stripped from each value, not from the last only (PS3.5 6.2)."""
    values = [value.strip(" \0") if isinstance(value, str) else value for value in theirs.get("Value", [])]
    return ours == {**theirs, "Value": values}


def byte_order(_key: str, ours: Attribute, theirs: Attribute, sample: Sample) -> bool:
    """InlineBinary is little-endian whatever the Transfer Syntax (PS3.18 F.2.7)."""
    if transfer_syntax(sample.transfer_syntax_uid).little_endian or NONE in (ours, theirs):
        return False
    mine, other = (b64decode(attribute.get("InlineBinary", "")) for attribute in (ours, theirs))
    return ours["vr"] == theirs["vr"] and mine == swapped(other, WORD_SIZES[ours["vr"]])


def encapsulated(key: str, ours: Attribute, theirs: Attribute, sample: Sample) -> bool:
    """Encapsulated Pixel Data is OB, whatever its writer called it (PS3.5 A.4)."""
    fragments = key == "7FE00010" and transfer_syntax(sample.transfer_syntax_uid).encapsulated
    return fragments and ours == {**theirs, "vr": "OB"}


def private_implicit(key: str, ours: Attribute, _theirs: Attribute, _sample: Sample) -> bool:
    """A private attribute without VR is UN: we know no vendor's dictionary (PS3.5 6.2.2)."""
    return int(key[:4], 16) % 2 == 1 and ours.get("vr") == "UN" == vr_of(key)


RULES: tuple[Callable[[str, Attribute, Attribute, Sample], bool], ...] = (
    *(group_length, empty_sequence, empty_value, padding, byte_order, encapsulated, private_implicit),
)
"""The allowed differences; each says why in its first line."""

GOOD = [sample for sample in samples() if sample.name not in REFUSED]
IDS = [sample.name for sample in GOOD]


def rules_needed(sample: Sample) -> list[str]:
    """Return the rule that explains each difference; fail on one that no rule explains."""
    ours = to_json_model(sample.data, sample.transfer_syntax_uid)
    found = []
    for path, mine, other in differences(ours, sample.row()):
        rule = next((rule for rule in RULES if rule(path[-1], mine or NONE, other or NONE, sample)), None)
        assert rule, f"{sample.name} {path}: {mine} is not {other}"
        found.append(rule.__name__)
    return found


@pytest.mark.parametrize(
    "sample", [sample for sample in GOOD if sample.name not in BEYOND_PYDICOM], ids=lambda s: s.name
)
def test_row_of_a_file_is_what_pydicom_makes_of_it(sample: Sample) -> None:
    rules_needed(sample)


def test_no_allowed_difference_is_without_a_case() -> None:
    used = {rule for sample in GOOD if sample.name not in BEYOND_PYDICOM for rule in rules_needed(sample)}
    assert used == {rule.__name__ for rule in RULES}


def test_there_are_as_many_files_as_pydicom_ships() -> None:
    assert len(GOOD) > 170
    assert {*REFUSED, *BEYOND_PYDICOM} <= {sample.name for sample in samples()}


@pytest.mark.parametrize("sample", [sample for sample in samples() if sample.name in REFUSED], ids=lambda s: s.name)
def test_file_that_lies_about_a_length_is_refused(sample: Sample) -> None:
    with pytest.raises(DatasetError):
        to_json_model(sample.data, sample.transfer_syntax_uid)


def test_file_that_pydicom_refuses_for_one_value_keeps_its_other_attributes() -> None:
    (sample,) = (sample for sample in samples() if sample.name == "badVR.dcm")
    row = to_json_model(sample.data, sample.transfer_syntax_uid)
    assert [key for key, attribute in row.items() if attribute["vr"] == "IS" and "1A" in attribute.get("Value", [])]


@pytest.mark.parametrize("sample", GOOD, ids=IDS)
def test_row_of_a_file_is_the_same_in_any_chunking(sample: Sample) -> None:
    whole = to_json_model(sample.data, sample.transfer_syntax_uid)
    size = 1 if len(sample.data) < 20_000 else 131
    builder = JsonModelBuilder(sample.transfer_syntax_uid)
    for chunk in chunks(sample.data, size):
        builder.feed(chunk)
    assert builder.finish() == whole


@pytest.mark.parametrize("sample", GOOD, ids=IDS)
def test_row_of_a_file_is_json(sample: Sample) -> None:
    row = to_json_model(sample.data, sample.transfer_syntax_uid)
    assert json.loads(dumps(row), parse_constant=pytest.fail) == row
