from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import evt

from regions.archive import Archive
from regions.plan import SMALL
from regions.province import generate
from regions.truth import Truth, truth
from tests.kit.peers import DicomNode, pynetdicom_scp
from tests.regions.scu import SYNTAXES, Inbox


@pytest.fixture(scope="session")
def province(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small province, made by two worker processes."""
    cache = tmp_path_factory.mktemp("cache") / "province"
    generate(cache, scale=SMALL, workers=2)
    return cache


@pytest.fixture(scope="session")
def true(province: Path) -> Truth:
    return truth(province)


@pytest.fixture(scope="session")
def neodin(province: Path) -> Iterator[Archive]:
    with Archive("NEODIN", province / "NEODIN") as archive:
        yield archive


@pytest.fixture(scope="session")
def hdirs(province: Path) -> Iterator[Archive]:
    with Archive("HDIRS", province / "HDIRS") as archive:
        yield archive


@pytest.fixture(scope="module")
def destination() -> Iterator[tuple[DicomNode, Inbox]]:
    received = Inbox()
    with pynetdicom_scp("INBOX", [(evt.EVT_C_STORE, received)], transfer_syntaxes=SYNTAXES) as node:
        yield node, received


@pytest.fixture
def inbox(neodin: Archive, hdirs: Archive, destination: tuple[DicomNode, Inbox]) -> Inbox:
    """A Move Destination that both archives know as INBOX, empty."""
    node, received = destination
    neodin.destinations["INBOX"] = hdirs.destinations["INBOX"] = (node.host, node.port)
    received.stores.clear()
    received.refused.clear()
    return received
