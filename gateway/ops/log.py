"""One JSON line an event, for people and for log collectors; no attribute value of a patient is ever in it."""

import dataclasses
import re
import time
from contextlib import suppress
from functools import lru_cache
from typing import IO, Any

import orjson

from gateway.events import Event


class EventLog:
    """An Observer that writes each event as one line."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._shapes: dict[str, tuple[str, tuple[str, ...]]] = {}

    def __call__(self, event: Event) -> None:
        """Write the event, its name and the time (UTC)."""
        kind = type(event).__name__
        if kind not in self._shapes:
            self._shapes[kind] = _words(kind), tuple(field.name for field in dataclasses.fields(event))
        name, fields = self._shapes[kind]
        line = {"ts": _moment(int(time.time())), "event": name}
        line.update((field, _plain(getattr(event, field))) for field in fields)
        with suppress(OSError, TypeError, ValueError):  # a log that cannot be written ends no search
            print(orjson.dumps(line).decode(), file=self._stream, flush=True)


def _plain(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


@lru_cache(maxsize=1)
def _moment(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _words(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
