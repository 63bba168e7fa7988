"""One JSON line an event, for people and for log collectors; no attribute value of a patient is ever in it.

Keys that lines share: ``ts`` (UTC), ``level``, ``event``, ``request_id``, ``trace_id``, ``subject_hash``, ``region``,
``service``, ``outcome``, ``duration_ms``, ``rows`` and ``bytes``.
"""

import asyncio
import dataclasses
import re
import time
from contextlib import suppress
from functools import lru_cache
from typing import IO, Any, Final, Self

import orjson

from gateway.events import (
    REQUEST,
    AuditWritten,
    Event,
    PeerOperation,
    RegionOperation,
    RequestHandled,
    RetrieveAnswered,
    RetrieveBegun,
    RetrieveRepeated,
)

FLUSH_SECONDS: Final = 0.1
MOST_LINES: Final = 256
QUIET: Final = frozenset({"/livez", "/readyz", "/startupz", "/status", "/status.json", "/status/events"})
"""Routes that machines ask for all the time: a line of theirs is written only when something is wrong."""


class EventLog:
    """An Observer that writes each event as one line; on an event loop, what comes within a moment goes together."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._flushing: asyncio.TimerHandle | None = None
        self._shapes: dict[str, tuple[str, tuple[str, ...]]] = {}

    def __call__(self, event: Event) -> None:
        """Write the event, its name and the time (UTC)."""
        line = self._line(event)
        if not line:
            return
        with suppress(TypeError, ValueError):  # text that no JSON can hold
            self._lines.append(orjson.dumps(line).decode())
        if len(self._lines) >= MOST_LINES or not self._later():
            self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def flush(self) -> None:
        """Write what has not been written yet."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        lines, self._lines = self._lines, []
        if lines:
            with suppress(OSError, ValueError):  # a log that cannot be written ends no search
                print("\n".join(lines), file=self._stream, flush=True)

    def _later(self) -> bool:
        """See to it that lines are written soon; False where there is no event loop to do it."""
        if self._flushing is None:
            try:
                self._flushing = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
            except RuntimeError:
                return False
        return True

    def _line(self, event: Event) -> dict[str, Any]:
        line: dict[str, Any] = {"ts": _moment(int(time.time())), "level": "info", "event": self._name(event)}
        request = event.request if isinstance(event, RequestHandled) else REQUEST.get()
        if request is not None:
            line["request_id"], line["trace_id"] = request.id, request.trace_id
        match event:
            case RequestHandled():
                return _of_request(line, event)
            case RegionOperation():
                return _of_operation(line, event)
            case PeerOperation():
                line |= {"peer": event.peer, "service": event.service, "outcome": event.status}
                return line | {"duration_ms": _milliseconds(event.seconds), "rows": event.count}
            case AuditWritten() | RetrieveAnswered(status=0):
                return {}
            case RetrieveBegun() | RetrieveRepeated():
                return {}  # its request and its region operations tell all there is
            case _:
                line["level"] = "error" if line["event"] == "unexpected-error" else "warning"
                fields = self._shapes[type(event).__name__][1]
                line.update((field, _plain(getattr(event, field))) for field in fields)
                return line

    def _name(self, event: Event) -> str:
        kind = type(event).__name__
        if kind not in self._shapes:
            self._shapes[kind] = _words(kind), tuple(field.name for field in dataclasses.fields(event))
        return self._shapes[kind][0]


def _of_request(line: dict[str, Any], event: RequestHandled) -> dict[str, Any]:
    failed = event.status >= 500
    if event.route in QUIET and not failed:
        return {}
    line |= {"level": "warning" if failed else "info", "event": "request", "service": f"{event.method} {event.route}"}
    line |= {"subject_hash": event.subject} if event.subject else {}
    line |= {"region": event.region} if event.region else {}
    line |= {"outcome": event.request.problem or _class(event.status), "status": event.status}
    line |= {"duration_ms": _milliseconds(event.seconds), "first_byte_ms": _milliseconds(event.first_seconds)}
    line |= {"bytes": event.size}
    line |= {"keys": event.keys} if event.keys else {}
    return line | ({"federation": event.federation} if event.federation else {})


def _of_operation(line: dict[str, Any], event: RegionOperation) -> dict[str, Any]:
    is_fine = event.outcome in {"complete", "limited"}
    line |= {"level": "info" if is_fine else "warning", "region": event.region, "service": event.verb}
    line |= {"outcome": event.outcome, "duration_ms": _milliseconds(event.seconds), "rows": event.count}
    line |= {"bytes": event.size} if event.size else {}
    line |= {"code": event.code} if event.code else {}
    return line | ({} if event.first_seconds is None else {"first_match_ms": _milliseconds(event.first_seconds)})


def _class(status: int) -> str:
    return "left" if status == 499 else "partial" if status == 206 else "complete" if status < 400 else "refused"


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _plain(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


@lru_cache(maxsize=1)
def _moment(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _words(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
