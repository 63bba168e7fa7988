"""Search over HTTP (PS3.18 10.6): rows, warnings, and never less than the truth about the regions."""

import time

import pytest

from gateway.dataset.query import Level
from gateway.errors import IdentityUnavailable, NoRegionAnswered
from tests.web.fakes import ONE_MISSING, STUDY, FakeSearch, gateway, study_row


async def test_studies_are_listed_with_the_url_to_retrieve_them() -> None:
    async with gateway(FakeSearch([study_row()])) as web:
        answer = await web.client.get("/studies", params={"PatientName": "Tremblay*", "limit": "5"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    [row] = answer.json()
    assert row["00081190"] == {"vr": "UR", "Value": [f"/dicom-web/studies/{STUDY}"]}
    assert row["00100010"]["Value"] == [{"Alphabetic": "Tremblay^Zoé"}]
    assert list(row) == sorted(row)
    [query] = web.search.queries
    assert (query.level, query.keys, query.limit) == (Level.STUDY, {("00100010",): "Tremblay*"}, 5)


async def test_urls_are_built_from_the_configured_base_and_never_from_host() -> None:
    async with gateway(FakeSearch([study_row()]), public_url="https://imaging.example.ca/") as web:
        answer = await web.client.get("/studies", headers={"Host": "evil.example"})
    assert answer.json()[0]["00081190"]["Value"] == [f"https://imaging.example.ca/dicom-web/studies/{STUDY}"]
    assert b"evil" not in answer.content


async def test_series_and_instances_have_their_own_urls() -> None:
    series = {"0020000E": {"vr": "UI", "Value": ["1.9"]}}
    instance = {"00080018": {"vr": "UI", "Value": ["1.9.1"]}}
    async with gateway(FakeSearch([series])) as web:
        [row] = (await web.client.get(f"/studies/{STUDY}/series")).json()
        web.search.rows = [instance]
        [below] = (await web.client.get(f"/studies/{STUDY}/series/1.9/instances")).json()
    assert row["00081190"]["Value"] == [f"/dicom-web/studies/{STUDY}/series/1.9"]
    assert below["00081190"]["Value"] == [f"/dicom-web/studies/{STUDY}/series/1.9/instances/1.9.1"]
    assert [(q.level, q.study, q.series) for q in web.search.queries] == [
        (Level.SERIES, STUDY, None),
        (Level.IMAGE, STUDY, "1.9"),
    ]


async def test_no_match_is_an_empty_list_with_status_200() -> None:
    async with gateway() as web:
        answer = await web.client.get("/studies")
    assert (answer.status_code, answer.content) == (200, b"[]")
    assert answer.headers["federation-status"] == "neodin;state=complete;matches=1, hdirs;state=complete;matches=0"
    assert "warning" not in answer.headers


async def test_missing_region_is_named_and_the_answer_stays_200() -> None:
    async with gateway(FakeSearch([study_row()], ONE_MISSING)) as web:
        answer = await web.client.get("/studies")
    assert answer.status_code == 200
    assert answer.headers["federation-status"] == "neodin;state=complete;matches=1, hdirs;state=timeout"
    assert answer.headers.get_list("warning") == [
        "299 /dicom-web: region hdirs unavailable (timeout): results incomplete"
    ]


async def test_strict_caller_gets_503_instead_of_a_partial_answer() -> None:
    async with gateway(FakeSearch([study_row()], ONE_MISSING)) as web:
        answer = await web.client.get("/studies", headers={"Prefer": "handling=strict"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "30"
    assert answer.headers["federation-status"].endswith("hdirs;state=timeout")
    problem = answer.json()
    assert problem["type"] == "/docs/errors/region-missing"
    assert "hdirs" in problem["detail"]
    assert problem["regions"][1] == {"region": "hdirs", "state": "timeout"}


@pytest.mark.parametrize("accept", ["application/dicom+json", "application/x-ndjson"])
async def test_strict_caller_gets_503_when_the_other_identifiers_of_a_patient_are_not_known(accept: str) -> None:
    search = FakeSearch([study_row()], unavailable=IdentityUnavailable("the identity source does not answer"))
    async with gateway(search) as web:
        answer = await web.client.get("/studies", headers={"Prefer": "handling=strict", "Accept": accept})
        lenient = await web.client.get("/studies", headers={"Accept": accept})
    assert lenient.status_code == 200
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert answer.json()["type"] == "/docs/errors/identity-unavailable"


async def test_more_matches_than_the_page_holds_are_counted_in_the_words_of_the_standard() -> None:
    async with gateway(FakeSearch([study_row()], remaining=41), public_url="https://x.example") as web:
        answer = await web.client.get("/studies?limit=1")
    assert answer.headers.get_list("warning") == [
        "299 https://x.example/dicom-web: There are 41 additional results that can be requested"
    ]


async def test_warnings_of_the_query_and_of_the_federation_come_once_each_and_in_ascii() -> None:
    async with gateway(FakeSearch(warnings=("identity conflict é\r\nX: y",))) as web:
        answer = await web.client.get("/studies?PatietName=x")
    first, second = answer.headers.get_list("warning")
    assert "did you mean PatientName?" in first
    assert second == "299 /dicom-web: identity conflict ???X: y"


async def test_modalities_in_study_without_a_value_is_left_out_because_ohif_dies_of_it() -> None:
    row = {**study_row(), "00080061": {"vr": "CS"}, "00080090": {"vr": "PN"}}
    async with gateway(FakeSearch([row])) as web:
        [shown] = (await web.client.get("/studies")).json()
    assert "00080061" not in shown
    assert shown["00080090"] == {"vr": "PN"}
    assert row["00080061"] == {"vr": "CS"}


@pytest.mark.parametrize(("prefer", "longest"), [("", 30.0), ("wait=2", 2.0), ("wait=999", 30.0), ("wait=0", 0.0)])
async def test_caller_may_shorten_the_deadline_and_never_lengthen_it(prefer: str, longest: float) -> None:
    async with gateway() as web:
        await web.client.get("/studies", headers={"Prefer": prefer} if prefer else {})
    [deadline] = web.search.deadlines
    assert longest - 5 < deadline.at - time.monotonic() <= longest


async def test_all_regions_down_is_503_with_their_states() -> None:
    status = "neodin;state=refused, hdirs;state=timeout"
    async with gateway(FakeSearch(before=[NoRegionAnswered("no region answered", federation_status=status)])) as web:
        answer = await web.client.get("/studies")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["federation-status"] == status
    assert int(answer.headers["retry-after"]) > 0
    assert [region["state"] for region in answer.json()["regions"]] == ["refused", "timeout"]


async def test_head_answers_without_a_body() -> None:
    async with gateway(FakeSearch([study_row()])) as web:
        answer = await web.client.head("/studies")
    assert (answer.status_code, answer.content) == (200, b"")
    assert "federation-status" in answer.headers
    assert int(answer.headers["content-length"]) > 100


OHIF = [
    "/studies?limit=101&offset=0&fuzzymatching=true&includefield=00081030%2C00080060%2C00080090%2C00100030",
    (
        "/studies?limit=101&offset=0&PatientName=*doe*&00100020=*PROBE-A*&AccessionNumber=*ACC*&StudyDescription=*x*"
        "&ModalitiesInStudy=CT%2CMR&StudyDate=20240101-20240301"
    ),
    "/studies/1.2.3/series?includefield=0008103E%2C00080021",
    "/studies?limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060&StudyInstanceUID=1.2.3",
    "/studies/1.2.3/series?includefield=00080021%2C00080031%2C0008103E%2C00200011",
    "/studies?00100020=MRN00001&limit=101&offset=0&includefield=00081030%2C00080060",
]


@pytest.mark.parametrize("path", OHIF)
async def test_recorded_search_of_ohif_works(path: str) -> None:
    row = {**study_row(), "0020000E": {"vr": "UI", "Value": ["1.9"]}}
    async with gateway(FakeSearch([row])) as web:
        answer = await web.client.get(path, headers={"Accept": "application/dicom+json"})
    assert answer.status_code == 200
    assert "warning" not in answer.headers
    assert answer.json()[0]["00081190"]["Value"][0].startswith("/dicom-web/studies/1.2.3")
