"""The audit log: records that are on disk a second, and how fast a chain is checked.

Run as ``python -m tests.bench.audit FOLDER``, in a process of its own; it prints both figures. Records are timed by the
clock, as the disk is part of it; checking by the time of the processor, which other work does not take.
"""

import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from gateway.audit.log import AuditLog
from gateway.audit.verify import verify
from gateway.audit.writer import LogWriter
from tests.audit.logs import SEARCH
from tests.bench.figures import Figure, above
from tests.bench.setting import Setting

CALLERS, EACH = 200, 500


async def records(folder: Path) -> float:
    """Return the records a second of callers each of whom waits for the disk before the next."""
    log = AuditLog(LogWriter(folder, "gw1"))

    async def caller() -> None:
        for _ in range(EACH):
            await log.record(SEARCH)

    async with log.running():
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(caller())
        return CALLERS * EACH / (time.perf_counter() - began)


def checking(folder: Path) -> float:
    """Return the records a second of verification."""
    gc.collect()
    began = time.process_time()
    verdict = verify(folder / "gw1")
    if verdict.fault is not None:
        raise RuntimeError(verdict.fault.why)
    return verdict.records / (time.process_time() - began)


def _figures(setting: Setting) -> tuple[float, float]:
    """Return the medians of three runs, each in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.audit", str(setting.home)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(3)]
    return statistics.median(float(run[0]) for run in runs), statistics.median(float(run[1]) for run in runs)


def kept(setting: Setting) -> list[Figure]:
    """Row x: records that are on the disk."""
    rate, _ = _figures(setting)
    return [above("x", f"audit records on disk, {CALLERS} callers that each wait", rate, 20_000, "records/s")]


def checked(setting: Setting) -> list[Figure]:
    """Row y: verification of the chain."""
    _, rate = _figures(setting)
    return [above("y", "verification of the audit chain", rate, 200_000, "records/s")]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as home:
        log_folder = Path(home) / "log"
        print(uvloop.run(records(log_folder)), checking(log_folder))
