"""(w): what the status page costs a gateway under load."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench import samples
from tests.bench.figures import Figure, interleaved, ratio
from tests.bench.search import requests_per_second
from tests.bench.setting import Setting
from tests.interop.serving import JSON, ROOT
from tests.kit.peers import stop

EACH_SECONDS = 0.5
POLL = """
import sys, time, urllib.request
while True:
    with urllib.request.urlopen(sys.argv[1]) as answer:
        answer.read()
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def _polling(url: str) -> Iterator[None]:
    """Look at the status all the time, as a page or a monitor does."""
    with subprocess.Popen(
        [sys.executable, "-c", POLL, url, str(EACH_SECONDS)], cwd=ROOT, start_new_session=True
    ) as poll:
        try:
            yield
        finally:
            stop(poll)


def status_page(setting: Setting) -> list[Figure]:
    ours = setting.by_move
    path = f"/dicom-web/studies?StudyInstanceUID={samples.small_study_uid(77)}"

    def alone() -> float:
        return requests_per_second(ours.http_port, JSON, path)

    def watched() -> float:
        with _polling(f"http://127.0.0.1:{ours.http_port}/status.json"):
            return alone()

    taken = interleaved({"alone": alone, "watched": watched}, runs=7)
    best = {name: sorted(values)[len(values) // 2] for name, values in taken.items()}
    what = f"QIDO of one study while /status.json is read every {EACH_SECONDS} s"
    rates = f"{best['watched']:.0f} requests/s", f"without {best['alone']:.0f} requests/s"
    return [ratio("w", what, *rates, best["watched"] / best["alone"], 0.95)]
