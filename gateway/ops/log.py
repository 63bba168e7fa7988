"""One JSON line an event, for people and for log collectors; no attribute value of a patient is ever in it."""

import dataclasses
import re
import time
from contextlib import suppress
from functools import cache
from typing import IO, Any

import orjson

from gateway.events import Event


class EventLog:
    """An Observer that writes each event as one line."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Write the event, its name and the time (UTC)."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"ts": moment, "event": _words(type(event).__name__)}
        line.update((field.name, _plain(getattr(event, field.name))) for field in dataclasses.fields(event))
        with suppress(OSError, TypeError, ValueError):  # a log that cannot be written ends no search
            print(orjson.dumps(line).decode(), file=self._stream, flush=True)


def _plain(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


@cache
def _words(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
