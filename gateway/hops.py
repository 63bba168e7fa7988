"""The gateways that a request came through, so that one that it leads back to can tell (RFC 9110 7.6.3)."""

import re
import secrets
from collections.abc import Sequence
from typing import Final

from gateway.events import REQUEST

MOST: Final = 16
"""Gateways of one chain that are passed on."""

_PSEUDONYM: Final = re.compile(r"\bgateway-[0-9a-f]{16}\b")


def pseudonym() -> str:
    """Make up what a running gateway is called; host names and AE titles are alike more often than one thinks."""
    return f"gateway-{secrets.token_hex(8)}"


def read_via(value: str) -> tuple[str, ...]:
    """Return the gateways that a Via field names; who else forwarded the request is not passed on."""
    return tuple(_PSEUDONYM.findall(value))


def write_via(pseudonyms: Sequence[str]) -> str:
    """Return the Via field for a request that came through these gateways, the last of which sends it."""
    return ", ".join(f"1.1 {name}" for name in pseudonyms[-MOST:])


def hops() -> tuple[str, ...]:
    """Return the gateways that the request came through which is being worked for."""
    request = REQUEST.get()
    return request.via if request else ()
