"""(c): a Retrieve transaction of a large study, against Orthanc's own."""

from functools import partial
from pathlib import Path

from tests.bench import samples
from tests.bench.figures import Figure, medians, share
from tests.bench.setting import Setting, fetch, fetch_cold
from tests.interop.serving import MULTIPART

PART = b"\0" * 128 + b"DICM"


def check(body: Path) -> None:
    """Raise unless every slice is there and the last boundary is closed."""
    data = body.read_bytes()
    if data.count(PART) != samples.SLICES or not data.rstrip().endswith(b"--"):
        raise RuntimeError(f"{data.count(PART)} of {samples.SLICES} instances in {len(data)} bytes")
    body.unlink()


def large_study(setting: Setting) -> list[Figure]:
    path = f"/studies/{samples.CT_STUDY}"
    urls = {
        "C-MOVE": setting.cold_by_move.url + path,
        "C-GET": setting.cold_by_get.url + path,
        "spool": setting.by_move.url + path,
        "Orthanc": setting.archive.dicomweb_url + path,
    }
    body = setting.home / "study.multipart"
    for url in urls.values():
        fetch(url, MULTIPART, body)
        check(body)
    cold = {name: partial(fetch_cold, urls[name], MULTIPART) for name in ("C-MOVE", "C-GET")}
    known = {name: partial(fetch, urls[name], MULTIPART) for name in ("spool", "Orthanc")}
    taken = medians({**cold, **known}, runs=7)
    what = f"WADO-RS of {samples.SLICES} CT slices, 212 MB, "
    return [
        share("c", what + "cold over C-MOVE", taken["C-MOVE"], taken["Orthanc"], "Orthanc's WADO-RS", 1.4),
        share("c", what + "cold over C-GET", taken["C-GET"], taken["Orthanc"], "Orthanc's WADO-RS", None),
        share("c", what + "warm", taken["spool"], taken["Orthanc"], "Orthanc's WADO-RS", 0.9),
    ]
