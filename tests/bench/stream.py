"""(f), (g): how soon a Retrieve transaction gives its first byte, and how much memory it holds."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from tests.bench import region
from tests.bench.figures import Figure, below
from tests.bench.setting import FORGETFUL, FORGOTTEN, Server, Setting, fetch, listening
from tests.interop.serving import JSON, MULTIPART, Gateway, gateway, profile

SLOW = 100e6
"""Bytes per second that the slow client takes: a quarter of what the region can send."""

DATA_SET = b"\x08\0\x05\0CS\x0a\0ISO_IR 100"
"""How each instance begins behind its File Meta Information: with Specific Character Set."""


@contextmanager
def over_region(setting: Setting, settings: str = "") -> Iterator[tuple[Gateway, Server]]:
    """Run a gateway over the region of the bench; the region's output tells when it starts to send."""
    with ExitStack() as stack:
        started: list[Server] = []

        def make(dimse_port: int) -> str:
            started.append(stack.enter_context(listening("tests.bench.region", dimse_port)))
            return profile(region.AE_TITLE, started[0].port, "c-move")

        yield stack.enter_context(gateway(setting.home, make, settings=settings)), started[0]


@contextmanager
def get(port: int, study: str) -> Iterator[socket.socket]:
    """Send a request for a study as it is stored."""
    request = (
        f"GET /dicom-web/studies/{study} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {MULTIPART}\r\n"
        "Connection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request.encode())
        yield connection


def arrival(port: int, study: str) -> int:
    """Return when the first bytes of the first Data Set arrive, in nanoseconds; read the answer to its end."""
    received, at = b"", 0
    with get(port, study) as connection:
        while piece := connection.recv(262_144):
            if not at:
                received += piece
                if DATA_SET in received:
                    at = time.monotonic_ns()
    if not received.startswith(b"HTTP/1.1 200") or not at:
        raise RuntimeError(received[:400].decode(errors="replace"))
    return at


def first_byte(setting: Setting) -> list[Figure]:
    delays = []
    with over_region(setting, FORGETFUL) as (served, sender):
        for _ in range(8):
            time.sleep(FORGOTTEN)
            at = arrival(served.http_port, region.PACED_STUDY)
            delays.append((at - int(sender.output.readline().split()[1])) / 1e6)
    return [below("f", "first C-STORE fragment sent to first instance byte over HTTP", median(delays[1:]), 50, "ms")]


def status(pid: int, name: str) -> float:
    """Return one size of /proc/PID/status in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


def slowly(port: int, study: str) -> int:
    """Read the answer at the slow client's pace; return its size."""
    size, tail = 0, b""
    start = time.perf_counter()
    with get(port, study) as connection:
        buffer = memoryview(bytearray(1 << 20))
        while count := connection.recv_into(buffer):
            size += count
            tail = (tail + bytes(buffer[max(0, count - 32) : count]))[-32:]
            time.sleep(max(0.0, start + size / SLOW - time.perf_counter()))
    if b"--\r\n" not in tail:
        raise RuntimeError(f"the answer broke off after {size} bytes")
    return size


def memory(setting: Setting) -> list[Figure]:
    with over_region(setting) as (served, _):
        fetch(f"{served.url}/studies", JSON)
        fetch(f"{served.url}/studies/{region.PACED_STUDY}", MULTIPART)
        idle = status(served.pid, "VmRSS")
        Path(f"/proc/{served.pid}/clear_refs").write_text("5")  # the peak starts anew from here (proc(5))
        size = slowly(served.http_port, region.BULK_STUDY)
        peak = status(served.pid, "VmHWM")
    what = f"peak memory above idle ({idle:.0f} MiB), {size / 1e9:.1f} GB to a client of {SLOW / 1e6:.0f} MB/s"
    return [below("g", what, peak - idle, 150, "MiB")]
