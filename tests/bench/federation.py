"""(h) to (k): Search transactions over several regions."""

import asyncio
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import orjson

from tests.bench import rows, samples
from tests.bench.figures import Figure, above, below, interleaved, medians, share
from tests.bench.setting import Server, Setting, fetch, listening, upload
from tests.bench.stream import status
from tests.interop.serving import JSON, Gateway, gateway, profile
from tests.kit.peers import orthanc

SIZES = {"NEODIN": 60, "SWODIN": 80, "GTAWEST": 300, "HDIRS": 60}
"""Studies of each region: provinces have a large region, which is the slowest, and smaller ones."""

SAME = 1_000
SLOW = 3.0
"""Seconds until a region answers: longer than a client of Python takes to send that many requests."""

MANY = 10_000
NAMES = ("NEODIN", "SWODIN", "GTAWEST", "HDIRS")


@contextmanager
def over_rows(
    setting: Setting, counts: dict[str, tuple[int, int]], *more: str, seconds: float = 0
) -> Iterator[tuple[Gateway, list[Server]]]:
    """Run a gateway over regions of rows, and over those of further profiles."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(listening("tests.bench.rows", first, count, seconds))
            for first, count in counts.values()
        ]
        profiles = [profile(name, server.port) for name, server in zip(counts, servers, strict=True)]
        settings = f"[search]\nmax_results = {2 * MANY}\n"
        yield stack.enter_context(gateway(setting.home, [*profiles, *more], settings=settings)), servers


def four_archives(setting: Setting) -> list[Figure]:
    """(h): all four at once, against the slowest of them alone."""
    with ExitStack() as stack:
        made = samples.small_studies()
        profiles = []
        for name, size in SIZES.items():
            archive = stack.enter_context(orthanc(setting.home, name, dicomweb=False))
            upload(archive, [next(made) for _ in range(size)])
            profiles.append(profile(name, archive.port))
        served = stack.enter_context(gateway(setting.home, profiles))
        base = f"http://127.0.0.1:{served.http_port}"
        roots = {name: f"{base}/regions/{name.lower()}/dicom-web" for name in SIZES}
        roots["all"] = served.url
        taken = medians({name: partial(fetch, f"{root}/studies", JSON) for name, root in roots.items()}, runs=15)
    slowest = max(SIZES, key=lambda name: taken[name])
    what = f"QIDO of {sum(SIZES.values())} studies over four Orthancs"
    whose = f"the slowest of them alone ({SIZES[slowest]} studies)"
    return [share("h", what, taken["all"], taken[slowest], whose, 1.25)]


def same_search(setting: Setting) -> list[Figure]:
    """(i): identical searches at the same time, in C-FINDs a region."""
    # Neither a number of rows that looks cut off, nor a name so short that it is asked for twice.
    counts = {name: (90 * rank, 90) for rank, name in enumerate(NAMES)}
    with over_rows(setting, counts, seconds=SLOW) as (served, servers):
        fetch(f"{served.url}/studies?PatientID=WARM", JSON)
        began = time.perf_counter()
        bodies = asyncio.run(_at_once(f"{served.url}/studies?PatientName=TREMBLAY*", SAME))
        seconds = time.perf_counter() - began
        fetch(f"{served.url}/studies?PatientID=LAST", JSON)
        asked = [_asked(server) for server in servers]
    if len(bodies) != 1:
        raise RuntimeError(f"{len(bodies)} different answers to one question")
    what = f"C-FINDs a region for {SAME} identical searches at once ({seconds:.2g} s)"
    return [below("i", what, max(asked), 1.5, "C-FINDs")]


async def _at_once(url: str, count: int) -> set[bytes]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=count)) as session:

        async def body() -> bytes:
            async with session.get(url, headers={"Accept": JSON}) as answer:
                answer.raise_for_status()
                return await answer.read()

        return set(await asyncio.gather(*(body() for _ in range(count))))


def _asked(server: Server) -> int:
    """Return how many C-FINDs a region had between the first and the last search."""
    asked = iter(server.output.readline, b"LAST\n")
    return sum(line == b"\n" for line in asked)


def hung_region(setting: Setting) -> list[Figure]:
    """(j): three regions, without and with a fourth that takes connections and says nothing."""
    counts = {name: (100 * rank, 100) for rank, name in enumerate(NAMES[:3])}
    path = f"/studies?StudyInstanceUID={rows.ROOT}.100117"
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent, ExitStack() as stack:
        hung = profile(NAMES[3], silent.getsockname()[1])
        well, _ = stack.enter_context(over_rows(setting, counts))
        ill, _ = stack.enter_context(over_rows(setting, counts, hung))
        asyncio.run(_at_once(f"{ill.url}/studies?PatientID=TRIP", 1))
        for number in range(5):
            _told(f"{ill.url}/studies?PatientID=TRIP{number}")
        if "hdirs;state=circuit-open" not in _told(ill.url + path):
            raise RuntimeError("the circuit of the hung region did not open")
        taken = interleaved({"well": lambda: _p95(well.url + path), "ill": lambda: _p95(ill.url + path)}, runs=5)
    before, after = (statistics.median(taken[name]) for name in ("well", "ill"))
    what = "95th percentile of a search, one region of four hung and its circuit open"
    return [share("j", what, after, before, "without that region", 1.1)]


def _told(url: str) -> str:
    done = subprocess.run(
        ["/usr/bin/curl", "-sS", "-D", "-", "-o", "/dev/null", url], check=True, capture_output=True, text=True
    )
    return done.stdout


def _p95(url: str) -> float:
    """Return the 95th percentile of 400 searches over one connection, in seconds."""

    async def run() -> list[float]:
        times = []
        async with aiohttp.ClientSession() as session:
            for _ in range(400):
                began = time.perf_counter()
                async with session.get(url, headers={"Accept": JSON}) as answer:
                    await answer.read()
                times.append(time.perf_counter() - began)
        return times

    return statistics.quantiles(asyncio.run(run()), n=20)[-1]


def many_rows(setting: Setting) -> list[Figure]:
    """(k): ten thousand rows, a fifth of them held twice: how fast they are merged, and in how much memory."""
    counts = {name: (rank * MANY // 4, MANY // 4 + MANY // 20) for rank, name in enumerate(NAMES)}
    counts[NAMES[3]] = (3 * MANY // 4, MANY // 4)
    with over_rows(setting, counts) as (served, _):
        fetch(f"{served.url}/studies?PatientID=WARM", JSON)
        idle = status(served.pid, "VmRSS")
        Path(f"/proc/{served.pid}/clear_refs").write_text("5")  # the peak starts anew from here (proc(5))
        answer = setting.home / "many.json"
        fetch(f"{served.url}/studies", JSON, answer)
        peak = status(served.pid, "VmHWM")
        found = len(orjson.loads(answer.read_bytes()))
    if found != MANY:
        raise RuntimeError(f"{found} rows of {MANY}")
    rate = subprocess.run([sys.executable, "-m", "tests.bench.merging"], check=True, capture_output=True, text=True)
    return [
        below("k", f"peak memory of a search with {MANY} rows (idle {idle:.0f} MiB)", peak, 200, "MiB"),
        above("k", f"merge and serialisation of {MANY} rows", float(rate.stdout), 15_000, "rows/s"),
    ]
