"""The `gateway` command: mistakes are told in words with exit code 2, and it leaves nothing running."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import psutil
import pytest

from gateway import cli
from tests.interop.serving import PATIENT
from tests.kit.peers import SECONDS, free_port, free_ports
from tests.kit.small_province import small_province

REGION = 'name = "NEODIN"\nae_title = "NEODIN"\nhost = "127.0.0.1"\nport = {port}\n'


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    """A folder with the profile of a region that is down."""
    folder = tmp_path / "regions"
    folder.mkdir()
    (folder / "neodin.toml").write_text(REGION.format(port=free_port()))
    return folder


@dataclass
class Running:
    """A command that runs, the lines it printed, and every process that it started."""

    process: "subprocess.Popen[str]"
    lines: "Queue[str]" = field(default_factory=Queue)
    family: list[psutil.Process] = field(default_factory=list)

    def ready(self) -> str:
        """Return the ready line; what it started is remembered."""
        try:
            line = self.lines.get(timeout=SECONDS)
        except Empty:
            pytest.fail("it is not ready in time")
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        return line

    def read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line.rstrip())
        self.lines.put("")

    def stop(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def left(self) -> list[psutil.Process]:
        """Return what it started and did not end."""
        _, left = psutil.wait_procs(self.family, timeout=SECONDS)
        return list(left)


@contextlib.contextmanager
def running(*arguments: object, log: Path) -> Iterator[Running]:
    command = [sys.executable, "-m", "gateway", *map(str, arguments), "--ops-port", "0"]
    environment = os.environ | PATIENT | {"XDG_CACHE_HOME": str(log.parent)}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env=environment,
        ) as process,
    ):
        started = Running(process)
        reader = threading.Thread(target=started.read)
        reader.start()
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
            for stray in started.left():
                stray.kill()
            reader.join()


def get(port: int, path: str, token: str = "") -> tuple[int, http.client.HTTPMessage, Any]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        with connection.getresponse() as response:
            return response.status, response.headers, json.loads(response.read())


# --- mistakes


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run the command with a mistake in its input; return what it says of it."""
    monkeypatch.setattr(sys, "argv", ["gateway", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_a_mistake_in_the_settings_is_told_by_file_key_and_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], regions: Path, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("[http]\nprot = 80\n")
    said = told(monkeypatch, capsys, "serve", "--regions", regions, "--config", file)
    assert said == f'{file}: "http.prot" is not a known key: did you mean "port"?\n'


def test_a_mistake_in_a_profile_is_told_by_file_key_and_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], regions: Path
) -> None:
    (regions / "hdirs.toml").write_text(REGION.format(port=1).replace("NEODIN", "HDIRS") + 'caracter_set = "x"\n')
    said = told(monkeypatch, capsys, "serve", "--regions", regions)
    assert said == f'{regions / "hdirs.toml"}: "caracter_set" is not a known key: did you mean "character_set"?\n'


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["serve", "--regions", "/nowhere/at/all"], "/nowhere/at/all"),
        (["serve", "--regions", "REGIONS", "--config", "/nowhere/gateway.toml"], "/nowhere/gateway.toml"),
        (["serve", "--regions", "REGIONS", "--http-port", "70000"], "http.port"),
        (["serve", "--regions", "REGIONS", "--dimse-port", "-1"], "dimse.port"),
        (["serve", "--regions", "REGIONS", "--http-port", "eighty"], "http-port"),
        (["serve"], "regions"),
        (["serve", "--region", "REGIONS"], "regions"),
        (["sever"], "serve"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    regions: Path,
    arguments: list[str],
    word: str,
) -> None:
    chosen = [str(regions) if word == "REGIONS" else word for word in arguments]
    assert word in told(monkeypatch, capsys, *chosen)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_cannot_be_printed_is_told_without_a_traceback(unbuffered: str) -> None:
    command = [sys.executable, "-m", "gateway", "config", "show"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command,
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert ended.stderr == "No space left on device\n"
    assert ended.returncode == 4


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_who_reads_no_further_is_told_nothing(unbuffered: str) -> None:
    command = [sys.executable, "-m", "gateway", "config", "show"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("taken", ["--http-port", "--dimse-port", "--ops-port"])
def test_a_port_that_is_taken_is_told(regions: Path, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"--http-port": 0, "--dimse-port": 0, "--ops-port": 0, taken: other.getsockname()[1]}
        arguments = [str(word) for option in ports.items() for word in option]
        command = [sys.executable, "-m", "gateway", "serve", "--regions", str(regions), *arguments]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert finished.returncode == 2
    assert finished.stderr.startswith(f"port {ports[taken]} cannot be listened on ")
    assert finished.stderr.count("\n") == 1
    assert finished.stdout == ""


# --- serving


@pytest.fixture
def let_in(tmp_path: Path) -> tuple[str, Path]:
    """The option that names settings by which everybody may ask."""
    file = tmp_path / "open.toml"
    file.write_text('[access]\nmode = "open"\n')
    return "--config", file


def test_a_fresh_install_gives_nothing_and_says_why(regions: Path, tmp_path: Path) -> None:
    http_port = free_port()
    ports = ("--http-port", http_port, "--dimse-port", 0)
    log = tmp_path / "log"
    with running("serve", "--regions", regions, *ports, log=log) as command:
        command.ready()
        assert 'Write [access] mode = "tokens"' in command.lines.get(timeout=SECONDS)
        for path in ("/studies", "/studies/1.2", "/studies/1.2/metadata", "/studies/1.2/rendered"):
            status, _, body = get(http_port, f"/dicom-web{path}")
            assert (status, body["title"]) == (503, "Access not configured")
            assert "[access]" in body["detail"]
        assert command.stop(signal.SIGTERM) == 0
    assert "region-operation" not in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_listens_says_so_and_ends_well(
    regions: Path, tmp_path: Path, let_in: tuple[str, Path], number: int
) -> None:
    http_port, dimse_port = free_port(), free_port()
    ports = ("--http-port", http_port, "--dimse-port", dimse_port)
    with running("serve", "--regions", regions, *let_in, *ports, log=tmp_path / "log") as command:
        assert command.ready() == (
            f"ready http://127.0.0.1:{http_port}/dicom-web - AE GATEWAY on 127.0.0.1:{dimse_port} - regions NEODIN"
        )
        status, headers, body = get(http_port, "/dicom-web/studies")
        assert (status, headers["Content-Type"]) == (503, "application/problem+json")
        assert headers["Federation-Status"] == "neodin;state=refused"
        assert "neodin" in json.dumps(body)
        with socket.create_connection(("127.0.0.1", dimse_port)):
            pass
        assert command.stop(number) == 0
    assert not command.left()


def test_serve_says_which_port_the_system_chose_and_logs_one_json_event_a_line(
    regions: Path, tmp_path: Path, let_in: tuple[str, Path]
) -> None:
    log = tmp_path / "log"
    with running("serve", "--regions", regions, *let_in, "--http-port", 0, "--dimse-port", 0, log=log) as command:
        port = int(command.ready().split("/dicom-web")[0].rpartition(":")[2])
        assert get(port, "/dicom-web/studies?PatientName=Tremblay")[0] == 503
        assert command.stop(signal.SIGTERM) == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    told_of = [event for event in events if event["event"] == "region-operation"]
    assert [(event["region"], event["service"], event["outcome"]) for event in told_of] == [
        ("neodin", "search", "refused")
    ]
    assert "Tremblay" not in log.read_text()


# --- the embedded province


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_demo_brings_up_the_province_and_leaves_no_process(tmp_path: Path, number: int) -> None:
    small_province(tmp_path)
    http_port, dimse_port, base = free_port(), free_port(), free_ports(4)
    ports = ("--http-port", http_port, "--dimse-port", dimse_port, "--region-base-port", base)
    with running("demo", "--no-viewer", "--scale", "small", *ports, log=tmp_path / "log") as command:
        assert command.ready().startswith(f"ready http://127.0.0.1:{http_port}/dicom-web ")
        origin = f"http://127.0.0.1:{http_port}"
        assert command.lines.get(timeout=SECONDS) == (
            f"  open {origin}/ in a browser (as somebody else: {origin}/demo/sign-in)"
        )
        exported = [command.lines.get(timeout=SECONDS).split() for _ in range(5)]
        tokens = dict(words[1].split("=", 1) for words in exported if words[0] == "export")
        suggested = [command.lines.get(timeout=SECONDS) for _ in range(4)]
        assert [line.split()[0] for line in suggested] == ["curl"] * 4
        assert get(http_port, "/dicom-web/studies?limit=5")[0] == 401
        token = tokens["TOKEN"]
        status, headers, studies = get(http_port, "/dicom-web/studies?limit=5", token)
        assert (status, len(studies)) == (200, 5)
        assert headers["Federation-Status"].count("state=complete") == 4
        [patient] = [line.split("PatientID=")[1].rstrip("'") for line in suggested if "PatientID=" in line]
        status, headers, studies = get(http_port, f"/dicom-web/studies?PatientID={patient}", token)
        assert status == 200
        assert get(http_port, "/dicom-web/studies", tokens["PATIENT_TOKEN"])[2] == studies
        assert get(http_port, "/dicom-web/studies", tokens["STORE_TOKEN"])[0] == 401
        assert {study["00080054"]["Value"][0] for study in studies} == {"GTAWEST", "HDIRS", "NEODIN", "SWODIN"}
        assert {study["00100020"]["Value"][0] for study in studies} == {patient}
        assert len(command.family) >= 4
        umasks = [Path(f"/proc/{x.pid}/status").read_text().partition("Umask:")[2].split()[0] for x in command.family]
        assert set(umasks) == {"0077"}, "what a demonstration writes is for nobody else, too"
        assert command.stop(number) == 0
        assert not command.left()


def test_demo_that_is_stopped_before_it_is_ready_leaves_no_process(tmp_path: Path) -> None:
    ports = ("--http-port", free_port(), "--dimse-port", free_port(), "--region-base-port", free_ports(4))
    with running("demo", "--no-viewer", "--scale", "small", *ports, log=tmp_path / "log") as command:
        parent = psutil.Process(command.process.pid)
        while not (family := parent.children(recursive=True)):
            assert command.process.poll() is None
        command.family = family
        assert command.stop(signal.SIGTERM) == 0
        assert not command.left()


def test_demo_whose_ports_are_taken_says_so_and_leaves_no_process(tmp_path: Path) -> None:
    small_province(tmp_path)
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as other:
        base = other.getsockname()[1]
        ports = ("--http-port", 0, "--dimse-port", free_port(), "--region-base-port", base)
        with running("demo", "--no-viewer", "--scale", "small", *ports, log=log) as command:
            assert command.ready() == ""
            assert command.process.wait(SECONDS) != 0
            assert not command.left()
    assert str(base) in log.read_text()
    assert "Traceback" not in log.read_text()
