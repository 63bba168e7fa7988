"""Accept, accept= and Prefer: any order, case, quoting and weight (PS3.18 8.7)."""

from typing import Any

import pytest
from starlette.requests import Request

from gateway.errors import RequestError
from gateway.web.formats import Wishes
from gateway.web.negotiation import Unavailable, accepted, preferences
from gateway.web.parameters import pairs
from gateway.web.retrieve import METADATA_FORMS

MULTIPART = 'multipart/related; type="application/dicom"'


def request(query: str = "", **fields: str) -> Request:
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    return Request({"type": "http", "headers": headers, "query_string": query.encode()})


def ranges(accept: str | None, query: str = "") -> Any:
    return accepted(request(query, **({} if accept is None else {"accept": accept})), pairs(query.encode()))


def json_type(ranges: Any) -> str:
    return Wishes(ranges).choose(METADATA_FORMS).media_type


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/dicom+json"),
        ("", "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/*", "application/dicom+json"),
        ("application/json", "application/json"),
        ("Application/JSON ; charset=utf-8", "application/json"),
        ("application/dicom+json, application/json", "application/dicom+json"),
        ("application/dicom+json;q=0.5, application/json;q=0.9", "application/json"),
        ("application/dicom+json;q=0, */*", "application/json"),
        ('multipart/related; type="application/dicom+xml", application/json;q=0.1', "application/dicom+xml"),
        ('multipart/related; type="application/dicom+xml";q=0.1, application/json', "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/dicom+json"),
        ("nonsense, application/json;q=banana, application/dicom+json", "application/dicom+json"),
    ],
)
def test_json_is_chosen_by_weight_and_by_the_most_specific_range(accept: str | None, chosen: str) -> None:
    assert json_type(ranges(accept)) == chosen


@pytest.mark.parametrize(
    "accept", ["text/html", "application/dicom+xml", "application/json;q=0", ";", 'multipart/related; type="x"', '"']
)
def test_nothing_acceptable_names_what_is_available(accept: str) -> None:
    with pytest.raises(Unavailable) as caught:
        json_type(ranges(accept))
    assert "application/dicom+json" in str(caught.value)
    assert caught.value.http_status == 406


def test_accept_parameter_comes_before_the_field() -> None:
    query = "accept=application/json"
    assert json_type(ranges("*/*", query)) == "application/json"
    assert json_type(ranges("application/dicom+json, application/json;q=0.1", query)) == "application/json"


def test_accept_parameter_keeps_its_plus_signs() -> None:
    assert json_type(ranges("*/*", "accept=application/dicom+json")) == "application/dicom+json"
    assert json_type(ranges("*/*", "accept=application%2Fdicom%2Bjson")) == "application/dicom+json"


@pytest.mark.parametrize("query", ["accept=text/html", "accept=*/*", "accept=", "accept=application/*"])
def test_accept_parameter_has_no_wildcards_and_must_be_possible(query: str) -> None:
    with pytest.raises(Unavailable):
        json_type(ranges("*/*", query))


def test_accept_parameter_must_agree_with_the_field() -> None:
    with pytest.raises(Unavailable):
        json_type(ranges("text/html", "accept=application/json"))


def test_dicom_and_rendered_types_together_are_refused() -> None:
    with pytest.raises(RequestError):
        ranges(f"{MULTIPART}, image/jpeg")


@pytest.mark.parametrize(
    ("prefer", "strict", "wait"),
    [
        ("", False, None),
        ("handling=strict", True, None),
        ('Handling="STRICT"; foo, wait=5', True, 5),
        ("handling=lenient, handling=strict", False, None),
        ("respond-async, wait=soon", False, None),
        ("wait=-1", False, None),
        ("wait=\u0665", False, None),
        ("handling", False, None),
    ],
)
def test_preferences(prefer: str, strict: bool, wait: int | None) -> None:
    found = preferences(request(prefer=prefer) if prefer.isascii() else request())
    assert (found.strict, found.wait) == (strict, wait)
