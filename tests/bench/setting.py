"""What is measured and what it is measured with: the archive, the gateways and the other servers."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO

from tests.bench import samples
from tests.interop.serving import ROOT, Gateway, gateway, profile
from tests.kit.peers import Orthanc, orthanc, stop

CURL = "/usr/bin/curl"
FORGETFUL = "[spool]\nseconds = 2\n"
"""Settings of a gateway whose spool is empty again after ``FORGOTTEN`` seconds, so that each retrieve is cold.

Nothing is wiped while a retrieve is measured, as with any real setting.
"""
FORGOTTEN = 4.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running module of the bench, and what it prints."""

    port: int
    pid: int
    output: IO[bytes]


@contextlib.contextmanager
def listening(module: str, *arguments: object) -> Iterator[Server]:
    """Run a module of the bench that prints "listening PORT" once it does."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            word, _, port = process.stdout.readline().partition(b" ")
            if word != b"listening":
                raise RuntimeError(f"{module} ended with {process.wait()}")
            yield Server(int(port), process.pid, process.stdout)
        finally:
            stop(process)


def upload(archive: Orthanc, instances: Iterable[bytes]) -> None:
    """Store the files, four at a time and each over its own connection: Orthanc closes idle ones soon."""
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(partial(archive.request, "POST", "/instances"), instances))


class Setting:
    """Starts each server when it is first asked for; all of them end with the stack."""

    def __init__(self, home: Path, stack: contextlib.ExitStack) -> None:
        self.home = home
        self.stack = stack

    @cached_property
    def archive(self) -> Orthanc:
        """Orthanc with the large CT and the small studies, with as many HTTP threads as it has by default."""
        archive = self.stack.enter_context(orthanc(self.home, options={"HttpThreadsCount": 50}))
        upload(archive, samples.ct_slices())
        upload(archive, samples.small_studies())
        return archive

    def over_archive(self, retrieve: str, settings: str = "") -> Gateway:
        """Return a gateway over the archive that retrieves in this way."""

        def region(dimse_port: int) -> str:
            ours = f"GATEWAY{dimse_port}"
            if retrieve == "c-move":
                self.archive.add_destination(ours, dimse_port)
            return profile(self.archive.ae_title, self.archive.port, retrieve).replace("GATEWAY", ours)

        return self.stack.enter_context(gateway(self.home, region, settings=settings))

    @cached_property
    def by_move(self) -> Gateway:
        return self.over_archive("c-move")

    @cached_property
    def cold_by_move(self) -> Gateway:
        return self.over_archive("c-move", FORGETFUL)

    @cached_property
    def cold_by_get(self) -> Gateway:
        return self.over_archive("c-get", FORGETFUL)

    @cached_property
    def by_get(self) -> Gateway:
        return self.over_archive("c-get")


def fetch_cold(url: str, accept: str) -> float:
    """Do as ``fetch`` does, once the gateway has forgotten what it has retrieved before."""
    time.sleep(FORGOTTEN)
    return fetch(url, accept)


def fetch(url: str, accept: str, to: Path = Path("/dev/null")) -> float:
    """Return the seconds that one GET takes, curl's own start left out; anything but 200 raises."""
    command = [CURL, "-sS", "-o", str(to), "-H", f"Accept: {accept}", "-w", "%{http_code} %{time_total}", url]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    status, _, seconds = done.stdout.partition(" ")
    if status != "200":
        raise RuntimeError(f"{url}: {status}")
    return float(seconds)
