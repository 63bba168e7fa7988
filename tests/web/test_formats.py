"""Which form a Retrieve answer takes: media type, Transfer Syntax, one part or many (PS3.18 8.7.3, 10.4.4)."""

from typing import Any

import pytest
from starlette.requests import Request

from gateway.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    HTJ2K_LOSSLESS,
    IMPLICIT_VR_LE,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LS_LOSSLESS,
    MPEG4_HIGH_41,
    RLE_LOSSLESS,
)
from gateway.web.formats import Default, Form, Wishes, frame_forms, instance_forms, value_forms
from gateway.web.negotiation import DICOM, Unavailable, accepted
from gateway.web.retrieve import INSTANCE_FORMS, STUDY_FORMS

MULTIPART = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'
PRIVATE = "1.3.6.1.4.1.99999.1"
OCTET_STREAM = "application/octet-stream"


def wishes(accept: str | None, default: Default = "explicit") -> Wishes:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    return Wishes(accepted(Request({"type": "http", "headers": headers}), ()), default)


def container(accept: str | None, *, one: bool = False) -> Form:
    return wishes(accept).choose(INSTANCE_FORMS if one else STUDY_FORMS)


def outgoing(accept: str | None, stored: str, *, decodable: bool = False, default: Default = "explicit") -> str:
    """In which Transfer Syntax an instance of a study leaves."""
    chosen = wishes(accept, default)
    forms = instance_forms(stored, chosen.choose(STUDY_FORMS), default, [JPEG_LS_LOSSLESS], decodable=decodable)
    return chosen.choose(forms).transfer_syntax


def frame(accept: str | None, stored: str, *, single: bool = True, default: Default = "explicit", **more: Any) -> str:
    targets = more.pop("targets", [RLE_LOSSLESS, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS])
    forms = frame_forms(stored, default, targets, decodable=more.pop("decodable", True), single=single)
    return str(wishes(accept, default).choose(forms))


# --- instances


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="application/dicom"; transfer-syntax=*',
        "multipart/related; type=application/dicom; transfer-syntax=*",
        'multipart/related; transfer-syntax="*"; type="application/dicom"',
        'MULTIPART/Related;TYPE="Application/DICOM";Transfer-Syntax="*"',
        "multipart/related ; transfer-syntax=*",
        "text/css, multipart/related; type=application/dicom; transfer-syntax=*; q=0.3",
    ],
)
@pytest.mark.parametrize(
    "stored", [EXPLICIT_VR_LE, JPEG_2000_LOSSLESS, JPEG_BASELINE, DEFLATED_EXPLICIT_VR_LE, PRIVATE]
)
def test_any_transfer_syntax_is_as_stored(accept: str, stored: str) -> None:
    assert outgoing(accept, stored, decodable=True) == stored


@pytest.mark.parametrize("accept", [None, "*/*", MULTIPART, "multipart/*", f"{MULTIPART}; transfer-syntax=*"])
@pytest.mark.parametrize("stored", [IMPLICIT_VR_LE, EXPLICIT_VR_BE])
@pytest.mark.parametrize("default", ["explicit", "stored"])
def test_implicit_and_big_endian_never_leave(accept: str | None, stored: str, default: Default) -> None:
    assert outgoing(accept, stored, default=default) == EXPLICIT_VR_LE


@pytest.mark.parametrize("accept", [None, "*/*", MULTIPART, f"{MULTIPART};transfer-syntax={EXPLICIT_VR_LE}"])
def test_compressed_instance_is_decompressed_unless_another_transfer_syntax_is_named(accept: str | None) -> None:
    assert outgoing(accept, JPEG_2000_LOSSLESS, decodable=True) == EXPLICIT_VR_LE


def test_codec_that_nobody_has_is_refused_and_the_refusal_says_what_to_ask() -> None:
    with pytest.raises(Unavailable) as caught:
        outgoing(None, PRIVATE)
    offers = (f"{MULTIPART}; transfer-syntax={uid}" for uid in (PRIVATE, "*", JPEG_LS_LOSSLESS))
    assert caught.value.available == tuple(offers)


def test_what_exists_only_with_losses_may_leave_when_no_transfer_syntax_is_named() -> None:
    assert outgoing(MULTIPART, JPEG_BASELINE, decodable=True) == JPEG_BASELINE
    assert outgoing(f"{MULTIPART}; transfer-syntax={EXPLICIT_VR_LE}", JPEG_BASELINE, decodable=True) == EXPLICIT_VR_LE


def test_named_transfer_syntax_is_made_when_it_can_be() -> None:
    assert outgoing(f"{MULTIPART}; transfer-syntax={JPEG_LS_LOSSLESS}", EXPLICIT_VR_LE) == JPEG_LS_LOSSLESS
    with pytest.raises(Unavailable):
        outgoing(f"{MULTIPART}; transfer-syntax={HTJ2K_LOSSLESS}", EXPLICIT_VR_LE)


def test_alternatives_are_weighed() -> None:
    accept = f"{MULTIPART}; transfer-syntax={JPEG_LS_LOSSLESS};q=0.5, {MULTIPART};transfer-syntax=*;q=0.9"
    assert outgoing(accept, EXPLICIT_VR_LE) == EXPLICIT_VR_LE
    assert outgoing(accept.replace("0.5", "1.0"), EXPLICIT_VR_LE) == JPEG_LS_LOSSLESS


def test_deflated_is_inflated_unless_asked_for() -> None:
    assert outgoing(MULTIPART, DEFLATED_EXPLICIT_VR_LE) == EXPLICIT_VR_LE


def test_default_transfer_syntax_is_a_setting() -> None:
    explicit = f"{MULTIPART}; transfer-syntax={EXPLICIT_VR_LE}"
    assert outgoing(MULTIPART, JPEG_2000_LOSSLESS, default="stored", decodable=True) == JPEG_2000_LOSSLESS
    assert outgoing(explicit, JPEG_2000_LOSSLESS, default="stored", decodable=True) == EXPLICIT_VR_LE


@pytest.mark.parametrize("accept", ["application/dicom", "application/dicom; transfer-syntax=*", "application/*"])
def test_single_part_is_for_one_instance_only(accept: str) -> None:
    assert container(accept, one=True).single
    with pytest.raises(Unavailable):
        container(accept)


def test_multipart_is_preferred_unless_single_part_weighs_more() -> None:
    assert not container("*/*", one=True).single
    assert not container(f"application/dicom, {MULTIPART}", one=True).single
    assert container(f"application/dicom, {MULTIPART}; q=0.5", one=True).single


def test_octet_stream_of_an_instance_resource_is_its_bulk_data_and_zip_is_there_by_name() -> None:
    assert container(OCTETS).media_type == OCTET_STREAM
    assert container("application/zip").media_type == "application/zip"
    assert container("*/*").media_type == DICOM


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
        container(accept)
    assert caught.value.available[0].startswith(MULTIPART)


# --- frames


@pytest.mark.parametrize("accept", [OCTETS, "multipart/related; type=application/octet-stream", "*/*", None])
def test_frames_are_decompressed_to_octets_by_default(accept: str | None) -> None:
    assert frame(accept, JPEG_2000_LOSSLESS) == f"{OCTETS}; transfer-syntax={EXPLICIT_VR_LE}"


@pytest.mark.parametrize(
    ("stored", "media_type"),
    [
        (JPEG_BASELINE, "image/jpeg"),
        (JPEG_LS_LOSSLESS, "image/jls"),
        (JPEG_2000_LOSSLESS, "image/jp2"),
        (HTJ2K_LOSSLESS, "image/jphc"),
        (RLE_LOSSLESS, "image/dicom-rle"),
        (EXPLICIT_VR_LE, OCTET_STREAM),
        (MPEG4_HIGH_41, "video/mp4"),
    ],
)
def test_octets_of_any_transfer_syntax_are_the_stored_codestream_under_its_own_name(
    stored: str, media_type: str
) -> None:
    accept = 'multipart/related; type="application/octet-stream"; transfer-syntax="*"'  # what OHIF sends
    assert frame(accept, stored) == f'multipart/related; type="{media_type}"; transfer-syntax={stored}'


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ('multipart/related; type="image/jls"', "image/jls"),
        ('multipart/related; type="image/x-jls"', "image/jls"),
        ('multipart/related; type="image/x-dicom-rle"', "image/dicom-rle"),
        (f'multipart/related; type="image/jp2"; transfer-syntax={JPEG_2000_LOSSLESS}', "image/jp2"),
        ('multipart/related; type="image/jls"; transfer-syntax=*', "image/jls"),
        ('multipart/related; type="image/jls";q=0.2, multipart/related; type="image/jp2"', "image/jp2"),
    ],
)
def test_frames_are_made_in_the_media_type_that_is_named(accept: str, chosen: str) -> None:
    assert f'type="{chosen}"' in frame(accept, EXPLICIT_VR_LE)


def test_lossy_frames_stay_what_they_are_unless_octets_are_named() -> None:
    assert 'type="image/jpeg"' in frame("*/*", JPEG_BASELINE)
    assert f'type="{OCTET_STREAM}"' in frame(OCTETS, JPEG_BASELINE)


def test_one_frame_can_be_a_single_part() -> None:
    assert frame(OCTET_STREAM, EXPLICIT_VR_LE) == f"{OCTET_STREAM}; transfer-syntax={EXPLICIT_VR_LE}"
    assert frame("image/jp2", JPEG_2000_LOSSLESS) == f"image/jp2; transfer-syntax={JPEG_2000_LOSSLESS}"
    with pytest.raises(Unavailable):
        frame(OCTET_STREAM, EXPLICIT_VR_LE, single=False)


def test_frames_that_cannot_be_decoded_are_refused_as_octets() -> None:
    with pytest.raises(Unavailable) as caught:
        frame(OCTETS, MPEG4_HIGH_41, targets=[], decodable=False)
    assert "video/mp4" in str(caught.value)


# --- other bulk data


@pytest.mark.parametrize(
    ("accept", "media_type", "single"),
    [
        ("*/*", OCTET_STREAM, False),
        (OCTETS, OCTET_STREAM, False),
        (OCTET_STREAM, OCTET_STREAM, True),
        (f"{OCTETS}; transfer-syntax=*", OCTET_STREAM, False),
        ("application/pdf", "application/pdf", True),
        ('multipart/related; type="application/pdf"', "application/pdf", False),
    ],
)
def test_document_is_octets_or_what_it_is(accept: str, media_type: str, single: bool) -> None:
    chosen = wishes(accept).choose(value_forms("application/pdf"))
    assert (chosen.media_type, chosen.single) == (media_type, single)
