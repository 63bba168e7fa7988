"""Which instances an archive holds, where their files are, and what their headers say: an SQLite file."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from regions.elements import Elements, encode, join, split, value

_LARGEST: Final = 4096
"""Bytes; a longer element is nothing anybody searches for."""
_LEFT_OUT: Final = frozenset((0x0040A730, 0x7FE00010, 0x00420011))

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS instance (
    sop_instance_uid TEXT PRIMARY KEY, series_instance_uid TEXT NOT NULL, study_instance_uid TEXT NOT NULL,
    patient_id TEXT NOT NULL, sop_class_uid TEXT NOT NULL, transfer_syntax_uid TEXT NOT NULL, modality TEXT NOT NULL,
    path TEXT NOT NULL, header BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_study ON instance (study_instance_uid, series_instance_uid);
CREATE INDEX IF NOT EXISTS by_path ON instance (path);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One instance.

    Attributes:
        path: its Part 10 file, relative to the archive's folder.
        header: its searchable elements, Explicit VR Little Endian.
    """

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    path: str
    header: bytes


_FIELDS: Final = tuple(field.name for field in fields(Entry))
_COLUMNS: Final = ", ".join(_FIELDS)


def entry(elements: Elements, transfer_syntax: str, path: str) -> Entry:
    """The entry for a Data Set cut into Explicit VR Little Endian elements."""

    def text(tag: int) -> str:
        return value(elements[tag]).decode("latin-1").strip(" \0") if tag in elements else ""

    header = {
        tag: element
        for tag, element in elements.items()
        if len(element) <= _LARGEST and tag not in _LEFT_OUT and not tag >> 16 & 1
    }
    return Entry(
        sop_instance_uid=text(0x00080018),
        series_instance_uid=text(0x0020000E),
        study_instance_uid=text(0x0020000D),
        patient_id=text(0x00100020),
        sop_class_uid=text(0x00080016),
        transfer_syntax_uid=transfer_syntax,
        modality=text(0x00080060),
        path=path,
        header=join(header),
    )


def read_entry(folder: Path, path: str) -> Entry:
    """Read the entry of a file that somebody else wrote.

    Raises:
        ValueError: it lacks one of the UIDs that place an instance.
        pydicom.errors.InvalidDicomError: it is no Part 10 file.
    """
    dataset = dcmread(folder / path, stop_before_pixels=True)
    transfer_syntax = str(dataset.file_meta.TransferSyntaxUID)
    _define_lengths(dataset)
    found = entry(split(encode(dataset, ExplicitVRLittleEndian), ExplicitVRLittleEndian), transfer_syntax, path)
    if not all((found.sop_instance_uid, found.series_instance_uid, found.study_instance_uid, found.sop_class_uid)):
        raise ValueError("SOP Class, SOP Instance, Series or Study Instance UID is missing")
    return found


def _define_lengths(dataset: Dataset) -> None:
    """Have every sequence and item written with a defined length, so that elements can be cut apart."""
    dataset.is_undefined_length_sequence_item = False
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = False
            for item in element.value:
                _define_lengths(item)


class Index:
    """The entries of one archive; safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        """Open or create the index in an archive's folder."""
        self.folder = folder
        self._lock = threading.Lock()
        self._database = sqlite3.connect(folder / "index.sqlite", check_same_thread=False, timeout=10)
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _cursor(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, self._database:
            yield self._database.cursor()

    def add(self, entries: Iterable[Entry]) -> None:
        """Enter instances; one that is already there is replaced."""
        marks = ", ".join("?" * len(_FIELDS))
        rows = map(attrgetter(*_FIELDS), entries)
        with self._cursor() as cursor:
            cursor.executemany(f"INSERT OR REPLACE INTO instance ({_COLUMNS}) VALUES ({marks})", rows)

    def remove_below(self, prefix: str) -> None:
        """Forget the instances whose files lie below a path."""
        with self._cursor() as cursor:
            cursor.execute("DELETE FROM instance WHERE substr(path, 1, ?) = ?", (len(prefix), prefix))

    def path_of(self, sop_instance_uid: str) -> str | None:
        """Where an instance lies, if it is held."""
        with self._cursor() as cursor:
            row = cursor.execute("SELECT path FROM instance WHERE sop_instance_uid = ?", (sop_instance_uid,)).fetchone()
        return row[0] if row else None

    def paths(self) -> set[str]:
        """All files that have an entry."""
        with self._cursor() as cursor:
            return {row[0] for row in cursor.execute("SELECT path FROM instance")}

    def counts(self) -> tuple[int, int]:
        """Studies and instances held."""
        with self._cursor() as cursor:
            studies, instances = cursor.execute(
                "SELECT count(DISTINCT study_instance_uid), count(*) FROM instance"
            ).fetchone()
        return int(studies), int(instances)

    def entries(self, keys: Mapping[str, Sequence[str]]) -> list[Entry]:
        """Instances whose columns have one of the values given, in a stable order."""
        where, values = _where(keys)
        with self._cursor() as cursor:
            rows = cursor.execute(
                f"SELECT {_COLUMNS} FROM instance {where} ORDER BY study_instance_uid, series_instance_uid, path",
                values,
            ).fetchall()
        return [Entry(*row) for row in rows]

    def groups(self, by: str, keys: Mapping[str, Sequence[str]]) -> list["Group"]:
        """One group per value of a column, with what its instances add up to."""
        where, values = _where(keys)
        with self._cursor() as cursor:
            rows = cursor.execute(
                f"""SELECT grouped.*, instance.header, instance.transfer_syntax_uid FROM (
                    SELECT min(sop_instance_uid) AS first, count(*), count(DISTINCT series_instance_uid),
                        count(DISTINCT study_instance_uid), group_concat(DISTINCT modality),
                        group_concat(DISTINCT sop_class_uid)
                    FROM instance {where} GROUP BY {by}) AS grouped
                JOIN instance ON instance.sop_instance_uid = grouped.first ORDER BY grouped.first""",
                values,
            ).fetchall()
        return [
            Group(
                row[6],
                row[7],
                row[1],
                row[2],
                row[3],
                tuple(sorted(row[4].split(","))),
                tuple(sorted(row[5].split(","))),
            )
            for row in rows
        ]


@dataclass(frozen=True, slots=True)
class Group:
    """A patient, study, series or instance as its instances show it."""

    header: bytes
    transfer_syntax_uid: UID | str
    instances: int
    series: int
    studies: int
    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]


def _where(keys: Mapping[str, Sequence[str]]) -> tuple[str, list[str]]:
    clauses = [f"{column} IN ({', '.join('?' * len(values))})" for column, values in keys.items()]
    return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), [
        value for values in keys.values() for value in values
    ]
