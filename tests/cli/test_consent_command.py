"""``gateway consent``: directives placed, shown and ended beside a running gateway."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from gateway.cli.app import main
from gateway.cli.consent import app
from gateway.errors import ConfigError

PATIENT = ["--patient", "ON-HCN|1234567890"]
RUNNER = CliRunner()


@pytest.fixture
def config(tmp_path: Path, kept: dict[str, Any]) -> list[str]:
    path = tmp_path / "gateway.toml"
    keys = "".join(f'{key} = "{value}"\n' for key, value in kept.items())
    path.write_text(
        f'[consent]\n{keys}[audit]\nfolder = "{tmp_path}/audit"\n'
        '[identity]\nissuers = [{issuer = "ON-HCN", oid = "2.25.1"}]\n'
    )
    (tmp_path / "audit").mkdir(mode=0o700)
    return ["--config", str(path)]


def run(*arguments: str) -> str:
    done = RUNNER.invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_directive_is_placed_shown_and_ended(config: list[str], tmp_path: Path) -> None:
    what = ["--deny", "--study", "1.2.3", "--person", "cpso:1", "--to", "2030-01-31"]
    id_ = run("add", *PATIENT, *what, *config).strip()
    [shown] = map(orjson.loads, run("list", *PATIENT, *config).splitlines())
    provision = shown["provision"]
    assert (shown["id"], shown["status"], provision["type"]) == (id_, "active", "deny")
    assert shown["patient"]["identifier"] == {"system": "urn:oid:2.25.1", "value": "1234567890"}
    assert provision["period"] == {"end": "2030-02-01T00:00:00.000Z"}
    assert provision["data"][0]["reference"]["identifier"]["value"] == "urn:oid:1.2.3"
    assert provision["actor"][0]["reference"]["identifier"]["value"] == "cpso:1"
    assert run("end", id_, *config).strip() == "inactive"
    [shown] = map(orjson.loads, run("list", "--patient", "urn:oid:2.25.1|1234567890", *config).splitlines())
    assert (shown["status"], shown["meta"]["versionId"]) == ("inactive", "2")
    log = b"".join(path.read_bytes() for path in (tmp_path / "audit").rglob("*") if path.is_file())
    assert log.count(id_.encode()) >= 2


def test_a_directive_may_end_with_the_calendar(config: list[str]) -> None:
    run("add", *PATIENT, "--deny", "--from", "0001-01-01T00:00:00+14:00", "--to", "9999-12-31", *config)
    [shown] = map(orjson.loads, run("list", *PATIENT, *config).splitlines())
    assert shown["provision"] == {"type": "deny"}


def test_a_document_is_named_with_its_study(config: list[str]) -> None:
    run("add", *PATIENT, "--deny", "--study", "1.2.3", "--document", "1.2.3.4", *config)
    [shown] = map(orjson.loads, run("list", *PATIENT, *config).splitlines())
    [data] = shown["provision"]["data"]
    assert data["reference"]["reference"] == "studies/1.2.3/instances/1.2.3.4"
    assert data["reference"]["identifier"]["value"] == "urn:oid:1.2.3.4"
    for more in ([], ["--accession", "A1"], ["--study", "1.2.3", "--accession", "A1"]):
        with pytest.raises(ConfigError, match="--study"):
            RUNNER.invoke(
                app, ["add", *PATIENT, "--deny", "--document", "1.2.3.4", *more, *config], catch_exceptions=False
            )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--study", "nonsense"], "Study Instance UID"),
        (["--study", "1.2.3", "--document", "../etc"], "URL of an instance"),
        (["--from", "2040-05-01", "--to", "2040-01-01"], "ends before it begins"),
        (["--to", "2020-01-31"], "the period is over"),
    ],
)
def test_what_could_never_hold_is_refused(config: list[str], arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RUNNER.invoke(app, ["add", *PATIENT, "--deny", *arguments, *config], catch_exceptions=False)
    assert run("list", *PATIENT, *config) == ""


@pytest.mark.parametrize("what", [[], ["--deny", "--permit"]], ids=["neither", "both"])
def test_a_directive_says_whether_it_denies_or_permits(config: list[str], what: list[str]) -> None:
    with pytest.raises(ConfigError, match="--deny or --permit"):
        RUNNER.invoke(app, ["add", *PATIENT, *what, *config], catch_exceptions=False)
    assert run("list", *PATIENT, *config) == ""


def test_an_issuer_that_the_settings_do_not_name_is_told_of(
    config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    done = RUNNER.invoke(app, ["add", "--patient", "NOBODY|1", "--deny", *config], catch_exceptions=False)
    assert done.exit_code == 0
    assert "no issuer NOBODY" in done.stderr + capsys.readouterr().err


def test_a_consent_that_is_not_there_ends_with_4(
    config: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gateway", "consent", "end", "nope", *config])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (4, "there is no such consent\n")


def test_mistakes_are_told(config: list[str]) -> None:
    for what in (["--patient", "1234567890"], [*PATIENT, "--to", "soon"]):
        arguments = ["add", *what, "--deny", *config]
        with pytest.raises(ConfigError):
            RUNNER.invoke(app, arguments, catch_exceptions=False)
    with pytest.raises(ConfigError, match=r"consent\.database"):
        RUNNER.invoke(app, ["list", *PATIENT], catch_exceptions=False)
