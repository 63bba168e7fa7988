"""The keys of issuers: kept, rotated, through an outage; and never fetched from where they should not be."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest
import trustme
from aiohttp import web
from joserfc.errors import SecurityWarning
from joserfc.jwk import OctKey, RSAKey

from gateway.access.keys import MOST_BYTES, KeyFile, PublicResolver, RemoteKeys, is_public, issuer_keys, read_keys
from gateway.config.access import TokenIssuer
from gateway.errors import ConfigError, IssuerUnavailable
from tests.access.issuing import AUDIENCE, NAME


def key_set(*kids: str) -> bytes:
    keys = [RSAKey.generate_key(2048, parameters={"kid": kid}) for kid in kids]
    return orjson.dumps({"keys": [key.as_dict(private=False) for key in keys]})


class Remote:
    """An address that gives what it is told to, and a clock.

    Attributes:
        asked: how often it was.
    """

    def __init__(self, document: bytes | IssuerUnavailable) -> None:
        self.document = document
        self.asked = 0
        self.now = 0.0
        self.keys = RemoteKeys(self, lambda: self.now)

    async def __call__(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.document, IssuerUnavailable):
            raise self.document
        return self.document


async def test_keys_are_asked_for_once_in_ten_minutes() -> None:
    remote = Remote(key_set("a", "b"))
    assert await remote.keys.find("a")
    remote.now = 599
    assert await remote.keys.find("b")
    assert remote.asked == 1
    remote.now = 600
    assert await remote.keys.find("a")
    assert remote.asked == 2


async def test_many_who_need_the_keys_at_once_ask_once() -> None:
    remote = Remote(key_set("a"))
    assert all(await asyncio.gather(*(remote.keys.find("a") for _ in range(20))))
    assert remote.asked == 1


async def test_an_unknown_key_is_asked_for_at_most_once_a_minute() -> None:
    remote = Remote(key_set("old"))
    assert await remote.keys.find("old")
    remote.document = key_set("new")
    remote.now = 59
    assert await remote.keys.find("new") is None
    remote.now = 60
    assert await remote.keys.find("new")
    assert await remote.keys.find("old") is None
    for _ in range(10):
        assert await remote.keys.find("unheard-of") is None
    assert remote.asked == 2


async def test_keys_serve_through_a_day_without_their_issuer() -> None:
    remote = Remote(key_set("a"))
    assert await remote.keys.find("a")
    remote.document = IssuerUnavailable("down")
    for hour in range(1, 24):
        remote.now = hour * 3600.0
        assert await remote.keys.find("a")
    remote.now = 24 * 3600.0
    with pytest.raises(IssuerUnavailable, match="down"):
        await remote.keys.find("a")
    remote.document = key_set("a")
    remote.now += 60
    assert await remote.keys.find("a")


async def test_an_issuer_that_is_down_from_the_start_is_asked_once_a_minute_and_nobody_is_believed() -> None:
    remote = Remote(IssuerUnavailable("down"))
    for _ in range(5):
        with pytest.raises(IssuerUnavailable):
            await remote.keys.find("a")
    assert remote.asked == 1


@pytest.mark.parametrize(
    "document", [b"", b"<html>", b"[]", b'{"keys": 1}', b'{"keys": []}', b'{"keys": [{"kty": "x"}]}']
)
async def test_what_is_no_key_set_does_not_replace_one(document: bytes) -> None:
    remote = Remote(key_set("a"))
    assert await remote.keys.find("a")
    remote.document, remote.now = document, 700.0
    assert await remote.keys.find("a")


def test_keys_that_are_weak_or_not_for_signatures_are_left_out() -> None:
    with pytest.warns(SecurityWarning):
        weak = RSAKey.generate_key(1024, parameters={"kid": "weak"})
    secret = OctKey.generate_key(256, parameters={"kid": "secret"})
    crypt = RSAKey.generate_key(2048, parameters={"kid": "enc", "use": "enc"})
    good = RSAKey.generate_key(2048, parameters={"kid": "good"})
    listed = [weak.as_dict(private=False), secret.as_dict(private=True), crypt.as_dict(private=False)]
    with pytest.raises(ValueError, match="no RSA or EC key"):
        read_keys(orjson.dumps({"keys": listed}))
    found = read_keys(orjson.dumps({"keys": [*listed, good.as_dict(private=True)]}))
    assert set(found) == {"good"}
    assert not found["good"].is_private


async def test_the_only_key_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set("a"))
    assert await KeyFile(path).find("")
    assert await KeyFile(path).find("b") is None


@pytest.mark.parametrize("content", [None, b"{}"])
def test_a_file_that_cannot_be_used_is_told_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"keys\.json"):
        KeyFile(path)


# --- where keys are fetched from


PRIVATE = [
    *("127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1"),
    *("::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "ff02::1"),
    *("64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:7f00:1::"),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_ours_is_not_of_the_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_an_address_of_the_internet_is(address: str) -> None:
    assert is_public(address)


async def test_a_name_that_leads_to_a_private_address_is_refused_unless_it_is_listed() -> None:
    strict, listed = PublicResolver(()), PublicResolver(("localhost",))
    with pytest.raises(OSError, match="private address"):
        await strict.resolve("localhost", 443, socket.AF_INET)
    assert await listed.resolve("LocalHost", 443, socket.AF_INET)
    await strict.close()
    await listed.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::1]"])
async def test_a_literal_private_address_is_refused_before_anything_is_sent(host: str) -> None:
    chosen = TokenIssuer(issuer=NAME, audiences=(AUDIENCE,), jwks_url=f"https://{host}/keys")
    with pytest.raises(ConfigError, match="private_hosts"):
        async with issuer_keys([chosen]):
            pass


@pytest.mark.parametrize(
    "url", ["http://issuer.example/keys", "https://user@issuer.example/", "file:///etc/passwd", "https://x/#a"]
)
def test_only_https_is_configured(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        TokenIssuer(issuer=NAME, audiences=(AUDIENCE,), jwks_url=url)


Answer = Callable[[web.Request], Awaitable[web.Response]]


@contextlib.asynccontextmanager
async def served(answer: Answer, folder: Path, name: str = "localhost") -> AsyncIterator[TokenIssuer]:
    """Serve an issuer's address by HTTPS."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(tls)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    url = f"https://localhost:{port}/keys"
    try:
        yield TokenIssuer(
            issuer=NAME, audiences=(AUDIENCE,), jwks_url=url, private_hosts=("localhost",), ca=str(folder / "ca.pem")
        )
    finally:
        await runner.cleanup()


async def test_keys_are_fetched_by_https(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=key_set("a"))

    async with served(answer, tmp_path) as chosen, issuer_keys([chosen]) as keys:
        assert await keys[NAME].find("a")


async def test_a_redirect_is_not_followed_and_too_much_is_not_read(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) == 1:
            raise web.HTTPFound("/elsewhere")
        return web.Response(body=b" " * (MOST_BYTES + 1) + key_set("a"))

    for what in ("redirects", "bytes"):
        async with served(answer, tmp_path) as chosen, issuer_keys([chosen]) as keys:
            with pytest.raises(IssuerUnavailable, match=what):
                await keys[NAME].find("a")
    assert asked == ["/keys", "/keys"]


async def test_a_certificate_of_another_name_is_not_trusted(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=key_set("a"))

    async with served(answer, tmp_path, "other.example") as chosen, issuer_keys([chosen]) as keys:
        with pytest.raises(IssuerUnavailable, match="cannot be reached"):
            await keys[NAME].find("a")
