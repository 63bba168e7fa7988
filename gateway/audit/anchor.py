"""Heads of chains, kept in a second place: what is cut off the end of a log, or written anew, is missed there."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from gateway.audit.chain import Link


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head of a writer's chain at a time.

    Attributes:
        writer: the replica.
        at: when, in UTC.
    """

    writer: str
    at: str
    link: Link


class Anchors:
    """A file of anchors, one JSON object a line; it belongs on another disk, or under another account's control."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, anchor: Anchor) -> None:
        """Append one and wait until the disk has it.

        Raises:
            OSError: it does not.
        """
        line = orjson.dumps(
            {"writer": anchor.writer, "at": anchor.at, "seq": anchor.link.seq, "digest": anchor.link.digest}
        )
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(file).st_size
            torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
            os.write(file, b"\n" * torn + line + b"\n")
            os.fdatasync(file)
        finally:
            os.close(file)

    def of(self, writer: str) -> Iterator[Anchor]:
        """Yield those of a writer in the order in which they were made; a line that was not finished is passed over."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                try:
                    one = orjson.loads(line)
                    anchor = Anchor(one["writer"], one["at"], Link(int(one["seq"]), str(one["digest"])))
                except (ValueError, KeyError, TypeError):
                    continue
                if anchor.writer == writer:
                    yield anchor

    def last(self, writer: str) -> Anchor | None:
        """Return the newest of a writer."""
        newest = None
        for newest in self.of(writer):  # noqa: B007  (the loop is there for its last turn)
            pass
        return newest
