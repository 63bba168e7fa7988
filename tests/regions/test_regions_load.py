"""Filling archives that are not ours: the Orthancs of docker/compose.yaml, as they are configured there."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import HTJ2K, HTJ2KLossless

from regions.load import Loaded, LoadError, load
from regions.people import REGIONS
from regions.truth import TrueInstance, Truth
from tests.interop.serving import Gateway, gateway
from tests.kit.peers import ORTHANC, Orthanc, free_port, require, running, wait_for_port

DOCKER = Path(__file__).parents[2] / "docker"


@pytest.fixture(scope="module")
def neodin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, int]]:
    """An Orthanc with the configuration of the containers, but for its ports and folders, and the gateway's port."""
    home = tmp_path_factory.mktemp("orthanc")
    http_port, port, dimse_port = free_port(), free_port(), free_port()
    settings = json.loads((DOCKER / "orthanc.json").read_text())
    settings |= {"StorageDirectory": str(home), "IndexDirectory": str(home), "HttpPort": http_port, "DicomPort": port}
    settings["DicomModalities"]["GATEWAY"][1:] = ["127.0.0.1", dimse_port]
    file = home / "orthanc.json"
    file.write_text(json.dumps(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "AE_TITLE", "NEODIN")
        with running([require(ORTHANC), file], port, home / "orthanc.log") as process:
            wait_for_port(http_port, process)
            yield Orthanc("NEODIN", "127.0.0.1", port, http_port, process.pid), dimse_port


def _is_htj2k(instance: TrueInstance) -> bool:
    return instance.transfer_syntax_uid in {HTJ2KLossless, HTJ2K}


@pytest.fixture(scope="module")
def loaded(neodin: tuple[Orthanc, int], province: Path, true: Truth) -> Loaded:
    archive, _ = neodin
    return load(province, true, "NEODIN", (archive.host, archive.port))


def test_an_archive_holds_what_its_region_shall_hold(neodin: tuple[Orthanc, int], true: Truth, loaded: Loaded) -> None:
    held = neodin[0].statistics()
    # Debian's Orthanc knows no High-Throughput JPEG 2000.
    assert loaded.left_out <= loaded.stored // 5
    assert loaded.stored + loaded.left_out == sum(len(study.held_by("NEODIN")) for study in true.studies)
    assert held["CountInstances"] == loaded.stored


def test_loading_again_changes_nothing(
    neodin: tuple[Orthanc, int], province: Path, true: Truth, loaded: Loaded
) -> None:
    archive, _ = neodin
    assert load(province, true, "NEODIN", (archive.host, archive.port)) == loaded
    assert archive.statistics()["CountInstances"] == loaded.stored


def test_the_gateway_of_the_containers_finds_and_retrieves_from_it(
    neodin: tuple[Orthanc, int], true: Truth, loaded: Loaded, tmp_path: Path
) -> None:
    archive, dimse_port = neodin
    profile = (DOCKER / "province" / "regions" / "neodin.toml").read_text()
    profile = profile.replace('host = "neodin"', 'host = "127.0.0.1"').replace("port = 4242", f"port = {archive.port}")
    study = next(x for x in true.studies if x.regions == {"NEODIN"} and not any(map(_is_htj2k, x.instances)))
    with gateway(tmp_path, profile, dimse_port) as served:
        assert isinstance(served, Gateway)
        rows = served.get("/studies?limit=1000").rows
        answer = served.get(
            f"/studies/{study.study_instance_uid}", 'multipart/related; type="application/dicom"; transfer-syntax=*'
        )
    assert len(rows) == archive.statistics()["CountStudies"]
    assert len(answer.parts) == len(study.held_by("NEODIN"))


def test_an_archive_of_another_name_is_told_of(neodin: tuple[Orthanc, int], province: Path, true: Truth) -> None:
    archive, _ = neodin
    with pytest.raises(LoadError, match="does not let us in"):
        load(province, true, REGIONS[-1], (archive.host, archive.port), seconds=0)


def test_an_archive_that_is_not_there_is_waited_for_no_longer_than_told(province: Path, true: Truth) -> None:
    with pytest.raises(LoadError, match="nothing listens"):
        load(province, true, "NEODIN", ("127.0.0.1", free_port()), seconds=0)
