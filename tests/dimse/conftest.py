"""Every promise of `gateway.dimse` holds on asyncio's own loop and on uvloop; archives are started once."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from tests.kit import dicom
from tests.kit.patient_loop import PatientLoop
from tests.kit.peers import DicomNode, dcmqrscp, free_port, orthanc, pynetdicom_archive

STUDIES = [instance for number in range(1, 8) for instance in dicom.study(number, series=2, instances=2)]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": PatientLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def gateway_port() -> int:
    """Return where the archives look for the Move Destination GATEWAY."""
    return free_port()


@pytest.fixture(scope="session", params=["pynetdicom", "dcmtk", "orthanc"])
def archive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gateway_port: int
) -> Iterator[DicomNode]:
    """Run a real archive that holds STUDIES and knows GATEWAY."""
    home, known = tmp_path_factory.mktemp(request.param), {"GATEWAY": gateway_port}
    match request.param:
        case "pynetdicom":
            starting = pynetdicom_archive("ARCHIVE", STUDIES, known)
        case "dcmtk":
            starting = dcmqrscp(home, "ARCHIVE", known, STUDIES)
        case _:
            starting = loaded_orthanc(home, known)
    with starting as node:
        yield node


@contextmanager
def loaded_orthanc(home: Path, known: dict[str, int]) -> Iterator[DicomNode]:
    with orthanc(home, "ARCHIVE", known, dicomweb=False) as node:
        node.upload(STUDIES)
        yield node
