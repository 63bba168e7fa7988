"""A caller who leaves is not worked for (promises H06, H07), and one who stays is never cut by mistake."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.web.disconnect import CancelOnDisconnect
from tests.web.fakes import STUDY, FakeInstance, FakeRetrieve, FakeSearch, ct, gateway, headed, study_row

SCOPE = {"type": "http", "method": "GET"}


async def leave(port: int, request: bytes, arrived: asyncio.Event, *, reset: bool) -> None:
    """Send a request and leave once it is being served: with FIN, or with RST."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await asyncio.wait_for(arrived.wait(), 30)
    connection: socket.socket = writer.get_extra_info("socket")
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


@pytest.mark.parametrize("reset", [True, False])
async def test_search_is_cancelled_before_its_first_byte(reset: bool) -> None:
    async with gateway(FakeSearch(before=[asyncio.Event()])) as web:
        await leave(web.port, headed(), web.search.asked, reset=reset)
        await asyncio.wait_for(web.search.cancelled.wait(), 1)
    assert web.events == []


@pytest.mark.parametrize("reset", [True, False])
async def test_retrieve_is_left_before_its_first_byte(reset: bool) -> None:
    retrieve = FakeRetrieve([asyncio.Event()])
    async with gateway(retrieve=retrieve) as web:
        await leave(web.port, headed(target=f"/dicom-web/studies/{STUDY}"), retrieve.opened, reset=reset)
        await asyncio.wait_for(retrieve.left.wait(), 1)
    assert web.events == []


@pytest.mark.parametrize("reset", [True, False])
async def test_retrieve_is_left_in_the_middle_of_an_instance(reset: bool) -> None:
    arrived = asyncio.Event()
    retrieve = FakeRetrieve([FakeInstance([b"abc", arrived.set, asyncio.Event()])])
    async with gateway(retrieve=retrieve) as web:
        await leave(web.port, headed(target=f"/dicom-web/studies/{STUDY}"), arrived, reset=reset)
        await asyncio.wait_for(retrieve.left.wait(), 1)


async def test_thousand_impatient_callers_leave_nothing_behind() -> None:
    async with gateway(FakeSearch(before=[asyncio.Event()])) as web:
        for _ in range(20):
            web.search.asked.clear()
            leaving = [leave(web.port, headed(), web.search.asked, reset=True) for _ in range(50)]
            await asyncio.gather(*leaving)
        await web.server._quiet(30)
        await web.server._ended(30)
        assert not web.server._state.connections
        assert not web.server._state.tasks
        assert (await web.client.get("/nothing")).status_code == 404


async def test_answer_on_a_kept_connection_does_not_look_like_a_disconnect() -> None:
    async with gateway(FakeSearch([study_row()]), FakeRetrieve([ct(1)])) as web:
        for _ in range(20):
            assert (await web.client.get("/studies")).status_code == 200
            assert (await web.client.get(f"/studies/{STUDY}")).status_code == 200
    assert web.events == []


# --- the middleware alone


def after(moment: asyncio.Event) -> Receive:
    first = True

    async def receive() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await moment.wait()
        return {"type": "http.disconnect"}

    return receive


async def nowhere(message: Message) -> None:
    pass


Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


async def run(handler: Handler, gone: asyncio.Event, scope: dict[str, Any] = SCOPE) -> None:
    await CancelOnDisconnect(handler)(scope, after(gone), nowhere)


async def test_cancellation_by_disconnect_ends_here() -> None:
    gone, ended = asyncio.Event(), asyncio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        gone.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await run(handler, gone)
    assert ended.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_cancellation_by_the_server_goes_on() -> None:
    running = asyncio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        running.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run(handler, asyncio.Event()))
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_error_of_the_handler_comes_out_as_it_is() -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await run(handler, asyncio.Event())


async def test_handler_that_finishes_while_it_is_cancelled_has_finished() -> None:
    gone = asyncio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        gone.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    await run(handler, gone)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_request_with_a_body_is_not_watched() -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"

    await run(handler, asyncio.Event(), {"type": "http", "method": "POST"})
