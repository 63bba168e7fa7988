"""User agents that store through the gateway, archives that it stores into, and what comes back of it."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread

from gateway.dataset.part10 import split
from gateway.dataset.transcode import Reencoder
from regions.archive import Archive
from tests.interop.serving import MULTIPART, Gateway, gateway, peer, profile
from tests.kit.dicom import encode, from_part10, part10, study
from tests.kit.peers import FINDSCU, SECONDS, STORESCU, dcmqrscp, free_port, orthanc, require, run
from tests.kit.small_province import small_province

CURL = Path("/usr/bin/curl")
NEVER_ON_THE_WEB = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.2"}


def default(region: str) -> str:
    """Store in one region; what is retrieved brings nothing else behind it that would be under way at the end."""
    return f'[store]\ndefault = ["{region}"]\n[spool]\nbackground_instances = 0\n'


@dataclass(frozen=True, slots=True)
class Served:
    gateway: Gateway
    archive: Archive


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A gateway before an empty embedded archive."""
    dimse_port = free_port()
    with Archive("EMPTY", tmp_path / "archive", destinations={"GATEWAY": ("127.0.0.1", dimse_port)}) as archive:
        text = profile("EMPTY", archive.port)
        with gateway(tmp_path, text, dimse_port, settings=default("EMPTY")) as one:
            yield Served(one, archive)


def written(folder: Path, datasets: list[Dataset]) -> list[Path]:
    folder.mkdir()
    files = [folder / f"an image {number}.dcm" for number, _ in enumerate(datasets)]
    for file, dataset in zip(files, datasets, strict=True):
        file.write_bytes(part10(dataset))
    return files


def files_of(datasets: list[Dataset]) -> list[Dataset]:
    """Return the instances as pydicom reads them from files: only then does it write their preambles."""
    return [from_part10(part10(dataset)) for dataset in datasets]


def retrieved(served: Gateway, path: str) -> dict[str, bytes]:
    """Return the Data Set of each instance below a path, by SOP Instance UID."""
    files = [content for _, content in served.get(path, MULTIPART).parts]
    heads = [split(file) for file in files]
    return {meta.sop_instance_uid: file[end:] for (meta, end), file in zip(heads, files, strict=True)}


def test_dicomweb_client_stores_a_study_and_finds_it_again(served: Served) -> None:
    client, datasets = DICOMwebClient(url=served.gateway.url), study(1, series=2, instances=2)
    answer = client.store_instances(files_of(datasets))
    assert len(answer.ReferencedSOPSequence) == 4
    assert "FailedSOPSequence" not in answer
    found = client.search_for_instances(str(datasets[0].StudyInstanceUID))
    assert {row["00080018"]["Value"][0] for row in found} == {x.SOPInstanceUID for x in datasets}
    [one, *_] = client.retrieve_study(str(datasets[0].StudyInstanceUID))
    assert one.PixelData


def test_curl_stores_a_folder_in_one_line(served: Served, tmp_path: Path) -> None:
    require(CURL)
    files = written(tmp_path / "a folder", study(1, instances=3))
    line = (
        "find \"$FOLDER\" -type f -exec curl -fsS -X POST -H 'Content-Type: application/dicom' -T {} "
        '"$GATEWAY/studies" \\;'
    )
    environment = {"FOLDER": str(tmp_path / "a folder"), "GATEWAY": served.gateway.url, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", "-c", line], env=environment, capture_output=True, text=True, check=True, timeout=SECONDS
    )
    assert done.stdout.count("00081199") == len(files)
    assert len(retrieved(served.gateway, f"/studies/{dcmread(files[0]).StudyInstanceUID}")) == 3


def test_curl_stores_a_folder_in_one_request(served: Served, tmp_path: Path) -> None:
    require(CURL)
    files = written(tmp_path / "folder", study(1, instances=3))
    fields = [word for file in files for word in ("-F", f'f=@"{file}";type=application/dicom')]
    kind = ("-H", 'Content-Type: multipart/related; type="application/dicom"')
    done = subprocess.run(
        [str(CURL), "-fsS", *kind, *fields, f"{served.gateway.url}/studies"],
        capture_output=True,
        check=True,
        timeout=SECONDS,
    )
    assert b"00081199" in done.stdout
    assert len(retrieved(served.gateway, f"/studies/{dcmread(files[0]).StudyInstanceUID}")) == 3


@pytest.mark.peer("orthanc")
def test_orthanc_is_stored_into_and_read_from(tmp_path: Path) -> None:
    datasets, dimse_port = study(1, series=2, instances=3), free_port()
    with orthanc(tmp_path, modalities={"GATEWAY": dimse_port}) as archive:
        text = profile(archive.ae_title, archive.port)
        with gateway(tmp_path, text, dimse_port, settings=default(archive.ae_title)) as one:
            DICOMwebClient(url=one.url).store_instances(files_of(datasets))
            assert archive.statistics()["CountInstances"] == 6
            again = retrieved(one, f"/studies/{datasets[0].StudyInstanceUID}")
    assert again == {x.SOPInstanceUID: encode(x) for x in datasets}


@pytest.mark.peer("dcmtk")
def test_dcmqrscp_is_stored_into_and_read_from(tmp_path: Path) -> None:
    datasets, dimse_port = study(1, instances=3), free_port()
    with dcmqrscp(tmp_path, destinations={"GATEWAY": dimse_port}) as archive:
        text = profile(archive.ae_title, archive.port)
        with gateway(tmp_path, text, dimse_port, settings=default(archive.ae_title)) as one:
            DICOMwebClient(url=one.url).store_instances(files_of(datasets))
            again = retrieved(one, f"/studies/{datasets[0].StudyInstanceUID}")
    # dcmqrscp writes each Data Set anew; what it says stays what it was.
    assert {uid: from_part10(part10_of(data)).PixelData for uid, data in again.items()} == {
        x.SOPInstanceUID: x.PixelData for x in datasets
    }


def part10_of(data: bytes) -> bytes:
    from gateway.dataset.part10 import file_meta  # noqa: PLC0415

    return file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1") + data


def of_every_kind(province: Path) -> list[Path]:
    """Return one file of each SOP Class in each Transfer Syntax that the province has."""
    kinds: dict[tuple[str, str], Path] = {}
    for file in sorted(province.rglob("*.dcm")):
        meta = dcmread(file, specific_tags=["SOPClassUID"]).file_meta
        kinds.setdefault((str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)), file)
    return list(kinds.values())


@pytest.fixture(scope="module")
def province(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_province(tmp_path_factory.mktemp("cache"))


def test_every_kind_of_instance_in_the_province_comes_back_byte_for_byte(province: Path, served: Served) -> None:
    files = [file.read_bytes() for file in of_every_kind(province)]
    assert len({split(file)[0].sop_class_uid for file in files}) > 8
    for file in files:
        meta, at = split(file)
        answer = DICOMwebClient(url=served.gateway.url).store_instances([from_part10(file)])
        assert len(answer.ReferencedSOPSequence) == 1, meta
        original, kept = file[at:], served.archive.folder / stored(served.archive, meta.sop_instance_uid)
        held, dataset = kept.read_bytes(), dcmread(kept)
        series = f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
        again = retrieved(served.gateway, series)[meta.sop_instance_uid]
        assert held[split(held)[1] :] == original, meta
        assert again == on_the_web(original, meta.transfer_syntax_uid), meta


def stored(archive: Archive, sop_instance_uid: str) -> str:
    path = archive.index.path_of(sop_instance_uid)
    assert path is not None
    return path


def on_the_web(data: bytes, transfer_syntax_uid: str) -> bytes:
    """Return the Data Set as it may leave: Implicit VR and Big Endian never do (PS3.18 8.7.3)."""
    if transfer_syntax_uid not in NEVER_ON_THE_WEB:
        return data
    reencoder = Reencoder(transfer_syntax_uid)
    return b"".join(map(bytes, [*reencoder.feed(data), *reencoder.finish()]))


@pytest.mark.peer("dcmtk")
async def test_storescu_contributes_what_findscu_and_wado_then_give(tmp_path: Path) -> None:
    dimse_port, contributed = free_port(), study(3)
    with Archive("EMPTY", tmp_path / "archive", destinations={"GATEWAY": ("127.0.0.1", dimse_port)}) as archive:
        peers = [peer("CLINIC", 0, "echo", "find", "store")]
        text = profile("EMPTY", archive.port)
        with gateway(tmp_path, text, dimse_port, settings=default("EMPTY"), peers=peers) as one:
            titles = "-aet", "CLINIC", "-aec", "GATEWAY", "127.0.0.1", dimse_port
            sent = await run(STORESCU, "-v", *titles, *written(tmp_path / "files", contributed))
            assert sent.returncode == 0, sent.output
            uid = str(contributed[0].StudyInstanceUID)
            keys = ("-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={uid}", "-k", "SOPInstanceUID")
            series = ("-k", f"SeriesInstanceUID={contributed[0].SeriesInstanceUID}")
            asked = await run(FINDSCU, "-v", "-S", *titles, *keys, *series)
            expected = {str(dataset.SOPInstanceUID): encode(dataset) for dataset in contributed}
            assert all(instance in asked.output for instance in expected)
            assert retrieved(one, f"/studies/{uid}") == expected
