"""Workers: jobs run beside the event loop, and one that goes wrong goes wrong alone."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from gateway.errors import DatasetError, LimitExceeded, WorkersBusy, WorkFailed
from gateway.federation.workers import Workers, WorkLimits

REAL_TIME = True


def double(data: bytes) -> bytes:
    return data * 2


def process_id() -> int:
    return os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(path: str) -> None:
    Path(path).write_text("began")
    time.sleep(60)


def refuse() -> None:
    raise LimitExceeded("the image is too large", limit="max_pixels")


def stumble() -> None:
    raise ValueError("Tremblay^Zoé")


def malformed() -> None:
    raise DatasetError("no frames")


def devour() -> int:
    return len(bytearray(8 << 30))


def noisy() -> str:
    print("a codec talks")
    os.write(1, b"to standard output")
    return "done"


@pytest.fixture
def limits() -> WorkLimits:
    return WorkLimits(processes=1)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe, through which a job says that it runs."""
    os.mkfifo(tmp_path / "began")
    return tmp_path / "began"


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


async def test_job_runs_in_another_process_which_is_kept(limits: WorkLimits) -> None:
    async with Workers(limits) as workers:
        assert await workers.run(double, b"ab" * 100_000) == b"ab" * 200_000
        first, second = await workers.run(process_id), await workers.run(process_id)
    assert first == second != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


async def test_no_process_starts_before_it_is_needed() -> None:
    before = children()
    async with Workers(WorkLimits(processes=2)):
        assert children() == before


async def test_crash_fails_its_own_job_only() -> None:
    async with Workers(WorkLimits(processes=2)) as workers:
        jobs = [workers.run(double, bytes([n])) for n in range(8)]
        crashed, *done = await asyncio.gather(workers.run(die), *jobs, return_exceptions=True)
        assert isinstance(crashed, WorkFailed)
        assert crashed.http_status == 500
        assert done == [bytes([n]) * 2 for n in range(8)]
        assert await workers.run(double, b"x") == b"xx"


async def test_job_that_takes_too_long_is_killed() -> None:
    async with Workers(WorkLimits(processes=1, seconds=0.2)) as workers:
        with pytest.raises(WorkFailed, match="too long"):
            await workers.run(time.sleep, 60.0)
    async with Workers(WorkLimits(processes=1, memory=1 << 30)) as workers:
        with pytest.raises(WorkFailed, match="MemoryError"):
            await workers.run(devour)


async def test_errors_of_the_gateway_arrive_as_they_are(limits: WorkLimits) -> None:
    async with Workers(limits) as workers:
        with pytest.raises(LimitExceeded, match="too large") as caught:
            await workers.run(refuse)
        assert caught.value.limit == "max_pixels"
        with pytest.raises(DatasetError, match="no frames"):
            await workers.run(malformed)
        with pytest.raises(WorkFailed) as unforeseen:
            await workers.run(stumble)
    assert "ValueError" in str(unforeseen.value)
    assert "Tremblay" not in str(unforeseen.value)


async def test_what_a_codec_prints_does_not_disturb(limits: WorkLimits) -> None:
    async with Workers(limits) as workers:
        assert await workers.run(noisy) == "done"


async def test_queue_is_bounded_and_a_caller_who_leaves_frees_his_place(pipe: Path) -> None:
    async with Workers(WorkLimits(processes=1, waiting=1)) as workers:
        running = asyncio.ensure_future(workers.run(hang, str(pipe)))
        assert await asyncio.to_thread(pipe.read_text) == "began"
        waiting = asyncio.ensure_future(workers.run(double, b"x"))
        await asyncio.sleep(0)
        with pytest.raises(WorkersBusy):
            await workers.run(double, b"x")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        next_in_line = asyncio.ensure_future(workers.run(double, b"x"))
        await asyncio.sleep(0)
    for job in (running, next_in_line):
        with pytest.raises(asyncio.CancelledError):
            await job


async def test_caller_who_leaves_a_running_job_does_not_disturb_the_next(limits: WorkLimits) -> None:
    async with Workers(limits) as workers:
        await workers.run(process_id)
        leaving = asyncio.ensure_future(workers.run(double, b"x" * 10_000_000))
        await asyncio.sleep(0.001)
        leaving.cancel()
        assert await workers.run(double, b"y") == b"yy"


async def test_job_larger_than_the_limit_is_refused() -> None:
    async with Workers(WorkLimits(job_bytes=1000)) as workers:
        with pytest.raises(LimitExceeded):
            await workers.run(double, bytes(2000))
