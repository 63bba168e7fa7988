"""Many identifiers, one patient: each region is asked with its own, and nobody is shown another patient's rows.

Traps 2, 4, 5, 6, 15, 23 and 27 where a search meets them.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataset.patient import PatientIdentifier
from gateway.dataset.query import Level, Query, Row
from gateway.deadline import Deadline
from gateway.errors import IdentityUnavailable, RequestError
from gateway.events import DemographicsDiffer, IdentitySourceFailed
from gateway.federation.identity import text
from gateway.federation.issuers import Issuer, Issuers
from gateway.federation.patients import NoIdentitySource
from tests.federation.patient_search import Directory, PatientSearch
from tests.federation.scripted_region import ScriptedRegion, study_row
from tests.federation.test_identity import ids, other_ids

OID = "2.25.1234"
ISSUERS = Issuers([Issuer("HCN", OID, "https://example.ca/hcn"), Issuer("NEODIN", "2.25.1")])
MARIE = ids("HCN 100", "NEODIN N1", "HDIRS 55", "SWODIN S1")
LUC = ids("HCN 200", "NEODIN N2", "SWODIN 55")
ANN = ids("HCN 300", "NEODIN N3", "NEODIN N4")
PEOPLE = [MARIE, LUC, ANN]

ID, ISSUER, STUDY_DATE = "00100020", "00100021", "00080020"
UNIVERSAL = "00100024.00400032"


def of(patient_id: str, study: str, issuer: str | None = None, **more: Any) -> Row:
    """Make the row of a study, with or without the issuer of its Patient ID."""
    return study_row(study, patient_id, **({} if issuer is None else {"_00100021": issuer}), **more)


def province(**options: Any) -> PatientSearch:
    """Three regions that filter nothing: each gives all it has, whatever it is asked."""
    settings = {"source": Directory(PEOPLE), "issuers": ISSUERS, "provincial": "HCN", **options}
    return PatientSearch(
        ScriptedRegion("NEODIN", rows=[of("N1", "1.1"), of("N2", "1.2"), of("N3", "1.3"), of("N4", "1.4", "NEODIN")]),
        ScriptedRegion("HDIRS", rows=[of("55", "2.1", "HDIRS"), of("66", "2.6")]),
        ScriptedRegion("SWODIN", rows=[of("S1", "3.1"), of("55", "3.2")]),
        **settings,
    )


# --- who is meant


@pytest.mark.parametrize(
    "keys",
    [
        {ID: "100"},
        {ID: "*100*"},
        {ID: " 100 "},
        {ID: "100", ISSUER: "HCN"},
        {ID: "100", ISSUER: OID},
        {ID: "100", UNIVERSAL: OID},
        {ID: "100", UNIVERSAL: f"urn:oid:{OID}"},
        {ID: "100", ISSUER: "https://example.ca/hcn"},
        {ID: "100", ISSUER: "HCN", UNIVERSAL: OID, "00100024.00400033": "ISO"},
        {ID: "N1"},
        {ID: "*N1*"},
        {ID: "N1", ISSUER: "NEODIN"},
        {ID: "N1", UNIVERSAL: "2.25.1"},
        {ID: "55", ISSUER: "HDIRS"},
        {ID: "*55*", ISSUER: "HDIRS"},
    ],
)
async def test_a_patient_is_found_everywhere_by_any_of_the_numbers(keys: dict[str, str]) -> None:
    search = province()
    found = await search(keys)
    assert found.studies == ["1.1", "2.1", "3.1"]
    assert found.warnings == []
    assert search.asked() == {"neodin": ["N1"], "hdirs": ["55"], "swodin": ["S1"]}


async def test_trap_5_each_region_is_asked_with_its_own_number_and_not_with_an_issuer_it_may_not_store() -> None:
    search = province()
    await search({ID: "100", ISSUER: "HCN", STUDY_DATE: "20240101"})
    for region in search.regions:
        [query] = region.asked
        assert {path[0] for path in query.keys} == {ID, STUDY_DATE}
        assert query.include >= {(ISSUER,), ("00100024", "00400032")}


async def test_trap_5_a_region_without_a_number_of_the_patient_is_not_asked() -> None:
    search = province()
    found = await search({ID: "200"})
    assert search.asked() == {"neodin": ["N2"], "hdirs": [], "swodin": ["55"]}
    assert set(found.questions.of) == {"neodin", "swodin"}
    assert found.studies == ["1.2", "3.2"]


async def test_a_region_with_several_numbers_of_the_patient_is_asked_for_each() -> None:
    search = province()
    assert (await search({ID: "300"})).studies == ["1.3", "1.4"]
    assert search.asked()["neodin"] == ["N3", "N4"]


async def test_trap_5_the_same_number_of_another_issuer_is_another_patient() -> None:
    found = await province()({ID: "55", ISSUER: "SWODIN"})
    assert found.studies == ["1.2", "3.2"]


async def test_a_number_sought_among_other_patient_ids_is_told_where_it_would_be_found() -> None:
    """Rows show the numbers of an identity source there, but regions match what they hold themselves."""
    found = await province()({"00101002.00100020": "N1"})
    assert found.studies == []
    [warning] = found.warnings
    assert "PatientID" in warning
    assert (await province(source=NoIdentitySource(), provincial="")({"00101002.00100020": "N1"})).warnings == []


async def test_a_number_is_read_in_the_provincial_domain_first() -> None:
    people = [MARIE, ids("HCN N9", "NEODIN 9"), ids("HCN 400", "NEODIN N9")]
    region = ScriptedRegion("NEODIN", rows=[of("9", "1.9"), of("N9", "1.4")])
    search = PatientSearch(region, source=Directory(people), provincial="HCN")
    found = await search({ID: "N9"})
    assert found.studies == ["1.9"]
    assert found.warnings == []


async def test_a_bare_number_of_several_patients_shows_each_under_its_issuer_and_says_so() -> None:
    search = province()
    found = await search({ID: "55"})
    assert found.studies == ["1.1", "1.2", "2.1", "3.1", "3.2"]
    assert found.shown == {
        "1.1": "HDIRS 55",
        "2.1": "HDIRS 55",
        "3.1": "HDIRS 55",
        "1.2": "SWODIN 55",
        "3.2": "SWODIN 55",
    }
    [warning] = found.warnings
    assert "HDIRS, SWODIN" in warning
    assert "IssuerOfPatientID" in warning
    assert "55" not in warning


@pytest.mark.parametrize("keys", [{ID: "66"}, {ID: "66", ISSUER: "HDIRS"}, {ID: "*6*"}])
async def test_a_number_that_the_source_does_not_know_is_asked_for_in_each_region(keys: dict[str, str]) -> None:
    search = province()
    found = await search(keys)
    assert found.studies == ["2.6"]
    assert found.shown == {"2.6": "HDIRS 66"}
    assert search.asked() == {region: [keys[ID]] for region in ("neodin", "hdirs", "swodin")}


async def test_an_unknown_number_with_an_issuer_is_not_looked_for_under_another() -> None:
    search = province()
    assert (await search({ID: "66", ISSUER: "SWODIN"})).studies == []
    assert (await search({ID: "66", ISSUER: "HCN"})).studies == []


@pytest.mark.parametrize("key", ["N?", "N*", "*1", "N1\\N2", '""'])
async def test_a_pattern_or_a_list_is_passed_on_as_it_is(key: str) -> None:
    search = province()
    found = await search({ID: key})
    assert search.asked() == {region: [key] for region in ("neodin", "hdirs", "swodin")}
    assert all(found.shown.values())


async def test_an_issuer_alone_keeps_the_rows_of_its_namespace() -> None:
    search = province()
    assert (await search({ISSUER: "HDIRS"})).studies == ["2.1", "2.6"]
    assert all((ISSUER,) not in query.keys for region in search.regions for query in region.asked)


async def test_two_issuers_in_one_search_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(RequestError, match="two issuers"):
        await province()({ID: "100", ISSUER: "NEODIN", UNIVERSAL: OID})


async def test_a_region_may_hold_studies_under_the_numbers_of_its_hospitals() -> None:
    hospital = {"other_issuers_of_patient_id": ("ST-MARY",)}
    rows = [of("M1", "1.1", "ST-MARY"), of("7", "1.2"), of("M1", "1.3")]
    region = ScriptedRegion("NEODIN", rows=rows, changes=hospital)
    patient = ids("HCN 100", "ST-MARY M1", "NEODIN 7")
    search = PatientSearch(region, source=Directory([patient]), provincial="HCN")
    assert (await search({ID: "100"})).studies == ["1.1", "1.2"]
    assert search.asked() == {"neodin": ["7", "M1"]}


async def test_a_region_that_configures_no_issuer_is_its_own_namespace() -> None:
    region = ScriptedRegion("NEODIN", rows=[of("7", "1.1")], changes={"issuer_of_patient_id": ""})
    search = PatientSearch(region, source=Directory([ids("HCN 100", "neodin 7")]), provincial="HCN")
    found = await search({ID: "100"})
    assert found.shown == {"1.1": "HCN 100"}
    assert found.others("1.1") == {"neodin 7"}


# --- whose rows are believed


async def test_trap_23_a_row_of_another_patient_is_dropped_when_a_region_ignores_the_key() -> None:
    found = await province()({ID: "100"})
    assert found.studies == ["1.1", "2.1", "3.1"]


async def test_trap_23_a_row_that_states_another_issuer_is_dropped_though_its_number_is_the_one_asked_for() -> None:
    region = ScriptedRegion("NEODIN", rows=[of("N1", "1.1", "SWODIN"), of("N1", "1.2", "NEODIN"), of("N1", "1.3")])
    search = PatientSearch(region, source=Directory(PEOPLE), issuers=ISSUERS, provincial="HCN")
    assert (await search({ID: "100"})).studies == ["1.2", "1.3"]


async def test_trap_23_an_issuer_by_its_oid_counts_as_stated() -> None:
    qualifiers = {"00100024": {"vr": "SQ", "Value": [{"00400032": {"vr": "UT", "Value": ["2.25.1"]}}]}}
    foreign = {"00100024": {"vr": "SQ", "Value": [{"00400032": {"vr": "UT", "Value": [OID]}}]}}
    region = ScriptedRegion("NEODIN", rows=[of("N1", "1.1") | qualifiers, of("N1", "1.2") | foreign])
    search = PatientSearch(region, source=Directory(PEOPLE), issuers=ISSUERS, provincial="HCN")
    assert (await search({ID: "100"})).studies == ["1.1"]


async def test_trap_15_an_accession_number_of_several_regions_shows_each_patient_as_their_own() -> None:
    rows = {"NEODIN": of("N1", "1.1", _00080050="1000001"), "SWODIN": of("55", "3.2", _00080050="1000001")}
    regions = [ScriptedRegion(name, rows=[row]) for name, row in rows.items()]
    search = PatientSearch(*regions, source=Directory(PEOPLE), provincial="HCN")
    found = await search({"00080050": "1000001"})
    assert found.shown == {"1.1": "HCN 100", "3.2": "HCN 200"}
    assert (await search({"00080050": "1000001", ID: "200"})).shown == {"3.2": "HCN 200"}


PATIENT_IDS = st.sampled_from(["100", "200", "300", "N1", "N2", "N3", "N4", "55", "S1", "66", ""])
STATED = st.sampled_from([None, "", "HCN", "NEODIN", "HDIRS", "SWODIN", OID, "2.25.1"])
rows_of_a_region = st.lists(st.tuples(PATIENT_IDS, STATED), max_size=6)


@given(
    st.tuples(rows_of_a_region, rows_of_a_region, rows_of_a_region),
    PATIENT_IDS.filter(bool),
    st.sampled_from([None, "HCN", "NEODIN", "HDIRS", "SWODIN"]),
    st.sampled_from(["{}", "*{}*"]),
)
async def test_trap_23_whatever_regions_return_nobody_is_shown_a_row_of_another_patient(
    held: tuple[list[tuple[str, str | None]], ...], number: str, issuer: str | None, form: str
) -> None:
    regions = [
        ScriptedRegion(name, rows=[of(value, f"{at}.{n}", by) for n, (value, by) in enumerate(rows)])
        for at, (name, rows) in enumerate(zip(("NEODIN", "HDIRS", "SWODIN"), held, strict=True), 1)
    ]
    truth = {
        f"{at}.{n}": PatientIdentifier(ISSUERS.name(by or name), value)
        for at, (name, rows) in enumerate(zip(("NEODIN", "HDIRS", "SWODIN"), held, strict=True), 1)
        for n, (value, by) in enumerate(rows)
    }
    search = PatientSearch(*regions, source=Directory(PEOPLE), issuers=ISSUERS, provincial="HCN")
    found = await search({ID: form.format(number), **({ISSUER: issuer} if issuer else {})})
    meant = [p for p in PEOPLE if any(x.value == number and issuer in {None, x.issuer} for x in p)]
    if any(PatientIdentifier("HCN", number) in patient for patient in meant):
        meant = [patient for patient in meant if PatientIdentifier("HCN", number) in patient]
    for study in found.studies:
        if meant:
            assert any(truth[study] in patient for patient in meant)
        else:
            assert truth[study].value == number or form == "*{}*"
            assert issuer in {None, truth[study].issuer}
    for made in found.rows:
        shown = PatientIdentifier(text(made, ISSUER), text(made, ID))
        own = truth[text(made, "0020000D")]
        assert shown == own or any({shown, own} <= patient for patient in PEOPLE)


# --- what the caller sees


async def test_rows_carry_the_provincial_number_and_all_others_behind_it() -> None:
    found = await province()()
    assert found.shown["1.1"] == found.shown["2.1"] == found.shown["3.1"] == "HCN 100"
    for study in ("1.1", "2.1", "3.1"):
        assert found.others(study) == {"NEODIN N1", "HDIRS 55", "SWODIN S1"}
    assert found.shown["2.6"] == "HDIRS 66"
    assert found.others("2.6") == set()


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ({ID: "N1", ISSUER: "NEODIN"}, "NEODIN N1"),
        ({ID: "N1"}, "NEODIN N1"),
        ({ID: "100"}, "HCN 100"),
        ({ID: "55", ISSUER: "HDIRS"}, "HDIRS 55"),
    ],
)
async def test_trap_5_rows_of_all_regions_carry_the_number_that_was_asked_for(keys: dict[str, str], shown: str) -> None:
    found = await province()(keys)
    assert set(found.shown.values()) == {shown}
    for study in found.studies:
        assert found.others(study) == {f"{x.issuer} {x.value}" for x in MARIE} - {shown}


async def test_rows_may_keep_their_regions_number_with_the_provincial_one_behind_it() -> None:
    found = await province(show_provincial=False)({ID: "100"})
    assert found.shown == {"1.1": "NEODIN N1", "2.1": "HDIRS 55", "3.1": "SWODIN S1"}
    assert [found.others(study) for study in found.studies] == [{"HCN 100"}] * 3


async def test_the_qualifiers_of_an_issuer_are_those_of_the_number_that_is_shown() -> None:
    stated = {"00100024": {"vr": "SQ", "Value": [{"00400032": {"vr": "UT", "Value": ["2.25.1"]}}]}}
    region = ScriptedRegion("NEODIN", rows=[of("N1", "1.1") | stated])
    search = PatientSearch(region, source=Directory(PEOPLE), issuers=ISSUERS, provincial="HCN")
    [made] = (await search({ID: "100"})).rows
    [item] = made["00100024"]["Value"]
    assert item == {"00400032": {"vr": "UT", "Value": [OID]}, "00400033": {"vr": "CS", "Value": ["ISO"]}}
    [made] = (await search({ID: "55", ISSUER: "HDIRS"})).rows
    assert "00100024" not in made


async def test_other_ids_that_a_region_states_stay_and_get_the_issuer_they_went_without() -> None:
    rows = [of("N1", "1.1") | other_ids(("100", "HCN"), ("OLD", None), ("S1", "SWODIN"))]
    search = PatientSearch(ScriptedRegion("NEODIN", rows=rows), source=Directory(PEOPLE), provincial="HCN")
    found = await search({ID: "100"})
    assert found.others("1.1") == {"NEODIN OLD", "SWODIN S1", "NEODIN N1", "HDIRS 55"}
    assert len(found.rows[0]["00101002"]["Value"]) == 4


async def test_an_empty_item_among_the_other_ids_hides_no_number() -> None:
    rows = [of("N1", "1.1") | {"00101002": {"vr": "SQ", "Value": [{}, None, {"00100022": {"vr": "CS"}}]}}]
    search = PatientSearch(ScriptedRegion("NEODIN", rows=rows), source=Directory(PEOPLE), provincial="HCN")
    found = await search({ID: "100"})
    assert found.others("1.1") >= {"NEODIN N1", "SWODIN S1", "HDIRS 55"}


async def test_a_patient_with_one_number_has_no_others() -> None:
    search = PatientSearch(
        ScriptedRegion("NEODIN", rows=[of("9", "1.1")]), source=Directory([ids("NEODIN 9")]), provincial="HCN"
    )
    [made] = (await search()).rows
    assert "00101002" not in made


async def test_series_and_instances_which_state_no_patient_stay_as_they_are() -> None:
    region = ScriptedRegion("NEODIN", {"1.1": {"1.1.1": ["1.1.1.1"]}})
    search = PatientSearch(region, source=Directory(PEOPLE), provincial="HCN")
    found = await search(level=Level.SERIES)
    assert not [tag for tag in found.rows[0] if tag.startswith("0010")]


async def test_what_describes_the_patient_is_asked_of_no_region_below_a_study() -> None:
    search = province()
    query = Query(Level.SERIES, study="1.1")
    questions = await search.patients.questions(query, [search.regions[0].profile], Deadline.after(1.0))
    assert questions.of["neodin"][0].include == frozenset()


# --- one study, several holders


def held_twice(neodin: Row, hdirs: Row, **options: Any) -> PatientSearch:
    settings = {"source": Directory(PEOPLE), "issuers": ISSUERS, "provincial": "HCN", **options}
    return PatientSearch(ScriptedRegion("NEODIN", rows=[neodin]), ScriptedRegion("HDIRS", rows=[hdirs]), **settings)


async def test_trap_2_one_study_uid_of_two_known_patients_is_never_one_row_though_they_look_the_same() -> None:
    search = held_twice(of("N2", "1.1"), of("55", "1.1"))
    found = await search()
    assert found.conflicts == [("neodin", "hdirs")]
    assert found.shown == {"1.1": "HCN 200"}
    assert "HDIRS 55" not in found.others("1.1")


async def test_trap_2_the_patient_who_was_asked_for_is_the_one_shown() -> None:
    search = held_twice(of("N2", "1.1", _00081030="LUC"), of("55", "1.1", _00081030="MARIE"))
    found = await search({ID: "100"})
    assert [text(made, "00081030") for made in found.rows] == ["MARIE"]
    assert found.shown == {"1.1": "HCN 100"}


async def test_trap_4_the_custodians_number_is_shown_and_the_copys_is_behind_it() -> None:
    coerced = of("55", "1.1", "HDIRS", _00080050="FX1") | {"04000561": {"vr": "SQ", "Value": [{}]}}
    original = of("N1", "1.1", "NEODIN", _00080050="NE1")
    for provincial, shown in ((True, "HCN 100"), (False, "NEODIN N1")):
        search = held_twice(original, coerced, show_provincial=provincial)
        found = await search()
        assert found.shown == {"1.1": shown}
        assert "HDIRS 55" in found.others("1.1")
        assert text(found.rows[0], "00080050") == "NE1"


async def test_trap_4_a_copys_number_that_no_source_knows_is_behind_the_custodians_too() -> None:
    coerced = of("X99", "1.1", "HDIRS") | {"04000561": {"vr": "SQ", "Value": [{}]}}
    found = await held_twice(of("N1", "1.1", "NEODIN"), coerced, source=NoIdentitySource(), provincial="")()
    assert found.shown == {"1.1": "NEODIN N1"}
    assert found.others("1.1") == {"HDIRS X99"}


async def test_trap_4_a_copy_that_states_no_issuer_is_told_by_its_number_being_unknown_where_it_is_held() -> None:
    stated = other_ids(("100", "HCN"))
    search = held_twice(of("55", "1.1", _00081030="COPY") | stated, of("55", "1.1", "HDIRS", _00081030="ORIGINAL"))
    found = await search()
    assert [text(made, "00081030") for made in found.rows] == ["ORIGINAL"]
    assert found.shown == {"1.1": "HCN 100"}
    assert "NEODIN 55" not in found.others("1.1")


async def test_a_study_is_one_row_where_its_numbers_cross_reference_though_the_names_do_not_agree() -> None:
    search = held_twice(of("N1", "1.1", name="Roy^Marie"), of("55", "1.1", name="ROI^MARY"))
    found = await search()
    assert (found.studies, found.conflicts) == (["1.1"], [])


# --- contradictions


async def test_trap_6_a_birth_date_that_differs_between_regions_is_told_and_both_rows_are_shown_as_stated() -> None:
    rows = {"NEODIN": of("N1", "1.1", birth_date="19700101"), "HDIRS": of("55", "2.1", birth_date="19700110")}
    regions = [ScriptedRegion(name, rows=[made]) for name, made in rows.items()]
    search = PatientSearch(*regions, source=Directory(PEOPLE), provincial="HCN")
    found = await search({ID: "100"})
    assert {text(made, "0020000D"): text(made, "00100030") for made in found.rows} == {
        "1.1": "19700101",
        "2.1": "19700110",
    }
    [warning] = found.warnings
    assert "hdirs and neodin" in warning
    assert not any(word in warning for word in ("1970", "N1", "55", "100", "Roy"))
    assert search.events.of(DemographicsDiffer) == [DemographicsDiffer("hdirs", "neodin")]


async def test_trap_6_what_differs_between_two_patients_is_no_contradiction() -> None:
    search = held_twice(of("N2", "1.1", birth_date="19500101"), of("55", "2.1", birth_date="19700110"))
    assert (await search()).warnings == []
    assert search.events.of(DemographicsDiffer) == []


# --- no source, or none that answers


async def test_without_a_source_each_region_is_asked_the_same_and_rows_carry_their_issuer() -> None:
    search = province(source=NoIdentitySource(), provincial="")
    found = await search({ID: "55"})
    assert search.asked() == {"neodin": ["55"], "hdirs": ["55"], "swodin": ["55"]}
    assert found.shown == {"2.1": "HDIRS 55", "3.2": "SWODIN 55"}
    assert [found.others(study) for study in found.studies] == [set(), set()]
    assert (await search({ID: "55", ISSUER: "SWODIN"})).shown == {"3.2": "SWODIN 55"}


async def test_without_a_source_a_search_without_a_patient_is_left_as_it_is() -> None:
    search = province(source=NoIdentitySource(), provincial="")
    query = Query(Level.STUDY, keys={(STUDY_DATE,): "20240101"})
    questions = await search.patients.questions(query, [x.profile for x in search.regions], Deadline.after(1.0))
    assert questions.of == dict.fromkeys(("neodin", "hdirs", "swodin"), (query,))
    assert (await search()).shown["1.1"] == " N1"


async def test_a_source_that_is_down_leaves_each_region_its_own_namespace_and_says_so() -> None:
    search = province(source=Directory(PEOPLE, down=True))
    found = await search({ID: "55"})
    assert found.shown == {"2.1": "HDIRS 55", "3.2": "SWODIN 55"}
    assert any("could not be resolved" in warning for warning in found.warnings)
    assert not any("55" in warning for warning in found.warnings)
    assert isinstance(found.questions.unavailable, IdentityUnavailable)
    assert found.questions.unavailable.http_status == 503
    assert IdentitySourceFailed() in search.events.of(IdentitySourceFailed)


async def test_a_source_that_is_down_does_not_stop_a_search_without_a_patient() -> None:
    search = province(source=Directory(PEOPLE, down=True))
    found = await search()
    assert found.shown["1.1"] == "NEODIN N1"
    assert len(found.warnings) == 1
    assert found.questions.unavailable is None


async def test_a_source_that_is_down_never_makes_another_issuers_number_do() -> None:
    search = province(source=Directory(PEOPLE, down=True))
    assert (await search({ID: "55", ISSUER: "HCN"})).studies == []


class Failing(Directory):
    """Knows some, and is down for the others."""

    async def identifiers(self, known: PatientIdentifier, deadline: Deadline) -> frozenset[PatientIdentifier]:
        if known.value.startswith("S"):
            raise IdentityUnavailable("down")
        return await super().identifiers(known, deadline)


async def test_a_source_that_fails_half_way_leaves_the_rest_of_the_page_with_its_own_numbers_and_says_so() -> None:
    found = await province(source=Failing(PEOPLE))()
    assert found.shown["2.1"] == "HCN 100"
    assert found.shown["3.1"] == "SWODIN S1"
    assert [warning for warning in found.warnings if "some carry" in warning]


async def test_a_page_asks_for_each_patient_of_a_region_once() -> None:
    source = Directory(PEOPLE)
    rows = [of("N1", f"1.{n}") for n in range(50)]
    search = PatientSearch(ScriptedRegion("NEODIN", rows=rows), source=source, provincial="HCN")
    await search()
    assert source.asked.count(PatientIdentifier("NEODIN", "N1")) == 2  # to link the holders, and to present the page


async def test_only_known_numbers_are_linked_each_as_it_was_given() -> None:
    search = province()
    given_by = PatientIdentifier("2.25.1", "N1")
    links = await search.patients.linked([given_by, PatientIdentifier("HDIRS", "66")], Deadline.after(1.0))
    assert links == {given_by: MARIE | {given_by}}
