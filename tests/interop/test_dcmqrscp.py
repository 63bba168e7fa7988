"""DCMTK's archive as a region."""

from collections.abc import Iterator

import pytest

from tests.interop.contract import INSTANCES, RegionContract, Served
from tests.interop.serving import gateway, profile
from tests.kit.peers import dcmqrscp, free_port


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home, dimse_port = tmp_path_factory.mktemp("dcmqrscp"), free_port()
    with dcmqrscp(home, destinations={"GATEWAY": dimse_port}, instances=INSTANCES) as archive:
        by_move = profile(archive.ae_title, archive.port, "c-move")
        by_get = profile(archive.ae_title, archive.port, "c-get")
        with gateway(home, by_move, dimse_port) as moving, gateway(home, by_get) as getting:
            yield Served(moving, getting)


@pytest.mark.peer("dcmtk")
class TestDcmqrscp(RegionContract):
    """The reference implementation; an association of its own carries one Transfer Syntax per SOP Class."""
