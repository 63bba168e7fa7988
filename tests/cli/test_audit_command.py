"""``gateway audit`` beside a running gateway: what it writes is checked, read and reported."""

import csv
import io
import os
import signal
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from gateway.audit.record import Event
from gateway.audit.running import check_kept
from gateway.audit.segments import entries, segments
from gateway.cli.app import app
from gateway.config.settings import load
from gateway.errors import ConfigError
from tests.audit.logs import SEARCH, searches, write
from tests.interop.serving import gateway, profile
from tests.kit.peers import free_port

WHO = "TEST-HCN|0041596842"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["audit", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write(tmp_path / "log", searches(3))
    return tmp_path / "log"


def test_verify_says_that_all_is_whole_or_where_it_is_not(log: Path) -> None:
    assert "gw1: 3 records whole" in run("verify", "--folder", str(log))
    [whole] = orjson.loads(run("verify", "--json", "--folder", str(log)))
    assert (whole["writer"], whole["records"], whole["fault"]) == ("gw1", 3, None)
    path = segments(log / "gw1")[0][1]
    path.write_bytes(path.read_bytes().replace(b"req-1", b"req-7"))
    result = CliRunner().invoke(app, ["audit", "verify", "--folder", str(log)])
    assert result.exit_code == 1
    assert f"BROKEN at {path}, line 2, record 2" in result.stdout
    result = CliRunner().invoke(app, ["audit", "verify", "--json", "--folder", str(log)])
    [broken] = orjson.loads(result.stdout)
    assert (result.exit_code, broken["fault"]["file"], broken["fault"]["seq"]) == (1, str(path), 2)


def test_tail_shows_the_last_records_and_is_recorded(log: Path) -> None:
    lines = [orjson.loads(line) for line in run("tail", "--folder", str(log), "-n", "2").splitlines()]
    assert [line["record"]["event"] for line in lines] == ["search", "log-read"]
    (own,) = [path for path in log.iterdir() if path.name.endswith("-cli")]
    (reading,) = [entry.record for entry, _ in entries(own)]
    assert (reading.event, reading.channel) == (Event.LOG_READ, "cli")


def test_a_report_is_given_in_every_form_and_is_recorded(log: Path) -> None:
    assert "Received" not in run("report", "--patient", WHO, "--folder", str(log))
    rows = list(csv.reader(io.StringIO(run("report", "--patient", WHO, "--csv", "--folder", str(log)))))
    assert len(rows) == 1 + 1 + 3 + 1  # the columns, both reports, and the searches
    assert "Qui a vu ce dossier" in run("report", "--patient", WHO, "--html", "--french", "--folder", str(log))
    document = orjson.loads(run("report", "--patient", WHO, "--json", "--folder", str(log)))
    assert [x["record"]["event"] for x in document["events"]] == ["log-read"] * 4 + ["search"] * 3
    none = orjson.loads(run("report", "--patient", WHO, "--json", "--to", "2001-01-01", "--folder", str(log)))
    assert none["events"] == []


@pytest.mark.parametrize("terminal", [False, True])
def test_what_a_caller_calls_itself_neither_breaks_a_report_nor_steers_a_terminal(
    tmp_path: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "300")
    nasty = SEARCH._replace(subject="[/x] [red]me\x1b[2J\x9b31m\nforged", person="", roles=())
    write(tmp_path / "log", [nasty])
    shown = run("report", "--patient", WHO, "--folder", str(tmp_path / "log"))
    assert "[/x] [red]me [2J 31m forged" in shown


def test_a_report_of_several_replicas_is_one(log: Path, tmp_path: Path) -> None:
    later = [record._replace(request_id=f"late-{number}") for number, record in enumerate(searches(2))]
    write(tmp_path / "other", later, at=1.75e9)
    folders = [f"--folder={folder}" for folder in (log, tmp_path / "other", log)]
    document = orjson.loads(run("report", "--patient", WHO, "--json", *folders))
    told = [(x["record"]["event"], x["record"]["request_id"]) for x in document["events"]]
    assert told == [
        ("log-read", ""),
        *(("search", f"late-{number}") for number in (1, 0)),
        *(("search", f"req-{number}") for number in (2, 1, 0)),
    ]
    with pytest.raises(ConfigError, match="no audit log"):
        run("report", "--patient", WHO, f"--folder={log}", f"--folder={tmp_path / 'none'}")


def test_a_correction_is_opened_reviewed_and_closed(log: Path) -> None:
    at = ("--folder", str(log))
    request = run("correction", "open", "--patient", WHO, "--text", "wrong name", *at).strip()
    assert run("correction", "review", request, *at).strip() == "under-review"
    assert run("correction", "close", request, "--reason", "mended", *at).strip() == "done"
    (one,) = [orjson.loads(line) for line in run("correction", "list", *at).splitlines()]
    assert (one["id"], one["state"], one["reason"]) == (request, "done", "mended")


def test_a_mistake_is_told(log: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ISSUER"):
        run("report", "--patient", "123", "--folder", str(log))
    with pytest.raises(ConfigError, match="no audit log"):
        run("verify", "--folder", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="only an open gateway"):
        check_kept(load().audit)


def events(folder: Path) -> list[tuple[Event, str]]:
    return [(entry.record.event, entry.record.reason) for entry, _ in entries(folder / "gw1")]


def test_a_gateway_records_its_start_its_stop_and_what_changed_in_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir(mode=0o700)
    settings = f'[dimse]\nunknown_peers = "loopback"\n[audit]\nfolder = "{tmp_path}/log"\nreplica = "gw1"\n'
    settings += f'anchor = "{tmp_path}/anchors"\n'
    port = free_port()
    with gateway(tmp_path, profile("NOBODY", port), settings=settings):
        assert events(tmp_path / "log")[0] == (Event.START, "1 regions, 0 peers")
    with gateway(tmp_path, profile("NOBODY", port), settings=f"{settings}[search]\nmax_results = 5\n") as running:
        os.kill(running.pid, signal.SIGKILL)
    with gateway(tmp_path, profile("NOBODY", port), settings=settings):
        pass
    found = events(tmp_path / "log")
    assert [event for event, _ in found] == [
        *(Event.START, Event.CONFIGURATION, Event.STOP),
        *(Event.START, Event.CONFIGURATION),
        *(Event.START, Event.CONFIGURATION, Event.STOP),
    ]
    assert found[4][1] == "changed: dimse, http, search"  # the ports are others, too
    (tmp_path / "settings.toml").write_text(settings)
    assert "gw1: 8 records whole" in run("verify", "--config", str(tmp_path / "settings.toml"))
