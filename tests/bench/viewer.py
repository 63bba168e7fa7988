"""(l) to (p): what a viewer asks for, and what many readers or a very large study cost."""

import asyncio
import hashlib
import time
from functools import partial
from pathlib import Path

import aiohttp

from tests.bench import region, samples
from tests.bench.figures import Figure, below, medians, more, share
from tests.bench.search import requests_per_second
from tests.bench.setting import FORGETFUL, Setting, fetch, fetch_cold
from tests.bench.stream import get, over_region, status
from tests.interop.serving import JSON, MULTIPART

OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
READERS = 20


def metadata(setting: Setting) -> list[Figure]:
    """(l): the metadata of the large CT, before and after it was retrieved."""
    study = f"/studies/{samples.CT_STUDY}"
    described = f"{study}/metadata"
    urls = {"warm": setting.by_move.url + described, "Orthanc": setting.archive.dicomweb_url + described}
    for url in urls.values():
        fetch(url, JSON)
    taken = medians(
        {
            "cold": partial(fetch_cold, setting.cold_by_move.url + described, JSON),
            "study": partial(fetch_cold, setting.cold_by_move.url + study, MULTIPART),
            **{name: partial(fetch, url, JSON) for name, url in urls.items()},
        }
    )
    what = f"metadata of {samples.SLICES} CT slices"
    share_of_study = share("l", f"{what}, cold", taken["cold"], taken["study"], "the study itself, cold", 1.2)
    times_faster = more("l", f"{what}, warm", 1 / taken["warm"], 1 / taken["Orthanc"], "Orthanc's own", "per s", 8)
    return [share_of_study, times_faster]


def frames(setting: Setting) -> list[Figure]:
    """(m): single frames of a series that was retrieved, by sixteen readers."""
    series = f"/dicom-web/studies/{samples.CT_STUDY}/series/{samples.CT_SERIES}"
    paths = [f"{series}/instances/{samples.CT_SERIES}.{n}/frames/1" for n in range(1, samples.SLICES + 1, 5)]
    fetch(setting.by_move.url + series.removeprefix("/dicom-web"), MULTIPART)
    ports = {"gateway": setting.by_move.http_port, "orthanc": setting.archive.http_port}
    taken = medians({name: partial(requests_per_second, port, OCTETS, *paths) for name, port in ports.items()})
    what = "single frames of 512 KiB, 16 connections, warm"
    return [more("m", what, taken["gateway"], taken["orthanc"], "Orthanc's frames", "requests/s", 2)]


def first_frame(setting: Setting) -> list[Figure]:
    """(n): one frame in the middle of a series that nobody has asked for yet."""
    series = f"/studies/{region.LONG_STUDY}/series/{region.LONG_STUDY}.1"
    frame = f"{series}/instances/{region.LONG_STUDY}.1.{region.FIRST_NUMBER + 300}/frames/1"
    with over_region(setting, FORGETFUL) as (served, _):
        taken = medians(
            {
                "frame": partial(fetch_cold, served.url + frame, OCTETS),
                "series": partial(fetch_cold, served.url + series, MULTIPART),
            }
        )
    whose = "the whole series, cold"
    return [share("n", "one frame of a series of 600, cold", taken["frame"], taken["series"], whose, 0.25)]


def many_readers(setting: Setting) -> list[Figure]:
    """(o): readers of one study at the same time."""
    with over_region(setting) as (served, sender):
        url = f"{served.url}/studies/{region.LONG_STUDY}"
        began = time.perf_counter()
        digests = asyncio.run(_digests(url))
        seconds = time.perf_counter() - began
        fetch(f"{served.url}/studies/{region.PACED_STUDY}", MULTIPART)
        # What is written in a C-MOVE before the last one, which is that of the paced study.
        moves = _lines(sender.output.fileno()) - 1
    if len(digests) != 1:
        raise RuntimeError(f"{len(digests)} different bodies")
    return [below("o", f"C-MOVEs for {READERS} readers of one cold study ({seconds:.2g} s)", moves, 1.5, "C-MOVEs")]


def _lines(descriptor: int) -> int:
    with open(descriptor, "rb", buffering=0, closefd=False) as output:
        return output.read(1 << 16).count(b"\n")


async def _digests(url: str) -> set[str]:
    """Return the digest of each body without its boundaries, which differ."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=READERS)) as session:

        async def digest() -> str:
            async with session.get(url, headers={"Accept": MULTIPART}) as answer:
                answer.raise_for_status()
                boundary = answer.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
                made, rest = hashlib.blake2b(), b""
                async for piece in answer.content.iter_any():
                    seen = (rest + piece).replace(boundary, b"")
                    made.update(seen[: -len(boundary)])
                    rest = seen[-len(boundary) :]
                made.update(rest)
                return made.hexdigest()

        return set(await asyncio.gather(*(digest() for _ in range(READERS))))


def huge_study(setting: Setting) -> list[Figure]:
    """(p): ten gigabytes in twenty thousand instances."""
    with over_region(setting, "[spool]\nmax_bytes = 2147483648\n") as (served, _):
        fetch(f"{served.url}/studies/{region.PACED_STUDY}", MULTIPART)
        idle = status(served.pid, "VmRSS")
        Path(f"/proc/{served.pid}/clear_refs").write_text("5")  # the peak starts anew from here (proc(5))
        began, size = time.perf_counter(), 0
        with get(served.http_port, region.HUGE_STUDY) as connection:
            buffer = memoryview(bytearray(1 << 20))
            while count := connection.recv_into(buffer):
                size += count
        seconds = time.perf_counter() - began
        peak = status(served.pid, "VmHWM")
    if size < 20_000 * 524_288:
        raise RuntimeError(f"the answer broke off after {size} bytes")
    what = f"peak memory above idle ({idle:.0f} MiB), 20,000 instances, {size / 1e9:.1f} GB in {seconds:.0f} s"
    return [below("p", what, peak - idle, 128, "MiB")]
