"""Tests of one region run in virtual time, but for modules that say REAL_TIME because they talk over sockets."""

import asyncio
from collections.abc import Callable

import pytest

from tests.kit.patient_loop import PatientLoop
from tests.region.virtual_time import VirtualLoop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    module = item.getparent(pytest.Module)
    if module is not None and getattr(module.obj, "REAL_TIME", False):
        return {"patient": PatientLoop}
    return {"virtual": VirtualLoop}
