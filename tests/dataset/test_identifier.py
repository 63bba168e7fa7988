"""Identifiers ask for what they must and never match less than the query means (PS3.4 C.4.1.1.3, PS3.18 10.6)."""

from typing import Any

import pytest

from gateway.dataset.identifier import find_identifier, retrieve_identifier
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Level, Query, Row, Selection, TagPath
from gateway.dataset.required import NEVER_REQUESTED, OPTIONAL, REQUIRED
from gateway.dataset.transfer_syntax import EXPLICIT_VR_BE, EXPLICIT_VR_LE, IMPLICIT_VR_LE
from tests.dataset.elements import explicit, implicit
from tests.dataset.oracle import decode

NAME: TagPath = ("00100010",)


def ask(query: Query, **options: Any) -> Row:
    return to_json_model(find_identifier(query, EXPLICIT_VR_LE, **options), EXPLICIT_VR_LE)


def asked(query: Query, key: str, **options: Any) -> list[Any]:
    values: list[Any] = ask(query, **options)[key].get("Value", [])
    return values


def present(row: Row, path: TagPath) -> bool:
    for key in path[:-1]:
        (row,) = row[key]["Value"]
    return path[-1] in row


@pytest.mark.parametrize("level", list(Level))
def test_everything_required_at_the_level_is_asked_for_in_ascending_order(level: Level) -> None:
    row = ask(Query(level, study="1.2", series="1.3" if level is Level.IMAGE else None))
    assert all(present(row, path) for path in REQUIRED[level])
    assert row["00080052"] == {"vr": "CS", "Value": [level.value]}
    assert not NEVER_REQUESTED - {"00080052"} & row.keys()
    data = find_identifier(Query(level, study="1.2"), IMPLICIT_VR_LE)
    assert [element.tag for element in decode(data, IMPLICIT_VR_LE)] == sorted(decode(data, IMPLICIT_VR_LE).keys())


def test_golden_bytes_of_a_series_query() -> None:
    data = find_identifier(Query(Level.SERIES, study="1.2", keys={("00080060",): "CT"}), EXPLICIT_VR_LE)
    item = explicit("00400009", "SH") + explicit("00401001", "SH")
    assert data == (
        explicit("00080052", "CS", b"SERIES")
        + explicit("00080060", "CS", b"CT")
        + explicit("0008103E", "LO")
        + explicit("0020000D", "UI", b"1.2\0")
        + explicit("0020000E", "UI")
        + explicit("00200011", "IS")
        + explicit("00201209", "IS")
        + explicit("00400244", "DA")
        + explicit("00400245", "TM")
        + explicit("00400275", "SQ", implicit("FFFEE000", item))
    )


def test_included_and_extra_return_keys_are_asked_for_with_zero_length() -> None:
    query = Query(Level.STUDY, include=frozenset({("00081030",), ("00101002", "00100020")}))
    row = ask(query, return_keys=[("00100021",), ("00101002", "00100021"), ("00080056",)])
    assert row["00081030"] == {"vr": "LO"}
    assert row["00100021"] == {"vr": "LO"}
    assert row["00101002"]["Value"] == [{"00100020": {"vr": "LO"}, "00100021": {"vr": "LO"}}]
    assert "00080056" not in row


def test_include_all_asks_for_the_optional_keys_of_the_level() -> None:
    row = ask(Query(Level.STUDY, include_all=True))
    assert all(present(row, path) for path in OPTIONAL[Level.STUDY])


def test_keys_below_one_sequence_share_its_item() -> None:
    keys = {("00400275", "00401001"): "RP1", ("00400275", "00400009"): "SPS1", ("00400275",): ""}
    row = ask(Query(Level.SERIES, study="1.2", keys=keys))
    assert row["00400275"]["Value"] == [
        {"00400009": {"vr": "SH", "Value": ["SPS1"]}, "00401001": {"vr": "SH", "Value": ["RP1"]}}
    ]


def test_return_key_does_not_erase_a_matching_key() -> None:
    assert asked(Query(Level.STUDY, keys={NAME: "ROY*"}), "00100010", return_keys=[NAME]) == [{"Alphabetic": "ROY*"}]


def test_hierarchical_query_names_the_levels_above_by_their_unique_keys_only() -> None:
    keys = {NAME: "ROY*", ("00081030",): "CT*", ("00200013",): "3"}
    row = ask(Query(Level.IMAGE, study="1.2", series="1.3", keys=keys, include=frozenset({("00080060",)})))
    assert (row["0020000D"]["Value"], row["0020000E"]["Value"]) == (["1.2"], ["1.3"])
    assert not {"00100010", "00081030", "00080060"} & row.keys()
    assert row["00200013"]["Value"] == [3]


def test_relational_query_names_what_it_likes() -> None:
    row = ask(Query(Level.SERIES, keys={NAME: "ROY*"}), relational=True)
    assert row["00100010"]["Value"] == [{"Alphabetic": "ROY*"}]


def test_unique_key_of_an_upper_level_that_is_a_matching_key_stays() -> None:
    assert asked(Query(Level.SERIES, keys={("0020000D",): "1.2"}), "0020000D") == ["1.2"]
    assert asked(Query(Level.SERIES, study="1.9", keys={("0020000D",): "1.2"}), "0020000D") == ["1.9"]


def test_list_of_uids_is_sent_and_a_list_of_anything_else_is_left_to_the_gateway() -> None:
    query = Query(Level.STUDY, keys={("0020000D",): "1.2\\1.3", ("00080061",): "CT\\MR", ("00100020",): '""'})
    row = ask(query)
    assert row["0020000D"]["Value"] == ["1.2", "1.3"]
    assert row["00080061"] == {"vr": "CS"}
    assert row["00100020"] == {"vr": "LO"}


def test_combined_ranges_are_asked_by_date_only() -> None:
    keys: dict[TagPath, str] = {("00080020",): "20240101-20240131", ("00080030",): "1000-1200"}
    row = ask(Query(Level.STUDY, keys=keys))
    assert row["00080020"]["Value"] == ["20240101-20240131"]
    assert row["00080030"] == {"vr": "TM"}
    single = ask(Query(Level.STUDY, keys={**keys, ("00080020",): "20240101"}))
    assert single["00080030"]["Value"] == ["1000-1200"]


# --- character sets


def test_ascii_keys_declare_no_character_set() -> None:
    assert "00080005" not in ask(Query(Level.STUDY, keys={NAME: "GAGNE*"}), character_set="ISO_IR 192")


@pytest.mark.parametrize(
    ("terms", "declared"),
    [("ISO_IR 100", ["ISO_IR 100"]), ("ISO_IR 192", ["ISO_IR 192"]), ("\\ISO 2022 IR 100", [None, "ISO 2022 IR 100"])],
)
def test_key_beyond_ascii_is_sent_in_the_set_of_the_region(terms: str, declared: list[str | None]) -> None:
    row = ask(Query(Level.STUDY, keys={NAME: "Gagné^Noël*"}), character_set=terms)
    assert row["00080005"]["Value"] == declared
    assert row["00100010"]["Value"] == [{"Alphabetic": "Gagné^Noël*"}]


@pytest.mark.parametrize("terms", ["ISO_IR 144", "ISO_IR 6", "ISO 2022 IR 87"])
def test_letter_that_the_region_cannot_write_is_a_wildcard(terms: str) -> None:
    assert asked(Query(Level.STUDY, keys={NAME: "Gagné*"}), "00100010", character_set=terms) == [
        {"Alphabetic": "Gagn?*"}
    ]


def test_fuzzy_name_is_sent_broadly_enough_for_accents_hyphens_and_given_names() -> None:
    query = Query(Level.STUDY, keys={NAME: "Lefèvre-Côté^Ann"}, fuzzy=True)
    assert asked(query, "00100010") == [{"Alphabetic": "L?f?vr?*??t?*"}]


def test_private_key_is_sent_with_its_creator() -> None:
    query = Query(Level.STUDY, keys={("00190010",): "LAB", ("00191001",): "X"})
    row = ask(query)
    assert row["00190010"]["Value"] == ["LAB"]
    assert row["00191001"]["Value"] == ["X"]


@pytest.mark.parametrize("syntax", [IMPLICIT_VR_LE, EXPLICIT_VR_LE, EXPLICIT_VR_BE])
def test_identifier_is_the_same_in_every_transfer_syntax(syntax: str) -> None:
    query = Query(Level.SERIES, study="1.2", keys={("00080060",): "CT"})
    assert decode(find_identifier(query, syntax), syntax) == decode(
        find_identifier(query, EXPLICIT_VR_LE), EXPLICIT_VR_LE
    )


# --- retrieve


@pytest.mark.parametrize(
    ("selection", "level", "uids"),
    [
        (Selection("1.2"), "STUDY", {"0020000D": ["1.2"]}),
        (Selection("1.2", "1.3"), "SERIES", {"0020000D": ["1.2"], "0020000E": ["1.3"]}),
        (
            Selection("1.2", "1.3", ("1.4", "1.5")),
            "IMAGE",
            {"0020000D": ["1.2"], "0020000E": ["1.3"], "00080018": ["1.4", "1.5"]},
        ),
    ],
)
def test_retrieve_identifier_has_the_level_and_its_unique_keys_alone(
    selection: Selection, level: str, uids: dict[str, list[str]]
) -> None:
    row = to_json_model(retrieve_identifier(selection, IMPLICIT_VR_LE), IMPLICIT_VR_LE)
    assert row.pop("00080052")["Value"] == [level]
    assert {key: attribute["Value"] for key, attribute in row.items()} == uids
