"""Tests of the federation run in virtual time, over scripted regions."""

import asyncio
from collections.abc import Callable

import pytest

from tests.region.virtual_time import VirtualLoop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    return {"virtual": VirtualLoop}
