"""One JSON line an event, for people and for log collectors; no attribute value of a patient is ever in it."""

import dataclasses
import re
import time
from typing import IO

import orjson

from gateway.events import Event


class EventLog:
    """An Observer that writes each event as one line."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Write the event, its name and the time (UTC)."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"ts": moment, "event": _words(type(event).__name__), **dataclasses.asdict(event)}
        if "seconds" in line:
            line["seconds"] = round(line["seconds"], 4)
        print(orjson.dumps(line).decode(), file=self._stream, flush=True)


def _words(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
