"""Retrieve Capabilities (PS3.18 8.9, Annex H), and OPTIONS and HEAD of every resource."""

from xml.etree import ElementTree as ET

import pytest
from httpx2 import Response

from tests.web.fakes import FakeSearch, gateway
from tests.web.storing import FakeRegion, origin

WADL = "{http://wadl.dev.java.net/2009/02}"


async def options(path: str, **fields: str) -> Response:
    async with gateway(regions={"neodin": FakeSearch()}) as web:
        return await web.client.options(f"http://127.0.0.1:{web.port}{path}", headers=fields)


@pytest.mark.parametrize("path", ["/dicom-web", "/dicom-web/"])
async def test_8_9_capabilities_of_the_base_are_those_of_all_resources_as_wadl(path: str) -> None:
    answer = await options(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.sun.wadl+xml"
    [resources] = ET.fromstring(answer.text)
    assert resources.get("base") == "/dicom-web/"
    paths = {resource.get("path"): resource for resource in resources}
    assert {"studies", "studies/{study}/metadata", "wado"} <= paths.keys()
    get = next(x for x in paths["studies"] if x.get("name") == "GET")
    assert {"limit", "offset", "PatientID"} <= {x.get("name") for x in get.iter(f"{WADL}param")}
    statuses = {x.get("status"): x for x in get.iter(f"{WADL}response")}
    assert {"200", "400", "413", "503"} <= statuses.keys()
    assert "application/dicom+json" in {x.get("mediaType") for x in statuses["200"]}


async def test_8_9_capabilities_are_json_for_who_asks_for_it() -> None:
    answer = await options("/dicom-web/", Accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    assert "/dicom-web/studies" in answer.json()["paths"]


async def test_8_9_capabilities_in_any_other_form_are_406() -> None:
    answer = await options("/dicom-web/", Accept="text/csv")
    assert answer.status_code == 406
    assert "application/vnd.sun.wadl+xml" in answer.json()["available"]


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/dicom-web/studies", "GET, HEAD, OPTIONS, POST"),
        ("/dicom-web/studies/1.2", "GET, HEAD, OPTIONS"),
        ("/dicom-web/studies/1.2/series/1.3/instances/1.4/bulkdata/0040A730/1/7FE00010", "GET, HEAD, OPTIONS"),
        ("/regions/neodin/dicom-web/studies", "GET, HEAD, OPTIONS, POST"),
        ("/wado", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options_of_a_resource_says_what_is_allowed_and_describes_it_alone(path: str, allow: str) -> None:
    answer = await options(path)
    assert (answer.status_code, answer.headers["allow"]) == (200, allow)
    [resources] = ET.fromstring(answer.text)
    assert len(list(resources)) == 1


@pytest.mark.parametrize("path", ["/nothing", "/dicom-web/nothing", "/regions/nowhere/dicom-web/studies"])
async def test_options_of_what_is_not_there_is_404(path: str) -> None:
    assert (await options(path)).status_code == 404


async def test_options_of_a_study_allows_storing_where_there_is_storing() -> None:
    async with origin(FakeRegion()) as served:
        answer = await served.client.options("/studies/1.2")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_a_preflight_is_still_one() -> None:
    async with gateway(cors_origins=("https://viewer.example",)) as web:
        fields = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "GET"}
        preflight = await web.client.options("/studies", headers=fields)
        plain = await web.client.options("/studies", headers={"Origin": "https://viewer.example"})
    assert preflight.headers["access-control-allow-origin"] == "https://viewer.example"
    assert preflight.text == "OK"
    assert plain.headers["content-type"] == "application/vnd.sun.wadl+xml"
    assert plain.headers["access-control-allow-origin"] == "https://viewer.example"


async def test_head_of_every_resource_is_what_its_get_is() -> None:
    async with gateway() as web:
        base = f"http://127.0.0.1:{web.port}"
        paths = (await web.client.get(f"{base}/openapi.json")).json()["paths"]
        plain = [path for path, methods in paths.items() if "{" not in path and "get" in methods]
        for path in plain:
            get, head = await web.client.get(base + path), await web.client.head(base + path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert head.headers["content-type"] == get.headers["content-type"], path
    assert {"/dicom-web/studies", "/docs", "/wado"} <= set(plain)
