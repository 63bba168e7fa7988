"""(a), (b): Search transactions, against Orthanc's own and DCMTK's."""

import json
import subprocess
import sys
import time

from tests.bench import samples
from tests.bench.figures import Figure, faster, medians, more
from tests.bench.setting import Setting, fetch
from tests.interop.serving import JSON, ROOT
from tests.kit.peers import FINDSCU, require

STUDIES = samples.SMALL_STUDIES + 1
# What a Search for Studies answers (PS3.18 Table 10.6.3-3) as far as it comes out of a C-FIND.
KEYS = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ModalitiesInStudy",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)


def all_studies(setting: Setting) -> list[Figure]:
    archive, ours = setting.archive, setting.by_move
    query = "/studies?limit=1000"
    for url in (ours.url, archive.dicomweb_url):
        answer = setting.home / "studies.json"
        fetch(url + query, JSON, answer)
        rows = len(json.loads(answer.read_bytes()))
        if rows != STUDIES:
            raise RuntimeError(f"{url} lists {rows} studies")
    keys = [argument for key in KEYS for argument in ("-k", key)]
    command = [str(require(FINDSCU)), "-S", "-aec", archive.ae_title, *keys, "-k", "QueryRetrieveLevel=STUDY"]

    def findscu() -> float:
        start = time.perf_counter()
        subprocess.run([*command, archive.host, str(archive.port)], check=True, capture_output=True)
        return time.perf_counter() - start

    taken = medians(
        {
            "gateway": lambda: fetch(ours.url + query, JSON),
            "findscu": findscu,
            "orthanc": lambda: fetch(archive.dicomweb_url + query, JSON),
        },
        runs=7,
    )
    what = f"QIDO of {STUDIES} studies"
    return [
        faster("a", what, taken["gateway"], taken["orthanc"], "Orthanc's QIDO", 15),
        faster("a", what, taken["gateway"], taken["findscu"], "DCMTK's findscu", 1),
    ]


def requests_per_second(port: int, accept: str, *paths: str) -> float:
    """Return how many responses 16 connections get, asking for the paths in turn."""
    command = [sys.executable, "-m", "tests.bench.load", str(port), accept, "16", "1.5", *paths]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def one_study(setting: Setting) -> list[Figure]:
    archive, ours = setting.archive, setting.by_move
    path = f"/dicom-web/studies?StudyInstanceUID={samples.small_study_uid(77)}"

    def rate(port: int) -> float:
        return requests_per_second(port, JSON, path)

    taken = medians({"gateway": lambda: rate(ours.http_port), "orthanc": lambda: rate(archive.http_port)})
    what = "QIDO of one study, 16 connections"
    return [more("b", what, taken["gateway"], taken["orthanc"], "Orthanc's QIDO", "requests/s", 2.5)]
