"""The OpenAPI description: valid, complete, and made of what the code reads by."""

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from gateway.dataset.required import REQUIRED
from gateway.web.openapi import Undescribed, openapi
from gateway.web.parameter_descriptions import INSTANCE, SERIES, STUDY
from gateway.web.parameters import CONTROLS, ELSEWHERE
from gateway.web.rendered_parameters import READERS
from gateway.web.wado_uri import NAMES
from regions.people import people
from regions.plan import FULL
from regions.schedule import schedule
from tests.web.fakes import FakeSearch, gateway
from tests.web.storing import FakeRegion, origin

REGION = "/regions/{region}/dicom-web"


async def described() -> dict[str, Any]:
    async with gateway(regions={"neodin": FakeSearch(), "hdirs": FakeSearch()}) as web:
        answer = await web.client.get(f"http://127.0.0.1:{web.port}/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def resolved(document: dict[str, Any], thing: dict[str, Any]) -> dict[str, Any]:
    for name in thing["$ref"].removeprefix("#/").split("/") if "$ref" in thing else ():
        document = document[name]
    return document if "$ref" in thing else thing


async def parameters(path: str, method: str = "get") -> dict[str, dict[str, Any]]:
    document = await described()
    return {x["name"]: x for x in (resolved(document, x) for x in document["paths"][path][method]["parameters"])}


async def test_openapi_is_valid() -> None:
    document = await described()
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1.")


async def test_openapi_with_storing_is_valid_and_takes_what_is_stored() -> None:
    async with origin(FakeRegion()) as served:
        document = (await served.client.get(f"http://127.0.0.1:{served.port}/openapi.json")).json()
    OpenAPIV31SpecValidator(document).validate()
    taken = document["paths"]["/dicom-web/studies"]["post"]["requestBody"]["content"]
    assert {'multipart/related; type="application/dicom"', "application/x-www-form-urlencoded"} <= taken.keys()
    assert {"200", "202", "409"} <= document["paths"]["/dicom-web/studies/{study}"]["post"]["responses"].keys()


async def test_every_resource_of_the_province_is_described_for_one_region_too() -> None:
    paths = (await described())["paths"]
    ours = {path.removeprefix("/dicom-web") for path in paths if path.startswith("/dicom-web/")}
    assert {"/studies", "/studies/{study}/series/{series}/instances/{instance}/frames/{frames}", "/wado"} <= ours
    assert {path.removeprefix(REGION) for path in paths if path.startswith(REGION)} == ours
    region = (await parameters(f"{REGION}/studies"))["region"]
    assert region["schema"]["enum"] == ["neodin", "hdirs"]


async def test_no_two_operations_have_one_name() -> None:
    paths = (await described())["paths"]
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(names) == len(set(names))


def test_a_route_that_nobody_describes_is_refused() -> None:
    async def nameless(_: object) -> None: ...

    with pytest.raises(Undescribed, match="say what it does"):
        openapi([Route("/new", nameless)], version="1")


async def test_every_parameter_of_a_search_is_described_from_the_tables_that_it_is_read_by() -> None:
    found = await parameters("/dicom-web/studies")
    assert {*CONTROLS, *ELSEWHERE} <= found.keys()
    assert "a date YYYYMMDD" in found["StudyDate"]["description"]
    instances = await parameters("/dicom-web/instances")
    assert sum(map(len, REQUIRED.values())) <= len(instances)
    assert "RequestAttributesSequence.ScheduledProcedureStepID" in instances


async def test_every_parameter_of_pictures_is_described() -> None:
    rendered = await parameters("/dicom-web/studies/{study}/rendered")
    uri = await parameters("/dicom-web/wado")
    assert READERS.keys() <= rendered.keys()
    assert set(NAMES) <= uri.keys()
    assert {x for x in uri if uri[x].get("required")} == {"requestType", "studyUID", "seriesUID", "objectUID"}


async def test_answers_name_their_headers_and_failures_are_problems() -> None:
    document = await described()
    responses = document["paths"]["/dicom-web/studies"]["get"]["responses"]
    found = {status: resolved(document, response) for status, response in responses.items()}
    assert {"Federation-Status", "Warning"} <= found["200"]["headers"].keys()
    assert "Retry-After" in found["503"]["headers"]
    assert all("application/problem+json" in found[status]["content"] for status in found if status >= "400")
    assert "/docs/errors/no-region-answered" in found["503"]["description"]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_openapi_is_compressed_for_who_takes_it() -> None:
    async with gateway() as web:
        url = f"http://127.0.0.1:{web.port}/openapi.json"
        plain = await web.client.get(url, headers={"Accept-Encoding": "identity"})
        packed = await web.client.get(url, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == plain.json()


def test_examples_are_of_the_synthetic_province() -> None:
    studies = schedule(1, FULL, people(1, FULL.patients))
    [study] = [study for study in studies if study.uid == STUDY]
    assert SERIES in {series.uid for series in study.series}
    assert INSTANCE.startswith("2.25.")
