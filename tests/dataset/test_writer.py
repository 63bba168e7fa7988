"""A row becomes the Data Set it describes, in every Transfer Syntax (W03)."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Attribute, Row
from gateway.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
)
from gateway.dataset.writer import from_json_model
from gateway.errors import DatasetError, LimitExceeded
from tests.dataset.elements import explicit, implicit, item, sequence
from tests.dataset.oracle import decode, samples

SYNTAXES = (IMPLICIT_VR_LE, EXPLICIT_VR_LE, EXPLICIT_VR_BE, DEFLATED_EXPLICIT_VR_LE)

WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\\=^ \u00a0"),
    min_size=1,
    max_size=8,
)
INTEGERS = st.integers(-32768, 32767)


def values(vr: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    full = st.lists(value, min_size=1, max_size=3).map(lambda found: {"vr": vr, "Value": found})
    return st.one_of(st.just({"vr": vr}), full)


ATTRIBUTES: dict[str, st.SearchStrategy[Attribute]] = {
    "00080008": values("CS", st.sampled_from(["ORIGINAL", "PRIMARY", "A B"])),
    "00080020": values("DA", st.sampled_from(["20240301", "19991231"])),
    "00081030": values("LO", WORDS),
    "00100010": values(
        "PN", st.dictionaries(st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]), WORDS, min_size=1)
    ),
    "00080018": values("UI", st.sampled_from(["1.2.3", "1.2.840"])),
    "00201208": values("IS", INTEGERS),
    "00200032": values("DS", st.floats(-1e6, 1e6, width=32).map(lambda number: float(f"{number:.9g}"))),
    "00280010": values("US", st.integers(0, 65535)),
    "00189219": values("SS", INTEGERS),
    "00186018": values("UL", st.integers(0, 2**32 - 1)),
    "00186020": values("SL", INTEGERS),
    "00720083": values("UV", st.integers(0, 2**53 - 1)),
    "00720082": values("SV", INTEGERS),
    "00189305": values("FD", st.floats(allow_nan=False, allow_infinity=False)),
    "00700022": values("FL", st.floats(allow_nan=False, allow_infinity=False, width=32)),
    "00280009": values("AT", st.sampled_from(["00181063", "0018106B"])),
    "0040A160": st.sampled_from([{"vr": "UT"}, {"vr": "UT", "Value": ["a\\b"]}]),
    "00281201": st.sampled_from([{"vr": "OW"}, {"vr": "OW", "InlineBinary": "AQIDBA=="}]),
}
ROWS: st.SearchStrategy[Row] = st.recursive(
    st.fixed_dictionaries({}, optional=ATTRIBUTES),
    lambda inner: st.builds(
        lambda row, items: {**row, "00081140": {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}},
        st.fixed_dictionaries({}, optional=ATTRIBUTES),
        st.lists(inner, max_size=3),
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.sampled_from(SYNTAXES))
def test_row_written_and_read_is_the_same_row(row: Row, syntax: str) -> None:
    back = to_json_model(from_json_model(row, syntax), syntax)
    back.pop("00080005", None)
    assert back == row


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_rows_of_files_written_and_read_are_the_same(syntax: str) -> None:
    for sample in samples():
        if len(sample.data) > 60_000:
            continue
        try:
            row = to_json_model(sample.data, sample.transfer_syntax_uid)
        except DatasetError:
            continue
        written = from_json_model(row, syntax)
        once = to_json_model(written, syntax)
        assert to_json_model(from_json_model(once, syntax), syntax) == once, sample.name
        if syntax == EXPLICIT_VR_LE and "00321064" not in row:
            row.pop("00080005", None)
            once.pop("00080005", None)
            assert without_character_sets(once) == without_character_sets(row), sample.name


def without_character_sets(row: Row) -> Row:
    return {
        key: {**attribute, "Value": [without_character_sets(one) for one in attribute.get("Value", [])]}
        if attribute["vr"] == "SQ"
        else attribute
        for key, attribute in row.items()
        if key != "00080005"
    }


def test_golden_bytes() -> None:
    row: Row = {
        "00100020": {"vr": "LO", "Value": ["A1", "B"]},
        "00080018": {"vr": "UI", "Value": ["1.2"]},
        "00081140": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["T1"]}}]},
        "00080000": {"vr": "UL", "Value": [1]},
    }
    assert from_json_model(row, EXPLICIT_VR_LE) == (
        explicit("00080018", "UI", b"1.2\0")
        + sequence("00081140", item(explicit("00080100", "SH", b"T1")))
        + explicit("00100020", "LO", b"A1\\B")
    )
    assert from_json_model(row, IMPLICIT_VR_LE) == (
        implicit("00080018", b"1.2\0")
        + implicit("00081140", item(implicit("00080100", b"T1")))
        + implicit("00100020", b"A1\\B")
    )


def test_text_beyond_ascii_is_declared_and_ascii_is_not() -> None:
    name: Row = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Gagné", "Ideographic": "王"}]}}
    dataset = decode(from_json_model(name, EXPLICIT_VR_LE), EXPLICIT_VR_LE)
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert str(dataset.PatientName) == "Gagné=王"
    latin = decode(from_json_model(name, EXPLICIT_VR_LE, text_in="ISO_IR 100"), EXPLICIT_VR_LE)
    assert (latin.SpecificCharacterSet, str(latin.PatientName)) == ("ISO_IR 100", "Gagné=?")
    plain = from_json_model({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Roy"}]}}, EXPLICIT_VR_LE)
    assert plain == explicit("00100010", "PN", b"Roy ")


def test_character_set_of_an_item_does_not_outlive_its_encoding() -> None:
    row: Row = {
        "00081140": {
            "vr": "SQ",
            "Value": [{"00080005": {"vr": "CS", "Value": ["ISO_IR 144"]}, "00080104": {"vr": "LO", "Value": ["Люк"]}}],
        }
    }
    back = to_json_model(from_json_model(row, EXPLICIT_VR_LE), EXPLICIT_VR_LE)
    assert back["00081140"]["Value"] == [{"00080104": {"vr": "LO", "Value": ["Люк"]}}]


@pytest.mark.parametrize(
    "number", [0.1, 1 / 3, -1 / 3, 123456789.123456789, 1e-30, -2.5e20, 512.0, 1e15, -1.2345678901234567e-300]
)
def test_decimal_string_fits_its_sixteen_bytes(number: float) -> None:
    written = from_json_model({"00200032": {"vr": "DS", "Value": [number]}}, EXPLICIT_VR_LE)[8:]
    assert len(written) <= 16
    assert float(written) == pytest.approx(number, rel=1e-7)


@pytest.mark.parametrize(
    "attribute",
    [
        {"vr": "US", "Value": [65536]},
        {"vr": "US", "Value": ["x"]},
        {"vr": "US", "Value": [None]},
        {"vr": "SS", "Value": [{"a": 1}]},
        {"vr": "AT", "Value": ["xyz"]},
        {"vr": "AT", "Value": [3]},
        {"vr": "OB", "InlineBinary": "?"},
        {"vr": "OB", "BulkDataURI": "u"},
        {"vr": "SQ", "Value": ["text"]},
        {"vr": "FL", "Value": [1e300]},
        {"vr": "CS", "Value": 3},
    ],
)
def test_value_that_does_not_fit_its_vr_is_refused_by_its_tag(attribute: dict[str, Any]) -> None:
    row: Row = {"00280009": {"vr": "US", "Value": [1]}, "00280010": attribute}
    with pytest.raises(DatasetError, match=r"00280010|bulk data"):
        from_json_model(row, EXPLICIT_VR_LE)


def test_row_nested_too_deeply_is_refused() -> None:
    row: Row = {}
    for _ in range(64):
        row = {"00081140": {"vr": "SQ", "Value": [row]}}
    assert from_json_model(row, EXPLICIT_VR_LE)
    for _ in range(5000):
        row = {"00081140": {"vr": "SQ", "Value": [row]}}
    with pytest.raises(LimitExceeded):
        from_json_model(row, EXPLICIT_VR_LE)
