"""How far a feed has come in each writer's log: kept beside the log, so that a restart goes on there."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from gateway.audit.segments import Cursor


@dataclass(frozen=True, slots=True)
class Place:
    """How far.

    Attributes:
        seq: the last record that its receiver has.
    """

    cursor: Cursor = field(default_factory=Cursor)
    seq: int = 0


class Cursors:
    """The places of one feed, by writer."""

    def __init__(self, folder: Path, feed: str) -> None:
        self._path = folder / "feeds" / f"{feed}.json"
        self._places: dict[str, Place] = {}

    def load(self) -> None:
        """Read what was kept; without it, or where it cannot be read, everything is brought again."""
        try:
            kept = orjson.loads(self._path.read_bytes())
            self._places = {x: Place(Cursor(y["segment"], y["offset"]), y["seq"]) for x, y in kept.items()}
        except (OSError, ValueError, TypeError, KeyError):
            self._places = {}

    def of(self, writer: str) -> Place:
        """Return how far it is with a writer."""
        return self._places.get(writer, Place())

    def move(self, writer: str, place: Place) -> None:
        """Keep how far it is, on the disk.

        Raises:
            OSError: it cannot be kept.
        """
        self._places[writer] = place
        kept = {
            name: {"segment": one.cursor.segment, "offset": one.cursor.offset, "seq": one.seq}
            for name, one in self._places.items()
        }
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        new = self._path.with_suffix(".new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(orjson.dumps(kept))
            stream.flush()
            os.fdatasync(file)
        new.replace(self._path)
