"""What overrides what: the file, the environment, the command line; and from where a file's paths are meant."""

from pathlib import Path

import pytest

from gateway.config.settings import Settings, load
from gateway.errors import ConfigError
from gateway.region import profile


def written(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def test_an_environment_variable_overrides_the_file_and_the_command_line_overrides_it(tmp_path: Path) -> None:
    path = written(tmp_path, "[http]\nport = 9080\n[dimse]\nport = 9112\n")
    environ = {"GATEWAY_HTTP__PORT": "9081", "GATEWAY_DIMSE__PORT": "9113"}
    settings = load(path, {"http": {"port": 9082}}, environ)
    assert (settings.http.port, settings.dimse.port) == (9082, 9113)


def test_environment_variables_are_written_as_in_a_file_and_text_needs_no_quotation_marks() -> None:
    settings = load(
        environ={
            "GATEWAY_DIMSE__AE_TITLE": "12345",
            "GATEWAY_DIMSE__PLAIN": "false",
            "GATEWAY_SEARCH__SOFT_SECONDS": "2.5",
            "GATEWAY_STORE__DEFAULT": '["NEODIN", "HDIRS"]',
        }
    )
    assert (settings.dimse.ae_title, settings.dimse.plain) == ("12345", False)
    assert settings.search.soft_seconds == 2.5
    assert settings.store.default == ("NEODIN", "HDIRS")


def test_the_variables_of_others_are_left_alone() -> None:
    assert load(environ={"GATEWAY_HOME": "/srv", "MY_GATEWAY_HTTP__PORT": "1"}) == load(environ={})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GATEWAY_HTTP__PROT", "1", r'^environment GATEWAY_HTTP__PROT: "http\.prot" .* did you mean "port"\?'),
        ("GATEWAY_HTTP__PORT", "eighty", r'^environment GATEWAY_HTTP__PORT: "http\.port" cannot be '),
        ("GATEWAY_HTPP__PORT", "80", r'"htpp" is not a known key: did you mean "http"\?'),
    ],
)
def test_a_mistake_in_the_environment_is_told_by_the_name_of_the_variable(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(environ={name: value})


def test_a_mistake_in_a_file_is_told_even_where_the_environment_overrides_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.toml"):
        load(written(tmp_path, "[http]\nport = -1\n"), environ={"GATEWAY_HTTP__PORT": "80"})


def test_paths_in_a_file_begin_at_its_folder_wherever_the_gateway_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    written(
        tmp_path / "etc", '[identity]\ncrosswalk = "patients.csv"\n[spool]\nfolder = "../spool"\n[http]\nkey = ""\n'
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = load(Path("../etc/gateway.toml"), environ={})
    assert Path(settings.identity.crosswalk).resolve() == tmp_path / "etc/patients.csv"
    assert Path(settings.spool.folder).resolve() == tmp_path / "spool"
    assert settings.http.key == ""


def test_absolute_paths_stay_as_they_are_and_those_of_the_environment_begin_where_the_gateway_is_started(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, '[identity]\ncrosswalk = "/etc/patients.csv"\n[store]\nfolder = "queue"\n')
    settings = load(path, environ={"GATEWAY_STORE__FOLDER": "here"})
    assert (settings.identity.crosswalk, settings.store.folder) == ("/etc/patients.csv", "here")


def test_every_setting_that_is_a_path_is_known_to_be_one() -> None:
    named = ("folder", "certificate", "key", "ca", "crosswalk", "file")
    for section in Settings.model_fields.values():
        for key, field in getattr(section.annotation, "model_fields", {}).items():
            if field.annotation is str and key.rpartition("_")[2] in named:
                assert field.metadata, key


def test_the_certificates_of_a_profile_are_looked_for_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('name = "A"\nae_title = "A"\nhost = "a"\nport = 104\ntls = true\nca = "ca.pem"\n')
    [region] = profile.load(tmp_path)
    assert region.ca == str(tmp_path / "ca.pem")
