"""Real peers from outside Python's own stack, started on the loopback interface and stopped by their own pid.

Every starter is a plain context manager, so that it serves session fixtures and async tests alike. Readiness is
polled at the port (and at the REST API of Orthanc), never slept for.
"""

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import pwd
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic  # of the machine, whatever clock a loop runs with
from typing import Any, Final

import pytest
from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from tests.kit.dicom import ALL_TRANSFER_SYNTAXES, matches, part10

HOST = "127.0.0.1"

SECONDS = 180.0
"""That anything which works may take before it counts as hanging: machines are slow, and have others to serve."""

# Full paths: pynetdicom installs scripts of the same names into the virtual environment.
ECHOSCU = Path("/usr/bin/echoscu")
FINDSCU = Path("/usr/bin/findscu")
GETSCU = Path("/usr/bin/getscu")
MOVESCU = Path("/usr/bin/movescu")
STORESCU = Path("/usr/bin/storescu")
DCMSEND = Path("/usr/bin/dcmsend")
STORESCP = Path("/usr/bin/storescp")
DCMQRSCP = Path("/usr/bin/dcmqrscp")
DCMQRIDX = Path("/usr/bin/dcmqridx")
ORTHANC = Path("/usr/sbin/Orthanc")
ORTHANC_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CHROMIUM = Path("/usr/bin/chromium")
HAPROXY = Path("/usr/sbin/haproxy")


def require(tool: Path) -> Path:
    """Return the tool, or skip the test when it is not installed; with REQUIRE_PEERS=1 its absence is a failure."""
    if tool.exists():
        return tool
    if os.environ.get("REQUIRE_PEERS") == "1":
        pytest.fail(f"{tool} is not installed and REQUIRE_PEERS=1 asks for every peer")
    pytest.skip(f"{tool} is not installed")


BLOCK: Final = 1_500
"""Ports that one process of tests has for itself."""
ROW: Final = 5
"""The most of them that may be asked for in a row, as the first 200 are."""


def _block() -> tuple[socket.socket, Iterator[int], Iterator[int]]:
    """Return what keeps others off some ports, and these: single ones, and the first of each row.

    They lie outside the range from which the kernel picks source ports. Who runs tests beside us on this machine takes
    another block.
    """
    order = random.SystemRandom()  # pytest-randomly seeds the shared generator alike in every process
    blocks = [*range(20_000, 32_000, BLOCK)]
    order.shuffle(blocks)
    claim = socket.socket(socket.AF_UNIX)
    for start in blocks:
        with contextlib.suppress(OSError):
            claim.bind(f"\0ports of tests from {start}")
            break
    single, rows = [*range(start + 200, start + BLOCK)], [*range(start, start + 200, ROW)]
    order.shuffle(single)
    order.shuffle(rows)
    return claim, itertools.cycle(single), itertools.cycle(rows)


_CLAIM, _SINGLE, _ROWS = _block()


def free_port() -> int:
    """Return a port that nothing listens on.

    None comes twice before all have come: two peers that are still to start never share one.
    """
    return _free(_SINGLE, 1)


def free_ports(count: int) -> int:
    """Return the first of so many such ports in a row."""
    return _free(_ROWS, count)


def _free(candidates: Iterator[int], count: int) -> int:
    for first in candidates:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind((HOST, port))
            return first
    raise AssertionError("there is no end to them")


@dataclass(frozen=True, slots=True)
class DicomNode:
    """Where a peer's AE is reached."""

    ae_title: str
    host: str
    port: int


# --- processes


def wait_for_port(port: int, process: "subprocess.Popen[bytes] | None" = None, seconds: float = SECONDS) -> None:
    """Return once something accepts connections at the port; raise when its process ended or the time is up."""
    end = monotonic() + seconds
    while True:
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it listened")
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        if monotonic() > end:
            raise TimeoutError(f"nothing listens at port {port} after {seconds} s")
        time.sleep(0.01)


def stop(process: "subprocess.Popen[bytes]", seconds: float = SECONDS) -> None:
    """End the process and the children that share its session."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # dcmqrscp forks one child per association; the session holds nothing but what we started.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def running(
    arguments: Sequence[str | Path],
    port: int,
    log: Path,
    *,
    user: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server in its own session once it listens at the port; its output goes to the log.

    Root may run it as somebody else.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(a) for a in arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=user and pwd.getpwnam(user).pw_gid,
            env={**os.environ, **(environment or {})},
        )
        try:
            try:
                wait_for_port(port, process)
            except (RuntimeError, TimeoutError) as error:
                raise RuntimeError(f"{error}\n{log.read_text(errors='replace')[-4000:]}") from error
            yield process
        finally:
            stop(process)


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command line tool left behind."""

    returncode: int
    output: str


async def run(tool: Path, *arguments: str | int | Path, seconds: float = SECONDS) -> Finished:
    """Run a command line tool to its end beside the event loop; its output is both streams in order."""
    process = await asyncio.create_subprocess_exec(
        require(tool),
        *[str(a) for a in arguments],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, output.decode(errors="replace"))


# --- Orthanc


@dataclass(frozen=True, slots=True)
class Orthanc(DicomNode):
    """A running Orthanc: its AE, and its REST API."""

    http_port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        return f"{self.url}/dicom-web"

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Make one REST call; anything but 200 raises."""
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=SECONDS)
        try:
            return _exchange(connection, method, path, body)
        finally:
            connection.close()

    def upload(self, instances: Iterable[Dataset | bytes | Path]) -> int:
        """Store Part 10 files, paths or data sets through POST /instances over one connection; return how many."""
        count = 0
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=SECONDS)
        try:
            for instance in instances:
                _exchange(connection, "POST", "/instances", _part10_bytes(instance))
                count += 1
        finally:
            connection.close()
        return count

    def add_destination(self, ae_title: str, port: int) -> None:
        """Make a Move Destination known."""
        self.request("PUT", f"/modalities/{ae_title}", json.dumps([ae_title, HOST, port]).encode())

    def statistics(self) -> dict[str, Any]:
        """Return what the archive counts: CountStudies, CountInstances and so on."""
        answer: dict[str, Any] = json.loads(self.request("GET", "/statistics"))
        return answer


def _exchange(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None) -> bytes:
    connection.request(method, path, body)
    response = connection.getresponse()
    answer = response.read()
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{method} {path}: {response.status} {answer[:300]!r}")
    return answer


def _part10_bytes(instance: Dataset | bytes | Path) -> bytes:
    if isinstance(instance, bytes):
        return instance
    return instance.read_bytes() if isinstance(instance, Path) else part10(instance)


@contextlib.contextmanager
def orthanc(
    tmp_path: Path,
    ae_title: str = "ORTHANC",
    modalities: Mapping[str, int] | None = None,
    *,
    dicomweb: bool = True,
    options: Mapping[str, Any] | None = None,
) -> Iterator[Orthanc]:
    """Run an empty Orthanc whose Move Destinations are `modalities`: AE title -> port on the loopback interface.

    Further configuration keys come in `options`, e.g. ``{"SynchronousCMove": False}``.
    """
    require(ORTHANC)
    home = tmp_path / f"orthanc-{ae_title}-{os.urandom(4).hex()}"
    (home / "db").mkdir(parents=True)
    port, http_port = free_port(), free_port()
    configuration: dict[str, Any] = {
        "Name": ae_title,
        "StorageDirectory": str(home / "db"),
        "IndexDirectory": str(home / "db"),
        "StorageCompression": False,
        "Plugins": [str(require(ORTHANC_DICOMWEB))] if dicomweb else [],
        "HttpPort": http_port,
        "HttpThreadsCount": 8,
        "KeepAlive": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": ae_title,
        "DicomPort": port,
        "DicomCheckCalledAet": True,
        "DicomCheckModalityHost": False,
        "DicomModalities": {name: [name, HOST, number] for name, number in (modalities or {}).items()},
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "UnknownSopClassAccepted": True,
        "SynchronousCMove": True,
        "SaveJobs": False,
        **(options or {}),
    }
    settings = home / "orthanc.json"
    settings.write_text(json.dumps(configuration))
    with running([ORTHANC, settings], port, home / "orthanc.log") as process:
        wait_for_port(http_port, process)
        yield Orthanc(ae_title, HOST, port, http_port, process.pid)


# --- DCMTK


@contextlib.contextmanager
def dcmqrscp(
    tmp_path: Path,
    ae_title: str = "DCMQRSCP",
    destinations: Mapping[str, int] | None = None,
    instances: Iterable[Dataset | bytes | Path] = (),
    *,
    arguments: Sequence[str] = (),
) -> Iterator[DicomNode]:
    """Run DCMTK's archive with these instances; `destinations` are AE title -> port on the loopback interface."""
    require(DCMQRSCP)
    home = tmp_path / f"dcmqrscp-{ae_title}-{os.urandom(4).hex()}"
    area = home / ae_title
    area.mkdir(parents=True)
    port = free_port()
    hosts = "\n".join(
        f"host{n} = ({name}, localhost, {at})" for n, (name, at) in enumerate((destinations or {}).items())
    )
    settings = home / "dcmqrscp.cfg"
    settings.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 32\n"
        f"HostTable BEGIN\n{hosts}\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ae_title} {area} RW (500, 8192mb) ANY\nAETable END\n",
    )
    index_files(area, instances)
    with running([DCMQRSCP, "-c", settings, *arguments], port, home / "dcmqrscp.log"):
        yield DicomNode(ae_title, HOST, port)


def index_files(area: Path, instances: Iterable[Dataset | bytes | Path]) -> None:
    """Write the instances into a storage area of dcmqrscp and enter them into its index."""
    files = []
    for number, instance in enumerate(instances):
        path = area / f"{number:06}.dcm"
        path.write_bytes(_part10_bytes(instance))
        files.append(path)
    for start in range(0, max(len(files), 1), 500):
        subprocess.run([require(DCMQRIDX), area, *files[start : start + 500]], check=True, capture_output=True)


# --- pynetdicom


@contextlib.contextmanager
def pynetdicom_scp(
    ae_title: str = "PYNETDICOM",
    handlers: Sequence[tuple[Any, ...]] = (),
    *,
    supported: Iterable[str] = (),
    transfer_syntaxes: Sequence[str] = ALL_TRANSFER_SYNTAXES,
    maximum_pdu_size: int = 131_072,
    maximum_associations: int = 50,
    port: int = 0,
) -> Iterator[DicomNode]:
    """Run a pynetdicom acceptor with these event handlers, at any port that is free unless one is given.

    It supports Verification, every Query/Retrieve model and every Storage SOP Class; `supported` replaces that list.
    """
    entity = AE(ae_title=ae_title)
    entity.maximum_pdu_size = maximum_pdu_size
    entity.maximum_associations = maximum_associations
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = int(SECONDS)
    storage = [context.abstract_syntax for context in AllStoragePresentationContexts]
    for abstract_syntax in supported or [Verification, *QUERY_RETRIEVE, *storage]:
        entity.add_supported_context(abstract_syntax, list(transfer_syntaxes), scu_role=True, scp_role=True)
    server = entity.start_server((HOST, port), block=False, evt_handlers=list(handlers))
    assert server is not None
    try:
        yield DicomNode(ae_title, HOST, server.server_address[1])
    finally:
        server.shutdown()
        entity.shutdown()


QUERY_RETRIEVE = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    PatientRootQueryRetrieveInformationModelGet,
)


@contextlib.contextmanager
def pynetdicom_archive(
    ae_title: str = "PYNETDICOM",
    instances: Sequence[Dataset] = (),
    destinations: Mapping[str, int] | None = None,
) -> Iterator[DicomNode]:
    """Run a small honest archive on pynetdicom: C-FIND at every level, C-MOVE and C-GET of these instances."""

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for row in matches(instances, event.identifier):
            yield (0xFE00, None) if event.is_cancelled else (0xFF00, row)

    def chosen(identifier: Dataset) -> list[Dataset]:
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        wanted = {
            key: {identifier[key].value} if identifier[key].VM == 1 else set(identifier[key].value)
            for key in keys
            if identifier.get(key)
        }
        return [i for i in instances if all(i[key].value in values for key, values in wanted.items())]

    def move(event: evt.Event) -> Iterator[Any]:
        port = (destinations or {}).get(event.move_destination)
        if port is None:
            yield None, None
            return
        selected = chosen(event.identifier)
        held = sorted({(i.SOPClassUID, i.file_meta.TransferSyntaxUID) for i in selected})
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in held]
        yield HOST, port, {"contexts": contexts}
        yield len(selected)
        for instance in selected:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, instance

    def get(event: evt.Event) -> Iterator[Any]:
        selected = chosen(event.identifier)
        yield len(selected)
        for instance in selected:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, instance

    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move), (evt.EVT_C_GET, get)]
    with pynetdicom_scp(ae_title, handlers) as node:
        yield node
