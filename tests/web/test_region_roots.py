"""One region alone, below a root of its own: for administrators, and for what the merge suppressed."""

import pytest

from gateway.dataset.query import Level
from tests.web.fakes import SEARCHED, STUDY, FakeRetrieve, FakeSearch, ct, gateway, study_row


def roots() -> dict[str, FakeSearch]:
    return {"neodin": FakeSearch([study_row("1.7")]), "hdirs": FakeSearch([study_row("1.8")])}


async def test_region_answers_for_itself_with_urls_below_its_own_root() -> None:
    regions = roots()
    async with gateway(FakeSearch([study_row()]), regions=regions) as web:
        host = f"http://127.0.0.1:{web.port}"
        answer = await web.client.get(f"{host}/regions/hdirs/dicom-web/studies?PatientID=1")
    [row] = answer.json()
    assert row["00081190"]["Value"] == ["/regions/hdirs/dicom-web/studies/1.8"]
    [query] = regions["hdirs"].queries
    assert query.keys == {("00100020",): "1"}
    assert web.search.queries == regions["neodin"].queries == []


@pytest.mark.parametrize(("path", "level", "study", "series"), SEARCHED)
async def test_region_root_has_the_same_search_resources(
    path: str, level: Level, study: str | None, series: str | None
) -> None:
    regions = roots()
    async with gateway(regions=regions) as web:
        root = f"http://127.0.0.1:{web.port}/regions/neodin/dicom-web"
        got = await web.client.get(root + path)
        sent = await web.client.post(root + path, data={"limit": "1"})
        lines = await web.client.get(root + path, headers={"Accept": "application/x-ndjson"})
    assert {got.status_code, sent.status_code, lines.status_code} == {200}
    assert {(q.level, q.study, q.series) for q in regions["neodin"].queries} == {(level, study, series)}


async def test_region_root_has_the_retrieve_resources() -> None:
    retrieve = FakeRetrieve([ct()])
    async with gateway(retrieve=retrieve, regions=roots(), public_url="https://x.example") as web:
        root = f"http://127.0.0.1:{web.port}/regions/neodin/dicom-web"
        whole = await web.client.get(f"{root}/studies/{STUDY}")
        metadata = await web.client.get(f"{root}/studies/{STUDY}/metadata")
    assert b"Content-Location: https://x.example/regions/neodin/dicom-web/studies/" in whole.content
    assert metadata.json()[0]["7FE00010"]["BulkDataURI"].startswith("https://x.example/regions/neodin/dicom-web/")


async def test_warnings_of_a_region_root_name_that_root_as_their_service() -> None:
    async with gateway(regions={"hdirs": FakeSearch(remaining=4)}, public_url="https://x.example") as web:
        answer = await web.client.get(f"http://127.0.0.1:{web.port}/regions/hdirs/dicom-web/studies?limit=1")
    assert answer.headers["warning"] == (
        "299 https://x.example/regions/hdirs/dicom-web: There are 4 additional results that can be requested"
    )


@pytest.mark.parametrize(
    "path", ["/regions/nowhere/dicom-web/studies", "/regions/HDIRS/dicom-web/studies", "/regions/"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_region_is_404_with_the_names_there_are(method: str, path: str) -> None:
    async with gateway(regions=roots()) as web:
        answer = await web.client.request(method, f"http://127.0.0.1:{web.port}{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["available"] == ["neodin", "hdirs"]
    assert "known: neodin, hdirs" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/regions/hdirs", "/regions/hdirs/other", "/regions/hdirs/dicom-web/nothing"])
async def test_unknown_resource_of_a_known_region_is_404(path: str) -> None:
    async with gateway(regions=roots()) as web:
        answer = await web.client.get(f"http://127.0.0.1:{web.port}{path}")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is no such resource"


async def test_other_methods_are_405_below_a_region_root_too() -> None:
    async with gateway(regions=roots()) as web:
        answer = await web.client.put(f"http://127.0.0.1:{web.port}/regions/hdirs/dicom-web/studies")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")


async def test_root_path_is_below_the_region() -> None:
    async with gateway(regions=roots(), root_path="/pacs") as web:
        answer = await web.client.get(f"http://127.0.0.1:{web.port}/regions/hdirs/pacs/studies")
    assert answer.json()[0]["00081190"]["Value"] == ["/regions/hdirs/pacs/studies/1.8"]
