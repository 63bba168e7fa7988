"""pydicom as the oracle: what its sample files hold, and the DICOM JSON Model it makes of them."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pydicom
from pydicom.data import get_charset_files, get_testdata_files
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.filewriter import write_dataset

from gateway.dataset.query import Row
from gateway.dataset.transfer_syntax import EXPLICIT_VR_BE, EXPLICIT_VR_LE, IMPLICIT_VR_LE, transfer_syntax


@dataclass(frozen=True)
class Sample:
    """One file: its Data Set as bytes, how they are encoded, and what pydicom reads in them."""

    name: str
    data: bytes
    transfer_syntax_uid: str
    path: Path

    def row(self) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(self.path, force=True).to_json_dict()


def read(path: Path) -> Sample | None:
    """Read a file as pydicom does; None for what is no DICOM."""
    raw = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True)
        except (InvalidDicomError, EOFError, NotImplementedError, OSError):
            return None
        if not dataset or not any(key in dataset for key in ("SOPClassUID", "Modality", "PatientName", "FileSetID")):
            return None
        stream = io.BytesIO(raw)
        read_preamble(stream, force=True)
        _read_file_meta_info(stream)
    implicit, little_endian = dataset.original_encoding
    guess = IMPLICIT_VR_LE if implicit else EXPLICIT_VR_LE if little_endian else EXPLICIT_VR_BE
    uid = str(dataset.file_meta.get("TransferSyntaxUID", guess))
    return Sample(path.name, raw[stream.tell() :], uid, path)


@cache
def samples() -> tuple[Sample, ...]:
    """Return every Data Set that pydicom ships."""
    paths = {Path(path) for path in (*get_testdata_files(), *get_charset_files("*"))}
    found = [read(path) for path in sorted(paths) if path.is_file() and path.suffix not in {".json", ".txt"}]
    return tuple(sample for sample in found if sample)


def encode(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    """Encode with pydicom."""
    syntax = transfer_syntax(transfer_syntax_uid)
    stream = DicomBytesIO()
    stream.is_implicit_VR = not syntax.explicit
    stream.is_little_endian = syntax.little_endian
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_dataset(stream, dataset)
    return stream.getvalue()


def decode(data: bytes, transfer_syntax_uid: str) -> Dataset:
    """Decode with pydicom."""
    syntax = transfer_syntax(transfer_syntax_uid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_dataset(io.BytesIO(data), not syntax.explicit, syntax.little_endian)


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    """Cut bytes into fragments of a size."""
    return (data[start : start + size] for start in range(0, len(data), size))


def differences(ours: Row, theirs: dict[str, Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield (path, our attribute, pydicom's attribute) for everything that is not the same, deepest level only."""
    for key in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(key), theirs.get(key)
        if mine == other:
            continue
        items = [attribute.get("Value", []) if attribute else [] for attribute in (mine, other)]
        if mine and other and mine["vr"] == other["vr"] == "SQ" and len(items[0]) == len(items[1]) > 0:
            for index, (one, two) in enumerate(zip(*items, strict=True)):
                yield from differences(one, two, (*path, key, index))
        else:
            yield (*path, key), mine, other
