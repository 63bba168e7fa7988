"""Launch in context: the viewer opens on the right studies, or a person is asked; it is never guessed (RAD-106)."""

from typing import Any

import pytest

from gateway.dataset.query import Row
from gateway.errors import NoRegionAnswered
from gateway.web.invocation import extended_composite_id
from tests.web.fakes import ALL_COMPLETE, ONE_MISSING, FakeSearch
from tests.web.fronts import fronted

LAUNCH = "/IHEInvokeImageDisplay"
PATIENT = f"{LAUNCH}?requestType=PATIENT&patientID="


def row(uid: str, patient: str = "1", issuer: str = "ON", region: str = "NEODIN", **more: str) -> Row:
    values: dict[str, tuple[str, Any]] = {
        "00080020": ("DA", "20240131"),
        "00080054": ("AE", region),
        "00100010": ("PN", {"Alphabetic": "O'Brien^<Máire>"}),
        "00100020": ("LO", patient),
        "00100021": ("LO", issuer),
        "0020000D": ("UI", uid),
    }
    made = {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items() if value}
    if other := more.get("other"):
        item = {"00100020": {"vr": "LO", "Value": [other]}, "00100021": {"vr": "LO", "Value": ["ON"]}}
        made["00101002"] = {"vr": "SQ", "Value": [item]}
    if accession_issuer := more.get("accession_issuer"):
        made["00080051"] = {"vr": "SQ", "Value": [{"00400031": {"vr": "UT", "Value": [accession_issuer]}}]}
    return made


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("requestType=STUDY&studyUID=1.2", {"0020000D": "1.2"}),
        ("requestType=STUDY&accessionNumber=A%201", {"00080050": "A 1"}),
        ("requestType=STUDY&accessionNumber=A1&viewerType=IHE_BIR&diagnosticQuality=true&x=%2A", {"00080050": "A1"}),
        ("requestType=PATIENT&patientID=99", {"00100020": "99"}),
        ("requestType=PATIENT&patientID=99%5E%5E%5EAcme", {"00100020": "99", "00100021": "Acme"}),
        ("requestType=PATIENT&patientID=99%5E%5E%5E%261.2.3%26ISO", {"00100020": "99", "00100021": "1.2.3"}),
        ("requestType=PATIENT&patientID=99%5E%5E%5EAcme%261.2.3%26ISO", {"00100020": "99", "00100021": "1.2.3"}),
        (
            "requestType=PATIENT&patientID=99&modalitiesInStudy=MR,XA&lowerDateTime=2024-01-31T13:45:00",
            {
                "00100020": "99",
                "00080061": "MR\\XA",
                "00080020": "20240131-",
                "00080030": "134500.000000-",
            },
        ),
        (
            "requestType=PATIENT&patientID=99&lowerDateTime=2024-01-31T23:00:00-05:00&upperDateTime=2024-02-01T08:00:00Z",
            {"00100020": "99", "00080020": "20240131-20240201", "00080030": "230000.000000-030000.000000"},
        ),
        (
            "requestType=PATIENT&patientID=99&upperDateTime=2024-01-31T24:00:00",
            {"00100020": "99", "00080020": "-20240201", "00080030": "-000000.000000"},
        ),
    ],
)
async def test_launch_asks_for_what_is_meant_and_opens_it(query: str, keys: dict[str, str]) -> None:
    async with fronted(rows=[row("1.2")]) as web:
        answer = await web.get(f"{LAUNCH}?{query}")
    assert answer.status_code == 302
    assert answer.headers["location"] == "/viewer?StudyInstanceUIDs=1.2"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    [asked] = web.search.queries
    assert {path[-1]: value for path, value in asked.keys.items()} == keys


async def test_zone_of_a_period_is_that_of_its_beginning() -> None:
    async with fronted(rows=[row("1.2")]) as web:
        await web.get(f"{PATIENT}9&lowerDateTime=2024-01-31T23:00:00-05:00")
    assert web.search.queries[0].utc_offset == -300


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("", "requestType"),
        ("requestType=SERIES", "requestType"),
        ("requestType=STUDY", "studyUID, accessionNumber"),
        ("requestType=STUDY&studyUID=1.2&accessionNumber=A", "studyUID, accessionNumber"),
        ("requestType=STUDY&studyUID=1.2,SECRET", "studyUID"),
        ("requestType=STUDY&studyUID=1.2&studyUID=1.3", "studyUID"),
        (f"requestType=STUDY&studyUID={','.join(['1.2.' + str(n) for n in range(21)])}", "studyUID"),
        ("requestType=STUDY&accessionNumber=SECRET*", "accessionNumber"),
        ("requestType=PATIENT", "patientID"),
        ("requestType=PATIENT&patientID=SECRET%3F", "patientID"),
        ("requestType=PATIENT&patientID=SECRET%5C1", "patientID"),
        ("requestType=PATIENT&patientID=%5E%5E%5EON", "patientID"),
        ("requestType=PATIENT&patientID=1%5E%5E%5E%26SECRET%26DNS", "patientID"),
        ("requestType=PATIENT&patientID=1&mostRecentResults=0", "mostRecentResults"),
        ("requestType=PATIENT&patientID=1&lowerDateTime=SECRET", "lowerDateTime"),
        ("requestType=PATIENT&patientID=1&lowerDateTime=2024-02-30T00:00:00", "lowerDateTime"),
        (
            "requestType=PATIENT&patientID=1&lowerDateTime=2024-02-02T00:00:00&upperDateTime=2024-02-01T00:00:00",
            "lower",
        ),
        (
            "requestType=PATIENT&patientID=1&lowerDateTime=2024-02-02T00:00:00Z&upperDateTime=2024-02-03T00:00:00",
            "lowerDateTime, upperDateTime",
        ),
    ],
)
async def test_wrong_request_is_a_page_that_names_the_parameter_and_not_its_value(query: str, named: str) -> None:
    async with fronted(rows=[row("1.2")]) as web:
        answer = await web.get(f"{LAUNCH}?{query}", Accept_Language="fr")
    assert answer.status_code == 400
    assert named in answer.text
    assert "SECRET" not in answer.text
    assert "La demande ne peut être comprise" in answer.text
    assert not web.search.queries


async def test_patient_opens_on_the_newest_studies() -> None:
    rows = [row(f"1.{n}") for n in range(5)]
    async with fronted(rows=rows) as web:
        answer = await web.get(f"{PATIENT}1%5E%5E%5EON&mostRecentResults=2")
    assert answer.headers["location"] == "/viewer?StudyInstanceUIDs=1.0,1.1"


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([row("1.1", "1", "ON"), row("1.2", "2", "ON")], id="two patients"),
        pytest.param([row("1.1", "1", "ON"), row("1.2", "1", "BC")], id="one number of two issuers"),
        pytest.param([row("1.1", "1", ""), row("1.2", "1", "", "HDIRS")], id="no issuer, two regions"),
        pytest.param([row("1.1", "", ""), row("1.2", "", "")], id="no number at all"),
        pytest.param([row("1.1", accession_issuer="A"), row("1.2", accession_issuer="B")], id="two accession issuers"),
        pytest.param([row("1.1"), row("1.2", region="HDIRS")], id="one patient, two regions"),
    ],
)
async def test_accession_that_may_mean_two_things_is_never_guessed(rows: list[Row]) -> None:
    async with fronted(rows=rows) as web:
        answer = await web.get(f"{LAUNCH}?requestType=STUDY&accessionNumber=A1")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for uid in ("1.1", "1.2"):
        assert f'href="/viewer?StudyInstanceUIDs={uid}"' in answer.text
    assert "O&#x27;Brien, &lt;Máire&gt;" in answer.text
    assert "<Máire>" not in answer.text
    assert "StudyInstanceUIDs=1.1,1.2" not in answer.text


async def test_two_studies_of_one_order_open_together() -> None:
    rows = [row("1.1", accession_issuer="A"), row("1.2", accession_issuer="A", region="HDIRS")]
    async with fronted(rows=rows) as web:
        answer = await web.get(f"{LAUNCH}?requestType=STUDY&accessionNumber=A1")
    assert answer.headers["location"] == "/viewer?StudyInstanceUIDs=1.1,1.2"


async def test_numbers_that_are_linked_are_one_patient() -> None:
    rows = [row("1.1", "N1", "NEODIN", other="42"), row("1.2", "H7", "HDIRS", other="42")]
    async with fronted(rows=rows) as web:
        answer = await web.get(f"{PATIENT}42")
    assert answer.headers["location"] == "/viewer?StudyInstanceUIDs=1.1,1.2"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("requestType=STUDY&accessionNumber=A1", 200),
        ("requestType=PATIENT&patientID=1", 200),
        ("requestType=PATIENT&patientID=1%5E%5E%5EON", 302),
        ("requestType=STUDY&studyUID=1.2", 302),
    ],
)
async def test_with_a_region_missing_only_what_is_certain_opens_by_itself(query: str, status: int) -> None:
    async with fronted(search=FakeSearch([row("1.2")], states=ONE_MISSING)) as web:
        answer = await web.get(f"{LAUNCH}?{query}")
    assert answer.status_code == status
    assert status == 302 or "No complete answer from HDIRS" in answer.text


async def test_nothing_found_is_404_only_when_every_region_was_heard() -> None:
    for search, status in (
        (FakeSearch(states=ALL_COMPLETE), 404),
        (FakeSearch(states=ONE_MISSING), 503),
        (FakeSearch(before=[NoRegionAnswered("no region answered")]), 503),
    ):
        async with fronted(search=search) as web:
            answer = await web.get(f"{LAUNCH}?requestType=STUDY&accessionNumber=SECRET")
        assert answer.status_code == status
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "SECRET" not in answer.text
        assert ("retry-after" in answer.headers) == (status == 503)


async def test_study_that_is_not_found_beside_another_is_said() -> None:
    async with fronted(rows=[row("1.2")]) as web:
        answer = await web.get(f"{LAUNCH}?requestType=STUDY&studyUID=1.2,1.3")
    assert answer.status_code == 200
    assert "asked for and not found: 1" in answer.text


async def test_many_studies_of_a_patient_are_listed_with_the_newest_to_open_together() -> None:
    rows = [row(f"1.{n}") for n in range(30)]
    async with fronted(rows=rows) as web:
        answer = await web.get(f"{PATIENT}1")
    assert answer.status_code == 200
    assert "Open the 20 newest together" in answer.text
    assert answer.text.count("<tr>") == 31


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("99998410^^^AcmeHospital", ("99998410", "AcmeHospital")),
        ("1^2^M11^&1.2.3&ISO^MR", ("1", "1.2.3")),
        ("A\\S\\B^^^X\\T\\Y", ("A^B", "X&Y")),
        ("1^^^NS&&", ("1", "NS")),
        ("1", ("1", "")),
    ],
)
def test_cx_identifiers_are_read_as_hl7_has_them(text: str, read: tuple[str, str]) -> None:
    assert extended_composite_id(text) == read
