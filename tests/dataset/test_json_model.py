"""Every VR, Sequences, bulk data and malformed values in the DICOM JSON Model, byte by byte."""

import json
import zlib
from base64 import b64encode
from math import inf, nan
from struct import pack
from typing import Any

import pytest

from gateway.dataset.json_model import BulkPath, JsonModelBuilder, dumps, to_json_model
from gateway.dataset.query import Row
from gateway.dataset.sink import DatasetLimits
from gateway.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    JPEG_BASELINE,
)
from gateway.errors import DatasetError, LimitExceeded
from tests.dataset.elements import (
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    implicit,
    implicit_sequence,
    item,
    sequence,
)


def value_of(vr: str, value: bytes, key: str = "00091001") -> dict[str, Any]:
    return to_json_model(explicit(key, vr, value), EXPLICIT_VR_LE)[key]


def test_study_identifier_reads_as_golden_bytes_say() -> None:
    data = bytes.fromhex(
        "0800 0500 4353 0A00 49534F5F495220313030"  # (0008,0005) CS 10 "ISO_IR 100"
        "0800 6100 4353 0600 43545C535220"  # (0008,0061) CS 6 "CT\SR "
        "1000 1000 504E 0C00 476167 6EE9 5E 4E6F EB6C 2020"  # (0010,0010) PN 12 "Gagné^Noël  "
        "1000 3000 4441 0000"  # (0010,0030) DA 0
        "2000 0D00 5549 0400 312E3200"  # (0020,000D) UI 4 "1.2\0"
        "2000 0812 4953 0400 34323020"  # (0020,1208) IS 4 "420 "
    )
    assert to_json_model(data, EXPLICIT_VR_LE) == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 100"]},
        "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Gagné^Noël"}]},
        "00100030": {"vr": "DA"},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
        "00201208": {"vr": "IS", "Value": [420]},
    }


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("AE", b" NEODIN ", ["NEODIN"]),
        ("AS", b"034Y", ["034Y"]),
        ("AT", bytes.fromhex("18006B10 08006000"), ["0018106B", "00080060"]),
        ("CS", b"ORIGINAL\\PRIMARY ", ["ORIGINAL", "PRIMARY"]),
        ("DA", b"20240301", ["20240301"]),
        ("DS", b"0.5\\-1E3 ", [0.5, -1000.0]),
        ("DT", b"20240301101112.5-0500 ", ["20240301101112.5-0500"]),
        ("FD", pack("<dd", 0.1, -2.0), [0.1, -2.0]),
        ("FL", pack("<f", 0.25), [0.25]),
        ("IS", b"-7\\12", [-7, 12]),
        ("LO", b"CHEST PA ", ["CHEST PA"]),
        ("LT", b"  two\r\nlines \\ one value", ["  two\r\nlines \\ one value"]),
        ("PN", b"Roy^Anne=\\Roy", [{"Alphabetic": "Roy^Anne"}, {"Alphabetic": "Roy"}]),
        ("SH", b"A\\B", ["A", "B"]),
        ("SL", pack("<ii", -2, 3), [-2, 3]),
        ("SS", pack("<h", -2), [-2]),
        ("ST", b"  a\\b ", ["  a\\b"]),
        ("SV", pack("<q", -2), [-2]),
        ("TM", b"101112.123", ["101112.123"]),
        ("UC", b" a\\b ", [" a", "b"]),
        ("UI", b"1.2\\1.3\0", ["1.2", "1.3"]),
        ("UL", pack("<I", 2**32 - 1), [2**32 - 1]),
        ("UR", b"https://a/b\\c ", ["https://a/b\\c"]),
        ("US", pack("<HH", 1, 65535), [1, 65535]),
        ("UT", b" long text ", [" long text"]),
        ("UV", pack("<Q", 7), [7]),
    ],
)
def test_values_of_each_vr(vr: str, value: bytes, expected: list[Any]) -> None:
    assert value_of(vr, value) == {"vr": vr, "Value": expected}


@pytest.mark.parametrize("vr", ["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
def test_binary_vrs_are_one_base64_text(vr: str) -> None:
    value = bytes(range(16))
    assert value_of(vr, value) == {"vr": vr, "InlineBinary": b64encode(value).decode()}


@pytest.mark.parametrize("vr", ["AE", "AT", "CS", "DS", "FD", "IS", "LT", "OB", "PN", "SQ", "UI", "UN", "US", "UT"])
def test_empty_attribute_has_only_its_vr(vr: str) -> None:
    assert value_of(vr, b"") == {"vr": vr}


@pytest.mark.parametrize("vr", ["AE", "CS", "DS", "IS", "LT", "PN", "SH", "UI", "UT"])
def test_value_of_padding_alone_is_empty(vr: str) -> None:
    assert value_of(vr, b"  \0\0") == {"vr": vr}


@pytest.mark.parametrize(
    ("vr", "value"), [("CS", b"\\\\"), ("PN", b"\\"), ("IS", b"\\ "), ("DS", b"\\"), ("PN", b"==")]
)
def test_several_empty_values_are_an_empty_attribute(vr: str, value: bytes) -> None:
    assert value_of(vr, value) == {"vr": vr}


def test_empty_value_among_others_is_null() -> None:
    assert value_of("CS", b"A\\\\B ")["Value"] == ["A", None, "B"]
    assert value_of("DS", b"1\\\\3 ")["Value"] == [1.0, None, 3.0]
    assert value_of("PN", b"A\\\\B ")["Value"] == [{"Alphabetic": "A"}, None, {"Alphabetic": "B"}]


def test_person_name_has_only_the_groups_that_are_not_empty() -> None:
    assert value_of("PN", b"Wang^XiaoDong=\xcd\xf5=")["Value"] == [{"Alphabetic": "Wang^XiaoDong", "Ideographic": "Íõ"}]
    assert value_of("PN", b"==Yamada ")["Value"] == [{"Phonetic": "Yamada"}]


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("IS", b"1.0 ", [1]),
        ("IS", b"1.5 ", [1.5]),
        ("IS", b"1A", ["1A"]),
        ("IS", b"1_0 ", ["1_0"]),
        ("IS", b"12\0\0", [12]),
        ("IS", b"99999999999999999999", ["99999999999999999999"]),
        ("IS", b"1\\x ", [1, "x"]),
        ("IS", b"9" * 5000, None),
        ("DS", b"1,5 ", ["1,5"]),
        ("DS", b"1_0.5 ", ["1_0.5"]),
        ("DS", b"nan ", None),
        ("DS", b"1\\inf ", [1.0, None]),
        ("DS", b"1e999 ", None),
        ("DS", b"\xe9t\xe9 ", ["été"]),
        ("US", b"\1\0\2", [1]),
        ("US", b"\1", None),
        ("AT", bytes.fromhex("18006B10 0800"), ["0018106B"]),
        ("FD", pack("<d", nan), None),
        ("FL", pack("<fff", 1.0, inf, 2.0), [1.0, None, 2.0]),
        ("DA", b"1994.11.05", ["1994.11.05"]),
        ("UV", pack("<QQ", 2**64 - 1, 1), ["18446744073709551615", 1]),
    ],
)
def test_malformed_value_keeps_what_can_be_kept(vr: str, value: bytes, expected: list[Any] | None) -> None:
    attribute = value_of(vr, value)
    assert attribute == ({"vr": vr, "Value": expected} if expected else {"vr": vr})
    assert json.loads(dumps({"00091001": attribute})) == {"00091001": attribute}


def test_keys_ascend_without_group_lengths() -> None:
    data = (
        explicit("00080000", "UL", pack("<I", 0))
        + explicit("00100020", "LO", b"1 ")
        + explicit("00080060", "CS", b"CT")
    )
    row = to_json_model(data, EXPLICIT_VR_LE)
    assert list(row) == ["00080060", "00100020"]
    assert dumps(row) == b'{"00080060":{"Value":["CT"],"vr":"CS"},"00100020":{"Value":["1"],"vr":"LO"}}'


def test_private_elements_stay_with_their_creator() -> None:
    data = explicit("00190010", "LO", b"LAB ") + explicit("00191001", "DS", b"1 ")
    assert to_json_model(data, EXPLICIT_VR_LE) == {
        "00190010": {"vr": "LO", "Value": ["LAB"]},
        "00191001": {"vr": "DS", "Value": [1.0]},
    }
    row = to_json_model(implicit("00190010", b"LAB ") + implicit("00191001", b"1 "), IMPLICIT_VR_LE)
    assert row == {"00190010": {"vr": "LO", "Value": ["LAB"]}, "00191001": {"vr": "UN", "InlineBinary": "MSA="}}


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("inner", [False, True])
def test_sequences_nest_with_lengths_and_with_delimiters(undefined: bool, inner: bool) -> None:
    code = sequence("00080104", item(explicit("00080100", "SH", b"T1"), undefined=inner), undefined=undefined)
    data = sequence("00081140", item(code, undefined=inner), item(undefined=inner), item(), undefined=undefined)
    assert to_json_model(data + explicit("00100020", "LO", b"1 "), EXPLICIT_VR_LE) == {
        "00081140": {
            "vr": "SQ",
            "Value": [{"00080104": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["T1"]}}]}}, {}, {}],
        },
        "00100020": {"vr": "LO", "Value": ["1"]},
    }


@pytest.mark.parametrize("undefined", [False, True])
def test_empty_sequence_has_only_its_vr(undefined: bool) -> None:
    assert to_json_model(sequence("00081140", undefined=undefined), EXPLICIT_VR_LE) == {"00081140": {"vr": "SQ"}}


def test_keys_ascend_in_items_too() -> None:
    one = item(explicit("00080102", "SH", b"S "), explicit("00080100", "SH", b"C "))
    (row,) = to_json_model(sequence("00081140", one), EXPLICIT_VR_LE)["00081140"]["Value"]
    assert list(row) == ["00080100", "00080102"]


def test_unknown_vr_without_length_is_an_implicit_sequence() -> None:
    inside = item(implicit("00080100", b"T1"), undefined=True)
    data = explicit("00191001", "UN", inside + SEQUENCE_END, length=UNDEFINED) + explicit("00200011", "IS", b"3 ")
    for order in (EXPLICIT_VR_LE, EXPLICIT_VR_BE):
        if order == EXPLICIT_VR_BE:
            data = (
                explicit("00191001", "UN", inside + SEQUENCE_END, length=UNDEFINED, order=">")
                + explicit("00200011", "IS", b"3 ", order=">")
            )  # fmt: skip
        assert to_json_model(data, order) == {
            "00191001": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["T1"]}}]},
            "00200011": {"vr": "IS", "Value": [3]},
        }


def test_known_attribute_that_came_as_unknown_is_read_as_what_it_is() -> None:
    data = explicit("00080060", "UN", b"CT") + explicit("00081140", "UN", item(implicit("00080100", b"T1")))
    assert to_json_model(data, EXPLICIT_VR_LE) == {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00081140": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["T1"]}}]},
    }


def test_vr_of_the_future_is_unknown_but_does_not_stop_the_reading() -> None:
    data = bytes.fromhex("0900 0110 5A5A 0000 02000000 6869") + explicit("00100020", "LO", b"1 ")
    assert to_json_model(data, EXPLICIT_VR_LE) == {
        "00091001": {"vr": "UN", "InlineBinary": "aGk="},
        "00100020": {"vr": "LO", "Value": ["1"]},
    }


def test_item_that_switches_to_implicit_vr_is_read_so() -> None:
    data = sequence("00081140", item(implicit("00080100", b"T1"), implicit("00080102")))
    assert to_json_model(data, EXPLICIT_VR_LE)["00081140"]["Value"] == [
        {"00080100": {"vr": "SH", "Value": ["T1"]}, "00080102": {"vr": "SH"}}
    ]


@pytest.mark.parametrize(("representation", "vr", "number"), [(b"\0\0", "US", 65534), (b"\1\0", "SS", -2)])
def test_ambiguous_vr_follows_pixel_representation(representation: bytes, vr: str, number: int) -> None:
    data = implicit("00280103", representation) + implicit("00280106", b"\xfe\xff")
    assert to_json_model(data, IMPLICIT_VR_LE)["00280106"] == {"vr": vr, "Value": [number]}


def test_pixel_representation_reaches_into_items_and_not_out_of_them() -> None:
    smallest = implicit("00280106", b"\xfe\xff")
    data = (
        implicit("00280103", b"\1\0")
        + implicit_sequence("00283000", item(smallest), item(implicit("00280103", b"\0\0"), smallest))
        + implicit("00283110") + implicit("00409211", b"\xfe\xff")
    )  # fmt: skip
    row = to_json_model(data, IMPLICIT_VR_LE)
    assert [one["00280106"]["vr"] for one in row["00283000"]["Value"]] == ["SS", "US"]
    assert row["00409211"]["vr"] == "SS"


def test_lut_descriptor_counts_are_never_negative() -> None:
    descriptor = pack("<HHH", 65535, 0xFFFE, 16)
    data = implicit("00280103", b"\1\0") + implicit("00283002", descriptor)
    assert to_json_model(data, IMPLICIT_VR_LE)["00283002"] == {"vr": "SS", "Value": [65535, -2, 16]}
    assert value_of("SS", descriptor, "00281101")["Value"] == [65535, -2, 16]


@pytest.mark.parametrize(("entries", "vr"), [(1, "US"), (2, "OW")])
def test_lut_data_with_one_entry_is_a_number(entries: int, vr: str) -> None:
    data = implicit("00283002", pack("<HHH", entries, 0, 16)) + implicit("00283006", b"\1\0" * entries)
    assert to_json_model(data, IMPLICIT_VR_LE)["00283006"]["vr"] == vr


def test_repeating_groups_are_known_in_implicit_vr() -> None:
    row = to_json_model(implicit("60020010", b"\2\0") + implicit("60023000", b"\1\2"), IMPLICIT_VR_LE)
    assert row == {"60020010": {"vr": "US", "Value": [2]}, "60023000": {"vr": "OW", "InlineBinary": "AQI="}}


def test_big_endian_values_and_binaries_come_out_little_endian() -> None:
    data = (
        explicit("00280010", "US", b"\1\2", order=">")
        + explicit("00289001", "UL", b"\1\2\3\4", order=">")
        + explicit("00720074", "FD", pack(">d", 0.1), order=">")
        + explicit("00209165", "AT", bytes.fromhex("0018106B"), order=">")
        + explicit("7FE00010", "OW", b"\1\2\3\4", order=">")
    )
    assert to_json_model(data, EXPLICIT_VR_BE) == {
        "00209165": {"vr": "AT", "Value": ["0018106B"]},
        "00280010": {"vr": "US", "Value": [0x0102]},
        "00289001": {"vr": "UL", "Value": [0x01020304]},
        "00720074": {"vr": "FD", "Value": [0.1]},
        "7FE00010": {"vr": "OW", "InlineBinary": b64encode(b"\2\1\4\3").decode()},
    }


def test_deflated_data_set_is_inflated() -> None:
    stream = zlib.compressobj(wbits=-15)
    data = stream.compress(explicit("00100020", "LO", b"1 ") * 500) + stream.flush() + b"\0"
    assert to_json_model(data, DEFLATED_EXPLICIT_VR_LE) == {"00100020": {"vr": "LO", "Value": ["1"]}}
    with pytest.raises(DatasetError):
        to_json_model(data[:10], DEFLATED_EXPLICIT_VR_LE)
    with pytest.raises(DatasetError):
        to_json_model(b"\xff" * 40, DEFLATED_EXPLICIT_VR_LE)


# --- bulk data


class Bulk:
    """Notes what a model was asked to leave out."""

    def __init__(self) -> None:
        self.asked: list[tuple[BulkPath, str, int | None]] = []

    def __call__(self, path: BulkPath, vr: str, length: int | None) -> str:
        self.asked.append((path, vr, length))
        return "/".join(map(str, path))


def build(data: bytes, syntax: str, size: int, **options: Any) -> tuple[Row, Bulk]:
    bulk = Bulk()
    builder = JsonModelBuilder(syntax, bulk_data=bulk, **options)
    for start in range(0, len(data), size):
        builder.feed(memoryview(data)[start : start + size])
    return builder.finish(), bulk


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_long_binaries_become_bulk_data_and_what_follows_is_read(size: int) -> None:
    icon = sequence("00880200", item(explicit("7FE00010", "OB", b"\1\2")), undefined=True)
    data = (
        icon
        + explicit("00420011", "OB", bytes(1025) + b"\0")
        + explicit("00420012", "LO", b"pdf ")
        + explicit("54000100", "SQ", item(explicit("54001010", "OW", bytes(1024))))
        + explicit("7FE00010", "OW", bytes(4000))
        + explicit("FFFAFFFA", "SQ", item(explicit("04000310", "OB", b"sign")))
    )
    row, bulk = build(data, EXPLICIT_VR_LE, size)
    assert bulk.asked == [
        (("00880200", 0, "7FE00010"), "OB", 2),
        (("00420011",), "OB", 1026),
        (("7FE00010",), "OW", 4000),
    ]
    assert row["00420011"] == {"vr": "OB", "BulkDataURI": "00420011"}
    assert row["00880200"]["Value"][0]["7FE00010"] == {"vr": "OB", "BulkDataURI": "00880200/0/7FE00010"}
    assert "InlineBinary" in row["54000100"]["Value"][0]["54001010"]
    assert row["FFFAFFFA"]["Value"] == [{"04000310": {"vr": "OB", "InlineBinary": b64encode(b"sign").decode()}}]
    assert list(row) == sorted(row)


def test_path_of_bulk_data_counts_items_on_every_level() -> None:
    frame = sequence("00282000", item(), item(explicit("00282000", "OB", bytes(8))), undefined=True)
    data = sequence("52009229", item(), item(), item(frame, undefined=True), undefined=True)
    _, bulk = build(data, EXPLICIT_VR_LE, 5, bulk_threshold=4)
    assert bulk.asked == [(("52009229", 2, "00282000", 1, "00282000"), "OB", 8)]


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_encapsulated_pixel_data_is_walked_and_what_follows_is_read(size: int) -> None:
    # The second fragment holds the bytes of a sequence delimiter: lengths are what counts.
    fragments = implicit("FFFEE000") + implicit("FFFEE000", SEQUENCE_END + b"ab") + implicit("FFFEE000", b"cd")
    data = explicit("7FE00010", "OB", fragments + SEQUENCE_END, length=UNDEFINED) + explicit("FFFCFFFC", "OB", b"\0\0")
    row, bulk = build(data, JPEG_BASELINE, size)
    assert bulk.asked == [(("7FE00010",), "OB", None)]
    assert row == {
        "7FE00010": {"vr": "OB", "BulkDataURI": "7FE00010"},
        "FFFCFFFC": {"vr": "OB", "InlineBinary": "AAA="},
    }
    inline = to_json_model(data, JPEG_BASELINE)["7FE00010"]
    assert inline == {"vr": "OB", "InlineBinary": b64encode(fragments).decode()}


def test_long_text_and_numbers_stay_in_the_row() -> None:
    data = (
        explicit("00080119", "UC", b"x" * 4000)
        + explicit("00281201", "OW", bytes(10))
        + explicit("0040A160", "UT", b"y" * 4000)
    )
    row, bulk = build(data, EXPLICIT_VR_LE, 100)
    assert bulk.asked == []
    assert row["0040A160"]["Value"] == ["y" * 4000]


def test_bulk_values_cost_no_memory() -> None:
    builder = JsonModelBuilder(EXPLICIT_VR_LE, bulk_data=Bulk(), limits=DatasetLimits(max_header=1000))
    builder.feed(explicit("7FE00010", "OW", length=2_000_000_000))
    fragment = bytes(1_000_000)
    for _ in range(2000):
        builder.feed(fragment)
    builder.feed(explicit("FFFCFFFC", "OB", b"\0\0"))
    assert list(builder.finish()) == ["7FE00010", "FFFCFFFC"]


def test_inline_fragments_stop_at_the_limit() -> None:
    data = explicit("7FE00010", "OB", implicit("FFFEE000", bytes(5000)) + SEQUENCE_END, length=UNDEFINED)
    with pytest.raises(LimitExceeded) as caught:
        to_json_model(data, JPEG_BASELINE, limits=DatasetLimits(max_header=4000))
    assert caught.value.limit == "max_header"


def test_padding_after_the_last_element_is_no_error() -> None:
    assert to_json_model(explicit("00100020", "LO", b"1 ") + bytes(7), EXPLICIT_VR_LE)
    with pytest.raises(DatasetError):
        to_json_model(explicit("00100020", "LO", b"1 ") + b"\0\1", EXPLICIT_VR_LE)


def test_empty_data_set_is_an_empty_row() -> None:
    assert to_json_model(b"", EXPLICIT_VR_LE) == {}
    assert dumps({}) == b"{}"


@pytest.mark.parametrize(
    "data",
    [
        explicit("00100020", "LO", b"1 ", length=400),
        explicit("00100020", "LO", b"1 ")[:-1],
        sequence("00081140", item(explicit("00080100", "SH", b"T1"))[:-1]),
        explicit("00081140", "SQ", item(explicit("00080100", "SH", b"T1", length=8)) + bytes(8)),
        explicit("00081140", "SQ", item(), length=UNDEFINED),
        explicit("00081140", "SQ", item(undefined=True)[:-8]),
        sequence("00081140", explicit("00080100", "SH", b"T1")),
        ITEM_END,
        SEQUENCE_END,
        item(),
        sequence("00081140", item(SEQUENCE_END)),
        explicit("00091001", "UT", b"", length=UNDEFINED),
        explicit("7FE00010", "OB", explicit("00080100", "SH", b"T1"), length=UNDEFINED),
        explicit("7FE00010", "OB", implicit("FFFEE000", length=UNDEFINED), length=UNDEFINED),
        explicit("7FE00010", "OW", bytes(50), length=51),
    ],
)
def test_data_set_that_contradicts_itself_is_refused(data: bytes) -> None:
    for bulk in (None, Bulk()):
        with pytest.raises(DatasetError):
            to_json_model(data, EXPLICIT_VR_LE, bulk_data=bulk)
