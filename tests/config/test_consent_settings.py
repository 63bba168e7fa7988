"""Where directives are kept: a file beside the settings, or a URL without a password."""

import re
from pathlib import Path

import pytest

from gateway.config.consent import hosts_of
from gateway.config.settings import load
from gateway.errors import ConfigError

PAGE = Path(__file__).parents[2] / "gateway" / "docs" / "operations-scale.md"


def written(folder: Path, value: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(f'[consent]\ndatabase = "{value}"\ndatabase_password_file = "secrets/db"\n')
    return path


def test_a_file_lies_beside_the_settings_and_a_url_is_no_file(tmp_path: Path) -> None:
    assert load(written(tmp_path, "consent.sqlite")).consent.database == str(tmp_path / "consent.sqlite")
    for url in ("postgresql://gateway@db.example.org/gateway?sslmode=require", "postgres://db:5433/gateway"):
        consent = load(written(tmp_path, url)).consent
        assert consent.database == url
        assert consent.database_password_file == str(tmp_path / "secrets" / "db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://gateway:s3cret@db.example.org/gateway",
        "postgresql://gateway:p@s3cret/@db.example.org/gateway",
        "postgresql://gateway@db.example.org/gateway?password=s3cret",
        "postgresql://gateway@db.example.org/gateway?sslmode=require&sslpassword=s3cret",
    ],
)
def test_a_password_is_not_written_into_the_settings_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r'"consent\.database" cannot be .*a password has no place in it') as told:
        load(written(tmp_path, url))
    assert "s3cret" not in str(told.value)
    assert "database_password_file" in str(told.value)
    assert "PGPASSWORD" in str(told.value)


@pytest.mark.parametrize("url", ["mysql://gateway@db/gateway", "postgresql:///gateway", "file:///consent.sqlite"])
def test_a_url_of_something_else_or_of_no_server_is_refused_with_an_example(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"postgresql://USER@HOST/NAME"):
        load(written(tmp_path, url))


@pytest.mark.parametrize("mode", ["prefer", "allow", "yes"])
def test_tls_that_may_or_may_not_be_is_refused(tmp_path: Path, mode: str) -> None:
    with pytest.raises(ConfigError, match="sslmode is"):
        load(written(tmp_path, f"postgresql://gateway@db.example.org/gateway?sslmode={mode}"))


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://gateway@one:5432,two/gateway", ("one", "two")),
        ("postgresql://[::1]:5433/gateway", ("::1",)),
        ("postgresql://%2Frun%2Fpostgresql/gateway", ("/run/postgresql",)),
        ("postgresql://gateway@/gateway?host=/run/postgresql", ("/run/postgresql",)),
        ("postgresql:///gateway", ()),
    ],
)
def test_servers_are_read_as_postgresql_reads_them(url: str, hosts: tuple[str, ...]) -> None:
    assert hosts_of(url) == hosts


def test_the_example_of_two_replicas_is_one(tmp_path: Path) -> None:
    [example] = [x for x in re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL) if "[consent]" in x]
    path = tmp_path / "gateway.toml"
    path.write_text(example)
    consent = load(path).consent
    assert hosts_of(consent.database) == ("db.example.org",)
    assert consent.database_password_file == "/etc/gateway/database.password"
