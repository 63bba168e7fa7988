"""Images for the tests of pixels: what pydicom ships, one of each kind in the province, and ones made by hand."""

import io
import warnings
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pydicom
from pydicom.filereader import read_dataset

from gateway.dataset.part10 import split
from gateway.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_LE,
    transfer_syntax,
)
from regions.plan import SMALL
from regions.province import generate
from regions.truth import TrueInstance, default_cache, truth
from tests.dataset.elements import explicit, implicit
from tests.dataset.oracle import Sample, encode, samples

SEQUENCE_END = bytes.fromhex("FEFFDDE0 00000000")


@dataclass(frozen=True)
class Made:
    """One instance of the province: its Data Set and what it is known to hold."""

    data: bytes
    true: TrueInstance

    @property
    def transfer_syntax_uid(self) -> str:
        return self.true.transfer_syntax_uid


@cache
def province() -> tuple[Made, ...]:
    """Return one instance for each Transfer Syntax and SOP Class in the small province."""
    folder = default_cache(1, SMALL.name)
    generate(folder, scale=SMALL)
    found: dict[tuple[str, str], TrueInstance] = {}
    for study in truth(folder).studies:
        for instance in study.instances:
            found.setdefault((instance.transfer_syntax_uid, instance.sop_class_uid), instance)
    return tuple(_made(folder, instance) for instance in found.values())


def _made(folder: Path, instance: TrueInstance) -> Made:
    raw = (folder / next(iter(instance.files.values()))).read_bytes()
    return Made(raw[split(raw)[1] :], instance)


BROKEN = {
    "MR_truncated.dcm": "cut in the middle of its pixels",
    "rtplan_truncated.dcm": "cut in the middle of an element",
    "JPEG2000-embedded-sequence-delimiter.dcm": "a delimiter was written over the size of the image, on purpose",
    "JPEG-lossy.dcm": "pydicom cannot decode it; JPGExtended.dcm is the same image, mended",
    "badVR.dcm": "pydicom refuses its Number of Frames of 1A",
}
"""Files with pixels that the oracle or anybody cannot decode."""


@cache
def readable() -> tuple[Sample, ...]:
    """Return every sample that pydicom decodes."""
    keys = {"PixelData", "FloatPixelData", "DoubleFloatPixelData"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [sample for sample in samples() if sample.name not in BROKEN]
        return tuple(sample for sample in found if keys & set(pydicom.dcmread(sample.path, force=True).dir()))


def dataset_of(data: bytes, transfer_syntax_uid: str) -> pydicom.Dataset:
    """Read a Data Set with pydicom, as if from a file."""
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LE:
        data = zlib.decompress(data, -zlib.MAX_WBITS)
    syntax = transfer_syntax(transfer_syntax_uid)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one sample is Implicit VR although its Transfer Syntax is not
        dataset = read_dataset(io.BytesIO(data), not syntax.explicit, syntax.little_endian)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(
        EXPLICIT_VR_LE if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LE else transfer_syntax_uid
    )
    return dataset


def pixels_of(data: bytes, transfer_syntax_uid: str) -> np.ndarray[Any, Any]:
    """Decode all frames with pydicom."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dataset_of(data, transfer_syntax_uid).pixel_array


def image(
    pixels: np.ndarray[Any, Any],
    frames: int = 1,
    *,
    uid: str = EXPLICIT_VR_LE,
    value: bytes | None = None,
    **attributes: Any,
) -> bytes:
    """Encode an image with pydicom; attributes are keywords that replace or add."""
    shape = pixels.shape[1:] if frames > 1 else pixels.shape
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.Rows, dataset.Columns = shape[:2]
    dataset.SamplesPerPixel = shape[2] if len(shape) == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
    if len(shape) == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if frames > 1:
        dataset.NumberOfFrames = frames
    for keyword, given in attributes.items():
        setattr(dataset, keyword, given)
    dataset.PixelData = pixels.tobytes() if value is None else value
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    dataset["PixelData"].is_undefined_length = transfer_syntax(uid).encapsulated
    return encode(dataset, uid)


def fragments(*values: bytes, table: bytes = b"") -> bytes:
    """Encode a sequence of fragments: item headers, the Basic Offset Table first, and the delimiter."""
    return b"".join(implicit("FFFEE000", value) for value in (table, *values)) + SEQUENCE_END


def described(frames: int, *more: bytes, rows: int = 2, columns: int = 2, bits: int = 8) -> bytes:
    """Encode what an index needs of an image, in Explicit VR Little Endian."""
    count = str(frames).encode()
    return b"".join(
        (
            explicit("00280002", "US", pack("<H", 1)),
            explicit("00280004", "CS", b"MONOCHROME2 "),
            explicit("00280008", "IS", count + b" " * (len(count) % 2)),
            explicit("00280010", "US", pack("<H", rows)),
            explicit("00280011", "US", pack("<H", columns)),
            explicit("00280100", "US", pack("<H", bits)),
            explicit("00280101", "US", pack("<H", bits)),
            explicit("00280102", "US", pack("<H", bits - 1)),
            explicit("00280103", "US", pack("<H", 0)),
            *more,
        )
    )


def encapsulated(frames: int, *values: bytes, table: bytes = b"", more: tuple[bytes, ...] = ()) -> bytes:
    """Encode an image whose fragments need not be what they say."""
    value = fragments(*values, table=table)
    return described(frames, *more) + explicit("7FE00010", "OB", value, length=0xFFFFFFFF)
