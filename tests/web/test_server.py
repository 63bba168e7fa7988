"""Starting and stopping the HTTP listener beside other services."""

import asyncio
import signal

import httpx2
import pytest

from gateway.web.app import WebSettings
from gateway.web.server import WebServer
from tests.web.fakes import STUDY, FakeInstance, FakeRetrieve, FakeSearch, application, exchange, headed


def server(retrieve: FakeRetrieve | None = None, port: int = 0) -> WebServer:
    return WebServer(application(FakeSearch(), retrieve or FakeRetrieve(), WebSettings()), "127.0.0.1", port)


async def status(port: int) -> int:
    async with httpx2.AsyncClient(verify=False) as client:
        return (await client.get(f"http://127.0.0.1:{port}/dicom-web/studies")).status_code


async def test_two_servers_run_on_one_loop_and_leave_signals_alone() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    first, second = server(), server()
    ports = await first.start(), await second.start()
    assert [await status(port) for port in ports] == [200, 200]
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    await first.aclose(0)
    assert await status(ports[1]) == 200
    await second.aclose(0)


async def test_port_that_is_taken_is_an_os_error() -> None:
    first = server()
    port = await first.start()
    second = server(port=port)
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.aclose(0)
    await first.aclose(0)


async def test_running_response_ends_within_the_grace() -> None:
    more = asyncio.Event()
    retrieve = FakeRetrieve([FakeInstance([b"abc", more, b"def"])])
    web = server(retrieve)
    port = await web.start()
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(exchange(port, headed(target=f"/dicom-web/studies/{STUDY}")))
        await retrieve.opened.wait()
        closing = group.create_task(web.aclose(5))
        await asyncio.sleep(0)
        more.set()
    assert closing.done()
    assert answer.result().endswith(b"0\r\n\r\n")
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_response_that_does_not_end_is_broken_after_the_grace() -> None:
    retrieve = FakeRetrieve([FakeInstance([b"abc", asyncio.Event()])])
    web = server(retrieve)
    port = await web.start()
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(exchange(port, headed(target=f"/dicom-web/studies/{STUDY}")))
        await retrieve.opened.wait()
        await web.aclose(0.1)
    assert not answer.result().endswith(b"0\r\n\r\n")
    assert retrieve.left.is_set()


async def test_idle_connections_do_not_delay_the_end() -> None:
    web = server()
    port = await web.start()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    async with httpx2.AsyncClient(verify=False) as client:
        await client.get(f"http://127.0.0.1:{port}/dicom-web/studies")
        began = asyncio.get_running_loop().time()
        await web.aclose(30)
        assert asyncio.get_running_loop().time() - began < 10
    writer.close()
