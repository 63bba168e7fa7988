"""PS3.18 chapter 8 at the Search resources, requirement by requirement; the number in a name is the section."""

from urllib.parse import unquote

import pytest

from gateway.errors import NoRegionAnswered, RequestError
from tests.web.fakes import FakeSearch, gateway, study_row

XML = 'multipart/related; type="application/dicom+xml"'


async def status(target: str, **fields: str) -> int:
    async with gateway(FakeSearch([study_row()])) as web:
        answer = await web.client.get(target, headers=fields)
    return answer.status_code


async def type_of(target: str, accept: str | None) -> str:
    """Return the media type of an answer; no Accept field at all where accept is None."""
    async with gateway(FakeSearch([study_row()])) as web:
        request = web.client.build_request("GET", f"{web.url}{target}")
        del request.headers["accept"]
        if accept is not None:
            request.headers["accept"] = accept
        answer = await web.client.send(request)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["content-type"]).partition(";")[0]


async def test_8_3_unsupported_parameter_is_ignored_and_named() -> None:
    async with gateway(FakeSearch([study_row()])) as web:
        answer = await web.client.get("/studies?orderby=StudyDate&StudyDate=20240131")
    assert answer.status_code == 200
    assert web.search.queries[0].keys == {("00080020",): "20240131"}
    assert "orderby is no parameter and no attribute" in answer.headers["warning"]


@pytest.mark.parametrize("name", ["TREMBLAY", "MRN00042", "Tremblay%5EZoe", "19340203", "9876543217"])
async def test_8_3_what_may_be_a_value_in_place_of_a_name_is_not_repeated(name: str) -> None:
    async with gateway() as web:
        answer = await web.client.get(f"/studies?{name}=1")
    assert answer.status_code == 200
    assert "one of the names is no parameter and no attribute" in answer.headers["warning"]
    assert unquote(name) not in str(answer.headers)


async def test_8_3_unsupported_parameter_is_400_for_a_strict_caller() -> None:
    async with gateway() as web:
        answer = await web.client.get("/studies?PatietName=x", headers={"Prefer": "handling=strict"})
    assert answer.status_code == 400
    assert "PatietName is no parameter and no attribute: did you mean PatientName?" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("target", "name", "expected"),
    [
        ("/studies?limit=-1", "limit", "a number, 0 or more"),
        ("/studies?offset=x", "offset", "a number, 0 or more"),
        ("/studies?fuzzymatching=TRUE", "fuzzymatching", "true or false"),
        ("/studies?StudyDate=2024", "StudyDate", "a date YYYYMMDD"),
        ("/studies?StudyInstanceUID=x", "StudyInstanceUID", "a UID"),
        ("/studies?TimezoneOffsetFromUTC=EST", "TimezoneOffsetFromUTC", "an offset +hhmm or -hhmm"),
        ("/studies?charset=latin-1", "charset", "UTF-8"),
    ],
)
async def test_8_3_supported_parameter_with_a_wrong_value_is_400_that_names_it(
    target: str, name: str, expected: str
) -> None:
    async with gateway() as web:
        answer = await web.client.get(target)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"{name}: expected ")
    assert expected in answer.json()["detail"]
    assert web.search.queries == []


async def test_8_3_names_of_parameters_and_keywords_are_case_sensitive() -> None:
    async with gateway() as web:
        answer = await web.client.get("/studies?LIMIT=1&patientid=7")
    [query] = web.search.queries
    assert (query.limit, query.keys) == (None, {})
    first, second = answer.headers.get_list("warning")
    assert "did you mean limit?" in first
    assert "did you mean PatientID?" in second


async def test_8_3_3_1_accept_parameter_comes_before_the_accept_field() -> None:
    assert await type_of("/studies?accept=application/json", "*/*") == "application/json"
    assert await type_of("/studies?accept=application%2Fjson", "application/dicom+json, application/*;q=0.1") == (
        "application/json"
    )
    assert await type_of("/studies?accept=multipart/related;type=%22application/dicom%2Bxml%22", "*/*") == (
        "multipart/related"
    )


@pytest.mark.parametrize(
    ("parameter", "field"), [("*/*", "*/*"), ("application/json", "application/dicom+json"), ("text/csv", "*/*")]
)
async def test_8_3_3_1_accept_parameter_has_no_wildcard_and_must_fit_the_field(parameter: str, field: str) -> None:
    assert await status(f"/studies?accept={parameter}", accept=field) == 406


async def test_8_3_3_1_weights_count_and_the_most_specific_range_wins() -> None:
    accept = "application/*;q=0.9, application/dicom+json;q=0.2, application/json;q=0.3, application/x-ndjson;q=0"
    assert await type_of("/studies", accept) == "application/json"


async def test_8_3_3_1_invalid_members_of_accept_are_ignored() -> None:
    assert await type_of("/studies", "nonsense, a/b/c, application/json;q=7, ;;, application/json;q=0.5") == (
        "application/json"
    )


async def test_8_3_3_1_nothing_that_can_be_made_is_406_with_what_can() -> None:
    async with gateway() as web:
        answer = await web.client.get("/studies", headers={"Accept": "text/csv"})
    assert answer.status_code == 406
    assert answer.json()["available"] == ["application/dicom+json", "application/json", XML, "application/x-ndjson"]


@pytest.mark.parametrize("accept", [None, "", "*/*", "application/*"])
async def test_8_7_5_no_accept_field_and_wildcards_mean_the_default(accept: str | None) -> None:
    assert await type_of("/studies", accept) == "application/dicom+json"


async def test_8_7_5_dicom_and_rendered_types_together_are_400() -> None:
    assert await status("/studies", accept="application/dicom+json, image/jpeg") == 400


async def test_8_7_5_what_a_browser_sends_is_served() -> None:
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
    assert await type_of("/studies", browser) == "application/dicom+json"


@pytest.mark.parametrize(
    "accept",
    [XML, "multipart/related;type=application/dicom+xml", 'MULTIPART/Related ;q=1; TYPE="application/DICOM+xml"'],
)
async def test_8_7_values_are_tokens_or_quoted_strings_in_any_order_and_case(accept: str) -> None:
    assert await type_of("/studies", accept) == "multipart/related"


async def test_8_6_1_2_each_part_has_its_type_and_the_body_its_closing_delimiter() -> None:
    async with gateway(FakeSearch([study_row()])) as web:
        answer = await web.client.get("/studies", headers={"Accept": XML})
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    assert answer.content.startswith(b"--" + boundary + b"\r\nContent-Type: application/dicom+xml\r\n\r\n")
    assert answer.content.endswith(b"\r\n--" + boundary + b"--\r\n")


async def test_8_4_3_length_is_said_or_the_body_is_chunked() -> None:
    async with gateway(FakeSearch([study_row()])) as web:
        few = await web.client.get("/studies")
        web.search.rows = [study_row()] * 1000
        many = await web.client.get("/studies")
    assert int(few.headers["content-length"]) == len(few.content)
    assert many.headers["transfer-encoding"] == "chunked"


async def test_8_5_method_not_allowed_says_which_are() -> None:
    async with gateway() as web:
        answer = await web.client.delete("/studies")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")


async def test_8_5_errors_explain_themselves() -> None:
    async with gateway(FakeSearch(before=[RequestError("add a StudyDate")])) as web:
        answer = await web.client.get("/instances")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "add a StudyDate"


async def test_8_5_overload_that_passes_is_503_with_the_time_to_wait() -> None:
    async with gateway(FakeSearch(before=[NoRegionAnswered("none")])) as web:
        answer = await web.client.get("/studies")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")


@pytest.mark.parametrize("value", ["utf-8", "UTF-8", "utf-8;q=0.5,iso-8859-1", "%22ISO_IR%20192%22", "iso-8859-1,utf8"])
async def test_8_8_answers_are_utf_8_and_may_be_asked_to_be(value: str) -> None:
    async with gateway(FakeSearch([study_row()])) as web:
        answer = await web.client.get(f"/studies?charset={value}")
    assert answer.status_code == 200
    assert "Tremblay^Zoé".encode() in answer.content
    assert "warning" not in answer.headers


@pytest.mark.parametrize("value", ["", "iso-8859-1", "utf-8;q=0", "*", "%22ISO_IR%20100%22"])
async def test_8_3_3_2_charset_without_utf_8_is_400(value: str) -> None:
    assert await status(f"/studies?charset={value}") == 400


async def test_8_8_4_accept_charset_field_is_left_alone() -> None:
    assert await status("/studies", **{"accept-charset": "nonsense"}) == 200


async def test_8_3_4_2_warning_has_the_literal_form_of_the_standard() -> None:
    async with gateway(FakeSearch(remaining=2), public_url="https://imaging.example.ca/") as web:
        answer = await web.client.get("/studies")
    assert answer.headers["warning"] == (
        "299 https://imaging.example.ca/dicom-web: There are 2 additional results that can be requested"
    )


async def test_8_9_head_works_on_every_search_resource() -> None:
    async with gateway(FakeSearch([study_row()])) as web:
        for path in ("/studies", "/series", "/instances", "/studies/1.2/series", "/studies/1.2/instances"):
            answer = await web.client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
            assert "federation-status" in answer.headers
