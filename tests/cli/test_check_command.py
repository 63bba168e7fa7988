"""``gateway check`` and ``gateway config show``: all mistakes at once, each with its line; no secret is shown."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.cli.config import masked

REGION = 'name = "{0}"\nae_title = "{0}"\nhost = "127.0.0.1"\nport = 104\nmove_destinations = ["{0}_GW"]\n'
PEER = 'name = "PACS"\nae_title = "{0}"\naddresses = ["127.0.0.1"]\n'


def gateway(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for folder in ("regions", "peers"):
        (tmp_path / folder).mkdir()
    (tmp_path / "regions/a.toml").write_text(REGION.format("NEODIN"))
    (tmp_path / "peers/pacs.toml").write_text(PEER.format("PACS"))
    (tmp_path / "gateway.toml").write_text("")
    return tmp_path


def checked(home: Path, *more: str) -> Result:
    options = ("--config", home / "gateway.toml", "--regions", home / "regions", "--peers", home / "peers")
    return gateway("check", *options, *more)


def test_a_configuration_without_a_mistake_is_said_to_have_none(home: Path) -> None:
    result = checked(home)
    assert (result.exit_code, result.stdout.startswith("nothing to mend in ")) == (0, True)


def test_every_mistake_of_every_file_is_told_at_once_by_file_line_and_remedy(home: Path) -> None:
    (home / "gateway.toml").write_text("# ours\n[http]\nprot = 1\n\n[search]\nsoft_seconds = 'soon'\n")
    (home / "regions/b.toml").write_text(REGION.format("HDIRS").replace("104", "0") + 'caracter_set = "x"\n')
    (home / "regions/c.toml").write_text('name = "C\n')
    (home / "peers/other.toml").write_text('name = "OTHER"\nae_title = "OTHER"\naddresses = ["nowhere"]\n')
    result = checked(home)
    assert result.exit_code == 2
    told = result.stdout.splitlines()
    assert told[-1].startswith("6 to mend in ")
    places = [line.removeprefix(f"{home}/").split(": ")[0] for line in told[:-1]]
    assert places == [
        "gateway.toml:3",
        "gateway.toml:6",
        "regions/b.toml:4",
        "regions/b.toml:6",
        "regions/c.toml:1",
        "peers/other.toml:3",
    ]
    assert 'did you mean "port"?' in told[0]
    assert 'did you mean "character_set"?' in told[3]


@pytest.mark.parametrize(
    ("settings", "line", "said"),
    [
        ("[http]\nport = 80\ncertificate = 'absent.pem'\n", 3, "absent.pem"),
        ("[dimse]\nplain = false\n", 2, '"dimse.plain" is false'),
        ("\n[store]\ndefault = ['NEODINN']\n", 3, "NEODIN"),
        ("[identity]\nsource = 'csv'\n", 1, '"identity.crosswalk" is empty'),
        ("[identity]\nsource = 'csv'\nprovincial_issuer = 'ON'\ncrosswalk = 'none.csv'\n", 4, "none.csv"),
    ],
)
def test_what_does_not_fit_together_is_told_by_the_line_of_its_key(
    home: Path, settings: str, line: int, said: str
) -> None:
    (home / "gateway.toml").write_text(settings)
    result = checked(home)
    assert result.exit_code == 2
    assert result.stdout.splitlines()[0].startswith(f"{home}/gateway.toml:{line}: ")
    assert said in result.stdout.splitlines()[0]


def test_a_peer_that_is_called_as_we_are_is_told(home: Path) -> None:
    (home / "peers/pacs.toml").write_text(PEER.format("GATEWAY"))
    result = checked(home)
    assert result.stdout.startswith(f"{home}/peers/pacs.toml:2: \"ae_title\" 'GATEWAY' is our own")


def test_a_region_whose_certificates_cannot_be_used_is_told(home: Path) -> None:
    (home / "regions/a.toml").write_text(REGION.format("NEODIN") + 'tls = true\nca = "authority.pem"\n')
    assert checked(home).stdout.startswith(f'{home}/regions/a.toml:7: "ca": {home}/regions/authority.pem')


def test_two_regions_of_one_name_are_told_by_the_line_of_the_second(home: Path) -> None:
    (home / "regions/b.toml").write_text("# a copy\n" + REGION.format("Neodin"))
    assert checked(home).stdout.startswith(f"{home}/regions/b.toml:2: ")


def test_json_says_the_same_for_programs(home: Path) -> None:
    (home / "gateway.toml").write_text("[http]\nprot = 1\n")
    result = checked(home, "--json")
    assert result.exit_code == 2
    [fault] = json.loads(result.stdout)["faults"]
    assert (fault["source"], fault["line"]) == (str(home / "gateway.toml"), 2)
    assert json.loads(checked(home.parent / home.name, "--json").stdout)["checked"]


# --- config show


def shown(*arguments: str | Path) -> dict[str, dict[str, object]]:
    result = gateway("config", "show", "--json", *arguments)
    assert result.exit_code == 0
    return {row["key"]: row for row in json.loads(result.stdout)}


def test_config_show_tells_each_value_and_where_it_comes_from(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "gateway.toml").write_text("[http]\nport = 9080\nhost = '::1'\n")
    monkeypatch.setenv("GATEWAY_HTTP__PORT", "9081")
    rows = shown("--config", home / "gateway.toml")
    assert rows["http.port"] == {"key": "http.port", "value": 9081, "source": "environment GATEWAY_HTTP__PORT"}
    assert (rows["http.host"]["value"], rows["http.host"]["source"]) == ("::1", str(home / "gateway.toml"))
    assert rows["dimse.port"]["source"] == "default"


def test_config_show_prints_a_line_a_setting_where_there_is_no_terminal() -> None:
    lines = gateway("config", "show").stdout.splitlines()
    assert lines[0] == "setting\tvalue\tfrom"
    assert 'dimse.ae_title\t"GATEWAY"\tdefault' in lines


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("client_secret", "hunter2", "********"),
        ("password", "", ""),
        ("url", "https://me:hunter2@example.ca/fhir", "https://me:********@example.ca/fhir"),
        ("feeds", [{"token": "hunter2", "host": "a"}], [{"token": "********", "host": "a"}]),
        ("pixm_token_file", "/run/secrets/pixm", "/run/secrets/pixm"),
        ("key", "/etc/key.pem", "/etc/key.pem"),
    ],
)
def test_secrets_are_masked_and_the_names_of_their_files_are_not(key: str, value: object, shown: object) -> None:
    assert masked(key, value) == shown
