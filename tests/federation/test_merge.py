"""Merging: one row an entity, patient attributes whole from one holder, never two patients in one (traps 1 to 4)."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.attributes import first
from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Level, Row
from gateway.federation.merge import Merged, merge
from gateway.federation.paging import ordered
from gateway.region.profile import Profile
from tests.federation.patient_search import conflicts
from tests.federation.scripted_region import KEYS, profile, row

A, B, C = (profile(name) for name in ("A", "B", "C"))
UID = "1.2.3"
MODALITIES, AVAILABILITY, SOP_CLASSES = "00080061", "00080056", "00080062"
SERIES_COUNT, INSTANCE_COUNT = "00201206", "00201208"
RETRIEVE_AE_TITLE, ORIGINAL = "00080054", "04000561"
PATIENT = {"_00100010": "Roy^Zoé", "_00100030": "19700101"}


def study(uid: str = UID, **attributes: Any) -> Row:
    """Make a study row of the one patient, under an ID of the region's own."""
    return row(Level.STUDY, uid, **{"_00100020": "7", **PATIENT, **attributes})


def copy(**attributes: Any) -> Row:
    return study(**attributes) | {ORIGINAL: {"vr": "SQ", "Value": [{}]}}


def merged(*answers: tuple[Profile, Row | None], level: Level = Level.STUDY) -> Merged:
    return merge(level, [(holder, [answer] if answer else []) for holder, answer in answers])


def one(*answers: tuple[Profile, Row | None], level: Level = Level.STUDY) -> Row:
    [only] = merged(*answers, level=level).rows
    return only


def values(made: Row, tag: str) -> list[Any]:
    found: list[Any] = made.get(tag, {}).get("Value", [])
    return found


# --- grouping


def test_a_study_of_one_region_stays_as_it_is_but_for_where_it_is_had() -> None:
    answer = study(_00081030="CT head")
    assert one((A, answer)) == answer | {RETRIEVE_AE_TITLE: {"vr": "AE", "Value": ["A"]}}


def test_the_rows_of_the_regions_are_not_changed() -> None:
    first_row, second_row = study(_00080061=["CT"]), study(_00080061=["SR"])
    before = repr((first_row, second_row))
    merged((A, first_row), (B, second_row))
    assert repr((first_row, second_row)) == before


def test_one_study_of_two_regions_is_one_row_that_names_both() -> None:
    assert values(one((A, study()), (B, study())), RETRIEVE_AE_TITLE) == ["A", "B"]


def test_what_a_region_says_of_its_retrieve_ae_title_is_not_believed() -> None:
    assert values(one((A, study(_00080054="EVIL")), (B, study(_00080054="EVIL"))), RETRIEVE_AE_TITLE) == ["A", "B"]


def test_a_region_that_gives_a_study_twice_is_named_once() -> None:
    [only] = merge(Level.STUDY, [(A, [study(), study()])]).rows
    assert values(only, RETRIEVE_AE_TITLE) == ["A"]


@pytest.mark.parametrize("uid", [None, {"vr": "UI"}, {"vr": "UI", "Value": [None]}, {"vr": "UI", "Value": [""]}])
def test_a_row_without_a_unique_key_is_dropped(uid: dict[str, Any] | None) -> None:
    answer = study()
    del answer["0020000D"]
    assert merged((A, answer | ({"0020000D": uid} if uid else {}))).rows == []


@pytest.mark.parametrize("level", [Level.SERIES, Level.IMAGE])
def test_each_level_is_grouped_by_its_own_unique_key(level: Level) -> None:
    made = merge(level, [(A, [row(level, "1", _0020000D=UID), row(level, "2", _0020000D=UID)]), (B, [row(level, "2")])])
    assert [first(x[KEYS[level]]) for x in made.rows] == ["1", "2"]


# --- values


def test_modalities_and_sop_classes_are_unions() -> None:
    made = one(
        (A, study(_00080061=["CT", "SR"], _00080062=["1", "2"])), (B, study(_00080061=["SR", "PR"], _00080062=["3"]))
    )
    assert values(made, MODALITIES) == ["CT", "SR", "PR"]
    assert values(made, SOP_CLASSES) == ["1", "2", "3"]


@pytest.mark.parametrize("blank", [None, []])
def test_a_union_with_a_region_that_does_not_tell_is_what_the_other_tells(blank: Any) -> None:
    for rows in ([study(_00080061=["CT"]), study(_00080061=blank)], [study(_00080061=blank), study(_00080061=["CT"])]):
        assert values(one((A, rows[0]), (B, rows[1])), MODALITIES) == ["CT"]


def test_a_union_of_nothing_is_an_attribute_without_a_value() -> None:
    assert one((A, study(_00080061=None)), (B, study(_00080061=None)))[MODALITIES] == {"vr": "LO"}


@pytest.mark.parametrize(
    ("one_says", "other_says", "best"),
    [
        ("OFFLINE", "ONLINE", "ONLINE"),
        ("NEARLINE", "OFFLINE", "NEARLINE"),
        ("UNAVAILABLE", "OFFLINE", "OFFLINE"),
        ("ONLINE", "ONLINE", "ONLINE"),
        (None, "OFFLINE", "OFFLINE"),
        ("OFFLINE", None, "OFFLINE"),
        ("SOMEWHERE", "NEARLINE", "NEARLINE"),
    ],
)
def test_a_study_is_as_available_as_where_it_is_best(one_says: str | None, other_says: str | None, best: str) -> None:
    assert values(one((A, study(_00080056=one_says)), (B, study(_00080056=other_says))), AVAILABILITY) == [best]


@pytest.mark.parametrize(
    ("here", "there", "told"), [(3, 5, [5]), (5, 3, [5]), (0, 0, [0]), (None, 4, [4]), (4, None, [4])]
)
def test_counts_are_the_largest_and_never_a_sum(here: int | None, there: int | None, told: list[int]) -> None:
    made = one((A, study(_00201208=here)), (B, study(_00201208=there)))
    assert values(made, INSTANCE_COUNT) == told


def test_a_count_nobody_tells_is_not_zero() -> None:
    assert values(one((A, study(_00201206=None)), (B, study(_00201206=None))), SERIES_COUNT) == []


def test_a_count_that_is_no_number_spoils_nothing() -> None:
    """A malformed Integer String comes as the text it is (trap 25)."""
    for rows in ([3, "3a"], ["3a", 3]):
        made = one((A, study(_00201208=rows[0])), (B, study(_00201208=rows[1])))
        assert values(made, INSTANCE_COUNT) == [3]


def test_blanks_are_filled_from_the_next_holder() -> None:
    made = one(
        (A, study(_00081030=None)), (B, study(_00081030="CT head", _00081040="Radiology")), (C, study(_00081030="x"))
    )
    assert values(made, "00081030") == ["CT head"]
    assert values(made, "00081040") == ["Radiology"]


def test_text_is_never_taken_from_a_later_holder_where_the_best_has_some() -> None:
    assert values(one((A, study(_00081030="mine")), (B, study(_00081030="yours"))), "00081030") == ["mine"]


@pytest.mark.parametrize(
    "tag",
    [
        "00080201",  # Timezone Offset From UTC
        "00080050",  # Accession Number
        "00080051",  # Issuer of Accession Number Sequence
        "00100021",  # Issuer of Patient ID
        "00100032",  # Patient's Birth Time
        "00100040",  # Patient's Sex
        "00101001",  # Other Patient Names
        "00101010",  # Patient's Age
        "00101030",  # Patient's Weight
        "00102160",  # Ethnic Group
        "00104000",  # Patient Comments
    ],
)
@pytest.mark.parametrize("mine", [{}, {"vr": "LO"}], ids=["absent", "empty"])
def test_patient_and_accession_attributes_are_never_filled_from_another(tag: str, mine: dict[str, Any]) -> None:
    best = study() | ({tag: mine} if mine else {})
    made = one((A, best), (B, study(**{f"_{tag}": "B's"})))
    assert made.get(tag) == (mine or None)


def test_how_a_regions_text_was_encoded_is_not_said_of_ours() -> None:
    assert "00080005" not in one((A, study(_00080005="ISO_IR 100")), (B, study(_00080005="ISO_IR 192")))


def test_copies_of_an_instance_are_never_mixed() -> None:
    """Trap 3: a copy in another transfer syntax, or coerced, has other headers."""
    made = one(
        (A, row(Level.IMAGE, "1", _00280008=None, _00080056="OFFLINE")),
        (B, row(Level.IMAGE, "1", _00280008=5, _00280010=512, _00080056="ONLINE")),
        level=Level.IMAGE,
    )
    assert (values(made, "00280008"), values(made, "00280010")) == ([], [])
    assert (values(made, AVAILABILITY), values(made, RETRIEVE_AE_TITLE)) == (["ONLINE"], ["A", "B"])


# --- whose row is the best


def test_the_first_in_profile_order_is_the_best() -> None:
    assert values(one((A, study(_00100020="7")), (B, study(_00100020="8"))), "00100020") == ["7"]


def test_a_copy_comes_last_wherever_it_stands() -> None:
    made = one((A, copy(_00100020="COERCED", _00080050="X")), (B, study(_00100020="8", _00080050="ACC")))
    assert values(made, "00100020") == ["8"]
    assert values(made, "00080050") == ["ACC"]
    assert values(made, RETRIEVE_AE_TITLE) == ["B", "A"]


def test_of_two_copies_the_first_in_profile_order_is_the_best() -> None:
    assert values(one((A, copy(_00100020="7")), (B, copy(_00100020="8"))), "00100020") == ["7"]


# --- two patients


def test_a_study_of_two_patients_shows_one_and_reports_the_other() -> None:
    made = merged((A, study()), (B, study(_00100010="Tremblay^Luc")))
    assert [values(x, "00100010") for x in made.rows] == [[{"Alphabetic": "Roy^Zoé"}]]
    assert values(made.rows[0], RETRIEVE_AE_TITLE) == ["A"]
    assert conflicts(made) == [("a", "b")]


def test_nothing_of_the_other_patient_leaks_into_the_row() -> None:
    stranger = study(_00100010="Tremblay^Luc", _00081030="secret", _00080061=["MR"], _00201208=99, _00080056="ONLINE")
    made = merged((A, study(_00080061=["CT"], _00201208=1, _00080056="OFFLINE")), (B, stranger)).rows[0]
    assert (values(made, MODALITIES), values(made, INSTANCE_COUNT), values(made, AVAILABILITY)) == (
        ["CT"],
        [1],
        ["OFFLINE"],
    )
    assert "00081030" not in made


def test_a_copy_of_another_patient_is_the_one_left_out() -> None:
    made = merged((A, copy(_00100010="Tremblay^Luc")), (B, study()))
    assert conflicts(made) == [("b", "a")]


def test_the_same_number_in_two_regions_is_not_the_same_patient() -> None:
    answers = [row(Level.STUDY, UID, _00100020="7", _00100010=name) for name in ("Roy^Zoé", "Tremblay^Luc")]
    assert conflicts(merged((A, answers[0]), (B, answers[1]))) == [("a", "b")]


def test_the_same_number_in_two_regions_without_a_known_issuer_proves_nothing() -> None:
    holders = [profile(name, issuer_of_patient_id="") for name in "AB"]
    answers = [row(Level.STUDY, UID, _00100020="7", _00100010=name) for name in ("Roy^Zoé", "Tremblay^Luc")]
    assert conflicts(merged((holders[0], answers[0]), (holders[1], answers[1]))) == [("a", "b")]


def test_two_identical_rows_of_an_unproved_patient_are_a_conflict_and_not_lost() -> None:
    """Without a birth date nothing proves them one, however alike they are."""
    answers = [row(Level.STUDY, UID, _00100020="7", _00100010="Roy^Zoé") for _ in range(2)]
    made = merged((A, answers[0]), (B, answers[1]))
    assert (len(made.rows), conflicts(made)) == (1, [("a", "b")])


def test_of_three_holders_the_stranger_alone_is_left_out() -> None:
    made = merged((A, study()), (B, study(_00100010="Tremblay^Luc")), (C, study()))
    assert values(made.rows[0], RETRIEVE_AE_TITLE) == ["A", "C"]
    assert conflicts(made) == [("a", "b")]


def test_what_an_identity_source_links_is_one_patient() -> None:
    rows = [study(_00100010=name, _00100020=number) for name, number in (("Roy^Zoé", "7"), ("Roy^Z", "8"))]
    seven, eight = PatientIdentifier("A", "7"), PatientIdentifier("B", "8")
    links = {known: frozenset({seven, eight}) for known in (seven, eight)}
    assert conflicts(merged((A, rows[0]), (B, rows[1]))) == [("a", "b")]
    made = merge(Level.STUDY, [(A, [rows[0]]), (B, [rows[1]])], links)
    assert (len(made.rows), conflicts(made), made.held_by) == (1, [], {UID: ("a", "b")})


@pytest.mark.parametrize(
    ("mine", "theirs", "differ"),
    [("19700101", "19700102", True), ("19700101", None, False), ("19700101", "19700101", False)],
)
def test_regions_that_contradict_each_other_about_one_patient_are_reported(
    mine: str, theirs: str | None, differ: bool
) -> None:
    """Trap 6: the rows share an identifier, so they are one patient's; the best holder's values are shown."""
    others = [study(_00100020="7", _00100021="HCN", _00100030=born) for born in (mine, theirs)]
    made = merged((A, others[0]), (B, others[1]))
    assert made.contradictions == ({("demographics", "a", "b"): {UID}} if differ else {})
    assert values(made.rows[0], "00100030") == [mine]


# --- the same answer whoever is first

texts = st.sampled_from([None, "one", "two"])
study_rows = st.builds(
    lambda uid, patient, text, modality, count, is_copy: (copy if is_copy else study)(
        _0020000D=uid, _00100020=patient, _00081030=text, _00080061=modality, _00201208=count, _00080020="20240101"
    ),
    st.sampled_from(["1.1", "1.2", "1.3", "1.4"]),
    st.sampled_from(["7", "8"]),
    texts,
    st.lists(st.sampled_from(["CT", "MR", "SR"]), unique=True),
    st.none() | st.integers(0, 9),
    st.booleans(),
)
answers = st.lists(study_rows, max_size=4, unique_by=lambda x: first(x["0020000D"]))


@given(st.tuples(answers, answers, answers), st.randoms())
def test_the_order_of_a_regions_rows_never_changes_the_answer(
    found: tuple[list[Row], ...], dice: random.Random
) -> None:
    plain = merge(Level.STUDY, zip((A, B, C), found, strict=True))
    shuffled = merge(Level.STUDY, [(x, dice.sample(rows, len(rows))) for x, rows in zip((A, B, C), found, strict=True)])
    assert ordered(plain.rows, Level.STUDY) == ordered(shuffled.rows, Level.STUDY)
    assert plain.contradictions == shuffled.contradictions


@given(st.tuples(answers, answers, answers))
def test_what_is_merged_twice_is_merged_once(found: tuple[list[Row], ...]) -> None:
    told = list(zip((A, B, C), found, strict=True))
    once, twice = merge(Level.STUDY, told), merge(Level.STUDY, [*told, *told])
    assert (twice.rows, twice.held_by, twice.contradictions) == (once.rows, once.held_by, once.contradictions)


@given(st.tuples(answers, answers, answers))
def test_every_study_that_any_region_holds_is_in_the_answer_once(found: tuple[list[Row], ...]) -> None:
    made = merge(Level.STUDY, zip((A, B, C), found, strict=True))
    shown = [first(x["0020000D"]) for x in made.rows]
    assert sorted(shown) == sorted({first(x["0020000D"]) for rows in found for x in rows})


@given(st.tuples(answers, answers, answers))
def test_the_patient_of_a_row_is_whole_and_of_a_holder(found: tuple[list[Row], ...]) -> None:
    patient = ("00100010", "00100020", "00100030", "00080050")
    for made in merge(Level.STUDY, zip((A, B, C), found, strict=True)).rows:
        holders = [x for rows in found for x in rows if first(x["0020000D"]) == first(made["0020000D"])]
        assert [made.get(tag) for tag in patient] in [[x.get(tag) for tag in patient] for x in holders]
