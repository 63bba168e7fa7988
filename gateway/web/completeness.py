"""How complete an answer is, told in its header: ``Federation-Status`` and ``Warning``."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.federation.completeness import Completeness

Header = tuple[bytes, bytes]

_UNSAFE = re.compile(r"[^ -~]")


def warning(service: str, text: str) -> Header:
    """Make one ``Warning`` field in the form that PS3.18 8.3.4.2 spells out."""
    return b"warning", field_value(f"299 {service}: {text}")


def federation_headers(completeness: "Completeness", service: str, texts: Iterable[str] = ()) -> list[Header]:
    """Make the fields that tell which regions answered, and what else the caller should hear."""
    warnings = dict.fromkeys([*completeness.warnings(), *texts])
    return [
        (b"federation-status", field_value(completeness.header())),
        *(warning(service, text) for text in warnings),
    ]


def field_value(text: str) -> bytes:
    """Keep what a header field may hold: printable ASCII."""
    return _UNSAFE.sub("?", text).encode("ascii")
