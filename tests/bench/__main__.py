"""Measure the gateway beside its peers and hold it against its targets: ``python -m tests.bench [LETTER ...]``."""

import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bench import (
    audit,
    browser,
    convert,
    federation,
    guarded,
    ingest,
    pacs,
    retrieve,
    search,
    status,
    stream,
    viewer,
)
from tests.bench.figures import Figure, table
from tests.bench.setting import Setting

ROWS: dict[str, Callable[[Setting], list[Figure]]] = {
    "a": search.all_studies,
    "b": search.one_study,
    "c": retrieve.large_study,
    "d": ingest.acceptors,
    "e": convert.conversions,
    "f": stream.first_byte,
    "g": stream.memory,
    "h": federation.four_archives,
    "i": federation.same_search,
    "j": federation.hung_region,
    "k": federation.many_rows,
    "l": viewer.metadata,
    "m": viewer.frames,
    "n": viewer.first_frame,
    "o": viewer.many_readers,
    "p": viewer.huge_study,
    "q": pacs.stow,
    "r": pacs.move,
    "s": pacs.find,
    "t": ingest.eight_associations,
    "w": status.status_page,
    "x": audit.kept,
    "y": audit.checked,
    "u": browser.first_image,
    "z": guarded.cost,
}


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} x {name}, Linux {platform.release()}, Python {platform.python_version()}, loopback"


def main(letters: list[str]) -> int:
    """Print the table; return 1 when a target is missed."""
    if unknown := set(letters) - set(ROWS):
        print(f"no such row: {' '.join(sorted(unknown))}; there are {' '.join(ROWS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped on every way out
    figures: list[Figure] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as home, ExitStack() as stack:
        setting = Setting(Path(home), stack)
        for letter in letters or ROWS:
            print(f"measuring {letter} ...", file=sys.stderr, flush=True)
            try:
                figures += ROWS[letter](setting)
            except (pytest.skip.Exception, pytest.fail.Exception) as missing:  # tests.kit.peers.require says so
                print(f"{letter} cannot be measured: {missing}", file=sys.stderr)
                return 1
    print(table(figures))
    missed = [figure for figure in figures if not figure.passed]
    print(f"\n{machine()}; medians of interleaved runs; {time.monotonic() - began:.0f} s; {len(missed)} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
