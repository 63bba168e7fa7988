"""Small synthetic instances, the same for the same arguments, and what tests need to compare them."""

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

ALL_TRANSFER_SYNTAXES: Sequence[UID] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
)
ROOT = "1.2.826.0.1.3680043.10.1337"  # under Medical Connections' free arc, for tests only


def uid(*parts: int) -> UID:
    """Return a UID of the test root."""
    return UID(".".join([ROOT, *map(str, parts)]))


def instance(
    study: int = 1,
    series: int = 1,
    number: int = 1,
    *,
    size: int = 1024,
    transfer_syntax: str = ExplicitVRLittleEndian,
    sop_class: str = CTImageStorage,
    **attributes: Any,
) -> Dataset:
    """Return a CT instance with `size` bytes of Pixel Data; `attributes` are keywords that replace or add.

    A size of whole KiB makes an image of 512 columns.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid(study, series, number)
    dataset.StudyDate = f"2024{1 + study % 12:02}{1 + study % 28:02}"
    dataset.StudyTime = "101500"
    dataset.AccessionNumber = f"A{study:05}"
    dataset.Modality = "CT"
    dataset.StudyDescription = f"Study {study}"
    dataset.PatientName = f"Tremblay^Zoé{study}"
    dataset.PatientID = f"MRN{study:05}"
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "F"
    dataset.StudyInstanceUID = uid(study)
    dataset.SeriesInstanceUID = uid(study, series)
    dataset.StudyID = str(study)
    dataset.SeriesNumber = str(series)
    dataset.InstanceNumber = str(number)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = max(1, size // 1024)
    dataset.Columns = min(512, size // 2)
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    if size:
        pattern = bytes((study + series + number + i) % 251 for i in range(251))
        dataset.add_new("PixelData", "OW", (pattern * (size // 251 + 1))[: size & ~1])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    return dataset


def study(
    number: int = 1, *, series: int = 1, instances: int = 3, size: int = 1024, **attributes: Any
) -> list[Dataset]:
    """Return every instance of one study: `series` series with `instances` each."""
    return [
        instance(number, s, i, size=size, **attributes) for s in range(1, series + 1) for i in range(1, instances + 1)
    ]


def part10(dataset: Dataset) -> bytes:
    """Return the instance as a Part 10 file."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def from_part10(data: bytes) -> Dataset:
    """Read a Part 10 file with pydicom."""
    return dcmread(BytesIO(data))


def encode(dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return the Data Set as it goes into P-DATA, without File Meta Information (not for deflated)."""
    syntax = UID(transfer_syntax)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax.is_implicit_VR
    buffer.is_little_endian = syntax.is_little_endian
    write_dataset(buffer, dataset)  # type: ignore[no-untyped-call, unused-ignore]
    return buffer.getvalue()


def decode(data: bytes, transfer_syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """Read the bytes of a Data Set with pydicom."""
    syntax = UID(transfer_syntax)
    return read_dataset(BytesIO(data), syntax.is_implicit_VR, syntax.is_little_endian)


LEVELS = {
    "PATIENT": ("PatientID",),
    "STUDY": ("StudyInstanceUID",),
    "SERIES": ("StudyInstanceUID", "SeriesInstanceUID"),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}


def matches(instances: Iterable[Dataset], identifier: Dataset) -> Iterator[Dataset]:
    """Yield C-FIND rows: universal, single value, list of UID and `*` wildcard matching on the flat keys."""
    level = identifier.QueryRetrieveLevel
    seen = set()
    for candidate in instances:
        key = tuple(candidate[k].value for k in LEVELS[level])
        if key in seen or not all(_fits(candidate, element) for element in identifier):
            continue
        seen.add(key)
        yield _row(candidate, identifier)


def _fits(candidate: Dataset, element: Any) -> bool:
    if element.keyword in {"QueryRetrieveLevel", "SpecificCharacterSet"} or not element.value or element.VR == "SQ":
        return True
    held = candidate.get(element.keyword)
    if element.VR == "UI":
        return str(held) in ([element.value] if element.VM == 1 else list(element.value))
    return _like(str(held or "").upper(), str(element.value).upper())


def _like(held: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(held, pattern.replace("[", "[[]"))


def _row(candidate: Dataset, identifier: Dataset) -> Dataset:
    row = Dataset()
    for element in identifier:
        held = candidate.get(element.tag)
        row[element.tag] = held if held is not None else type(element)(element.tag, element.VR, None)
    row.QueryRetrieveLevel = identifier.QueryRetrieveLevel
    row.SpecificCharacterSet = "ISO_IR 100"
    return row
