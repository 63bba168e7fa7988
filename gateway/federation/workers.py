"""Processes for what would hold up the event loop: decoding, transcoding and rendering pixels."""

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar

from gateway.config.settings import WorkersSettings
from gateway.errors import GatewayError, LimitExceeded, WorkersBusy, WorkFailed
from gateway.federation.worker import LENGTH

P = ParamSpec("P")
T = TypeVar("T")

_MODULE: Final = "gateway.federation.worker"


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """What the workers may cost.

    Attributes:
        processes: how many jobs run at a time.
        waiting: how many more may wait.
        seconds: how long a job may run.
        memory: bytes of address space of each process.
        job_bytes: how large the arguments of a job may be.
    """

    processes: int = 2
    waiting: int = 500
    seconds: float = 60.0
    memory: int = 4 << 30
    job_bytes: int = 1 << 30

    @classmethod
    def of(cls, settings: WorkersSettings) -> Self:
        """Return the limits of the settings."""
        return cls(
            processes=settings.processes,
            waiting=settings.max_waiting,
            seconds=settings.seconds,
            memory=settings.memory_mib << 20,
            job_bytes=settings.job_mib << 20,
        )


@dataclass(slots=True)
class _Job:
    body: bytes
    result: asyncio.Future[Any]


class Workers:
    """Runs plain functions in processes of their own, which start when they are needed.

    A job that brings its process down fails alone: each process runs one job at a time, and the next job of its
    worker gets a new one. A caller who is cancelled frees his place in the queue; a job that already runs ends
    unheard.

    Args:
        limits: what they may cost.
        warm_up: what each process runs before its first job, while others take the jobs.
    """

    def __init__(self, limits: WorkLimits = WorkLimits(), warm_up: Callable[[], object] | None = None) -> None:
        self._limits = limits
        self._warm_up = None if warm_up is None else _pickled(warm_up, ())
        self._jobs: deque[_Job] = deque()
        self._expected = False
        self._processes = 0
        self._free = 0
        self._change = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Open for jobs; no process starts yet."""
        await self._group.__aenter__()
        self._tasks = [self._group.create_task(self._work()) for _ in range(self._limits.processes)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; jobs that wait or run are cancelled."""
        for task in self._tasks:
            task.cancel()
        while self._jobs:
            self._jobs.popleft().result.cancel()
        await self._group.__aexit__(None, None, None)

    def expect(self) -> None:
        """Have one process start now, unless there is one: a job may come soon, and should not wait for imports."""
        if not self._processes and not self._expected:
            self._expected = True
            self._changed()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that can be pickled, with arguments that can, in a worker; return what it returns.

        Raises:
            GatewayError: what the function raised, if it is one.
            WorkFailed: it raised something else, took too long, or its process died.
            WorkersBusy: too many jobs wait.
            LimitExceeded: the arguments are too large.
        """
        if kwargs:
            raise TypeError("a job takes its arguments by position")
        body = _pickled(function, args)
        if len(body) > self._limits.job_bytes:
            text = f"the instance has more than {self._limits.job_bytes} bytes to decode"
            raise LimitExceeded(text, limit="job_mib")
        if len(self._jobs) >= self._limits.waiting:
            raise WorkersBusy("too many images wait to be decoded: try again soon")
        job = _Job(body, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._changed()
        try:
            result: T = await job.result
        finally:
            with suppress(ValueError):
                self._jobs.remove(job)
        return result

    def _changed(self) -> None:
        """Wake all workers, which look for themselves."""
        self._change.set()
        self._change.clear()

    async def _work(self) -> None:
        """Have a process when one is needed, and do jobs in it until it is lost, again and again."""
        while True:
            while not self._is_one_needed():
                await self._change.wait()
            self._expected = False
            self._processes += 1
            self._free += 1
            try:
                await self._serve()
            finally:
                self._processes -= 1
                self._free -= 1
                self._changed()

    def _is_one_needed(self) -> bool:
        """Whether jobs wait for which no process is free or about to be; a new one takes none from the others."""
        return len(self._jobs) > self._free or (self._expected and not self._processes)

    async def _serve(self) -> None:
        """Do jobs in a new process, one after the other, until it is lost."""
        process: Process | None = None
        job: _Job | None = None
        try:
            async with asyncio.timeout(self._limits.seconds):
                process = await self._start()
                if self._warm_up is not None:
                    await _exchange(process, self._warm_up)
            while True:
                job = await self._next()
                self._free -= 1
                try:
                    async with asyncio.timeout(self._limits.seconds):
                        _settle(job.result, await _exchange(process, job.body))
                    job = None
                finally:
                    self._free += 1
        except (OSError, EOFError, TimeoutError) as error:
            if process is not None:
                await _end(process)
                process = None
            if job is None and self._jobs:
                job = self._jobs.popleft()  # whoever waits for a process that cannot start is told
            if job is not None:
                late = isinstance(error, TimeoutError)
                _fail(job.result, WorkFailed("decoding it took too long" if late else "its decoder crashed"))
        finally:
            if job is not None:
                job.result.cancel()  # nothing is left to wait for; no effect on one that is settled
            if process is not None:
                await _end(process)

    async def _next(self) -> _Job:
        while True:
            while self._jobs:
                job = self._jobs.popleft()
                if not job.result.done():
                    return job
            await self._change.wait()

    async def _start(self) -> Process:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        limit = str(self._limits.memory)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _MODULE, limit), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment
        )


def _pickled(function: Callable[..., object], args: tuple[object, ...]) -> bytes:
    return pickle.dumps((function, args), pickle.HIGHEST_PROTOCOL)


async def _exchange(process: Process, body: bytes) -> bytes:
    """Send a job and return its answer; EOFError or OSError where the process is gone."""
    if process.stdin is None or process.stdout is None:
        raise EOFError
    process.stdin.write(LENGTH.pack(len(body)))
    process.stdin.write(body)
    await process.stdin.drain()
    head = await process.stdout.readexactly(LENGTH.size)
    return await process.stdout.readexactly(LENGTH.unpack(head)[0])


def _settle(result: asyncio.Future[Any], answer: bytes) -> None:
    if result.done():  # its caller has left
        return
    done, value = pickle.loads(answer)  # noqa: S301  (it comes from our own child)
    if done:
        result.set_result(value)
        return
    kind, args, state = value
    if kind is None:
        result.set_exception(WorkFailed(f"decoding it failed ({args[0]})"))
        return
    error: GatewayError = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    result.set_exception(error)


def _fail(result: asyncio.Future[Any], error: GatewayError) -> None:
    if not result.done():
        result.set_exception(error)


async def _end(process: Process) -> None:
    """Kill a process and wait until it is gone."""
    with suppress(ProcessLookupError):
        process.kill()
    try:
        await process.wait()
    finally:
        transport: asyncio.SubprocessTransport = process._transport  # type: ignore[attr-defined]  # noqa: SLF001
        transport.close()
