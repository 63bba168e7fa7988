"""DICOM TLS (PS3.15 B.12): each side knows the other by its certificate, and nothing less than TLS 1.2 will do."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.dimse.acceptor import Acceptor, Caller
from gateway.dimse.echo import echo
from gateway.dimse.requestor import Peer, connect
from gateway.dimse.store import store
from gateway.dimse.tls import client_context, server_context
from gateway.errors import ConfigError, RegionError, Unreachable
from tests.dimse.callers import Handler, swallow
from tests.dimse.scripts import CT, ECHO, QUICK, soon, until
from tests.kit import dicom, pdus
from tests.kit.peers import ECHOSCU, run
from tests.kit.scripted import scripted_requestor


@dataclass
class Files:
    """An authority, and what it certified, as PEM files."""

    ca: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def issued(folder: Path, authority: trustme.CA, *names: str, common_name: str | None = None) -> Files:
    made = authority.issue_cert(*names, common_name=common_name)
    files = Files(*(folder / f"{names[0]}.{kind}" for kind in ("ca", "pem", "key")))
    authority.cert_pem.write_to_path(files.ca)
    made.private_key_pem.write_to_path(files.key)
    for number, blob in enumerate(made.cert_chain_pems):
        blob.write_to_path(files.certificate, append=number > 0)
    return files


@pytest.fixture
def server(tmp_path: Path, authority: trustme.CA) -> Files:
    return issued(tmp_path, authority, "127.0.0.1")


@pytest.fixture
def client(tmp_path: Path, authority: trustme.CA) -> Files:
    return issued(tmp_path, authority, "pacs.example.ca", common_name="PACS")


@contextlib.asynccontextmanager
async def accepting(
    tls: ssl.SSLContext, handler: Handler = swallow
) -> AsyncIterator[tuple[Acceptor, int, list[Caller]]]:
    callers: list[Caller] = []

    def accept(caller: Caller) -> None:
        callers.append(caller)

    acceptor = Acceptor(accept=accept, store=handler, limits=QUICK)
    port = await acceptor.start("127.0.0.1", 0, tls)
    try:
        yield acceptor, port, callers
    finally:
        await acceptor.aclose(0)


async def verify(port: int, tls: ssl.SSLContext | None, host: str = "127.0.0.1") -> None:
    async with await connect(Peer(host, port, "GATEWAY", "PACS", tls), [ECHO], soon(), limits=QUICK) as association:
        await echo(association, soon())


async def test_both_sides_show_a_certificate_and_its_names_are_known(server: Files, client: Files) -> None:
    tls = server_context(server.certificate, server.key, server.ca)
    async with accepting(tls) as (_, port, callers):
        await verify(port, client_context(client.ca, client.certificate, client.key))
    assert callers == [Caller("PACS", "GATEWAY", "127.0.0.1", frozenset({"PACS", "pacs.example.ca"}))]


async def test_instances_pass_whole(server: Files) -> None:
    received: list[bytes] = []

    async def take(incoming: Any) -> int:
        received.append(b"".join([bytes(fragment) async for fragment in incoming]))
        return 0

    data = bytes(range(256)) * 40_000
    async with accepting(server_context(server.certificate, server.key), take) as (_, port, callers):
        here = Peer("127.0.0.1", port, "GATEWAY", "PACS", client_context(server.ca))
        async with await connect(here, [CT], soon(), limits=QUICK) as association:
            await store(association, pdus.CT_IMAGE, dicom.uid(1), pdus.EXPLICIT_LE, [data], soon())
    assert received == [data]
    assert callers[0].certificate is None


async def test_a_caller_without_a_certificate_is_turned_away(server: Files) -> None:
    tls = server_context(server.certificate, server.key, server.ca)
    async with accepting(tls) as (acceptor, port, callers):
        with pytest.raises(RegionError):
            await verify(port, client_context(server.ca))
        assert callers == []
        await until(lambda: repr(acceptor) == "<Acceptor associated=0 waiting=0>")


async def test_a_caller_of_another_authority_is_turned_away(server: Files, tmp_path: Path) -> None:
    other = issued(tmp_path, trustme.CA(), "other.example.ca")
    tls = server_context(server.certificate, server.key, server.ca)
    async with accepting(tls) as (_, port, callers):
        with pytest.raises(RegionError):
            await verify(port, client_context(server.ca, other.certificate, other.key))
        assert callers == []


async def test_a_peer_of_another_authority_or_another_name_is_not_trusted(
    server: Files, tmp_path: Path, authority: trustme.CA
) -> None:
    async with accepting(server_context(server.certificate, server.key)) as (_, port, _callers):
        strange = tmp_path / "strange.pem"
        trustme.CA().cert_pem.write_to_path(strange)
        with pytest.raises(Unreachable, match="check its certificate"):
            await verify(port, client_context(strange))
        with pytest.raises(Unreachable, match="check its certificate"):
            await verify(port, client_context(server.ca), host="localhost")


async def test_tls_1_1_is_turned_away(server: Files) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(server.ca)
    old.check_hostname = False
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with accepting(server_context(server.certificate, server.key)) as (_, port, callers):
        with pytest.raises(RegionError):
            await verify(port, old)
        assert callers == []


async def test_plain_dicom_on_the_secured_port_gets_no_answer_and_leaves_nothing(server: Files) -> None:
    async with accepting(server_context(server.certificate, server.key)) as (acceptor, port, callers):
        async with scripted_requestor(port) as peer:
            await peer.send(pdus.associate_rq([(1, pdus.VERIFICATION, [pdus.IMPLICIT_LE])]))
            async with asyncio.timeout(30):
                await peer.hold()
        assert callers == []
        await until(lambda: repr(acceptor) == "<Acceptor associated=0 waiting=0>")
        assert not acceptor._open


async def test_a_secured_call_to_a_plain_port_fails_in_time(server: Files) -> None:
    acceptor = Acceptor(accept=lambda _: None, limits=QUICK)
    port = await acceptor.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(RegionError):
                await verify(port, client_context(server.ca))
    finally:
        await acceptor.aclose(0)


@pytest.mark.peer("dcmtk")
async def test_echoscu_with_tls(server: Files, client: Files) -> None:
    tls = server_context(server.certificate, server.key, server.ca)
    async with accepting(tls) as (_, port, callers):
        shown = "+tls", client.key, client.certificate, "+cf", client.ca
        told = await run(ECHOSCU, "-aet", "PACS", *shown, "127.0.0.1", port)
        assert told.returncode == 0, told.output
    assert [caller.calling_ae_title for caller in callers] == ["PACS"]


def test_files_that_cannot_be_used_are_told(server: Files, client: Files, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="belongs to it"):
        server_context(server.certificate, client.key)
    with pytest.raises(ConfigError, match="nowhere"):
        server_context(tmp_path / "nowhere.pem", server.key)
    with pytest.raises(ConfigError, match="authority"):
        client_context(server.key)
