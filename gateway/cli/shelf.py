"""A folder of instances: a folder for each study and series, each file there whole or not at all."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from gateway.dataset.uid import is_uid
from gateway.errors import GatewayError

LEDGER: Final = ".fetched.jsonl"
"""What is there, a line for each file: written after the file has its name."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*", re.ASCII)


@dataclass(slots=True)
class Writing:
    """A file that is being written.

    Attributes:
        size: bytes so far.
    """

    file: BinaryIO
    size: int = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes."""
        self.file.write(data)
        self.size += len(data)


class Unwritable(GatewayError):
    """The folder cannot be read or written: there is no room, or no permission, or it is no folder."""

    slug = "unwritable"

    @classmethod
    def of(cls, error: OSError, folder: Path) -> "Unwritable":
        """Say what the system said, and what to do."""
        said = f"{error.filename or folder}: {error.strerror}"
        return cls(f"{said}: make room, or choose another folder; what is whole stays, run it again for the rest")


class Shelf:
    """Where the instances of one study are.

    Names are made from UIDs that are UIDs, and numbered where they are not: nothing from the wire becomes a path.

    Attributes:
        there: SOP Instance UIDs of the files that are there, of the size they had when they were written.

    Raises:
        Unwritable: what is there cannot be read.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self._folder = folder / (study if is_uid(study) else "study")
        self._series: dict[str, str] = {}
        try:
            self.there = set(self._found())
        except OSError as error:
            raise Unwritable.of(error, self._folder) from error

    @contextmanager
    def put(self, series: str, instance: str) -> Iterator[Writing]:
        """Have a file to write an instance to; it gets its name when the context ends well, else it goes.

        Raises:
            Unwritable: it cannot be written.
        """
        try:
            with self._put(series, instance) as writing:
                yield writing
        except OSError as error:
            raise Unwritable.of(error, self._folder) from error

    @contextmanager
    def _put(self, series: str, instance: str) -> Iterator[Writing]:
        folder = self._folder / self._folder_of(series)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{instance}.dcm" if is_uid(instance) else _numbered(folder)
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                writing = Writing(file)
                yield writing
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self._note(instance, path, writing.size)

    def _folder_of(self, series: str) -> str:
        if is_uid(series):
            return series
        return self._series.setdefault(series, f"series-{len(self._series) + 1:03}")

    def _note(self, instance: str, path: Path, size: int) -> None:
        entry = {"uid": instance, "file": [path.parent.name, path.name], "bytes": size}
        with (self._folder / LEDGER).open("ab") as ledger:
            ledger.write(orjson.dumps(entry) + b"\n")
        self.there.add(instance)

    def _found(self) -> Iterator[str]:
        """Yield what an earlier run brought and nobody changed since."""
        try:
            lines = (self._folder / LEDGER).read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                entry = orjson.loads(line)
                names = [str(name) for name in entry["file"]]
                size, uid = entry["bytes"], str(entry["uid"])
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue  # a line that was cut off
            path = self._folder.joinpath(*names)
            if all(_NAME.fullmatch(name) for name in names) and path.is_file() and path.stat().st_size == size:
                yield uid


def _numbered(folder: Path) -> Path:
    names = (f"instance-{number:05}.dcm" for number in count(1))
    return folder / next(name for name in names if not os.path.lexists(folder / name))
