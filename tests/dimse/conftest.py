"""Every promise of `gateway.dimse` holds on asyncio's own loop and on uvloop; archives are started once."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import uvloop

from tests.kit import dicom
from tests.kit.peers import DicomNode, Orthanc, dcmqrscp, free_port, orthanc, pynetdicom_archive

STUDIES = [instance for number in range(1, 8) for instance in dicom.study(number, series=2, instances=2)]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def gateway_port() -> int:
    """Return where the archives look for the Move Destination GATEWAY."""
    return free_port()


@pytest.fixture(scope="session", params=["pynetdicom", "dcmtk", "orthanc"])
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gateway_port: int
) -> Iterator[DicomNode]:
    """Run a real archive that holds STUDIES and knows GATEWAY."""
    home: Path = tmp_path_factory.mktemp(request.param)
    known = {"GATEWAY": gateway_port}
    starters: dict[str, Callable[[], AbstractContextManager[DicomNode]]] = {
        "pynetdicom": lambda: pynetdicom_archive("ARCHIVE", STUDIES, known),
        "dcmtk": lambda: dcmqrscp(home, "ARCHIVE", known, STUDIES),
        "orthanc": lambda: orthanc(home, "ARCHIVE", known, dicomweb=False),
    }
    with starters[request.param]() as node:
        if isinstance(node, Orthanc):
            node.upload(STUDIES)
        yield node
