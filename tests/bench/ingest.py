"""(d), (t): C-STORE into our acceptor, against pynetdicom's."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

import psutil
from pydicom.uid import CTImageStorage

from tests.bench import samples
from tests.bench.figures import Figure, interleaved, more, share
from tests.bench.setting import Setting, listening
from tests.bench.upper_layer import connect

INSTANCES = samples.SLICES


def send(port: int, data: bytes, count: int) -> None:
    """Store the same bytes this often over one association."""
    association = connect(port, "SINK", "BENCH", [CTImageStorage])
    for number in range(count):
        if association.store(CTImageStorage, f"{samples.CT_SERIES}.{number}", data) != 0:
            raise RuntimeError("a C-STORE failed")
    association.release()


def ingest(port: int, pid: int, clients: int, data: bytes) -> tuple[float, float]:
    """Return wall seconds and the acceptor's CPU seconds for one study from this many clients at once."""
    process = psutil.Process(pid)
    before, start = process.cpu_times(), time.perf_counter()
    with ThreadPoolExecutor(clients) as workers:
        for sent in [workers.submit(send, port, data, INSTANCES // clients) for _ in range(clients)]:
            sent.result()
    wall, after = time.perf_counter() - start, process.cpu_times()
    return wall, after.user + after.system - before.user - before.system


def acceptors(setting: Setting) -> list[Figure]:
    """Ingest by 4 associations and by one."""
    return ingested("d", (4, 1))


def eight_associations(setting: Setting) -> list[Figure]:
    """Ingest by 8 associations."""
    return ingested("t", (8,))


def ingested(row: str, clients_at_once: tuple[int, ...]) -> list[Figure]:
    header = samples.ct_header()
    header.add_new(0x7FE00010, "OW", samples.pixels(1, samples.ROWS))
    data = samples.data_set(header)
    megabytes = INSTANCES * len(data) / 1e6
    figures = []
    with listening("tests.bench.sink", "gateway") as ours, listening("tests.bench.sink", "pynetdicom") as theirs:
        for clients in clients_at_once:
            taken = interleaved(
                {
                    name: partial(ingest, server.port, server.pid, clients, data)
                    for name, server in {"gateway": ours, "pynetdicom": theirs}.items()
                }
            )
            wall = {name: median(run[0] for run in runs) for name, runs in taken.items()}
            cpu = {name: median(run[1] for run in runs) for name, runs in taken.items()}
            what = f"C-STORE of {INSTANCES} CT slices, {clients} client{'s' if clients > 1 else ''}"
            speed = {name: megabytes / seconds for name, seconds in wall.items()}
            figures += [
                more(row, what, speed["gateway"], speed["pynetdicom"], "pynetdicom", "MB/s", 4),
                share(row, f"{what}, CPU", cpu["gateway"], cpu["pynetdicom"], "pynetdicom", 1 / 3),
            ]
    return figures
