"""What OHIF asks of the gateway, request by request, over the embedded province (conformance.md 2)."""

import contextlib
import hashlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from regions.truth import TrueInstance, TrueSeries, TrueStudy, Truth, truth
from tests.interop.serving import PATIENT, ROOT, Answer
from tests.kit.peers import SECONDS, free_port, running, stop
from tests.kit.small_province import small_province

FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax="*"'
OCTETS = 'multipart/related; type="application/octet-stream"'
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
JSON = "application/dicom+json"
LIST = "limit=101&offset=0&fuzzymatching=true&includefield=00081030%2C00080060%2C00080090%2C00100030"
LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"}
ENCAPSULATED_DOCUMENT = "1.2.840.10008.5.1.4.1.1.104.1"


@dataclass(frozen=True, slots=True)
class Province:
    """A gateway in front of four archives, and what they hold."""

    http_port: int
    cache: Path
    truth: Truth

    def get(self, path: str, accept: str = JSON, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", f"/dicom-web{path}", headers={"Accept": accept} | headers)
            with connection.getresponse() as response:
                return Answer(response.status, response.headers, response.read())

    def file(self, instance: TrueInstance) -> Any:
        return dcmread(self.cache / next(iter(instance.files.values())))


@contextlib.contextmanager
def archives(cache: Path, profiles: Path, destination: str) -> Iterator[None]:
    """Run the province's archives until the context is left."""
    arguments = ["--scale", "small", "--cache", cache, "--base-port", "0", "--profiles", profiles]
    command = [sys.executable, "-m", "regions", *arguments, "--destination", destination]
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "ready":
                break
        else:
            pytest.fail("the province did not start")
        yield
    finally:
        stop(process)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def province(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Province]:
    home = tmp_path_factory.mktemp("viewer")
    cache = small_province(home)
    http_port, dimse_port = free_port(), free_port()
    settings = home / "settings.toml"
    settings.write_text('[access]\nmode = "open"\n')
    options: list[str | Path] = [
        "--regions",
        home / "profiles",
        "--config",
        settings,
        "--http-port",
        str(http_port),
        "--dimse-port",
        str(dimse_port),
        "--ops-port",
        "0",
    ]
    with archives(cache, home / "profiles", f"GATEWAY=127.0.0.1:{dimse_port}"):
        command = [sys.executable, "-m", "gateway", "serve", *options]
        with running(command, http_port, home / "gateway.log", environment=PATIENT):
            yield Province(http_port, cache, truth(cache))


def series_path(study: TrueStudy, series: TrueSeries) -> str:
    return f"/studies/{study.study_instance_uid}/series/{series.series_instance_uid}"


def each(province: Province, purpose: str) -> Iterator[tuple[str, TrueInstance]]:
    """Walk the instances of the studies with a purpose; yield path and truth of each."""
    for study in province.truth.having(purpose):
        for series in study.series:
            for instance in series.instances:
                yield f"{series_path(study, series)}/instances/{instance.sop_instance_uid}", instance


def dataset_pixels(dataset: Any) -> Any:
    """Decode all frames with pydicom; colour as RGB, as ours leave a lossy codestream."""
    return dataset.pixel_array


def viewed(study: TrueStudy) -> Iterator[tuple[str, str]]:
    """Yield what OHIF asks for when a study is opened: path and Accept, in order."""
    uid = study.study_instance_uid
    yield f"/studies?{LIST}", JSON
    yield f"/studies/{uid}/series?includefield=0008103E%2C00080021", JSON
    for _ in range(2):
        yield f"/studies?{LIST}&StudyInstanceUID={uid}", JSON
    yield f"/studies/{uid}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011", JSON
    yield f"/studies?00100020={next(iter(study.patient_ids.values()))}&limit=101&offset=0&fuzzymatching=true", JSON
    for series in study.series:
        yield f"{series_path(study, series)}/metadata", JSON


WITH_PICTURES = {"CT", "MR", "US", "DX", "MG", "PT", "XA", "CR", "NM"}
PURPOSES = (
    "split-series", "implicit", "big-endian", "deflated", "codecs", "us-multi-frame", "report-elsewhere",
    "empty-type-2",
)  # fmt: skip


@pytest.mark.parametrize("purpose", PURPOSES)
def test_what_ohif_asks_for_is_answered_without_an_error(province: Province, purpose: str) -> None:
    study = province.truth.study(purpose)
    for path, accept in viewed(study):
        answer = province.get(path, accept)
        assert answer.status == 200, (path, answer.body[:500])
        assert "all regions" not in answer.headers.get("Federation-Status", "")
    for series in study.series:
        base = series_path(study, series)
        rows = province.get(f"{base}/metadata").rows
        assert {row["00080018"]["Value"][0] for row in rows} == {x.sop_instance_uid for x in series.instances}
        if series.modality not in WITH_PICTURES:
            continue
        for kind in ("rendered", "thumbnail"):
            picture = province.get(f"{base}/{kind}?viewport=256%2C256", "image/jpeg")
            assert picture.status == 200, (base, picture.body[:500])
            assert max(Image.open(BytesIO(picture.body)).size) <= 256
        for instance in series.instances:
            frame = province.get(f"{base}/instances/{instance.sop_instance_uid}/frames/1", FRAMES)
            assert frame.status == 200, (purpose, instance, frame.body[:500])
            [(head, _)] = frame.parts
            assert "transfer-syntax=1.2.840" in head["Content-Type"]


@pytest.mark.parametrize("purpose", ["codecs", "us-multi-frame", "implicit", "big-endian", "deflated", "pet"])
def test_frames_are_the_pixels_that_pydicom_decodes(province: Province, purpose: str) -> None:
    compared = 0
    for path, instance in each(province, purpose):
        dataset = province.file(instance)
        if "PixelData" not in dataset:
            continue
        answer = province.get(f"{path}/pixeldata", OCTETS)
        assert answer.status == 200, (instance, answer.body[:500])
        frames = b"".join(content for _, content in answer.parts)
        wanted = dataset_pixels(dataset)
        received = np.frombuffer(frames, wanted.dtype.newbyteorder("<")).reshape(wanted.shape)
        differences = np.abs(received.astype(int) - wanted.astype(int))
        # Decoders of lossy codestreams round, and smooth colour, each in its own way; everything else is exact.
        assert differences.mean() <= (0.2 if instance.transfer_syntax_uid in LOSSY else 0), instance
        assert differences.max() <= (16 if instance.transfer_syntax_uid in LOSSY else 0), instance
        compared += 1
    assert compared


@pytest.mark.parametrize("purpose", ["codecs", "us-multi-frame", "big-endian", "report-elsewhere"])
def test_every_bulk_data_uri_resolves(province: Province, purpose: str) -> None:
    study = province.truth.study(purpose)
    hashes = {x.sop_instance_uid: x.pixel_data_sha256 for x in study.instances}
    count = 0
    for row in province.get(f"/studies/{study.study_instance_uid}/metadata").rows:
        for tag, attribute in row.items():
            if "BulkDataURI" not in attribute:
                continue
            uri = str(attribute["BulkDataURI"]).removeprefix("/dicom-web")
            answer = province.get(uri, f'{OCTETS}; transfer-syntax="*"')
            assert answer.status == 200, uri
            count += 1
            if tag == "00420011":
                [(_, document)] = answer.parts
                padded = document + b"\0" * (len(document) % 2)
                assert hashlib.sha256(padded).hexdigest() == hashes[str(row["00080018"]["Value"][0])]
    assert count


def test_reports_are_pages_and_documents_are_pdf(province: Province) -> None:
    kinds = set()
    for study in (*province.truth.having("report-elsewhere"), *province.truth.having("pet")):
        for series in study.series:
            if series.modality in WITH_PICTURES:
                continue
            for instance in series.instances:
                path = f"{series_path(study, series)}/instances/{instance.sop_instance_uid}/rendered"
                answer = province.get(path, BROWSER)
                assert answer.status == 200, answer.body[:300]
                kinds.add(answer.headers.get_content_type())
                if instance.sop_class_uid == ENCAPSULATED_DOCUMENT:
                    assert answer.body.startswith(b"%PDF-")
    assert kinds == {"application/pdf", "text/html"}


def test_metadata_of_a_study_that_is_here_is_not_sent_twice(province: Province) -> None:
    path = f"/studies/{province.truth.study('implicit').study_instance_uid}/metadata"
    province.get(path)
    warm = province.get(path)
    tag = warm.headers["ETag"]
    assert province.get(path, **{"If-None-Match": tag}).status == 304


def test_region_alone_has_the_same_resources(province: Province) -> None:
    study = province.truth.study("codecs")
    name = next(iter(study.regions)).lower()
    series = study.series[0]
    instance = series.instances[0].sop_instance_uid
    path = f"/../regions/{name}/dicom-web{series_path(study, series)}/instances/{instance}"
    connection = http.client.HTTPConnection("127.0.0.1", province.http_port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path.removeprefix("/.."), headers={"Accept": "image/jpeg, */*;q=0.1"})
        with connection.getresponse() as response:
            assert response.status == 200
            response.read()
        connection.request("GET", f"{path.removeprefix('/..')}/rendered", headers={"Accept": "image/jpeg"})
        with connection.getresponse() as response:
            assert response.status == 200
            assert Image.open(BytesIO(response.read())).format == "JPEG"
