"""The public keys of those who issue tokens: by address, or from a file (RFC 7517)."""

import asyncio
import socket
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver, ResolveResult
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, RSAKey, import_key

from gateway.config.access import TokenIssuer
from gateway.errors import ConfigError, IssuerUnavailable

Key: TypeAlias = RSAKey | ECKey
KeysById: TypeAlias = Mapping[str, Key]

FRESH_SECONDS: Final = 600.0
"""How long keys are used before their issuer is asked again."""
STALE_SECONDS: Final = 24 * 3600.0
"""How long they are used while it does not answer."""
AGAIN_SECONDS: Final = 60.0
"""Between two questions, whatever happens: for an unknown key, and while it does not answer."""
ANSWER_SECONDS: Final = 5.0
MOST_BYTES: Final = 256 << 10
LEAST_RSA_BITS: Final = 2048
_EMBEDDING: Final = tuple(map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""Prefixes of IPv6 addresses with an IPv4 address in them, which may be a private one (NAT64, 6to4, Teredo)."""


class Keys(Protocol):
    """The keys of one issuer."""

    async def find(self, kid: str) -> Key | None:
        """Return the key of that name, for no name the only one; None where there is none.

        Raises:
            IssuerUnavailable: nobody can tell.
        """


class KeyFile:
    """Keys from a file, read once."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigError: it is no JSON Web Key Set, or has no key that can be used.
        """
        try:
            self._keys = read_keys(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}): check access.issuers jwks_file") from error
        except ValueError as error:
            raise ConfigError(f"{path}: {error}: write the issuer's JSON Web Key Set there") from error

    async def find(self, kid: str) -> Key | None:
        """Return the key of that name."""
        return _named(self._keys, kid)


class Fetch(Protocol):
    """Brings the document of an address."""

    async def __call__(self) -> bytes:
        """Return it; raises IssuerUnavailable where it cannot be had."""


class RemoteKeys:
    """Keys by address: kept a while, asked for again for an unknown one, and used on through an outage."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: KeysById = MappingProxyType({})
        self._fetched = self._tried = float("-inf")
        self._reason = "its keys were not fetched yet"
        self._fetching = asyncio.Lock()

    async def find(self, kid: str) -> Key | None:
        """Return the key of that name, as the issuer has it now or, while it does not answer, had it."""
        if self._clock() - self._fetched >= FRESH_SECONDS or _named(self._keys, kid) is None:
            await self._refresh()
        if self._clock() - self._fetched >= STALE_SECONDS:
            raise IssuerUnavailable(f"the token cannot be verified: {self._reason}")
        return _named(self._keys, kid)

    async def _refresh(self) -> None:
        """Ask, unless that was done a moment ago; who has keys does not wait for another's question."""
        if self._keys and self._fetching.locked():
            return
        async with self._fetching:
            if self._clock() - self._tried < AGAIN_SECONDS:
                return
            try:
                keys = read_keys(await self._fetch())
            except IssuerUnavailable as error:
                self._reason = str(error)
            except ValueError as error:
                self._reason = f"what its issuer's jwks_url gives {error}"
            else:
                self._keys, self._fetched = keys, self._clock()
            finally:
                self._tried = self._clock()


def read_keys(document: bytes) -> KeysById:
    """Return the keys of a JSON Web Key Set that sign and that are of a kind we use; private parts are not kept.

    Raises:
        ValueError: there is none.
    """
    try:
        content = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise ValueError("is not JSON") from None
    listed = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise ValueError("is no JSON Web Key Set")  # noqa: TRY004 - the content is wrong, not the argument
    keys: dict[str, Key] = {}
    for entry in listed:
        if isinstance(entry, dict) and entry.get("use", "sig") == "sig" and (key := _key(entry)) is not None:
            keys[str(entry.get("kid", ""))] = key
    if not keys:
        raise ValueError("has no RSA or EC key for signatures")
    return MappingProxyType(keys)


def _key(entry: Mapping[str, object]) -> Key | None:
    public = {name: value for name, value in entry.items() if name not in {"d", "p", "q", "dp", "dq", "qi", "oth"}}
    try:
        with warnings.catch_warnings(action="ignore", category=SecurityWarning):  # of a weak one, which is left out
            key = import_key(public)  # type: ignore[arg-type]  # checked by the import itself
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey):
        return key if key.public_key.key_size >= LEAST_RSA_BITS else None
    return key if isinstance(key, ECKey) else None


def _named(keys: KeysById, kid: str) -> Key | None:
    if not kid and len(keys) == 1:
        return next(iter(keys.values()))
    return keys.get(kid)


@asynccontextmanager
async def issuer_keys(issuers: Sequence[TokenIssuer]) -> AsyncIterator[dict[str, Keys]]:
    """Have the keys of each issuer, by its name, as long as the context lasts.

    Raises:
        ConfigError: a file cannot be used.
    """
    found: dict[str, Keys] = {}
    async with AsyncExitStack() as stack:
        for issuer in issuers:
            if issuer.jwks_file:
                found[issuer.issuer] = KeyFile(Path(issuer.jwks_file))
            else:
                session = await stack.enter_async_context(_session(issuer))
                found[issuer.issuer] = RemoteKeys(_Address(session, issuer.jwks_url))
        yield found


def _session(issuer: TokenIssuer) -> aiohttp.ClientSession:
    host = urlsplit(issuer.jwks_url).hostname or ""
    # A literal address is never resolved, so that it is looked at once, before anything is sent.
    if _is_address(host) and host not in issuer.private_hosts and not is_public(host):
        raise ConfigError(f'jwks_url of {issuer.issuer}: {host} is a private address: list it in "private_hosts"')
    try:
        tls = ssl.create_default_context(cafile=issuer.ca or None)
    except OSError as error:
        raise ConfigError(f"{issuer.ca}: cannot be read ({error.strerror}): check access.issuers ca") from error
    connector = aiohttp.TCPConnector(limit=2, ssl=tls, resolver=PublicResolver(issuer.private_hosts))
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


class _Address:
    """Fetches one address that was configured, and none that an answer names."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def __call__(self) -> bytes:
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._session.get(self._url, allow_redirects=False) as response,
            ):
                return await _limited(response)
        except TimeoutError:
            raise IssuerUnavailable(f"its issuer did not answer within {ANSWER_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise IssuerUnavailable(f"its issuer cannot be reached ({type(error).__name__})") from None


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    if response.status != HTTPStatus.OK:
        raise IssuerUnavailable(f"its issuer's jwks_url answers {response.status}; redirects are not followed")
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > MOST_BYTES:
            raise IssuerUnavailable(f"its issuer's jwks_url gives more than {MOST_BYTES} bytes")
    return bytes(content)


class PublicResolver(AbstractResolver):
    """Resolves names to addresses of the Internet only, unless they are of hosts that may be private."""

    def __init__(self, private_hosts: Collection[str]) -> None:
        self._private_hosts = frozenset(host.lower() for host in private_hosts)
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name; the connection is made to one of these and to no other.

        Raises:
            OSError: there is none, or one is private.
        """
        found = await self._resolver.resolve(host, port, family)
        if host.lower() not in self._private_hosts and not all(is_public(result["host"]) for result in found):
            raise OSError(f"{host} is a private address: list it in private_hosts if it is meant")
        return found

    async def close(self) -> None:
        """Release what it holds."""
        await self._resolver.close()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Whether an address is of the Internet: none of a network of our own, of this host, or with such a one in it."""
    parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        elif any(parsed in network for network in _EMBEDDING):
            return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)
