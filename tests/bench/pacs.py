"""(q) to (s): what PACS and modalities do, through the gateway against straight at the archive."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.bench import samples
from tests.bench.figures import Figure, medians, share
from tests.bench.setting import CURL, FORGETFUL, FORGOTTEN, Setting, listening
from tests.interop.serving import gateway, peer, profile
from tests.kit.peers import FINDSCU, MOVESCU, STORESCU, Orthanc, orthanc, require

RUNS = 3
AE_TITLE = "BENCH"
BOUNDARY = "frontier"


def timed(tool: Path, *arguments: object) -> float:
    """Return the seconds that a tool takes, its own start included; a failure raises."""
    began = time.perf_counter()
    subprocess.run([require(tool), *map(str, arguments)], check=True, capture_output=True)
    return time.perf_counter() - began


# --- (q)


def stow(setting: Setting) -> list[Figure]:
    """STOW-RS of the large CT by curl, against DCMTK's storescu straight to the same Orthanc."""
    files, body = setting.home / "slices", setting.home / "slices.multipart"
    files.mkdir()
    with body.open("wb") as joined:
        for number, instance in enumerate(samples.ct_slices()):
            (files / f"{number:03}.dcm").write_bytes(instance)
            joined.write(b"--%b\r\nContent-Type: application/dicom\r\n\r\n" % BOUNDARY.encode() + instance + b"\r\n")
        joined.write(b"--%b--\r\n" % BOUNDARY.encode())
    with orthanc(setting.home, "STORED") as archive:
        settings = f'[store]\ndefault = ["STORED"]\nfolder = "{setting.home / "queue"}"\n'
        with gateway(setting.home, profile("STORED", archive.port), settings=settings) as one:
            title = "-aec", archive.ae_title, archive.host, archive.port
            direct = partial(emptied, archive, partial(timed, STORESCU, *title, "+sd", files))
            through = partial(emptied, archive, partial(posted, f"{one.url}/studies", body))
            taken = medians({"gateway": through, "storescu": direct}, RUNS)
    what = f"STOW-RS of {samples.SLICES} CT slices to one Orthanc"
    return [share("q", what, taken["gateway"], taken["storescu"], "storescu", 1.2)]


def emptied(archive: Orthanc, store: partial[float]) -> float:
    """Store into an archive that holds nothing, and check that it then holds everything."""
    for study in json.loads(archive.request("GET", "/studies")):
        archive.request("DELETE", f"/studies/{study}")
    seconds = store()
    if archive.statistics()["CountInstances"] != samples.SLICES:
        raise RuntimeError("an instance has not arrived")
    return seconds


def posted(url: str, body: Path) -> float:
    fields = f'Content-Type: multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    command = [CURL, "-sS", "-o", "/dev/null", "-T", str(body), "-X", "POST", "-H", fields]
    done = subprocess.run(
        [*command, "-w", "%{http_code} %{time_total}", url], check=True, capture_output=True, text=True
    )
    status, _, seconds = done.stdout.partition(" ")
    if status != "200":
        raise RuntimeError(f"{url}: {status}")
    return float(seconds)


# --- (r), (s)


@contextmanager
def asked(setting: Setting, sink: int, settings: str = "") -> Iterator[int]:
    """Run a gateway over the archive for a PACS that takes instances at a sink; give its DIMSE port."""

    def region(dimse_port: int) -> str:
        ours = f"GATEWAY{dimse_port}"
        setting.archive.add_destination(ours, dimse_port)
        return profile(setting.archive.ae_title, setting.archive.port, "c-move").replace("GATEWAY", ours)

    with gateway(setting.home, region, settings=settings, peers=[peer(AE_TITLE, sink)]) as one:
        yield one.dimse_port


def move(setting: Setting) -> list[Figure]:
    """C-MOVE of the large CT to a sink, nothing of it in the spool."""
    with listening("tests.bench.sink", "gateway") as sink, asked(setting, sink.port, FORGETFUL) as port:
        setting.archive.add_destination(AE_TITLE, sink.port)
        keys = "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={samples.CT_STUDY}"
        wanted = "-S", "-aet", AE_TITLE, "-aem", AE_TITLE, *keys

        def cold() -> float:
            time.sleep(FORGOTTEN)
            return timed(MOVESCU, *wanted, "-aec", "GATEWAY", "127.0.0.1", port)

        archive = setting.archive
        direct = partial(timed, MOVESCU, *wanted, "-aec", archive.ae_title, archive.host, archive.port)
        taken = medians({"gateway": cold, "Orthanc": direct}, RUNS)
    what = f"C-MOVE of {samples.SLICES} CT slices to a sink"
    return [share("r", what, taken["gateway"], taken["Orthanc"], "Orthanc", 1.5)]


def find(setting: Setting) -> list[Figure]:
    """C-FIND of all studies by findscu."""
    attributes = "PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber"
    keys = [word for name in attributes for word in ("-k", name)]
    wanted = "-S", "-aet", AE_TITLE, "-k", "QueryRetrieveLevel=STUDY", *keys
    archive = setting.archive
    with asked(setting, 0) as port:
        through = partial(timed, FINDSCU, *wanted, "-aec", "GATEWAY", "127.0.0.1", port)
        direct = partial(timed, FINDSCU, *wanted, "-aec", archive.ae_title, archive.host, archive.port)
        taken = medians({"gateway": through, "Orthanc": direct})
    what = f"C-FIND of {samples.SMALL_STUDIES + 1} studies by findscu"
    return [share("s", what, taken["gateway"], taken["Orthanc"], "Orthanc", 1.5)]
