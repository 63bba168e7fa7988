"""PS3.4 C.2.2.2 clause by clause, and against slow and simple readings of it."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.dictionary import has_many_values, vr_of
from gateway.dataset.matching import Verdict, matcher
from gateway.dataset.person_name import alike, wildcard
from gateway.dataset.query import Level, Query, Row, TagPath


def attribute(tag: str, *values: Any) -> Row:
    return {tag: {"vr": vr_of(tag), "Value": list(values)} if values else {"vr": vr_of(tag)}}


def verdict(tag: str | TagPath, key: str, row: Row, **options: Any) -> Verdict:
    path = (tag,) if isinstance(tag, str) else tag
    return matcher(Query(Level.STUDY, keys={path: key}, **options))(row)


def answer(tag: str | TagPath, key: str, row: Row, **options: Any) -> bool | None:
    """True, False, or None for a row that is kept because it cannot be checked."""
    found = verdict(tag, key, row, **options)
    return None if found.unverified else found.matches


# --- C.2.2.2.1 Single Value Matching


@pytest.mark.parametrize(
    ("tag", "key", "value", "expected"),
    [
        # case-sensitive, and sensitive to accents, in every VR but PN
        ("00100020", "Mrn-1", "MRN-1", False),
        ("00081030", "Crâne", "Crâne", True),
        ("00081030", "Crane", "Crâne", False),
        ("00081030", "crâne", "Crâne", False),
        ("00200010", "s1", "S1", False),
        ("00080060", "ct", "CT", False),
        # spaces at the ends are padding; in the VRs of free text those in front are not (PS3.5 6.2)
        ("00100020", "MRN-1", " MRN-1  ", True),
        ("00204000", "text", "text  ", True),
        ("00204000", " text", " text", True),
        ("00204000", "text", " text", False),
        # wild cards are none in VRs that have none
        ("00101010", "04?Y", "042Y", False),
        ("0020000D", "1.2.?", "1.2.3", False),
        # numbers by meaning
        ("00200011", "1", "1.0", True),
        ("00200011", "+1", 1, True),
        ("00200011", "1", 11, False),
        ("00200032", "1.50", 1.5, True),
        ("00200032", "15e-1", 1.5, True),
        ("00200032", "1_5", 15, False),
        ("00189073", "0.1", 0.1, True),
        ("00200011", "1A", 1, False),
        ("00720083", "9007199254740993", "9007199254740993", True),
        ("00720083", "9007199254740993", "9007199254740992", False),
        ("00720083", "9007199254740993", 9007199254740992, False),
        ("00280009", "0018106b", "0018106B", True),
        # a date or time by meaning
        ("0008002A", "19980128103000.0000", "19980128103000", True),
        ("00080030", "2230", "223000", True),
        ("00080030", "2230", "22:30:15", True),
        ("00080020", "1994.11.05", "19941105", True),
        ("00080020", "19941105", "1994.11.05", True),
        ("00080020", "19941105", "1994-11-05", True),
        # an old reader may have left a backslash in a text
        ("00204000", "a\\b", "a\\b", True),
    ],
)
def test_single_value(tag: str, key: str, value: Any, expected: bool) -> None:
    assert answer(tag, key, attribute(tag, value)) is expected


def test_single_precision_number_is_matched_by_its_nearest_decimal() -> None:
    row = attribute("00720076", 0.10000000149011612)
    assert answer("00720076", "0.1", row) is True
    assert answer("00720076", "0.1000001", row) is False
    assert answer("00720076", "1e99", row) is False


# --- C.2.2.2.1.1 person names


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("wang^xiaodong", {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小東"}, True),
        ("王^小東", {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小東"}, True),
        ("Wang^XiaoDong=王^小東", {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小東"}, True),
        ("Wang^XiaoDong=李^小東", {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小東"}, False),
        ("Wang^XiaoDong=王^小東", {"Alphabetic": "Wang^XiaoDong"}, False),
        ("*=*", {"Alphabetic": "Wang^XiaoDong"}, True),
        ("王^小東", "Wang^XiaoDong=王^小東", True),
        ("L'Écuyer^Zoé", {"Alphabetic": "L’ECUYER^ZOE"}, True),
        ("Saint‑Pierre", {"Alphabetic": "SAINT-PIERRE"}, True),
        ("Saint Pierre", {"Alphabetic": "SAINT-PIERRE"}, False),
        ("roy\\gagné", {"Alphabetic": "GAGNE"}, True),
        ("roy\\gagné", {"Alphabetic": "COTE"}, False),
        ("Σωκράτης", {"Alphabetic": "ΣΩΚΡΑΤΗΣ"}, True),
    ],
)
def test_person_name_in_every_group_without_case_and_accents(key: str, value: Any, expected: bool) -> None:
    assert answer("00100010", key, attribute("00100010", value)) is expected


FRENCH = {
    "Bélanger^Éric": ["belanger", "BELANGER ERIC", "eric belanger", "Be\u0301langer^Eric", "béla*"],
    "Côté^Noël": ["cote", "noel cote", "COTE^NOEL", "Côte noël", "c?té"],
    "Lévesque^Désirée": ["levesque desiree", "Desiree^Levesque", "LEVESQUE"],
    "L'Écuyer^Marie-Ève": ["lecuyer", "l ecuyer", "L’Écuyer", "L`Ecuyer", "LECUYER^MARIE EVE", "marie eve lecuyer"],
    "Saint-Pierre^André": ["st-pierre", "St Pierre", "ST. PIERRE", "stpierre", "saintpierre", "andre st-pierre"],
    "St-Pierre^André": ["saint-pierre", "Saint Pierre", "SAINTPIERRE^ANDRE", "st pierre", "stpierre"],
    "Ste-Marie^Ève": ["sainte-marie", "SAINTE MARIE", "saintemarie", "ste marie", "eve ste-marie"],
    "D'Amours^Zoé": ["damours", "d amours", "D’AMOURS", "zoe damours", "DAMOURS^ZOE"],
    "DAMOURS^ZOE": ["d'amours", "D’Amours^Zoé", "zoé d'amours"],
    "Le Blanc^Hélène": ["leblanc", "LE-BLANC", "le blanc helene", "Helene LeBlanc"],
    "LeBlanc^Hélène": ["le blanc", "LE BLANC^HELENE", "hélène le blanc"],
    "Gagné^François": ["gagne", "francois gagne", "GAGNÉ, FRANÇOIS", "gagne–francois"],
    "Œuvrard^Cœlia": ["oeuvrard", "OEUVRARD^COELIA", "Coelia Œuvrard"],
    "TREMBLAY^JEAN PAUL": ["jean-paul tremblay", "Jeanpaul Tremblay", "Tremblay^Jean-Paul"],
}
STRANGERS = ["gagnon", "le noir", "saint-paul", "tremblay luc", "d'amour", "ecuyers", "cotes", "zo", "marie stpierre"]


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in FRENCH.items() for key in keys])
def test_french_name_is_found_however_it_is_spelt(name: str, key: str) -> None:
    row = attribute("00100010", {"Alphabetic": name})
    assert answer("00100010", key, row, fuzzy=True) is True


@pytest.mark.parametrize("key", STRANGERS)
def test_other_names_are_not_found(key: str) -> None:
    found = [
        name for name in FRENCH if answer("00100010", key, attribute("00100010", {"Alphabetic": name}), fuzzy=True)
    ]
    assert found == []


@given(st.permutations(["Marie", "Ève", "L'Écuyer", "Saint-Pierre"]), st.sampled_from([str.upper, str.lower, str]))
def test_order_and_case_of_the_words_do_not_matter(words: list[str], case: Any) -> None:
    assert alike(case(" ".join(words)))("L’ECUYER SAINT PIERRE^MARIE EVE")


@given(st.text(max_size=30), st.text(max_size=60))
def test_fuzzy_matching_reads_any_text(key: str, name: str) -> None:
    assert alike(key)(name) in {True, False}
    assert alike(name.replace("*", "").replace("?", ""))(name.replace("*", "").replace("?", ""))


# --- C.2.2.2.2 List of UID Matching


@given(st.lists(st.from_regex(r"1(\.[1-9]\d?){1,4}", fullmatch=True), min_size=1, max_size=5), st.data())
def test_list_of_uids_matches_its_members_only(uids: list[str], data: Any) -> None:
    uid = data.draw(st.sampled_from([*uids, "1.2.3.4", uids[0] + ".0"]))
    assert answer("0020000D", "\\".join(uids), attribute("0020000D", uid)) is (uid in uids)


# --- C.2.2.2.3 Universal Matching


@pytest.mark.parametrize("tag", ["00080020", "00080030", "0020000D", "00100010", "00100020", "00200011", "00081032"])
@pytest.mark.parametrize("key", ["", "*", "**", " "])
def test_universal_key_matches_every_row(tag: str, key: str) -> None:
    for row in (attribute(tag), {}):
        assert verdict(tag, key, row) == Verdict(matches=True)


# --- C.2.2.2.4 Wild Card Matching


def naive(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naive(pattern[1:], text[at:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in {"?", text[0]} and naive(pattern[1:], text[1:])


@given(st.text("ab*?.\n^", max_size=8), st.text("ab.\n^", max_size=10))
def test_wild_cards_are_what_the_standard_says(pattern: str, text: str) -> None:
    assert wildcard(pattern)(text) is naive(pattern, text)


def test_star_in_a_value_is_found_by_a_star_and_by_any_other_letter() -> None:
    assert answer("00100020", "A*1", attribute("00100020", "A*1")) is True
    assert answer("00100020", "A*1", attribute("00100020", "AB1")) is True


def test_wild_card_does_not_match_what_is_not_there() -> None:
    assert answer("00100020", "?*", attribute("00100020")) is False
    assert answer("00081030", "N*", attribute("00081030", None, "x")) is False
    assert answer("00080061", "MR\\None", attribute("00080061", None, "CT")) is False


# --- C.2.2.2.5 Range Matching

DAYS = st.dates(date(1990, 1, 1), date(2030, 12, 31))


@given(DAYS, DAYS, st.sampled_from(["{0}-{1}", "{0}-", "-{1}", "{0}"]), DAYS | st.none())
def test_date_range_is_what_the_calendar_says(first: date, last: date, form: str, day: date | None) -> None:
    day = day or first + timedelta(days=1)
    expected = {
        "{0}-{1}": first <= day <= last,
        "{0}-": first <= day,
        "-{1}": day <= last,
        "{0}": day == first,
    }[form]
    key = form.format(f"{first:%Y%m%d}", f"{last:%Y%m%d}")
    for written in (f"{day:%Y%m%d}", f"{day:%Y.%m.%d}"):
        assert answer("00080020", key, attribute("00080020", written)) is expected


@given(st.times(), st.times(), st.sampled_from(["{0}-{1}", "{0}-", "-{1}"]), st.times())
def test_time_range_is_within_one_day(first: Any, last: Any, form: str, time: Any) -> None:
    expected = {"{0}-{1}": first <= time <= last, "{0}-": first <= time, "-{1}": time <= last}[form]
    key = form.format(f"{first:%H%M%S.%f}", f"{last:%H%M%S.%f}")
    assert answer("00080030", key, attribute("00080030", f"{time:%H%M%S.%f}")) is expected


@given(st.datetimes(), st.datetimes(), st.sampled_from(["{0}-{1}", "{0}-", "-{1}"]), st.datetimes())
def test_pair_of_ranges_is_one_range_of_instants(first: Any, last: Any, form: str, moment: Any) -> None:
    """C.2.2.2.5.4: the strings of the date and the time key are joined end by end."""
    expected = {"{0}-{1}": first <= moment <= last, "{0}-": first <= moment, "-{1}": moment <= last}[form]
    ends = [(f"{end.year:04d}{end:%m%d}", f"{end:%H%M%S.%f}") for end in (first, last)]
    keys: dict[TagPath, str] = {
        ("00080020",): form.format(ends[0][0], ends[1][0]),
        ("00080030",): form.format(ends[0][1], ends[1][1]),
    }
    row = {**attribute("00080020", f"{moment.year:04d}{moment:%m%d}"), **attribute("00080030", f"{moment:%H%M%S.%f}")}
    assert matcher(Query(Level.STUDY, keys=keys))(row) == Verdict(matches=expected)


@pytest.mark.parametrize(
    ("dates", "times", "expected"),
    [
        ("20240315-", "-1200", True),
        ("20240315-", "-1000", False),
        ("20240301-20240331", "1200-", False),
        ("20240314-20240316", "-1200", True),
    ],
)
def test_ranges_of_different_form_are_matched_one_by_one(dates: str, times: str, expected: bool) -> None:
    row = {**attribute("00080020", "20240315"), **attribute("00080030", "101530")}
    query = Query(Level.STUDY, keys={("00080020",): dates, ("00080030",): times})
    assert bool(matcher(query)(row)) is expected


@pytest.mark.parametrize(("tag", "value"), [("00080020", "soon"), ("00080030", "noon"), ("0008002A", "now")])
def test_date_that_cannot_be_read_is_unverified_not_dropped(tag: str, value: str) -> None:
    assert answer(tag, "10-11" if tag == "00080030" else "2024-2025", attribute(tag, value)) is None


def test_number_that_cannot_be_read_is_unverified_unless_it_is_the_key() -> None:
    assert answer("00200011", "7", attribute("00200011", "7A")) is None
    assert answer("00200011", "7A", attribute("00200011", "7A")) is True


def test_key_that_is_no_date_matches_nothing() -> None:
    assert answer("00080020", "soon", attribute("00080020", "20240315")) is False
    assert answer("00080020", "x-y", {**attribute("00080020", "20240315"), **attribute("00080030", "10")}) is False


# --- C.2.2.2.6 Sequence Matching


def test_sequence_in_a_sequence() -> None:
    path: TagPath = ("00400275", "00321064", "00080100")
    code = {"00321064": {"vr": "SQ", "Value": [attribute("00080100", "T1"), attribute("00080100", "T2")]}}
    row: Row = {"00400275": {"vr": "SQ", "Value": [{}, code]}}
    assert answer(path, "T2", row) is True
    assert answer(path, "T3", {"00400275": {"vr": "SQ", "Value": [code]}}) is False
    assert answer(path, "T3", row) is None


def test_patient_id_inside_a_sequence_is_an_identity_key_too() -> None:
    path: TagPath = ("00101002", "00100020")
    other: Row = {"00101002": {"vr": "SQ", "Value": [attribute("00100020", "MRN-2")]}}
    assert answer(path, "MRN-2", other) is True
    assert answer(path, "MRN-1", other) is False
    assert answer(path, "MRN-1", {}) is False
    assert answer(path, "MRN-1", {"00101002": {"vr": "SQ", "Value": [{}]}}) is False
    assert verdict(path, "", {}) == Verdict(matches=True)


# --- C.2.2.2.7 Empty Value Matching


@pytest.mark.parametrize("tag", ["00080020", "00080050", "00100010", "00100020", "00100040", "00200011", "00081032"])
def test_two_quotation_marks_match_attributes_without_a_value(tag: str) -> None:
    value: Any = {} if vr_of(tag) == "SQ" else {"Alphabetic": "Roy"} if vr_of(tag) == "PN" else "1"
    assert answer(tag, '""', attribute(tag)) is True
    assert answer(tag, '""', {tag: {"vr": vr_of(tag), "Value": [None]}}) is True
    if vr_of(tag) != "SQ":
        assert answer(tag, '""', attribute(tag, value)) is False


def test_empty_attribute_that_the_region_should_have_computed_is_not_known_to_be_empty() -> None:
    assert answer("00080061", '""', attribute("00080061")) is None
    assert answer("00080061", "CT", attribute("00080061")) is None
    assert answer("00080061", "CT", {}) is None


# --- C.2.2.2.8 Multiple Value Matching


@pytest.mark.parametrize(
    ("key", "any_value", "every_value"),
    [
        ("CT\\PT", True, True),
        ("CT\\MR", True, False),
        ("MR\\US", False, False),
        ("PT", True, True),
        ("PT\\CT", True, True),
    ],
)
def test_several_values_mean_any_of_them_or_with_multiple_value_matching_all(
    key: str, any_value: bool, every_value: bool
) -> None:
    row = attribute("00080061", "CT", "PT", "SR")
    assert answer("00080061", key, row) is any_value
    assert answer("00080061", key, row, every_value=True) is every_value


def test_multiple_value_matching_is_for_attributes_that_may_have_several_values() -> None:
    assert has_many_values("00080061")
    assert not has_many_values("00100020")
    assert answer("00100020", "A\\B", attribute("00100020", "A"), every_value=True) is True
    assert answer("0020000D", "1.2\\1.3", attribute("0020000D", "1.2"), every_value=True) is True
    assert answer("00080061", "CT\\MR", attribute("00080061"), every_value=True) is None


# --- C.2.2.3 Matching Multiple Values


@pytest.mark.parametrize(
    ("tag", "values", "key"),
    [
        ("00080061", ["CT", "SR"], "SR"),
        ("00101001", [{"Alphabetic": "Roy"}, {"Alphabetic": "Gagné"}], "gagne"),
        ("00200032", [-1.5, 0.0, 20.0], "20"),
        ("00080020", ["20240101", "20240301"], "202403"),
        ("00081060", [None, {"Alphabetic": "Roy^Anne"}], "roy*"),
    ],
)
def test_one_value_that_matches_is_enough_and_the_row_keeps_them_all(tag: str, values: list[Any], key: str) -> None:
    row = attribute(tag, *values)
    assert answer(tag, key, row) is True
    assert row[tag]["Value"] == values


def test_value_that_is_elsewhere_cannot_be_checked() -> None:
    for where in ({"InlineBinary": "AA=="}, {"BulkDataURI": "x"}):
        row: Row = {"00091001": {"vr": "UN", **where}}
        assert answer("00091001", "x", row) is None
        assert answer("00091001", '""', row) is False


@given(
    st.sampled_from(["00080020", "00080030", "0008002A", "00100010", "00100020", "00200011", "00200032", "0020000D"]),
    st.text(max_size=12),
    st.one_of(st.none(), st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.just({"Alphabetic": "x"})),
    st.one_of(st.none(), st.integers(-720, 840)),
)
def test_no_key_and_no_value_makes_it_fail(tag: str, key: str, value: Any, utc_offset: int | None) -> None:
    query = Query(Level.STUDY, keys={(tag,): key}, utc_offset=utc_offset)
    assert isinstance(matcher(query)({tag: {"vr": "UN", "Value": [value]}}), Verdict)
