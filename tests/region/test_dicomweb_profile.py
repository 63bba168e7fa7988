"""Profiles of regions that speak DICOMweb: one way or the other, and no secret in the clear."""

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.region.dicomweb_client import Client
from gateway.region.profile import Profile, load
from tests.region.test_profile import put, refused, toml

URL = "https://pacs.example.ca/dicom-web"
NO_DIMSE: dict[str, Any] = {"ae_title": None, "host": None, "port": None}


def web(**values: Any) -> str:
    return toml(**{**NO_DIMSE, "dicomweb": URL, **values})


def test_name_and_address_are_enough() -> None:
    profile = Profile(name="Radiology-Of-The-North", dicomweb=f"{URL}/")
    assert (profile.dicomweb, profile.ae_title, profile.id) == (URL, "RADIOLOGY-OF-THE", "radiology-of-the-north")


def test_what_retrieve_ae_title_calls_it_can_be_said() -> None:
    assert Profile(name="HDIRS", dicomweb=URL, ae_title="ARCHIVE").ae_title == "ARCHIVE"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"host": "10.0.0.5"}, '"host" is for a region that speaks DIMSE'),
        ({"port": 104}, '"port" is for a region that speaks DIMSE'),
        ({"tls": True}, '"tls" is for a region that speaks DIMSE'),
        ({"move_destinations": ["GATEWAY"]}, '"move_destinations" is for a region that speaks DIMSE'),
        ({"retrieve": "c-get"}, '"retrieve" is for a region that speaks DIMSE'),
        ({"key": "key.pem"}, '"key" is of no use without "certificate"'),
        ({"dicomweb": "http://10.0.0.5/dicom-web", "token_file": "token"}, "the token would travel in the clear"),
        ({"dicomweb": "http://10.0.0.5/dicom-web", "ca": "ca.pem"}, '"ca" is for TLS'),
        ({"dicomweb": "ftp://10.0.0.5"}, '"dicomweb" cannot be '),
        ({"dicomweb": "https://user:word@10.0.0.5/"}, '"dicomweb" cannot be '),
        ({"dicomweb": "https://10.0.0.5/?key=1"}, '"dicomweb" cannot be '),
    ],
)
def test_what_fits_no_region_is_refused_with_the_remedy(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    [fault] = refused(put(tmp_path, hdirs=web(**values)))
    assert fault.startswith("hdirs.toml: ")
    assert said in fault


def test_a_token_is_for_the_web_only(tmp_path: Path) -> None:
    [fault] = refused(put(tmp_path, hdirs=toml(token_file="token")))
    assert '"token_file" is for a region with "dicomweb"' in fault


def test_regions_are_told_apart_by_their_ae_titles(tmp_path: Path) -> None:
    [fault] = refused(put(tmp_path, a=toml(name="A"), b=web(name="HDIRS")))
    assert fault == "b.toml: \"ae_title\" 'HDIRS' is another region's, too: give each its own"


def test_a_token_goes_to_this_host_in_the_clear() -> None:
    url = "http://127.0.0.1:8042/dicom-web"
    assert Profile(name="HERE", dicomweb=url, token_file="token").dicomweb == url


@pytest.mark.parametrize("content", [None, "", "two words", "t\u00f4ken"])
def test_a_token_that_cannot_be_used_is_told_at_the_start(tmp_path: Path, content: str | None) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    with pytest.raises(ConfigError, match="token"):
        Client(Profile(name="HDIRS", dicomweb=URL, token_file=str(token)))


def test_the_example_of_the_documentation_is_a_profile(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "gateway" / "docs" / "dicomweb-regions.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    [profile] = load(put(tmp_path, north=example))
    assert profile.dicomweb == "https://pacs.north.example.ca/dicom-web"
    uncommented = [line.removeprefix("# ") for line in example.splitlines()]
    assert load(put(tmp_path, north="\n".join(uncommented)))
