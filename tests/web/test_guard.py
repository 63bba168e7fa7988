"""The HTTP listener under bad clients: deadlines, caps and framings (promises H01, H02, H03, H05, H08)."""

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.web.disconnect import CancelOnDisconnect
from gateway.web.guard import HttpLimits
from gateway.web.server import WebServer
from tests.web.fakes import STUDY, FakeInstance, FakeRetrieve, FakeSearch, Gateway, exchange, gateway, headed, study_row

QUICK = HttpLimits(header_seconds=0.3, keep_alive_seconds=1, write_stall_seconds=0.4)


@pytest.fixture
async def quick() -> AsyncIterator[Gateway]:
    async with gateway(FakeSearch([study_row()]), limits=QUICK) as web:
        yield web


@pytest.fixture
async def web() -> AsyncIterator[Gateway]:
    async with gateway(FakeSearch([study_row()])) as web:
        yield web


def now() -> float:
    return asyncio.get_running_loop().time()


async def drip(port: int, piece: bytes, every: float) -> tuple[bytes, float]:
    """Send a piece again and again until the server closes; return what it said and how long that took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = now()
    answer = asyncio.ensure_future(reader.read())
    try:
        async with asyncio.timeout(30):
            while not answer.done():
                writer.write(piece)
                await asyncio.wait([answer], timeout=every)
        return answer.result(), now() - began
    finally:
        answer.cancel()
        writer.close()


# --- H01


async def test_idle_connection_is_closed(quick: Gateway) -> None:
    began = now()
    assert await exchange(quick.port) == b""
    assert now() - began < 1


async def test_half_a_header_is_answered_408_in_time(quick: Gateway) -> None:
    began = now()
    raw = await exchange(quick.port, b"GET /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAcc")
    assert raw.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in raw
    assert now() - began < 1


@pytest.mark.parametrize("piece", [b"\r\n", b"G", b"X: y\r\n"])
async def test_dribble_does_not_move_the_deadline(quick: Gateway, piece: bytes) -> None:
    _, seconds = await drip(quick.port, piece, 0.02)
    assert seconds < 1


async def test_kept_connection_has_a_new_deadline_for_each_request(quick: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", quick.port)
    for _ in range(3):
        writer.write(headed())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        assert head.startswith(b"HTTP/1.1 200")
    began = now()
    writer.write(b"GET /dic")
    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    assert now() - began < 1
    writer.close()


async def test_kept_connection_is_closed_when_nothing_follows(quick: Gateway) -> None:
    began = now()
    raw = await exchange(quick.port, headed())
    assert raw.startswith(b"HTTP/1.1 200")
    assert 0.8 < now() - began < 2


async def test_deadline_of_the_header_does_not_cut_a_slow_answer() -> None:
    held = asyncio.Event()
    async with gateway(FakeSearch([study_row()], before=[held]), limits=QUICK) as web:
        asyncio.get_running_loop().call_later(0.6, held.set)
        raw = await exchange(web.port, headed("Connection: close"))
    assert raw.startswith(b"HTTP/1.1 200")


async def test_many_slow_clients_leave_the_others_alone() -> None:
    async with gateway(FakeSearch([study_row()]), limits=replace(QUICK, header_seconds=2)) as web:
        slow = [await asyncio.open_connection("127.0.0.1", web.port) for _ in range(200)]
        for _, writer in slow:
            writer.write(b"GET /dicom-web/studies HTT")
        began = now()
        assert (await web.client.get("/studies")).status_code == 200
        assert now() - began < 1  # long before the others are sent away
        async with asyncio.timeout(5):
            assert all(raw.startswith(b"HTTP/1.1 408") for raw in [await reader.read() for reader, _ in slow])
        for _, writer in slow:
            writer.close()


# --- H02


def filled(size: int) -> bytes:
    """Return a request whose lines have so many bytes, without the empty one."""
    request = b"GET /dicom-web/studies HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: \r\n"
    return request[:-2] + b"y" * (size - len(request)) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (filled(30 * 1024), 200),
        (filled(64 * 1024), 431),
        (filled(1024 * 1024), 431),
        (headed("Connection: close", *(f"X{i}: 1" for i in range(98))), 200),
        (headed(*(f"X{i}: 1" for i in range(100))), 431),
        (headed(*("X: 1" for _ in range(20_000))), 431),
        (headed("Connection: close", target="/dicom-web/studies?PatientID=" + "x" * 8000), 200),
        (headed(target="/dicom-web/studies?PatientID=" + "x" * 8192), 414),
        (headed("Host: localhost"), 400),
        (headed("Host: other"), 400),
        (b"GET /dicom-web/studies HTTP/1.1\r\nAccept: */*\r\n\r\n", 400),
    ],
    ids=range(11),
)
async def test_header_within_its_limits_is_served_and_beyond_refused(
    web: Gateway, request_: bytes, status: int
) -> None:
    raw = await exchange(web.port, request_)
    assert raw.startswith(f"HTTP/1.1 {status} ".encode()), raw[:200]
    assert len(web.search.queries) == (status == 200)


async def test_unending_header_is_cut_off(quick: Gateway) -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    _, writer = await asyncio.open_connection("127.0.0.1", quick.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(flood(writer), 30)
    writer.close()


# --- H03: the framing matrix; what follows the first request is one that must never be served

SMUGGLED = b"GET /dicom-web/studies?PatientID=SMUGGLED HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\n"
FRAMINGS = {
    "1 Content-Length and Transfer-Encoding": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "2 two differing Content-Length": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    "3 two equal Content-Length": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    "4 unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "5 chunked is not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "6 space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "7 signed length": POST + b"Content-Length: +5\r\n\r\nabcde",
    "8 negative length": POST + b"Content-Length: -1\r\n\r\n",
    "9 length with underscore": POST + b"Content-Length: 1_0\r\n\r\nabcdeabcde",
    "10 folded header": headed("X: a\r\n b"),
    "11 bare LF": headed().replace(b"\r\n", b"\n"),
    "12 bare CR in a value": headed("X: a\rb"),
    "13 NUL in a value": headed("X: a\0b"),
    "14 chunk extension ended by LF": POST + b"Transfer-Encoding: chunked\r\n\r\n1;x\na\r\n0\r\n\r\n",
    "15 chunk size 0x3": POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "16 no CRLF after a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n",
    "17 no Host": b"GET /dicom-web/studies HTTP/1.1\r\n\r\n",
    "18 two Host": headed("Host: evil"),
    "19 HTTP/1.0 with Transfer-Encoding": (
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "20 absolute form": headed(target="http://evil.example/dicom-web/studies"),
    "21 double slash": headed(target="//evil.example/dicom-web/studies"),
    "22 encoded traversal": headed(target="/dicom-web/studies/..%2f..%2fetc"),
}


async def test_name_that_is_not_percent_encoded_is_400_and_says_what_to_do(web: Gateway) -> None:
    raw = await exchange(web.port, "GET /dicom-web/studies?PatientName=Bélanger HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"percent-encode" in raw
    assert not web.search.queries


@pytest.mark.parametrize("case", FRAMINGS)
async def test_ambiguous_framing_is_refused_and_nothing_is_smuggled(web: Gateway, case: str) -> None:
    raw = await exchange(web.port, FRAMINGS[case] + SMUGGLED)
    assert raw.count(b"HTTP/1.1 ") <= 1, raw
    assert raw.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 ")), raw
    assert not web.search.queries


async def test_trailer_fields_are_refused_in_words(web: Gateway) -> None:
    raw = await exchange(web.port, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"trailer fields" in raw


async def test_pipelined_request_is_left_for_another_connection(web: Gateway) -> None:
    raw = await exchange(web.port, headed() + SMUGGLED)
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert raw.count(b"HTTP/1.1 ") == 1
    assert [query.keys for query in web.search.queries] == [{}]


@pytest.mark.parametrize(
    ("method", "status", "fields", "body"),
    [("GET", 200, [(b"content-length", b"4")], b"body"), ("HEAD", 200, [], b""), ("GET", 304, [], b"")],
    ids=["known length", "HEAD", "304"],
)
async def test_request_that_follows_a_whole_answer_is_served_on_its_connection(
    method: str, status: int, fields: list[tuple[bytes, bytes]], body: bytes
) -> None:
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/first":
            await Response(scope["path"])(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await ended.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    server = WebServer(app, "127.0.0.1", 0)
    port = await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{method} /first HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(f"HTTP/1.1 {status} ".encode())
        assert await reader.readexactly(len(body)) == body
        for piece in (b"GET /second HT", b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
            writer.write(piece)
            # Once another connection is served, what was sent before is at the server, too.
            assert b"/other" in await exchange(port, headed("Connection: close", target="/other"))
        ended.set()
        assert (await reader.read()).endswith(b"/second")
    finally:
        writer.close()
        await server.aclose(1.0)


async def test_client_that_leaves_is_noticed_though_the_handler_before_ends_late() -> None:
    late, ended, under_way, noticed = (asyncio.Event() for _ in range(4))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/first":
            await Response(b"whole")(scope, receive, send)
            await late.wait()
            return
        under_way.set()
        try:
            await asyncio.Event().wait()
        finally:
            noticed.set()

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        await CancelOnDisconnect(app)(scope, receive, send)
        if scope["path"] == "/first":
            ended.set()

    server = WebServer(watched, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start())
    try:
        writer.write(headed(target="/first"))
        await reader.readuntil(b"whole")
        writer.write(headed(target="/second"))
        await under_way.wait()
        late.set()
        await ended.wait()
        writer.close()
        async with asyncio.timeout(5):
            await noticed.wait()
    finally:
        writer.close()
        await server.aclose(1.0)


async def test_nothing_is_written_into_a_running_response() -> None:
    more = asyncio.Event()
    retrieve = FakeRetrieve([FakeInstance([b"abc", more, b"def"])])
    async with gateway(retrieve=retrieve) as web:
        request = headed(target=f"/dicom-web/studies/{STUDY}")
        raw = await exchange(web.port, request, b"\0\0 garbage\r\n\r\n", more.set)
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert raw.count(b"HTTP/1.1 ") == 1
    assert raw.endswith(b"\r\n0\r\n\r\n")


async def test_body_of_a_get_is_neither_awaited_nor_kept(web: Gateway) -> None:
    raw = await exchange(web.port, headed("Content-Length: 4294967296"), b"0123456789")
    assert raw.startswith(b"HTTP/1.1 200 ")


async def test_upgrade_is_not_offered(web: Gateway) -> None:
    raw = await exchange(web.port, headed("Connection: Upgrade", "Upgrade: h2c"))
    assert raw.startswith(b"HTTP/1.1 200 ")


async def test_null_and_backslash_in_a_path_are_refused(web: Gateway) -> None:
    for target in ("/dicom-web/studies/1%00", "/dicom-web\\studies", "/dicom-web/studies/..%5c"):
        assert (await exchange(web.port, headed(target=target))).startswith(b"HTTP/1.1 400 "), target


# --- H08


@asynccontextmanager
async def unread(port: int, request: bytes) -> AsyncIterator[socket.socket]:
    """Send a request and read nothing, with little room for what comes."""
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        await loop.sock_sendall(connection, request)
        yield connection


async def read(connection: socket.socket, pause: float = 0.0) -> bytes:
    received = bytearray()
    with suppress(ConnectionResetError):
        while data := await asyncio.get_running_loop().sock_recv(connection, 262144):
            received += data
            await asyncio.sleep(pause)
    return bytes(received)


async def test_reader_that_stops_is_cut_and_the_retrieval_with_it() -> None:
    produced: list[None] = []
    retrieve = FakeRetrieve([FakeInstance([b"x" * 131072, lambda: produced.append(None)] * 4096)])
    request = headed(target=f"/dicom-web/studies/{STUDY}")
    async with gateway(retrieve=retrieve, limits=QUICK) as web, unread(web.port, request):
        began = now()
        await asyncio.wait_for(retrieve.left.wait(), 30)
    assert now() - began < 20 * QUICK.write_stall_seconds
    assert len(produced) < 200  # what the kernel and our buffer take; the rest was never asked for


async def test_reader_that_leaves_the_last_bytes_is_cut_too() -> None:
    row = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "x" * 12_000_000}]}}
    request = headed("Connection: close")
    async with gateway(FakeSearch([row]), limits=QUICK) as web, unread(web.port, request) as connection:
        await asyncio.wait_for(web.search.asked.wait(), 30)
        await web.server._quiet(30)
        assert len(await read(connection)) < 12_000_000


async def test_slow_reader_that_goes_on_reading_is_served() -> None:
    retrieve = FakeRetrieve([FakeInstance([b"x" * 131072] * 96)])
    request = headed("Connection: close", target=f"/dicom-web/studies/{STUDY}")
    async with gateway(retrieve=retrieve, limits=QUICK) as web, unread(web.port, request) as connection:
        began = now()
        assert (await read(connection, pause=QUICK.write_stall_seconds / 40)).endswith(b"0\r\n\r\n")
    assert now() - began > QUICK.write_stall_seconds


# --- what is left behind


class Mark:
    """Whoever holds the scope holds it."""


async def test_what_a_request_brought_is_gone_when_the_next_one_is_answered_without_a_garbage_collection() -> None:
    brought: list[weakref.ref[Mark]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["mark"] = mark = Mark()
        brought.append(weakref.ref(mark))
        await Response(b"")(scope, receive, send)

    server = WebServer(app, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start())
    gc.disable()
    try:
        for _ in range(2):
            writer.write(headed())
            await reader.readuntil(b"\r\n\r\n")
        assert [mark() is None for mark in brought] == [True, False]
    finally:
        gc.enable()
        writer.close()
        await server.aclose(1.0)
