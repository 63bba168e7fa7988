"""Accept, accept= and Prefer: any order, case, quoting and weight (PS3.18 8.7)."""

from typing import Any

import pytest
from starlette.requests import Request

from gateway.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
)
from gateway.errors import RequestError
from gateway.web.negotiation import InstanceFormat, Unavailable, accepted, instance_format, json_type, preferences
from gateway.web.parameters import pairs

MULTIPART = 'multipart/related; type="application/dicom"'
PRIVATE = "1.3.6.1.4.1.99999.1"


def request(query: str = "", **fields: str) -> Request:
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    return Request({"type": "http", "headers": headers, "query_string": query.encode()})


def ranges(accept: str | None, query: str = "") -> Any:
    return accepted(request(query, **({} if accept is None else {"accept": accept})), pairs(query.encode()))


def instances(accept: str | None, *, one: bool = False, default: str = "explicit", query: str = "") -> InstanceFormat:
    return instance_format(ranges(accept, query), one_instance=one, default=default)


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
        ('multipart/related; type="application/dicom+xml", application/json;q=0.1', "application/json"),
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


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="application/dicom"; transfer-syntax=*',
        "multipart/related; type=application/dicom; transfer-syntax=*",
        'multipart/related; transfer-syntax="*"; type="application/dicom"',
        'MULTIPART/Related;TYPE="Application/DICOM";Transfer-Syntax="*"',
        "multipart/related ; transfer-syntax=*",
        "text/html, multipart/related; type=application/dicom; transfer-syntax=*; q=0.3",
    ],
)
def test_any_transfer_syntax_is_as_stored(accept: str) -> None:
    chosen = instances(accept.replace("text/html", "text/css"))
    assert not chosen.single
    for uid in (EXPLICIT_VR_LE, JPEG_2000_LOSSLESS, JPEG_BASELINE, DEFLATED_EXPLICIT_VR_LE, PRIVATE):
        assert chosen.outgoing(uid) == uid


@pytest.mark.parametrize("accept", [None, "*/*", MULTIPART, "multipart/*", f"{MULTIPART}; transfer-syntax=*"])
@pytest.mark.parametrize("stored", [IMPLICIT_VR_LE, EXPLICIT_VR_BE])
def test_implicit_and_big_endian_never_leave(accept: str | None, stored: str) -> None:
    assert instances(accept).outgoing(stored) == EXPLICIT_VR_LE


@pytest.mark.parametrize("accept", [None, "*/*", MULTIPART, f"{MULTIPART};transfer-syntax={EXPLICIT_VR_LE}"])
@pytest.mark.parametrize("stored", [JPEG_2000_LOSSLESS, PRIVATE])
def test_compressed_instance_is_not_decompressed_and_the_refusal_says_what_to_ask(
    accept: str | None, stored: str
) -> None:
    with pytest.raises(Unavailable) as caught:
        instances(accept).outgoing(stored)
    assert caught.value.available == (f"{MULTIPART}; transfer-syntax={stored}", f"{MULTIPART}; transfer-syntax=*")
    assert "ask for transfer-syntax=*" in str(caught.value)


def test_what_exists_only_with_losses_may_leave_when_no_transfer_syntax_is_named() -> None:
    assert instances(MULTIPART).outgoing(JPEG_BASELINE) == JPEG_BASELINE
    with pytest.raises(Unavailable):
        instances(f"{MULTIPART}; transfer-syntax={EXPLICIT_VR_LE}").outgoing(JPEG_BASELINE)


def test_named_transfer_syntax_is_served_when_it_is_the_stored_one() -> None:
    chosen = instances(
        f"{MULTIPART}; transfer-syntax={JPEG_2000_LOSSLESS}, {MULTIPART};transfer-syntax={PRIVATE};q=0.1"
    )
    assert chosen.outgoing(JPEG_2000_LOSSLESS) == JPEG_2000_LOSSLESS
    assert chosen.outgoing(PRIVATE) == PRIVATE
    with pytest.raises(Unavailable):
        chosen.outgoing(EXPLICIT_VR_LE)


def test_deflated_is_inflated_unless_asked_for() -> None:
    assert instances(MULTIPART).outgoing(DEFLATED_EXPLICIT_VR_LE) == EXPLICIT_VR_LE


def test_default_transfer_syntax_is_a_setting() -> None:
    assert instances(MULTIPART, default="stored").outgoing(JPEG_2000_LOSSLESS) == JPEG_2000_LOSSLESS
    with pytest.raises(Unavailable):
        instances(f"{MULTIPART}; transfer-syntax={EXPLICIT_VR_LE}", default="stored").outgoing(JPEG_2000_LOSSLESS)


@pytest.mark.parametrize("accept", ["application/dicom", "application/dicom; transfer-syntax=*", "application/*"])
def test_single_part_is_for_one_instance_only(accept: str) -> None:
    assert instances(accept, one=True).single
    with pytest.raises(Unavailable):
        instances(accept)


def test_multipart_is_preferred_unless_single_part_weighs_more() -> None:
    assert not instances("*/*", one=True).single
    assert not instances(f"application/dicom, {MULTIPART}", one=True).single
    assert instances(f"application/dicom, {MULTIPART}; q=0.5", one=True).single


@pytest.mark.parametrize(
    "accept",
    [
        f"{MULTIPART}; transfer-syntax={IMPLICIT_VR_LE}",
        f"{MULTIPART}; transfer-syntax=fast",
        'multipart/related; type="image/jp2"',
        "application/dicom+json",
        "image/png",
        f"{MULTIPART}; q=0, */*",
    ],
)
def test_unacceptable_formats_of_instances(accept: str) -> None:
    with pytest.raises(Unavailable) as caught:
        instances(accept)
    assert caught.value.available[0].startswith(MULTIPART)


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
