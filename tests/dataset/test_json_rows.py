"""JSON of other servers, read as what ours looks like: whatever comes, a row or one error."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.dictionary import vr_of
from gateway.dataset.json_model import dumps, to_json_model
from gateway.dataset.json_rows import DEEPEST, json_row
from gateway.errors import DatasetError
from tests.kit import dicom

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
ATTRIBUTES = st.fixed_dictionaries(
    {}, optional={"vr": st.sampled_from(["PN", "SQ", "IS", "DS", "UI", "OB", "AT", "XX", 5]), "Value": JSON_VALUES}
)
DOCUMENTS = st.dictionaries(st.sampled_from(["00100010", "0008103e", "00081199", "junk"]), ATTRIBUTES | JSON_VALUES)


def test_what_is_right_already_stays_as_it_is() -> None:
    row = to_json_model(dicom.encode(dicom.instance(1, size=10)), "1.2.840.10008.1.2.1")
    assert json_row(row) == row


@pytest.mark.parametrize(
    ("key", "given_", "read"),
    [
        ("00100010", {"vr": "PN", "Value": ["A^B=C"]}, [{"Alphabetic": "A^B", "Ideographic": "C"}]),
        ("00100010", {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Other": 1}]}, [{"Alphabetic": "A^B"}]),
        ("00100010", {"vr": "PN", "Value": [None]}, None),
        ("00200013", {"vr": "IS", "Value": ["7"]}, [7]),
        ("00200013", {"vr": "IS", "Value": [7.0]}, [7]),
        ("00101030", {"vr": "DS", "Value": [70]}, [70.0]),
        ("0020000D", {"vr": "UI", "Value": ["1.2.3\0"]}, ["1.2.3"]),
        ("00080061", {"vr": "CS", "Value": ["CT\\SR"]}, ["CT", "SR"]),
        ("00104000", {"vr": "LT", "Value": ["a\\b "]}, ["a\\b"]),
        ("00100020", {"Value": [12]}, ["12"]),
        ("00100020", {"vr": "??", "Value": [True]}, None),
        ("7FE00010", {"vr": "OW", "BulkDataURI": "http://169.254.169.254/"}, None),
        ("00100020", "text", None),
    ],
)
def test_what_is_meant_is_read(key: str, given_: Any, read: Any) -> None:
    attribute = json_row({key.lower(): given_})[key]
    assert attribute.get("Value") == read
    assert attribute["vr"] == vr_of(key)
    assert not {"BulkDataURI", "InlineBinary"} & attribute.keys()


def test_what_is_nested_too_deeply_is_refused() -> None:
    row: dict[str, Any] = {}
    for _ in range(DEEPEST + 1):
        row = {"00081199": {"vr": "SQ", "Value": [row]}}
    with pytest.raises(DatasetError):
        json_row(row)


@given(JSON_VALUES | DOCUMENTS)
def test_anything_is_a_row_that_can_be_written_or_no_data_set(document: Any) -> None:
    try:
        row = json_row(document)
    except DatasetError:
        return
    assert dumps(row)
    assert json_row(row) == row
