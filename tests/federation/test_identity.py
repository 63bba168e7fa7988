"""Whose a study is: rows are of one patient only where that is proved (traps 2, 4 and 5)."""

from typing import Any

import pytest

from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Row
from gateway.federation.identity import (
    Links,
    also_known_as,
    complete,
    demographics_differ,
    demographics_warning,
    identifiers,
    is_foreign_copy,
    same_patient,
)
from tests.federation.scripted_region import row

ID, ISSUER, NAME, BORN, SEX = "_00100020", "_00100021", "_00100010", "_00100030", "_00100040"


def patient(patient_id: str | None = "1", **attributes: Any) -> Row:
    return row(uid="1.2.3", **{ID: patient_id, **attributes})


def other_ids(*pairs: tuple[str, str | None]) -> dict[str, Any]:
    items = []
    for patient_id, issuer in pairs:
        item = {"00100020": {"vr": "LO", "Value": [patient_id]}}
        if issuer is not None:
            item["00100021"] = {"vr": "LO", "Value": [issuer]}
        items.append(item)
    return {"00101002": {"vr": "SQ", "Value": items}}


def ids(*words: str) -> frozenset[PatientIdentifier]:
    """Make identifiers, each written as issuer and number."""
    return frozenset(PatientIdentifier(*word.split()) for word in words)


def links(*patients: frozenset[PatientIdentifier]) -> Links:
    """Make what an identity source knows of some patients."""
    return {identifier: patient for patient in patients for identifier in patient}


# --- identifiers


def test_an_id_without_an_issuer_is_in_its_regions_namespace() -> None:
    assert identifiers(patient("7"), "NEODIN") == ids("NEODIN 7")


def test_a_stated_issuer_counts_for_more_than_the_regions() -> None:
    assert identifiers(patient("7", **{ISSUER: "HCN"}), "NEODIN") == ids("HCN 7")


def test_other_patient_ids_count_each_with_its_own_issuer() -> None:
    made = patient("7") | other_ids(("8", "HCN"), ("9", None))
    assert identifiers(made, "NEODIN") == ids("NEODIN 7", "HCN 8", "NEODIN 9")


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_id_identifies_nobody(blank: str | None) -> None:
    assert identifiers(patient(blank) | other_ids(("", "HCN")), "NEODIN") == frozenset()


def test_spaces_around_an_id_are_not_part_of_it() -> None:
    assert identifiers(patient(" 7 ", **{ISSUER: "HCN "}), "X") == ids("HCN 7")


@pytest.mark.parametrize("value", [[None], [{}], []])
def test_an_empty_item_of_other_ids_is_passed_over(value: list[Any]) -> None:
    made = patient("7") | {"00101002": {"vr": "SQ", "Value": value}}
    assert identifiers(made, "NEODIN") == ids("NEODIN 7")


# --- the same patient


def test_one_id_of_one_namespace_is_one_patient() -> None:
    assert same_patient(patient("7", **{ISSUER: "HCN"}), "A", patient("7", **{ISSUER: "HCN"}), "B")


def test_one_id_of_two_namespaces_is_no_proof() -> None:
    assert not same_patient(patient("7"), "NEODIN", patient("7"), "HDIRS")


def test_another_id_in_the_same_namespace_is_a_proof_through_other_ids() -> None:
    assert same_patient(patient("7") | other_ids(("8", "HDIRS")), "NEODIN", patient("8"), "HDIRS")


def test_two_patients_without_any_id_are_not_one() -> None:
    assert not same_patient(patient(None), "A", patient(None), "A")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Roy^Zoé", "ROY^ZOE", True),
        ("Roy^Zoé^^", "Roy^Zoé", True),
        ("Roy-Côté^Zoé", "Roy Cote^Zoe", True),
        ("Roy^Zoé", "Zoé^Roy", False),
        ("Roy^Zoé", "Roy^Chloé", False),
        (None, None, False),
        ("^", "^", False),
    ],
)
def test_a_name_and_a_birth_date_prove_it_where_the_ids_were_coerced(one: str, other: str, same: bool) -> None:
    first, second = (patient(i, **{NAME: name, BORN: "19700101"}) for i, name in (("1", one), ("2", other)))
    assert same_patient(first, "A", second, "B") is same


@pytest.mark.parametrize(("one", "other"), [("19700101", "19700102"), ("19700101", None), (None, None), ("", "")])
def test_a_name_alone_proves_nothing(one: str | None, other: str | None) -> None:
    first, second = (patient(i, **{NAME: "Roy^Zoé", BORN: born}) for i, born in (("1", one), ("2", other)))
    assert not same_patient(first, "A", second, "B")


@pytest.mark.parametrize(("one", "other", "same"), [("F", "M", False), ("F", None, True), ("F", "F", True)])
def test_a_contradicting_sex_disproves_it(one: str, other: str | None, same: bool) -> None:
    first, second = (
        patient(i, **{NAME: "Roy^Zoé", BORN: "19700101", SEX: sex}) for i, sex in (("1", one), ("2", other))
    )
    assert same_patient(first, "A", second, "B") is same


def test_it_does_not_matter_which_of_two_is_asked_about() -> None:
    rows = [
        (patient("7"), "A"),
        (patient("7", **{ISSUER: "A"}), "B"),
        (patient("8", **{NAME: "Roy^Zoé", BORN: "19700101"}), "B"),
        (patient(None, **{NAME: "ROY^ZOE", BORN: "19700101"}), "C"),
    ]
    for one, one_issuer in rows:
        for other, other_issuer in rows:
            forth = same_patient(one, one_issuer, other, other_issuer)
            assert forth is same_patient(other, other_issuer, one, one_issuer)


def test_a_name_in_ideographs_is_compared_too() -> None:
    name = {"00100010": {"vr": "PN", "Value": [{"Ideographic": "山田^太郎"}]}}
    first, second = (patient(i, **{BORN: "19700101"}) | name for i in ("1", "2"))
    assert same_patient(first, "A", second, "B")


# --- the same patient, as an identity source knows it


MARIE = ids("HCN 100", "NEODIN 7", "HDIRS 8")
LUC = ids("HCN 200", "NEODIN 9", "HDIRS 7")
ALIKE = {NAME: "Roy^Zoé", BORN: "19700101", SEX: "F"}


def test_numbers_that_cross_reference_are_one_patient_whatever_else_differs() -> None:
    one, other = (
        patient("7", **{NAME: "Roy^Zoé", BORN: "19700101"}),
        patient("8", **{NAME: "Roi^Zoe", BORN: "19700110"}),
    )
    assert same_patient(one, "NEODIN", other, "HDIRS", links(MARIE, LUC))
    assert not same_patient(one, "NEODIN", other, "HDIRS")


def test_trap_2_numbers_of_two_known_patients_are_never_one_though_name_and_birth_date_agree() -> None:
    one, other = patient("7", **ALIKE), patient("7", **ALIKE)
    assert same_patient(one, "NEODIN", other, "HDIRS")
    assert not same_patient(one, "NEODIN", other, "HDIRS", links(MARIE, LUC))


def test_the_word_of_the_source_counts_for_more_than_an_other_id_that_a_region_states() -> None:
    claims = patient("7") | other_ids(("200", "HCN"))
    assert not same_patient(claims, "NEODIN", patient("7"), "HDIRS", links(MARIE, LUC))


def test_where_the_source_knows_one_of_two_the_rows_tell_as_without_it() -> None:
    for known in (links(MARIE), links(LUC), {}):
        assert same_patient(patient("7", **ALIKE), "NEODIN", patient("X", **ALIKE), "SWODIN", known)
        assert not same_patient(patient("7"), "NEODIN", patient("X"), "SWODIN", known)


def test_an_unknown_number_is_known_by_an_other_id_beside_it() -> None:
    coerced = patient("X", **{ISSUER: "SWODIN"}) | other_ids(("100", "HCN"))
    assert same_patient(coerced, "SWODIN", patient("7"), "NEODIN", links(MARIE, LUC))
    assert not same_patient(
        coerced | patient("X", **ALIKE), "SWODIN", patient("9", **ALIKE), "NEODIN", links(MARIE, LUC)
    )


# --- contradictions (trap 6)


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ({BORN: "19700101"}, {BORN: "19700102"}, True),
        ({SEX: "F"}, {SEX: "M"}, True),
        ({SEX: "F", BORN: "19700101"}, {SEX: "F", BORN: "19700101"}, False),
        ({SEX: "F"}, {SEX: None}, False),
        ({BORN: None}, {BORN: "19700102"}, False),
        ({NAME: "Roy^Zoé"}, {NAME: "Tremblay^Zoé"}, False),
    ],
)
def test_rows_contradict_in_birth_date_and_sex_where_both_state_one(
    one: dict[str, Any], other: dict[str, Any], differ: bool
) -> None:
    assert demographics_differ(patient(**one), patient(**other)) is differ


def test_a_contradiction_is_told_by_region() -> None:
    assert demographics_warning("hdirs", "neodin").startswith("regions hdirs and neodin ")
    assert demographics_warning("hdirs", "hdirs").startswith("region hdirs ")


# --- what is added to a row


def test_an_issuer_that_nothing_was_told_of_stays() -> None:
    made = patient("7", **{ISSUER: "NEODIN"})
    complete(made, patient("7", **{ISSUER: None}) | other_ids(("8", "HCN")))
    assert identifiers(made, "") == ids("NEODIN 7", "HCN 8")


def test_other_ids_are_added_once_each_with_its_issuer_and_the_row_keeps_its_own() -> None:
    made = patient("7") | other_ids(("8", "HCN"))
    before = made["00101002"]["Value"]
    also_known_as(made, "NEODIN", [*ids("HCN 8", "NEODIN 7", "SWODIN 9"), *ids("SWODIN 9")])
    assert [(x["00100020"]["Value"], x["00100021"]["Value"]) for x in made["00101002"]["Value"]] == [
        (["8"], ["HCN"]),
        (["9"], ["SWODIN"]),
    ]
    assert len(before) == 1


def test_a_row_without_other_ids_gets_no_empty_sequence() -> None:
    made = patient("7")
    also_known_as(made, "NEODIN", ids("NEODIN 7"))
    assert "00101002" not in made


# --- copies


def test_what_was_coerced_is_a_copy() -> None:
    assert is_foreign_copy(patient() | {"04000561": {"vr": "SQ", "Value": [{}]}}, "NEODIN")


def test_what_names_another_issuer_is_a_copy() -> None:
    assert is_foreign_copy(patient(**{ISSUER: "HDIRS"}), "NEODIN")


@pytest.mark.parametrize(("stated", "known"), [("NEODIN", "NEODIN"), (None, "NEODIN"), ("HDIRS", ""), (None, "")])
def test_what_is_a_regions_own_or_unknown_is_no_copy(stated: str | None, known: str) -> None:
    assert not is_foreign_copy(patient(**{ISSUER: stated}), known)


def test_what_names_another_of_the_regions_own_issuers_is_no_copy() -> None:
    assert not is_foreign_copy(patient(**{ISSUER: "ST-MARY"}), "NEODIN", ("ST-MARY",))
    assert is_foreign_copy(patient(**{ISSUER: "HDIRS"}), "NEODIN", ("ST-MARY",))


def test_an_empty_original_attributes_sequence_says_nothing() -> None:
    assert not is_foreign_copy(patient() | {"04000561": {"vr": "SQ"}}, "NEODIN")
