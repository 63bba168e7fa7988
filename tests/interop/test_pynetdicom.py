"""An archive on pynetdicom as a region."""

from collections.abc import Iterator

import pytest

from tests.interop.contract import INSTANCES, CompressedContract, Served
from tests.interop.serving import gateway, profile
from tests.kit.peers import free_port, pynetdicom_archive


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home, dimse_port = tmp_path_factory.mktemp("pynetdicom"), free_port()
    with pynetdicom_archive(instances=INSTANCES, destinations={"GATEWAY": dimse_port}) as archive:
        by_move = profile(archive.ae_title, archive.port, "c-move")
        by_get = profile(archive.ae_title, archive.port, "c-get")
        with gateway(home, by_move, dimse_port) as moving, gateway(home, by_get) as getting:
            yield Served(moving, getting)


class TestPynetdicom(CompressedContract):
    """Python's own DICOM stack."""
