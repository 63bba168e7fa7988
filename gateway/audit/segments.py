"""The files of a log: one folder per writer, and in it segments that are named after their first record."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.audit.chain import GENESIS, Entry, Link, check, decode

_NAME: Final = re.compile(r"(\d{15})\.jsonl", re.ASCII)
LONGEST_LINE: Final = 1 << 24
"""In bytes; a search that finds ten thousand patients is below one million."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a writer's log, between two lines.

    Attributes:
        segment: first record of the segment; 0 is before all.
        offset: bytes from its begin.
    """

    segment: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a segment ends.

    Attributes:
        head: its last whole line's place, None where it has none.
        end: bytes up to the end of that line.
        rest: what is behind it: a line that was not finished.
    """

    head: Link | None
    end: int
    rest: bytes


def segment_path(folder: Path, first: int) -> Path:
    """Return where the segment is that begins with a record."""
    return folder / f"{first:015d}.jsonl"


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Return the segments of a writer, each with the number of its first record, in order."""
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def writers(folder: Path) -> list[Path]:
    """Return the folders of the writers of a log, in order."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and any(map(_NAME.fullmatch, _names(path))))


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def tail(path: Path, start: int = 0) -> Tail:
    """Find the end of a segment, whose bytes before ``start`` are known to be whole."""
    head, end, rest = None, start, bytearray()
    with path.open("rb") as file:
        file.seek(start)
        while line := file.readline(LONGEST_LINE):
            checked = check(line)
            rest += line
            if checked is not None:
                head, end = checked.link, end + len(rest)
                rest.clear()
    return Tail(head, end, bytes(rest))


def entries(folder: Path, after: Cursor = Cursor()) -> Iterator[tuple[Entry, Cursor]]:
    """Yield each whole line of a writer behind a place, with the place behind it."""
    for entry, _, behind in located(folder, after):
        yield entry, behind


def located(folder: Path, after: Cursor) -> Iterator[tuple[Entry, int, Cursor]]:
    """Yield each whole line of a writer behind a place, with its offset and the place behind it.

    What is not whole is passed over where whole lines follow it, and waited for where it is the end: a line may be
    under way.
    """
    for first, path in segments(folder):
        if first < after.segment:
            continue
        offset = after.offset if first == after.segment else 0
        with path.open("rb") as file:
            file.seek(offset)
            while line := file.readline(LONGEST_LINE):
                offset += len(line)
                if check(line) is not None:
                    yield decode(line), offset - len(line), Cursor(first, offset)


def entry_at(folder: Path, segment: int, offset: int) -> Entry | None:
    """Read the line at a place; None where it is gone or no longer whole."""
    try:
        with segment_path(folder, segment).open("rb") as file:
            file.seek(offset)
            line = file.readline(LONGEST_LINE)
    except FileNotFoundError:
        return None
    return decode(line) if check(line) is not None else None


def head(folder: Path) -> Link:
    """Return the last whole line's place of a writer."""
    for _, path in reversed(segments(folder)):
        if (found := tail(path).head) is not None:
            return found
    return GENESIS
