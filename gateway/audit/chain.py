"""How a record becomes a line of the log, and how a line shows that it was changed.

A line is one JSON object whose first member is the SHA-256 of all bytes behind it; the next is the digest of the
line before. Both stand at fixed places, so that checking needs no JSON::

    {"digest":"…64…","previous":"…64…","seq":7,"at":"2026-11-22T09:30:00.000000Z","writer":"gw1/9f…","record":{…}}
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from gateway.audit.record import Event, Outcome, Record

_BEGIN: Final = b'{"digest":"'
_DIGEST: Final = slice(len(_BEGIN), len(_BEGIN) + 64)
_AFTER: Final = b'",'
_PAYLOAD: Final = _DIGEST.stop + len(_AFTER)
_PREVIOUS_BEGIN: Final = b'"previous":"'
_PREVIOUS: Final = slice(_PAYLOAD + len(_PREVIOUS_BEGIN), _PAYLOAD + len(_PREVIOUS_BEGIN) + 64)
_SEQ_BEGIN: Final = b'","seq":'
_SEQ: Final = _PREVIOUS.stop + len(_SEQ_BEGIN)


@dataclass(frozen=True, slots=True)
class Link:
    """A line's place in its chain.

    Attributes:
        seq: its number; the first is 1, and each is one more than the one before.
        digest: its SHA-256, in hexadecimal digits.
    """

    seq: int
    digest: str


GENESIS: Final = Link(0, "0" * 64)
"""What the first line follows."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as the log has it.

    Attributes:
        link: its place in the chain.
        at: when it was recorded, in UTC (RFC 3339).
        writer: which replica wrote it, and in which of its lives: "gw1/9f8e7d6c".
        record: what happened.
    """

    link: Link
    at: str
    writer: str
    record: Record

    @property
    def id(self) -> str:
        """What tells it from every other one, in as many characters as a FHIR id may have."""
        return self.link.digest[:32]


@dataclass(frozen=True, slots=True)
class Checked:
    """A line that is whole in itself.

    Attributes:
        link: its place.
        previous: the digest of the line that it was written behind.
    """

    link: Link
    previous: str


def dump(record: Record) -> bytes:
    """Encode a record as JSON; what is no Unicode text is written with backslashes."""
    values = record._asdict()
    try:
        return orjson.dumps(values)
    except TypeError:
        # A lone surrogate, which a hostile request can bring: it is recorded all the same.
        return orjson.dumps({name: _text(value) for name, value in values.items()})


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return [_text(one) for one in value] if isinstance(value, tuple) else value


def encode(record: bytes, at: float, writer: str, head: Link) -> tuple[bytes, Link]:
    """Make the line that follows ``head``, with its end of line; ``at`` is in seconds since 1970."""
    seq = head.seq + 1
    second, microsecond = divmod(int(at * 1_000_000), 1_000_000)
    place = (
        f'"previous":"{head.digest}","seq":{seq},"at":"{_moment(second)}.{microsecond:06}Z","writer":{_json(writer)}'
    )
    payload = b'%b,"record":%b}\n' % (place.encode(), record)
    digest = _digest(payload)
    return b"%b%b%b%b" % (_BEGIN, digest.encode(), _AFTER, payload), Link(seq, digest)


@lru_cache(maxsize=1)
def _moment(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]


@lru_cache(maxsize=1)
def _json(text: str) -> str:
    return orjson.dumps(text).decode()


def check(line: bytes) -> Checked | None:
    """Return the place of a line, with its end of line, if its digest fits it; otherwise it was changed or torn."""
    if line[_DIGEST] != _digest(line[_PAYLOAD:]).encode() or line[-1:] != b"\n":
        return None
    if line[: _DIGEST.start] != _BEGIN or line[_DIGEST.stop : _PAYLOAD] != _AFTER:
        return None
    try:
        seq = int(line[_SEQ : line.index(b",", _SEQ)])
        return Checked(Link(seq, line[_DIGEST].decode()), line[_PREVIOUS].decode())
    except ValueError:
        return None


def following(line: bytes, previous: bytes, seq: int) -> bytes:
    """Return the digest of a line that is whole and stands right behind another; it is empty for any other one.

    Args:
        line: with its end of line.
        previous: the digest of the line before.
        seq: the number that the line must have.
    """
    payload = line[_PAYLOAD:]
    digest = _digest(payload).encode()
    is_next = payload.startswith(b'"previous":"%b","seq":%d,' % (previous, seq))
    is_whole = line.startswith(b"%b%b%b" % (_BEGIN, digest, _AFTER)) and payload.endswith(b"\n")
    return digest if is_next and is_whole else b""


def decode(line: bytes) -> Entry:
    """Read a line that was checked."""
    document: dict[str, Any] = orjson.loads(line)
    values = dict(document["record"])
    record = Record(
        Event(values.pop("event")),
        Outcome(values.pop("outcome")),
        roles=tuple(values.pop("roles")),
        patients=tuple((issuer, value) for issuer, value in values.pop("patients")),
        studies=tuple(values.pop("studies")),
        whose=tuple(map(tuple, values.pop("whose", ()))),
        **values,
    )
    return Entry(Link(document["seq"], document["digest"]), document["at"], document["writer"], record)


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()
