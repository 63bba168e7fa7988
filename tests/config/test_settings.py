"""Settings: shipped defaults, a file over them, the command line over both; a mistake is told in words."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from gateway.config.settings import Settings, load
from gateway.config.toml import Section
from gateway.errors import ConfigError

SECTIONS = (
    "access, audit, commitment, consent, dimse, http, identity, ops, retrieve, search, spool, store, viewer, workers"
)
SEARCH_KEYS = (
    "derived_series, derived_studies, hard_seconds, max_matches_per_region, max_results, snapshot_rows, "
    "snapshot_seconds, soft_seconds, split_searches, walk_series, walk_studies"
)


@pytest.fixture
def defaults() -> dict[str, Any]:
    return tomllib.loads((resources.files("gateway.config") / "defaults.toml").read_text(encoding="utf-8"))


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "gateway.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(folder: Path, text: str | bytes) -> str:
    """Return what is said of a file that cannot be used; it always says which file."""
    path = written(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines), lines
    return "\n".join(line.removeprefix(f"{path}: ") for line in lines)


# --- the shipped defaults


def test_shipped_defaults_are_usable_as_they_are() -> None:
    assert load().dimse.ae_title == "GATEWAY"


def test_every_setting_has_a_shipped_default_and_every_default_is_a_setting(defaults: dict[str, Any]) -> None:
    assert {name: set(section) for name, section in defaults.items()} == {
        name: set(field.annotation.model_fields)
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def test_every_default_is_explained_beside_it_or_speaks_for_itself() -> None:
    text = (resources.files("gateway.config") / "defaults.toml").read_text(encoding="utf-8")
    units = [line for line in text.splitlines() if "_seconds" in line or "_bytes" in line or "length" in line]
    assert units
    assert all("#" in line for line in units)


def test_no_setting_has_a_default_hidden_in_the_code() -> None:
    for field in Settings.model_fields.values():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, Section)
        assert all(inner.is_required() for inner in field.annotation.model_fields.values())


def test_settings_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().http.port = 1


# --- what overrides what


def test_a_file_overrides_single_keys_and_leaves_the_others(tmp_path: Path) -> None:
    settings = load(written(tmp_path, "[http]\nport = 9080\n"))
    assert settings.http.port == 9080
    assert settings.http.model_copy(update={"port": load().http.port}) == load().http
    assert settings.search == load().search


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[http]\nport = 9080\n[dimse]\nport = 9112\n")
    settings = load(path, {"http": {"port": 9081}})
    assert (settings.http.port, settings.dimse.port) == (9081, 9112)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")) == load()


def test_a_wrong_value_in_a_file_is_told_even_where_the_command_line_overrides_it(tmp_path: Path) -> None:
    path = written(tmp_path, "[http]\nport = -1\n")
    with pytest.raises(ConfigError, match=r"http\.port"):
        load(path, {"http": {"port": 9081}})


def test_a_wrong_value_on_the_command_line_is_told_as_such() -> None:
    with pytest.raises(ConfigError, match=r'^command line: "http\.port" cannot be 70000'):
        load(None, {"http": {"port": 70000}})


# --- what is refused, and in which words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[http]\nprot = 1", '"http.prot" is not a known key: did you mean "port"?'),
        ("[http]\nPORT = 1", '"http.PORT" is not a known key: did you mean "port"?'),
        ("[htpp]\nport = 1", '"htpp" is not a known key: did you mean "http"?'),
        (
            "port = 1",
            f'"port" is not a known key: known keys are {SECTIONS}',
        ),
        ("[search]\nzzz = 1", f'"search.zzz" is not a known key: known keys are {SEARCH_KEYS}'),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_known_name(tmp_path: Path, text: str, said: str) -> None:
    assert refused(tmp_path, text) == said


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[http]\nport = "eighty"', "http.port"),
        ('[http]\nport = "80"', "http.port"),
        ("[http]\nport = true", "http.port"),
        ("[http]\nport = 80.5", "http.port"),
        ("[http]\nport = 65536", "http.port"),
        ("[http]\nport = -1", "http.port"),
        ("[http]\nhost = 127", "http.host"),
        ('[http]\nhost = ""', "http.host"),
        ('[http]\ndefault_transfer_syntax = "implicit"', "http.default_transfer_syntax"),
        ('[http]\ncors_origins = "https://viewer.example"', "http.cors_origins"),
        ("[http]\ncors_origins = [1]", "http.cors_origins.0"),
        ('[http]\npublic_url = "imaging.example.ca"', "http.public_url"),
        ('[http]\npublic_url = "https://imaging.example.ca/?a=1"', "http.public_url"),
        ('[dimse]\nae_title = ""', "dimse.ae_title"),
        ('[dimse]\nae_title = "   "', "dimse.ae_title"),
        ('[dimse]\nae_title = "SEVENTEEN_LETTERS"', "dimse.ae_title"),
        ('[dimse]\nae_title = "GÂTEAU"', "dimse.ae_title"),
        ('[dimse]\nae_title = "A\\\\B"', "dimse.ae_title"),
        ('[dimse]\nae_title = "A\\nB"', "dimse.ae_title"),
        ("[dimse]\nmax_associations = 0", "dimse.max_associations"),
        ("[dimse]\nmax_associations = true", "dimse.max_associations"),
        ("[dimse]\nmaximum_pdu_length = 0", "dimse.maximum_pdu_length"),
        ("[dimse]\nmaximum_pdu_length = 2097152", "dimse.maximum_pdu_length"),
        ("[search]\nsoft_seconds = 0", "search.soft_seconds"),
        ("[search]\nsoft_seconds = -1.0", "search.soft_seconds"),
        ("[search]\nsoft_seconds = nan", "search.soft_seconds"),
        ("[search]\nhard_seconds = inf", "search.hard_seconds"),
        ("[search]\nmax_results = 0", "search.max_results"),
        ("[retrieve]\nquiet_seconds = 0", "retrieve.quiet_seconds"),
        ("http = 3", "http"),
        ("[[http]]\nport = 1", "http"),
    ],
)
def test_wrong_value_is_refused_by_file_and_key(tmp_path: Path, text: str, key: str) -> None:
    assert refused(tmp_path, text).startswith(f'"{key}" cannot be ')


def test_a_number_without_a_fraction_is_a_number_of_seconds(tmp_path: Path) -> None:
    assert load(written(tmp_path, "[search]\nsoft_seconds = 3\n")).search.soft_seconds == 3.0


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, "[http]\nport = -1\nprot = 2\n[dimse]\nae_title = ''\n").splitlines()
    assert len(said) == 3


def test_the_words_are_ours_and_not_those_of_a_library(tmp_path: Path) -> None:
    said = refused(tmp_path, "http = 3\n[search]\nsoft_seconds = 'soon'\n")
    assert "instance of" not in said
    assert "pydantic" not in said.lower()


def test_a_file_that_is_not_toml_is_refused_with_the_line(tmp_path: Path) -> None:
    assert "line 2" in refused(tmp_path, "[http]\nport == 1\n")


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "# région\n".encode("latin-1")) == "is not UTF-8: save it as UTF-8"


def test_a_file_from_an_editor_that_writes_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert load(written(tmp_path, b"\xef\xbb\xbf[http]\nport = 9080\n")).http.port == 9080


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read \(No such file or directory\)"):
        load(tmp_path / "absent.toml")


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


# --- identity


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[identity]\nsource = "cvs"', "identity.source"),
        ('[identity]\npixm_url = "https://user@registry.example.ca"', "neither user, query nor fragment"),
        ("[identity]\ncache_seconds = 301.0", "identity.cache_seconds"),
        ('[[identity.issuers]]\noid = "2.25.1"', '"identity.issuers.0.issuer" is missing'),
        ('[[identity.issuers]]\nissuer = "A"\noid = "1.02"', "is not an OID"),
        ('[[identity.issuers]]\nissuer = "A"\noids = "2.25.1"', 'did you mean "oid"?'),
        ('[[identity.issuers]]\nissuer = "A"\nzzz = 1', "known keys are issuer, oid, uri"),
    ],
)
def test_a_mistake_in_the_identity_source_is_told_by_key(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


def test_issuers_may_be_written_as_tables(tmp_path: Path) -> None:
    text = '[identity]\nsource = "csv"\n[[identity.issuers]]\nissuer = "ON-HCN"\noid = "2.16.840.1.113883.4.59"\n'
    [issuer] = load(written(tmp_path, text)).identity.issuers
    assert (issuer.issuer, issuer.oid, issuer.uri) == ("ON-HCN", "2.16.840.1.113883.4.59", "")
