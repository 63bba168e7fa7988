"""Tests of the federation run in virtual time, over scripted regions; a module with sockets says REAL_TIME."""

import asyncio
from collections.abc import Callable

import pytest

from tests.kit.patient_loop import PatientLoop
from tests.region.virtual_time import VirtualLoop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    if isinstance(item, pytest.Function) and hasattr(item.module, "REAL_TIME"):
        return {"patient": PatientLoop}
    return {"virtual": VirtualLoop}
