"""Identifiers ask for what they must and never match less than the query means (PS3.4 C.4.1.1.3, PS3.18 10.6)."""

import re
from typing import Any

import pytest

from gateway.dataset.identifier import (
    Dialect,
    find_identifier,
    has_short_name,
    level_of,
    patient_identifier,
    retrieve_identifier,
)
from gateway.dataset.json_model import to_json_model
from gateway.dataset.query import Level, Query, Row, Selection, TagPath
from gateway.dataset.required import NEVER_REQUESTED, OPTIONAL, REQUIRED
from gateway.dataset.transfer_syntax import EXPLICIT_VR_BE, EXPLICIT_VR_LE, IMPLICIT_VR_LE
from tests.dataset.elements import explicit, implicit
from tests.dataset.oracle import decode

NAME: TagPath = ("00100010",)


def ask(query: Query, **dialect: Any) -> Row:
    return to_json_model(find_identifier(query, EXPLICIT_VR_LE, Dialect(**dialect)), EXPLICIT_VR_LE)


def asked(query: Query, key: str, **options: Any) -> list[Any]:
    values: list[Any] = ask(query, **options)[key].get("Value", [])
    return values


def name_asked(name: str, **options: Any) -> str:
    fuzzy = options.pop("fuzzy", False)
    (value,) = asked(Query(Level.STUDY, keys={NAME: name}, fuzzy=fuzzy), "00100010", **options)
    return str(value["Alphabetic"])


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


def test_included_keys_are_asked_for_with_zero_length_but_for_what_only_the_gateway_says() -> None:
    sequence = {("00101002", "00100020"), ("00101002", "00100021")}
    row = ask(Query(Level.STUDY, include=frozenset({("00081030",), ("00100021",), ("00080056",), *sequence})))
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


def test_included_key_does_not_erase_a_matching_key() -> None:
    query = Query(Level.STUDY, keys={NAME: "ROY*"}, include=frozenset({NAME}))
    assert asked(query, "00100010") == [{"Alphabetic": "R*Y*"}]


def test_hierarchical_query_names_the_levels_above_by_their_unique_keys_only() -> None:
    keys = {NAME: "ROY*", ("00081030",): "CT*", ("00200013",): "3"}
    row = ask(Query(Level.IMAGE, study="1.2", series="1.3", keys=keys, include=frozenset({("00080060",)})))
    assert (row["0020000D"]["Value"], row["0020000E"]["Value"]) == (["1.2"], ["1.3"])
    assert not {"00100010", "00081030", "00080060"} & row.keys()
    assert row["00200013"]["Value"] == [3]


def test_relational_query_names_what_it_likes() -> None:
    row = ask(Query(Level.SERIES, keys={NAME: "ROY*"}), relational=True)
    assert row["00100010"]["Value"] == [{"Alphabetic": "R*Y*"}]


def test_relational_query_without_a_parent_asks_for_what_is_required_of_the_levels_above() -> None:
    row = ask(Query(Level.IMAGE), relational=True)
    assert all(present(row, path) for level in Level for path in REQUIRED[level])
    row = ask(Query(Level.IMAGE, study="1.2"), relational=True)
    assert all(present(row, path) for path in REQUIRED[Level.SERIES])
    assert "00100010" not in row


def test_bare_query_asks_for_the_unique_key_the_keys_and_the_includes_only() -> None:
    query = Query(Level.IMAGE, study="1.2", series="1.3", include=frozenset({("00080016",)}), bare=True)
    assert ask(query).keys() == {"00080052", "00080016", "00080018", "0020000D", "0020000E"}


@pytest.mark.parametrize(
    ("tag", "lowest", "level"),
    [
        ("00100020", Level.IMAGE, Level.STUDY),
        ("00101002", Level.SERIES, Level.STUDY),
        ("00080061", Level.SERIES, Level.STUDY),
        ("00080060", Level.SERIES, Level.SERIES),
        ("00080060", Level.IMAGE, Level.SERIES),
        ("0020000E", Level.IMAGE, Level.SERIES),
        ("00200013", Level.IMAGE, Level.IMAGE),
        ("00189087", Level.SERIES, Level.SERIES),
        ("00080060", Level.STUDY, Level.STUDY),
    ],
)
def test_each_attribute_is_of_one_level(tag: str, lowest: Level, level: Level) -> None:
    assert level_of(tag, lowest) is level


# --- Patient Root (trap 19)


def test_hierarchy_of_patients_has_the_patient_id_at_each_level_and_nothing_else_of_the_patient() -> None:
    keys: dict[TagPath, str] = {("00100020",): "MRN1"}
    study = ask(Query(Level.STUDY, keys=keys), by_patient=True)
    series = ask(Query(Level.SERIES, study="1.2", keys=keys), by_patient=True)
    assert {tag for tag in study if tag.startswith("0010")} == {"00100020"}
    assert {tag for tag in series if tag.startswith("0010")} == {"00100020"}
    assert series["00100020"]["Value"] == ["MRN1"]


def test_patients_are_found_by_the_keys_of_their_level() -> None:
    query = Query(Level.STUDY, keys={NAME: "ROY*", ("00080020",): "20240101"})
    row = to_json_model(patient_identifier(query, EXPLICIT_VR_LE, Dialect()), EXPLICIT_VR_LE)
    assert row["00080052"]["Value"] == ["PATIENT"]
    assert row["00100010"]["Value"] == [{"Alphabetic": "R*Y*"}]
    assert "00080020" not in row
    assert row["00100020"] == {"vr": "LO"}


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
    assert ask(Query(Level.STUDY, keys=keys), combined=True)["00080030"]["Value"] == ["1000-1200"]
    single = ask(Query(Level.STUDY, keys={**keys, ("00080020",): "20240101"}))
    assert single["00080030"]["Value"] == ["1000-1200"]


# --- character sets (trap 7)


DESCRIPTION: TagPath = ("00081030",)


def test_ascii_keys_declare_no_character_set() -> None:
    assert "00080005" not in ask(Query(Level.STUDY, keys={NAME: "GAGNE*"}), character_set="ISO_IR 192")


@pytest.mark.parametrize(
    ("terms", "declared"),
    [("ISO_IR 100", ["ISO_IR 100"]), ("ISO_IR 192", ["ISO_IR 192"]), ("\\ISO 2022 IR 100", [None, "ISO 2022 IR 100"])],
)
def test_trap_7_key_beyond_ascii_is_sent_in_the_set_of_the_region(terms: str, declared: list[str | None]) -> None:
    row = ask(Query(Level.STUDY, keys={DESCRIPTION: "Échographie à l'épaule*"}), character_set=terms)
    assert row["00080005"]["Value"] == declared
    assert row["00081030"]["Value"] == ["Échographie à l'épaule*"]


@pytest.mark.parametrize("terms", ["ISO_IR 144", "ISO_IR 6", "ISO 2022 IR 87"])
def test_trap_7_letter_that_the_region_cannot_write_is_a_wildcard(terms: str) -> None:
    assert asked(Query(Level.STUDY, keys={DESCRIPTION: "Échographie*"}), "00081030", character_set=terms) == [
        "?chographie*"
    ]


def test_trap_7_name_that_is_all_beyond_ascii_is_sent_in_the_set_of_the_region() -> None:
    row = ask(Query(Level.STUDY, keys={NAME: "山田^太郎"}), character_set="\\ISO 2022 IR 87")
    assert row["00100010"]["Value"] == [{"Alphabetic": "山田^太郎*"}]


@pytest.mark.parametrize(("name", "sent"), [("山田^太郎", "*^*"), ("*=山田^*", "*=*^*"), ("山田^Léa", "*^Léa*")])
def test_trap_7_letters_of_a_name_that_the_region_cannot_write_may_be_missing_there(name: str, sent: str) -> None:
    assert ask(Query(Level.STUDY, keys={NAME: name}), character_set="ISO_IR 100")["00100010"]["Value"] == [
        dict(zip(("Alphabetic", "Ideographic"), sent.split("="), strict=False))
    ]


# --- person names (traps 7 and 22)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("belanger*", "b*l*g*r*"),
        ("Bélanger", "B*l*g*r*"),
        ("BÉLANGER^LUC", "B*L*G*R^L*"),
        ("Lebœuf", "L*b*f*"),
        ("leboeuf", "l*b*f*"),
        ("Éthier", "*th*r*"),
        ("*tremblay*", "*tr*mbl*"),
        ("cote", "c*t*"),
        ("munoz", "m*z*"),
        ("ann", "*nn*"),  # n is a letter then: too little would be left
        ("Da Conceição", "D* C*"),
        ("Lee", "Lee*"),
        ("Éa", "Éa*"),
        ("*doe*", "*doe*"),
        ("*", "*"),
    ],
)
def test_trap_22_name_is_asked_for_with_a_wildcard_wherever_an_accent_may_be(name: str, sent: str) -> None:
    assert name_asked(name) == sent


@pytest.mark.parametrize(("name", "is_short"), [("cote", True), ("*roy*", True), ("lee", False), ("belanger", False)])
def test_name_of_two_letters_between_wildcards_is_short(name: str, is_short: bool) -> None:
    assert has_short_name(Query(Level.STUDY, keys={NAME: name})) is is_short


def test_name_is_asked_for_as_it_is_where_the_region_ignores_accents() -> None:
    assert name_asked("Bélanger^Luc", ignores_accents=True) == "Bélanger^Luc"


@pytest.mark.parametrize(
    ("key", "held"),
    [
        ("Lefèvre-Côté^Ann", "LEFEVRE COTE^ANN"),
        ("leblanc", "Le Blanc^Guy"),
        ("Le Blanc", "LeBlanc^Guy"),
        ("luc belanger", "BÉLANGER^LUC"),
        ("St-Pierre", "Saint-Pierre^Zoé"),
        ("obrien", "O'Brien^Pat"),
        ("Lee", "LEE^KIM"),
    ],
)
def test_trap_22_fuzzy_name_is_sent_broadly_enough_for_accents_hyphens_and_order(key: str, held: str) -> None:
    pattern = name_asked(key, fuzzy=True)
    expression = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
    assert re.fullmatch(expression, held, re.IGNORECASE)
    assert sum(sign.isalpha() for sign in pattern) >= 2


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
