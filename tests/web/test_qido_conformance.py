"""QIDO-RS (PS3.18 10.6) at the web face, requirement by requirement; the number in a name is the section.

How values match and what rows must hold is decided below: tests/dataset and tests/federation name those rows.
"""

import pytest

from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.federation.completeness import RegionState
from tests.web.fakes import ONE_MISSING, SEARCHED, FakeSearch, gateway, study_row


async def asked(target: str, **fields: str) -> Query:
    """Return what the federation is asked for a request that is answered with 200 and without a warning."""
    async with gateway(FakeSearch([study_row()])) as web:
        answer = await web.client.get(target, headers=fields)
    assert answer.status_code == 200, answer.text
    assert "warning" not in answer.headers
    [query] = web.search.queries
    return query


async def refusal(target: str) -> str:
    async with gateway() as web:
        answer = await web.client.get(target)
    assert answer.status_code == 400
    assert web.search.queries == []
    return str(answer.json()["detail"])


# --- resources (Table 10.6.1-1)


@pytest.mark.parametrize(("path", "level", "study", "series"), SEARCHED)
async def test_10_6_1_1_all_six_resources_are_searched(
    path: str, level: Level, study: str | None, series: str | None
) -> None:
    query = await asked(path)
    assert (query.level, query.study, query.series) == (level, study, series)


# --- response (10.6.3)


async def test_10_6_3_1_too_broad_for_a_caller_who_wants_all_or_nothing_is_413_that_says_what_to_do() -> None:
    states = (RegionState("neodin", "complete", 1), RegionState("hdirs", "limited", 10_000))
    async with gateway(FakeSearch([study_row()], states=states)) as web:
        answer = await web.client.get("/studies", headers={"Prefer": "handling=strict"})
        lenient = await web.client.get("/studies")
    assert answer.status_code == 413
    assert "hdirs" in answer.json()["detail"]
    assert "narrow the search" in answer.json()["detail"]
    assert answer.headers["federation-status"] == "neodin;state=complete;matches=1, hdirs;state=limited;matches=10000"
    assert "retry-after" not in answer.headers
    assert (lenient.status_code, len(lenient.json())) == (200, 1)


# --- attribute matching (8.3.4.1)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("StudyDescription=7", ("00081030",)),
        ("00081030=7", ("00081030",)),
        ("0008103e=7", ("0008103E",)),
        ("00101002.00100020=7", ("00101002", "00100020")),
        ("OtherPatientIDsSequence.00100020=7", ("00101002", "00100020")),
        ("RequestAttributesSequence.ScheduledProcedureStepID=7", ("00400275", "00400009")),
    ],
)
async def test_8_3_4_1_attribute_is_a_tag_a_keyword_or_a_dotted_path_of_either(query: str, path: TagPath) -> None:
    assert (await asked(f"/series?{query}")).keys == {path: "7"}


@pytest.mark.parametrize(
    "query", ["PatientID=1&PatientID=2", "PatientID=1&00100020=2", "00101002.PatientID=1&00101002.00100020=1"]
)
async def test_8_3_4_1_attribute_is_not_repeated(query: str) -> None:
    assert "expected once, given twice" in await refusal(f"/studies?{query}")


async def test_8_3_4_1_value_is_single_unless_it_is_a_list_of_uids() -> None:
    assert "expected one value" in await refusal("/studies?PatientID=1%5C2")
    assert (await asked("/studies?StudyInstanceUID=1.2,1.3")).keys == {("0020000D",): "1.2\\1.3"}


async def test_8_3_4_1_private_attribute_needs_its_creator() -> None:
    keys = (await asked("/studies?00190010=LAB%20PRIVATE&00191002=x")).keys
    assert keys == {("00190010",): "LAB PRIVATE", ("00191002",): "x"}
    assert "00191002: a private attribute; expected its Private Creator" in await refusal("/studies?00191002=x")


@pytest.mark.parametrize("value", ["1.2,1.3", "1.2%2C1.3", "1.2%5C1.3"])
async def test_8_3_4_1_uid_list_has_commas_and_ohif_s_backslashes(value: str) -> None:
    assert (await asked(f"/studies?StudyInstanceUID={value}")).keys == {("0020000D",): "1.2\\1.3"}


@pytest.mark.parametrize("value", ["CT%2CMR", "CT,MR", "CT%5CMR"])
async def test_8_3_4_1_comma_list_of_a_code_string_is_any_of_them(value: str) -> None:
    query = await asked(f"/studies?ModalitiesInStudy={value}")
    assert query.keys == {("00080061",): "CT\\MR"}
    assert not query.every_value


@pytest.mark.parametrize(
    ("query", "path", "value"),
    [
        ("PatientName=*doe*", ("00100010",), "*doe*"),
        ("StudyDescription=CT%3F%20abd*", ("00081030",), "CT? abd*"),
        ("StudyDate=20240101-20240301", ("00080020",), "20240101-20240301"),
        ("StudyDate=-20240301", ("00080020",), "-20240301"),
        ("StudyDate=20240101-", ("00080020",), "20240101-"),
        ("StudyTime=0800-1700", ("00080030",), "0800-1700"),
        ("AcquisitionDateTime=20240101120000%2B0500-", ("0008002A",), "20240101120000+0500-"),
        ("PatientID=", ("00100020",), ""),
        ("PatientID=*", ("00100020",), ""),
    ],
)
async def test_8_3_4_1_1_values_have_the_notation_of_c_find(query: str, path: TagPath, value: str) -> None:
    assert (await asked(f"/studies?{query}")).keys == {path: value}


async def test_8_3_4_1_1_date_and_time_ranges_reach_the_federation_together() -> None:
    query = await asked("/studies?StudyDate=20240101-20240102&StudyTime=0600-2200")
    assert query.keys == {("00080020",): "20240101-20240102", ("00080030",): "0600-2200"}


async def test_8_3_4_1_1_timezone_says_how_dates_are_meant() -> None:
    query = await asked("/studies?StudyDate=20240101&TimezoneOffsetFromUTC=-0500")
    assert (query.keys, query.utc_offset) == ({("00080020",): "20240101"}, -300)


async def test_values_and_path_segments_are_percent_decoded_as_utf_8() -> None:
    query = await asked("/studies/1%2E2/series?PatientName=Gagn%C3%A9%5EZo%C3%AB%2A&StudyDescription=a%26b%2Cc%2Bd")
    assert query.study == "1.2"
    assert query.keys == {("00100010",): "Gagné^Zoë*", ("00081030",): "a&b,c+d"}


@pytest.mark.parametrize(
    ("path", "attributes"),
    [
        ("/studies", "00080020 00080030 00080050 00080061 00080090 00100010 00100020 0020000D 00200010"),
        (
            "/studies/1.2/series",
            "00080060 0020000E 00200011 00400244 00400245 00400275.00400009 00400275.00401001",
        ),
        ("/studies/1.2/series/1.3/instances", "00080016 00080018 00200013"),
    ],
)
async def test_10_6_1_5_required_matching_attributes_of_each_level_are_keys(path: str, attributes: str) -> None:
    values = {"00080020": "20240101", "00080030": "1200", "00400244": "20240101", "00400245": "1200"}
    for name in attributes.split():
        query = await asked(f"{path}?{name}={values.get(name, '1')}")
        assert list(query.keys) == [tuple(name.split("."))]


# --- includefield (8.3.4.3)


async def test_8_3_4_3_includefield_is_a_comma_list_or_repeated_or_all() -> None:
    query = await asked("/studies?includefield=00081030%2CPatientAge&includefield=OtherPatientIDsSequence.PatientID")
    assert query.include == {("00081030",), ("00101010",), ("00101002", "00100020")}
    assert (await asked("/studies?includefield=all")).include_all


async def test_8_3_4_3_unknown_includefield_is_dropped_and_named() -> None:
    async with gateway() as web:
        answer = await web.client.get("/studies?includefield=StudyDescriptio,00081030")
    assert web.search.queries[0].include == {("00081030",)}
    assert "did you mean StudyDescription?" in answer.headers["warning"]


async def test_10_6_3_3_attributes_of_lower_levels_are_not_returned() -> None:
    wanted = "includefield=00081030,00080060,0008103E,00200013"
    assert (await asked(f"/studies?{wanted}")).include == {("00081030",)}
    assert (await asked(f"/series?{wanted}")).include == {("00081030",), ("00080060",), ("0008103E",)}
    assert len((await asked(f"/instances?{wanted}")).include) == 4


# --- what is returned (Tables 10.6.3-3 to 10.6.3-5)

INSTANCE: Row = {
    "00080018": {"vr": "UI", "Value": ["1.3.1"]},
    "0020000D": {"vr": "UI", "Value": ["1.2"]},
    "0020000E": {"vr": "UI", "Value": ["1.3"]},
}
SERIES: Row = {tag: INSTANCE[tag] for tag in ("0020000D", "0020000E")}
STUDY: Row = {"0020000D": INSTANCE["0020000D"]}


@pytest.mark.parametrize(
    ("path", "row", "url"),
    [
        ("/studies", STUDY, "/studies/1.2"),
        ("/series", SERIES, "/studies/1.2/series/1.3"),
        ("/studies/1.2/series", SERIES, "/studies/1.2/series/1.3"),
        ("/instances", INSTANCE, "/studies/1.2/series/1.3/instances/1.3.1"),
        ("/studies/1.2/instances", INSTANCE, "/studies/1.2/series/1.3/instances/1.3.1"),
        ("/studies/1.2/series/1.3/instances", INSTANCE, "/studies/1.2/series/1.3/instances/1.3.1"),
    ],
)
async def test_10_6_3_retrieve_url_names_the_resource_of_each_row(path: str, row: Row, url: str) -> None:
    async with gateway(FakeSearch([row]), public_url="https://x.example") as web:
        [shown] = (await web.client.get(path)).json()
    assert shown["00081190"] == {"vr": "UR", "Value": [f"https://x.example/dicom-web{url}"]}


async def test_10_6_3_row_that_lacks_a_level_above_has_no_url_that_would_lead_elsewhere() -> None:
    async with gateway(FakeSearch([{"00080018": {"vr": "UI", "Value": ["1.3.1"]}}])) as web:
        [alone] = (await web.client.get("/instances")).json()
        [of_study] = (await web.client.get("/studies/1.2/instances")).json()
    assert "00081190" not in alone
    assert "00081190" not in of_study


async def test_10_6_3_required_attribute_without_a_value_is_present_and_empty() -> None:
    async with gateway(FakeSearch([{**study_row(), "00080090": {"vr": "PN"}, "00100040": {"vr": "CS"}}])) as web:
        [row] = (await web.client.get("/studies")).json()
    assert (row["00080090"], row["00100040"]) == ({"vr": "PN"}, {"vr": "CS"})


async def test_f_2_2_keys_of_a_row_are_ascending() -> None:
    async with gateway(FakeSearch([dict(reversed(study_row().items()))])) as web:
        [row] = (await web.client.get("/studies")).json()
    assert list(row) == sorted(row)


# --- pages, completeness and status (8.3.4.4, 10.6.3.1)


async def test_8_3_4_4_limit_and_offset_are_passed_on_and_what_remains_is_told() -> None:
    async with gateway(FakeSearch([study_row()], remaining=17)) as web:
        answer = await web.client.get("/studies?limit=1&offset=4")
    assert (web.search.queries[0].limit, web.search.queries[0].offset) == (1, 4)
    assert answer.headers["warning"] == "299 /dicom-web: There are 17 additional results that can be requested"


async def test_8_3_4_4_pages_of_one_caller_are_told_from_those_of_another() -> None:
    async with gateway() as web:
        for credentials in ("Bearer a", "Bearer a", "Bearer b", ""):
            await web.client.get("/studies?limit=1", headers={"Authorization": credentials} if credentials else {})
    one, again, other, nobody = web.search.callers
    assert one == again
    assert len({one, other, nobody}) == 3
    assert not [word for word in ("Bearer", "127.0.0.1") if word in "".join(web.search.callers)]


async def test_8_3_4_4_1_no_match_is_200_with_an_empty_list() -> None:
    async with gateway() as web:
        answer = await web.client.get("/studies")
    assert (answer.status_code, answer.content) == (200, b"[]")


async def test_partial_answer_is_200_with_a_warning_and_never_206() -> None:
    async with gateway(FakeSearch([study_row()], ONE_MISSING)) as web:
        answer = await web.client.get("/studies")
    assert answer.status_code == 200
    assert answer.headers["warning"] == "299 /dicom-web: region hdirs unavailable (timeout): results incomplete"
    assert answer.headers["federation-status"] == "neodin;state=complete;matches=1, hdirs;state=timeout"


# --- the other parameters (8.3.4.2, 8.3.4.5, 8.3.4.6)


async def test_8_3_4_2_fuzzymatching_is_passed_on() -> None:
    assert (await asked("/studies?fuzzymatching=true&PatientName=gagne")).fuzzy
    assert not (await asked("/studies?fuzzymatching=false&PatientName=gagne")).fuzzy


async def test_8_3_4_5_emptyvaluematching_is_passed_on() -> None:
    assert (await asked("/studies?emptyvaluematching=true&PatientID=%22%22")).keys == {("00100020",): '""'}
    assert "emptyvaluematching=true" in await refusal("/studies?PatientID=%22%22")


async def test_8_3_4_6_multiplevaluematching_is_passed_on() -> None:
    query = await asked("/studies?multiplevaluematching=true&ModalitiesInStudy=CT%5CPT")
    assert (query.every_value, query.keys) == (True, {("00080061",): "CT\\PT"})


# --- media types (10.6.4)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/dicom+json"),
        ("application/dicom+json", "application/dicom+json"),
        ("application/json", "application/json"),
        ('multipart/related; type="application/dicom+xml"', "multipart/related"),
    ],
)
async def test_10_6_4_json_is_the_default_and_xml_parts_are_there(accept: str, media_type: str) -> None:
    async with gateway(FakeSearch([study_row()])) as web:
        answer = await web.client.get("/studies", headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == media_type


# --- what OHIF 3.13.2 sends, to the letter

LIST = "/studies?limit=101&offset=0&fuzzymatching=true&includefield=00081030%2C00080060%2C00080090%2C00100030"
INCLUDED = {("00081030",), ("00080090",), ("00100030",)}


@pytest.mark.parametrize(
    ("filters", "keys"),
    [
        ("", {}),
        ("&PatientName=*doe*", {("00100010",): "*doe*"}),
        ("&00100020=*PROBE-A*", {("00100020",): "*PROBE-A*"}),
        ("&AccessionNumber=*ACC*", {("00080050",): "*ACC*"}),
        ("&StudyDescription=*x*", {("00081030",): "*x*"}),
        ("&ModalitiesInStudy=CT%2CMR", {("00080061",): "CT\\MR"}),
        ("&StudyDate=20240101-20240301", {("00080020",): "20240101-20240301"}),
        ("&StudyInstanceUID=1.2.3", {("0020000D",): "1.2.3"}),
    ],
)
async def test_ohif_study_list_and_its_filters(filters: str, keys: dict[TagPath, str]) -> None:
    query = await asked(LIST + filters, accept="application/dicom+json")
    assert (query.level, query.keys) == (Level.STUDY, keys)
    assert query.include == INCLUDED
    assert (query.limit, query.offset, query.fuzzy) == (101, 0, True)


async def test_ohif_asks_for_priors_by_patient_id_alone() -> None:
    query = await asked(LIST.replace("/studies?", "/studies?00100020=MRN00001&"))
    assert query.keys == {("00100020",): "MRN00001"}


@pytest.mark.parametrize(
    ("fields", "include"),
    [
        ("0008103E%2C00080021", {("0008103E",), ("00080021",)}),
        ("00080021%2C00080031%2C0008103E%2C00200011", {("00080021",), ("00080031",), ("0008103E",), ("00200011",)}),
    ],
)
async def test_ohif_lists_the_series_of_a_study(fields: str, include: set[TagPath]) -> None:
    query = await asked(f"/studies/1.2.3/series?includefield={fields}", accept="application/dicom+json")
    assert (query.level, query.study) == (Level.SERIES, "1.2.3")
    assert query.include == include


async def test_ohif_s_list_lives_with_rows_that_lack_almost_everything() -> None:
    bare: Row = {
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
        "00080061": {"vr": "CS"},
        "00100010": {"vr": "PN", "Value": [None]},
    }
    async with gateway(FakeSearch([bare])) as web:
        [row] = (await web.client.get(LIST)).json()
    assert "00080061" not in row
    assert row["00100010"] == {"vr": "PN"}
