from collections.abc import Iterator
from pathlib import Path

import pytest

from regions.archive import Archive
from regions.plan import SMALL
from regions.province import Truth, generate, truth


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
