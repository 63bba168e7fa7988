"""Bearer tokens: JSON Web Tokens of the issuers that are configured, and of no other (RFC 7519, RFC 6750, RFC 8725)."""

import math
import time
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

import orjson
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact

from gateway.access.claims import Claims, Reading
from gateway.access.keys import FRESH_SECONDS, Keys
from gateway.access.principal import Principal
from gateway.config.access import TokenIssuer
from gateway.errors import Unauthenticated

MOST_BYTES: Final = 16 << 10
"""Of a token; a longer one is not looked at."""
MOST_KEPT: Final = 10_000
EMBEDDED_KEYS: Final = frozenset({"jwk", "jku", "x5u", "x5c"})
"""Header parameters by which a token would bring its own key (RFC 7515 4.1); ours are configured."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """Whom a token was found to be of, until its time is over or its key may have been withdrawn."""

    principal: Principal
    until: float


@dataclass(frozen=True, slots=True)
class _Header:
    algorithm: str
    kid: str


class Tokens:
    """Tells whose a token is.

    One that was verified is known by its digest for a while, since to verify it again costs more than most of what is
    done with it.

    Args:
        issuers: who is believed, each with its own audiences, algorithms and keys.
        keys: of each issuer, by its name.
        leeway_seconds: by how much clocks may differ.
        purpose: purpose of use of a token that names none.
        provincial: the issuer of a patient's number where nothing else says.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        issuers: Sequence[TokenIssuer],
        keys: Mapping[str, Keys],
        *,
        leeway_seconds: float = 60.0,
        purpose: str = "TREAT",
        provincial: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._readings = {x.issuer: Reading(x, purpose, provincial) for x in issuers}
        self._keys = keys
        self._leeway = leeway_seconds
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    async def principal(self, token: str, address: str = "") -> Principal:
        """Return whose a token is.

        Raises:
            Unauthenticated: it is not good; the text says why, and holds nothing of it.
            IssuerUnavailable: nobody can tell.
        """
        if len(token) > MOST_BYTES:
            raise _invalid(f"is longer than {MOST_BYTES} bytes")
        digest = blake2b(token.encode("ascii", "replace"), digest_size=32).digest()
        kept = self._kept.get(digest)
        now = self._clock()
        if kept is None or kept.until <= now:
            kept = await self._verified(token, now, address)
            self._kept[digest] = kept
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(digest)
        # The same caller most often calls from the same address, and a copy costs as much as the look-up.
        return kept.principal if kept.principal.address == address else replace(kept.principal, address=address)

    async def _verified(self, token: str, now: float, address: str) -> _Kept:
        segments = token.split(".")
        if not token.isascii() or len(segments) != 3 or not all(segments):
            raise _invalid("is no JSON Web Token that is signed")
        header = _header(segments[0])
        reading = self._readings.get(str(_json(segments[1]).get("iss")))
        if reading is None:
            raise _invalid("is of an issuer that is not configured")
        if header.algorithm not in reading.issuer.algorithms:
            raise _invalid("is signed by an algorithm that is not configured for its issuer")
        key = await self._keys[reading.issuer.issuer].find(header.kid)
        if key is None:
            raise _invalid("is signed by a key that its issuer does not have")
        try:
            registry = JWSRegistry(algorithms=[header.algorithm], strict_check_header=False)
            content = deserialize_compact(token, key, algorithms=[header.algorithm], registry=registry)
            claims = orjson.loads(content.payload)
        except (JoseError, ValueError, TypeError):
            raise _invalid("has a signature that does not fit it") from None
        until = self._checked(claims, reading.issuer, now)
        principal = replace(reading.principal(claims), address=address)
        return _Kept(principal, min(until, now + FRESH_SECONDS))

    def _checked(self, claims: Claims, issuer: TokenIssuer, now: float) -> float:
        """Check what every token has to say of itself, and return when its time is over."""
        if claims.get("iss") != issuer.issuer:
            raise _invalid("is of another issuer")
        audience = claims.get("aud")
        named = [audience] if isinstance(audience, str) else audience
        if not isinstance(named, list) or not any(one in issuer.audiences for one in named):
            raise _invalid("is for another audience")
        expires = _time(claims, "exp")
        if expires is None:
            raise _invalid("has no end (exp)")
        if now >= expires + self._leeway:
            raise _invalid("is over")
        for name in ("nbf", "iat"):
            begins = _time(claims, name)
            if begins is not None and begins > now + self._leeway:
                raise _invalid("is not good yet")
        return expires + self._leeway


def _header(segment: str) -> _Header:
    header = _json(segment)
    if EMBEDDED_KEYS & header.keys():
        raise _invalid("brings its own key")
    if "crit" in header or "b64" in header:
        raise _invalid("wants an extension that is not known here")
    if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in {"jwt", "at+jwt"}:
        raise _invalid("is not of a type that is an access token")
    kid = header.get("kid", "")
    if not isinstance(kid, str) or not isinstance(header.get("alg"), str):
        raise _invalid("does not say how it is signed")
    return _Header(header["alg"], kid)


def _json(segment: str) -> dict[str, Any]:
    try:
        found = orjson.loads(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (Base64Error, ValueError):
        found = None
    if not isinstance(found, dict):
        raise _invalid("is no JSON Web Token")
    return found


def _time(claims: Claims, name: str) -> float | None:
    """Return a NumericDate (RFC 7519 2)."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _invalid(f"has a time that is none ({name})")
    return float(value)


def _invalid(what: str) -> Unauthenticated:
    return Unauthenticated(f"the token {what}", code="invalid_token")
