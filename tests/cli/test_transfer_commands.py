"""``gateway find``, ``fetch`` and ``send``: of a running gateway and of the regions themselves, honest either way."""

import asyncio
import contextlib
import errno
import getpass
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.audit.record import Event, Record
from gateway.audit.segments import entries, writers
from gateway.cli.app import app
from gateway.cli.fetch import selections
from gateway.cli.origin import federation_status
from gateway.cli.shelf import LEDGER, Shelf, Writing
from gateway.dataset.query import Selection
from tests.interop.serving import gateway, profile
from tests.kit import dicom, pdus
from tests.kit.peers import SECONDS, free_port, orthanc, pynetdicom_archive
from tests.kit.scripted import ScriptedPeer, scripted_acceptor

STUDY = str(dicom.uid(1))
INSTANCES = dicom.study(1, series=2, instances=3, size=4096)
FILES = {f"{each.SeriesInstanceUID}/{each.SOPInstanceUID}.dcm" for each in INSTANCES}


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@dataclass
class Served:
    """A gateway over one archive, and the folder of its region's profile."""

    url: str
    regions: Path
    config: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    regions = home / "regions"
    regions.mkdir()
    (home / "own.toml").write_text(f"[dimse]\nport = {free_port()}\n")
    port = free_port()
    with (
        pynetdicom_archive("NEODIN", INSTANCES, {"GATEWAY": port}) as node,
        gateway(home, profile("NEODIN", node.port), port) as running,
    ):
        (regions / "neodin.toml").write_text(profile("NEODIN", node.port, "c-get"))
        yield Served(running.url, regions, home / "own.toml")


@pytest.fixture(params=["url", "regions"])
def asked(request: pytest.FixtureRequest, served: Served) -> list[str]:
    """The options that say whom to ask: both ways must answer alike."""
    if request.param == "url":
        return ["--url", served.url]
    return ["--regions", str(served.regions), "--config", str(served.config)]


@pytest.fixture
def with_one_down(served: Served, tmp_path: Path) -> list[str]:
    regions = tmp_path / "regions"
    regions.mkdir()
    (regions / "a.toml").write_text((served.regions / "neodin.toml").read_text())
    (regions / "b.toml").write_text(profile("HDIRS", free_port(), "c-get").replace('["GATEWAY"]', '["GW2"]'))
    return ["--regions", str(regions), "--config", str(served.config)]


@pytest.fixture(autouse=True)
def nobody_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_ACCESS__MODE", "open")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder / STUDY)) for path in folder.rglob("*.dcm")}


# --- find


def test_find_prints_a_line_a_study_and_says_beside_it_who_answered(asked: list[str]) -> None:
    result = command("find", "PatientName=tremblay*", *asked)
    assert result.exit_code == 0, result.output
    head, row = result.stdout.splitlines()
    assert head.split("\t")[-1] == "Study Instance UID"
    assert row.split("\t")[-1] == STUDY
    assert "1 found - neodin complete 1" in result.stderr


def test_find_of_what_is_not_there_is_complete_and_empty(asked: list[str]) -> None:
    result = command("find", "PatientName=nobody", *asked, "--json")
    assert (result.exit_code, json.loads(result.stdout)["rows"]) == (0, [])


@pytest.mark.parametrize(("of", "count"), [("studies", 1), ("series", 2), ("instances", 6)])
def test_find_json_has_rows_and_regions(asked: list[str], of: str, count: int) -> None:
    below = [] if of == "studies" else ["--study", STUDY]
    told = json.loads(command("find", "--of", of, *below, *asked, "--json").stdout)
    assert len(told["rows"]) == count
    assert [(one["region"], one["state"]) for one in told["regions"]] == [("neodin", "complete")]


def test_find_with_a_region_down_ends_with_3_and_names_it(with_one_down: list[str]) -> None:
    result = command("find", *with_one_down)
    assert result.exit_code == 3
    assert STUDY in result.stdout
    assert "warning: region hdirs unavailable (refused): results incomplete" in result.stderr


def test_find_with_every_region_down_ends_with_4(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(profile("NEODIN", free_port()))
    result = command("find", "--regions", tmp_path)
    assert (result.exit_code, result.stdout) == (4, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["PatientName"], "is not a key with a value"),
        (["StudyDate=yesterday"], "StudyDate: expected a date"),
    ],
)
def test_a_question_that_is_wrong_is_told_alike(asked: list[str], arguments: list[str], said: str) -> None:
    assert said in str(command("find", *arguments, *asked).exception)


def test_whom_to_ask_must_be_said() -> None:
    assert "say whom to ask" in str(command("find").exception)


def test_a_gateway_that_is_not_there_is_told() -> None:
    result = command("find", "--url", f"http://127.0.0.1:{free_port()}/dicom-web")
    assert "no answer from the gateway at 127.0.0.1" in str(result.exception)


def test_a_url_that_is_not_the_root_is_told(served: Served) -> None:
    root = served.url.removesuffix("/dicom-web")
    for url in (root, f"{root}/openapi.json?", f"{root}/home#"):
        result = command("find", "--url", url)
        assert "is no root of DICOMweb resources" in str(result.exception), url


def test_a_federation_status_is_read() -> None:
    one, other = federation_status("neodin;state=complete;matches=12, hdirs;state=timeout")
    assert (one.region, one.state, one.count, one.missing) == ("neodin", "complete", 12, False)
    assert (other.region, other.state, other.count, other.missing) == ("hdirs", "timeout", None, True)


# --- fetch


def test_fetch_writes_every_instance_as_the_region_holds_it(asked: list[str], tmp_path: Path) -> None:
    result = command("fetch", STUDY, "--to", tmp_path, *asked)
    assert result.exit_code == 0, result.output
    assert "complete: 6 fetched" in result.stdout
    assert files(tmp_path) == FILES
    for each in INSTANCES:
        written = tmp_path / STUDY / each.SeriesInstanceUID / f"{each.SOPInstanceUID}.dcm"
        assert dicom.from_part10(written.read_bytes()).PixelData == each.PixelData
    assert not list(tmp_path.rglob("*.part"))


def test_fetch_again_brings_only_what_is_missing_or_damaged(asked: list[str], tmp_path: Path) -> None:
    assert command("fetch", STUDY, "--to", tmp_path, *asked).exit_code == 0
    gone, cut = sorted(tmp_path.rglob("*.dcm"))[::4]
    gone.unlink()
    whole = cut.read_bytes()
    cut.write_bytes(whole[:100])
    [told] = json.loads(command("fetch", STUDY, "--to", tmp_path, *asked, "--json").stdout)
    assert (told["complete"], told["fetched"], told["skipped"]) == (True, 2, 4)
    assert cut.read_bytes() == whole
    assert files(tmp_path) == FILES
    [told] = json.loads(command("fetch", STUDY, "--to", tmp_path, *asked, "--json").stdout)
    assert (told["fetched"], told["skipped"]) == (0, 6)


def test_fetch_with_a_region_down_ends_with_3_and_says_it_may_hold_more(
    with_one_down: list[str], tmp_path: Path
) -> None:
    result = command("fetch", STUDY, "--to", tmp_path / "out", *with_one_down)
    assert result.exit_code == 3
    assert files(tmp_path / "out") == FILES
    assert "region hdirs refused: it may hold more" in result.stdout


def test_fetch_of_what_nobody_holds_ends_with_4_and_says_so(asked: list[str], tmp_path: Path) -> None:
    result = command("fetch", "2.25.1", "--to", tmp_path, *asked)
    assert result.exit_code == 4
    assert "2.25.1: no region that answered holds it" in result.stdout
    assert not list(tmp_path.rglob("*.dcm"))


def test_fetch_takes_no_path_for_a_uid(served: Served, tmp_path: Path) -> None:
    result = command("fetch", "../../etc", "--to", tmp_path, "--url", served.url)
    assert "is not a Study Instance UID" in str(result.exception)


def test_fetch_to_what_is_no_folder_says_so_and_asks_for_nothing_more(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = command("fetch", STUDY, "2.25.1", "--to", tmp_path / "file", *asked)
    assert result.exit_code == 4, result.exception
    for study in (STUDY, "2.25.1"):
        assert f"{study}: {tmp_path}/file/{STUDY}" in result.stdout
    assert "Not a directory: make room, or choose another folder" in result.stdout


def test_fetch_to_a_full_disk_keeps_what_is_whole_and_says_so(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def write(self: Writing, data: bytes | memoryview) -> None:
        nonlocal written
        written += len(data)
        if written > 10_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.file.write(data)
        self.size += len(data)

    monkeypatch.setattr(Writing, "write", write)
    result = command("fetch", STUDY, "--to", tmp_path / "out", *asked)
    assert result.exit_code == 3, result.exception
    assert "INCOMPLETE: 2 fetched" in result.stdout
    assert "No space left on device: make room" in result.stdout
    assert not list(tmp_path.rglob("*.part"))
    monkeypatch.undo()
    monkeypatch.setenv("GATEWAY_ACCESS__MODE", "open")
    assert "complete: 2 there already, 4 fetched" in command("fetch", STUDY, "--to", tmp_path / "out", *asked).stdout
    assert files(tmp_path / "out") == FILES


def test_a_region_that_moves_sends_to_the_port_of_the_settings(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "gateway.toml").write_text(f"[dimse]\nport = {port}\n")
    (tmp_path / "regions").mkdir()
    with pynetdicom_archive("NEODIN", INSTANCES, {"GATEWAY": port}) as node:
        (tmp_path / "regions/a.toml").write_text(profile("NEODIN", node.port, "c-move"))
        asked = ("--regions", tmp_path / "regions", "--config", tmp_path / "gateway.toml")
        result = command("fetch", STUDY, "--to", tmp_path / "out", *asked)
    assert result.exit_code == 0, result.output
    assert "(neodin 6)" in result.stdout


def test_what_is_asked_for_is_no_more_than_what_is_missing() -> None:
    series = {"1.1": "1", "1.2": "1", "2.1": "2", "2.2": "2"}
    assert list(selections("9", series, series)) == [Selection("9")]
    assert not list(selections("9", series, {}))
    missing = {"1.1": "1", "1.2": "1", "2.2": "2"}
    assert list(selections("9", series, missing)) == [Selection("9", "1"), Selection("9", "2", ("2.2",))]


# --- the folder


@pytest.mark.parametrize("hostile", ["../../evil", "/etc/passwd", "..", "a\0b", "", "1.2/3", "1" * 65])
def test_no_name_from_the_wire_becomes_a_path(tmp_path: Path, hostile: str) -> None:
    with Shelf(tmp_path / "out", "1.2").put(hostile, hostile) as file:
        file.write(b"x")
    [path] = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != LEDGER]
    assert path.relative_to(tmp_path) == Path("out/1.2/series-001/instance-00001.dcm")


def test_a_file_that_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with contextlib.suppress(RuntimeError), Shelf(tmp_path, "1.2").put("1", "1.1") as file:
        file.write(b"x")
        raise RuntimeError
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not Shelf(tmp_path, "1.2").there


def test_a_ledger_that_points_elsewhere_or_is_cut_off_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "1.2").mkdir()
    (tmp_path / "secret").write_bytes(b"xx")
    lines = ['{"uid":"1","file":["..","secret"],"bytes":2}', "[1]", '{"uid":"2","fi']
    (tmp_path / "1.2" / LEDGER).write_text("\n".join(lines))
    assert not Shelf(tmp_path, "1.2").there


# --- send


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "files"
    (home / "deep").mkdir(parents=True)
    for number, each in enumerate(dicom.study(2, instances=3)):
        (home / "deep" / f"{number}.dcm").write_bytes(dicom.part10(each))
    return home


def test_send_stores_a_folder_in_a_region_and_tells_each_file(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("not DICOM")
    (tmp_path / "regions").mkdir()
    with orthanc(tmp_path, "NEODIN", dicomweb=False) as peer:
        (tmp_path / "regions/a.toml").write_text(profile("NEODIN", peer.port))
        result = command("send", folder, "--regions", tmp_path / "regions", "--to", "neodin")
        assert peer.statistics()["CountInstances"] == 3
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "notes.txt: skipped: the file does not begin with a preamble and DICM",
        "3 stored, 1 skipped",
    ]


def test_send_to_a_gateway_stores_what_can_be_stored_and_ends_with_3_for_the_rest(folder: Path, tmp_path: Path) -> None:
    bad = dicom.instance(3, PatientID="")
    (folder / "bad.dcm").write_bytes(dicom.part10(bad))
    port = free_port()
    with orthanc(tmp_path, "NEODIN", {"GATEWAY": port}, dicomweb=False) as peer:
        text = '[store]\ndefault = ["NEODIN"]\n'
        with gateway(tmp_path, profile("NEODIN", peer.port), port, settings=text) as running:
            result = command("send", folder, "--url", running.url, "--json")
            assert peer.statistics()["CountInstances"] == 3
            assert command("send", folder / "bad.dcm", "--url", running.url).exit_code == 4
    assert result.exit_code == 3
    told: list[dict[str, Any]] = json.loads(result.stdout)
    assert {one["file"]: one["state"] for one in told} == {
        "bad.dcm": "failed",
        **{f"deep/{number}.dcm": "stored" for number in range(3)},
    }
    assert "PatientID" in next(one["text"] for one in told if one["state"] == "failed")


def test_send_to_what_is_down_ends_with_4_and_says_why(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "regions").mkdir()
    (tmp_path / "regions/a.toml").write_text(profile("NEODIN", free_port()))
    result = command("send", folder, "--regions", tmp_path / "regions", "--to", "NEODIN")
    assert result.exit_code == 4
    assert "deep/0.dcm: failed: neodin: nothing listens as NEODIN" in result.stdout


# --- of regions with real patients


@dataclass
class Real:
    """A region whose gateway is not open, and its audit log."""

    options: list[object]
    log: Path

    def records(self) -> list[Record]:
        return [entry.record for writer in writers(self.log) for entry, _ in entries(writer)]


@pytest.fixture
def real(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Real:
    monkeypatch.delenv("GATEWAY_ACCESS__MODE")
    log, config = tmp_path / "log", tmp_path / "real.toml"
    config.write_text(f'{served.config.read_text()}[audit]\nfolder = "{log}"\n')
    return Real(["--regions", served.regions, "--config", config], log)


@pytest.mark.parametrize("asking", [["find"], ["fetch", STUDY, "--to", "{out}"], ["send", "{files}", "--to", "NEODIN"]])
def test_regions_with_real_patients_are_not_asked_without_a_reason_and_a_log(
    asking: list[str], real: Real, served: Served, folder: Path, tmp_path: Path
) -> None:
    arguments = [word.format(out=tmp_path / "out", files=folder) for word in asking]
    assert "--as-operator REASON" in str(command(*arguments, *real.options).exception)
    assert "--as-operator REASON" in str(command(*arguments, *real.options, "--as-operator", " ").exception)
    unlogged = ["--regions", served.regions, "--config", served.config, "--as-operator", "incident 7"]
    assert '"audit.folder" is empty' in str(command(*arguments, *unlogged).exception)
    assert not (tmp_path / "out").exists()
    assert not real.log.exists()


def test_what_an_operator_searches_and_fetches_is_recorded_with_his_reason(real: Real, tmp_path: Path) -> None:
    reason = ["--as-operator", "incident 7"]
    assert command("find", "PatientName=tremblay*", *real.options, *reason).exit_code == 0
    [search] = real.records()
    assert (search.event, search.reason, search.studies) == (Event.SEARCH, "incident 7", (STUDY,))
    assert (search.subject, search.channel, search.purpose) == (getpass.getuser(), "cli", "HSYSADMIN")
    assert "tremblay" in search.query
    assert [value for _, value in search.patients] == [INSTANCES[0].PatientID]
    assert command("fetch", STUDY, "--to", tmp_path / "out", *real.options, *reason).exit_code == 0
    begun, ended = real.records()[1:]
    assert (begun.event, ended.event) == (Event.RETRIEVE_BEGIN, Event.RETRIEVE)
    assert (ended.studies, ended.instances, ended.reason) == ((STUDY,), len(INSTANCES), "incident 7")


def test_what_an_operator_stores_is_recorded_file_by_file(real: Real, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "regions").mkdir()
    arguments = ["--regions", tmp_path / "regions", *real.options[2:], "--to", "NEODIN", "--as-operator", "migration"]
    with orthanc(tmp_path, "NEODIN", dicomweb=False) as peer:
        (tmp_path / "regions/a.toml").write_text(profile("NEODIN", peer.port))
        assert command("send", folder, *arguments).exit_code == 0
    assert command("send", folder / "deep/0.dcm", *arguments).exit_code == 4
    *stored, failed = real.records()
    study = (str(dicom.study(2)[0].StudyInstanceUID),)
    assert [(x.event, x.outcome, x.instances, x.studies) for x in stored] == [("store", "success", 1, study)] * 3
    whose = str(dicom.study(2)[0].PatientID)
    assert {record.patients for record in (*stored, failed)} == {(("neodin", whose),)}
    assert (failed.event, failed.outcome, failed.instances, failed.reason) == ("store", "failure", 0, "migration")


def test_where_there_are_no_real_patients_no_reason_is_asked_for_but_a_log_is_written(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ACCESS__MODE", "open")
    assert command("find", *real.options).exit_code == 0
    assert [(record.event, record.reason) for record in real.records()] == [(Event.SEARCH, "")]


# --- in a terminal


def test_in_a_terminal_there_is_a_table(served: Served) -> None:
    shown = bytearray()
    arguments = [sys.executable, "-m", "gateway", "find", "--url", served.url]
    pid, descriptor = pty.fork()
    if pid == 0:  # pragma: no cover - the child becomes the command
        os.environ |= {"TERM": "xterm", "COLUMNS": "200"}
        os.execv(sys.executable, arguments)
    try:
        with contextlib.suppress(OSError):  # the other end is closed when the command ends
            while data := os.read(descriptor, 4096):
                shown += data
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(descriptor)
    assert os.waitstatus_to_exitcode(status) == 0
    text = shown.decode()
    assert "\x1b[1m" in text
    assert "\t" not in text
    assert "Study Instance" in text


def heed_ctrl_c() -> None:
    """Do away with what a shell does to what it runs in the background: it would ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=heed_ctrl_c,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_ctrl_c_sends_c_cancel_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def never_answers(peer: ScriptedPeer) -> None:
        await peer.accept(pdus.EXPLICIT_LE)
        await peer.recv_message()
        asked.set()
        message = await peer.recv_message()
        assert message.command["command_field"] == pdus.C_CANCEL_RQ
        cancelled.set()
        await peer.hold()

    async with scripted_acceptor(never_answers) as node:
        (tmp_path / "regions").mkdir()
        (tmp_path / "regions" / "a.toml").write_text(profile("NEODIN", node.port))
        (tmp_path / "patient.toml").write_text("[search]\nsoft_seconds = 100.0\nhard_seconds = 100.0\n")
        asking = ("find", "--regions", str(tmp_path / "regions"), "--config", str(tmp_path / "patient.toml"))
        async with asyncio.timeout(SECONDS), started(*asking) as process:
            await asked.wait()
            process.send_signal(signal.SIGINT)
            await cancelled.wait()
            out, said = await process.communicate()
    assert process.returncode == 130
    assert (out, said.decode()) == (b"", "cancelled: searches that were under way have been cancelled\n")
