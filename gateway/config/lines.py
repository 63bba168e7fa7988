"""Where in a TOML file a key stands: parsers keep no lines, so the file is read line by line until the key is there."""

import tomllib
from collections.abc import Sequence
from typing import Any, TypeAlias

Place: TypeAlias = Sequence[str | int]
"""Keys from the root, and the index in each array on the way: ``("store", "rules", 0, "regions")``."""


def line_of(text: str, place: Place) -> int:
    """Return the line, from 1, on which a key's statement begins; that of its table where the key is not there."""
    names = list(place)
    while names:
        line = _line(text, names)
        if line:
            return line
        names.pop()
    return 1


def _line(text: str, place: Place) -> int:
    """Return the line of a key, 0 where it is not in the text."""
    lines = text.splitlines(keepends=True)
    begin = 0
    for end in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # inside a statement of several lines
        if _holds(values, place):
            return 1 + next((n for n in range(begin, end) if _says_something(lines[n])), begin)
        begin = end
    return 0


def _holds(values: Any, place: Place) -> bool:
    for name in place:
        try:
            values = values[name]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
