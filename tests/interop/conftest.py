"""A gateway over a small archive, for the tools that talk to it."""

from collections.abc import Iterator

import pytest

from tests.interop.contract import INSTANCES
from tests.interop.serving import Gateway, gateway, profile
from tests.interop.two_provinces import Provinces, two_provinces
from tests.kit.peers import free_port, pynetdicom_archive


@pytest.fixture(scope="module")
def served_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    home, dimse_port = tmp_path_factory.mktemp("gateway"), free_port()
    with (
        pynetdicom_archive(instances=INSTANCES, destinations={"GATEWAY": dimse_port}) as archive,
        gateway(home, profile(archive.ae_title, archive.port), dimse_port) as served,
    ):
        yield served


@pytest.fixture(scope="session")
def provinces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provinces]:
    with two_provinces(tmp_path_factory.mktemp("provinces")) as made:
        yield made
