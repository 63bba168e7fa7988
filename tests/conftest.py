"""What holds for every test: no stray task, no error nobody saw, no process left, nothing beyond the loopback.

And none depends on how fast the machine is, or on luck where changes are judged.
"""

import asyncio
import contextlib
import gc
import inspect
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from pynetdicom.transport import AssociationSocket

if TYPE_CHECKING:
    from tests.kit.postgres import Postgres

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # `from tests.kit.peers import orthanc`, however pytest is started
pytest.register_assert_rewrite("tests.kit")

from tests.kit.patient_loop import PatientLoop  # noqa: E402 - found only from here on

# How long an example takes says nothing. Where every peer is required each run tries the same examples; elsewhere
# each run tries others.
settings.register_profile(
    "steady",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("REQUIRE_PEERS") == "1",
    database=None,
    print_blob=True,
)
settings.load_profile("steady")


def loopback_only(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse, as an audit hook, every connection that would leave this machine."""
    if event != "socket.connect" or not isinstance(arguments[1], tuple):
        return
    host = arguments[1][0]
    if host != "localhost" and not ip_address(host).is_loopback:
        raise RuntimeError(f"a test tried to connect to {host}")


def shut(held: AssociationSocket) -> None:
    """Close the socket also where the peer has reset it: pynetdicom leaves that to a test that comes later."""
    if held.socket is not None:
        with contextlib.suppress(OSError):
            held.socket.shutdown(socket.SHUT_RDWR)
        held.socket.close()


def pytest_configure() -> None:
    sys.addaudithook(loopback_only)
    AssociationSocket._shutdown_socket = shut


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"patient": PatientLoop}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from tests.kit.sharing import Sharing  # noqa: PLC0415 - the plugin is there

    config.option.loadscopereorder = False  # how many tests a file has does not say how long they take
    return Sharing(config, log)


@pytest.hookimpl(trylast=True)  # behind those who shuffle
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        from tests.kit.sharing import longest_first  # noqa: PLC0415 - the plugin is there

        longest_first(items)
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "no_stray_task")
        if isinstance(item, pytest.Function) and _parameters(item).get("kept") == "postgres":
            item.fixturenames.insert(0, "postgres")  # a server of the session is no child of the test


@pytest.fixture(scope="module", autouse=True)
def little_to_collect() -> None:
    """Have what was imported, and what lasts for longer than a module, not walked again after each of its tests."""
    gc.collect()
    gc.freeze()


def _parameters(item: pytest.Function) -> dict[str, object]:
    return item.callspec.params if hasattr(item, "callspec") else {}


@pytest.fixture(scope="session")
def postgres() -> Iterator["Postgres"]:
    """Run PostgreSQL as long as the tests, once one of them asks for it."""
    from tests.kit.postgres import postgres_server  # noqa: PLC0415 - its asserts are rewritten by now

    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return the keys of [consent] that name an empty database, of each kind."""
    if request.param == "sqlite":
        return {"database": str(tmp_path / "consent.sqlite")}
    return request.getfixturevalue("postgres").database().keys  # type: ignore[no-any-return]  # what pytest gives


@pytest.fixture
async def no_stray_task() -> AsyncIterator[None]:
    """Fail when a task outlives the test and its fixtures."""
    before = asyncio.all_tasks()
    yield
    strays: set[asyncio.Task[Any]] = set()
    for _ in range(1000):
        strays = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not strays:
            return
        await asyncio.sleep(0.005)  # a cancelled task needs turns of the loop to end
    pytest.fail(f"tasks outlive the test: {strays}")


class _Errors(logging.Handler):
    """Collects what an event loop could tell nobody but its logger."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture(autouse=True)
def no_unseen_error(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail on a task exception never retrieved, an exception in a callback, a task destroyed while pending."""
    errors = _Errors()
    logger = logging.getLogger("asyncio")
    logger.addHandler(errors)
    yield
    if "no_stray_task" in request.fixturenames:
        gc.collect()
    logger.removeHandler(errors)
    if errors.texts:
        pytest.fail("\n".join(errors.texts))


@pytest.fixture(autouse=True)
def no_child_process() -> Iterator[None]:
    """Fail when a process that the test started is still there."""
    before = _children()
    yield
    if left := _children() - before:
        pytest.fail(f"child processes outlive the test: {sorted(left)}")


def _children() -> set[str]:
    """Return the pids of our children, zombies included."""
    return {pid for thread in Path("/proc/self/task").iterdir() for pid in _words(thread / "children")}


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:  # the thread ended while we looked
        return []
