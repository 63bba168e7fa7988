"""What the tests of the Retrieve resources share: instances of each kind, and the parts of an answer."""

from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    VideoEndoscopicImageStorage,
)

from gateway.dataset.part10 import split
from tests.kit.dicom import instance, part10
from tests.web.fakes import SERIES, STUDY, FakeInstance

MPEG4 = "1.2.840.10008.1.2.4.102"
PDF = b"%PDF-1.4\n" + b"% a report of no consequence\n" * 99 + b"%%EOF\n\n"
LEVELS = ("", f"/series/{SERIES}", f"/series/{SERIES}/instances/{SERIES}.1")
SERIES_PATH = f"/studies/{STUDY}/series/{SERIES}"
INSTANCE_PATH = f"{SERIES_PATH}/instances/{SERIES}.1"


def parts(answer: Any) -> list[tuple[dict[str, str], bytes]]:
    """Split a whole multipart/related body into the heads and contents of its parts."""
    boundary = answer.headers["content-type"].partition("boundary=")[2].encode()
    empty, *blocks, end = (b"\r\n" + answer.content).split(b"\r\n--" + boundary)
    assert (empty, end) == (b"", b"--\r\n")
    divided = (block.removeprefix(b"\r\n").partition(b"\r\n\r\n") for block in blocks)
    return [(dict(line.split(": ", 1) for line in head.decode().splitlines()), body) for head, _, body in divided]


def named(dataset: Dataset, number: int = 1) -> Dataset:
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"{SERIES}.{number}")
    return dataset


def fake(dataset: Dataset, *, pieces: int = 10_000) -> FakeInstance:
    """Return the instance as a region sends it."""
    file = part10(dataset)
    meta, start = split(file)
    data = file[start:]
    return FakeInstance(
        [data[i : i + pieces] for i in range(0, len(data), pieces)],
        meta.transfer_syntax_uid,
        meta.sop_instance_uid,
        meta.sop_class_uid,
    )


def ct(number: int = 1, *, rows: int = 16, **attributes: Any) -> Dataset:
    """Return a CT of 16 rows and 512 columns."""
    return named(
        instance(number=number, size=rows * 1024, WindowCenter="30000", WindowWidth="60000", **attributes), number
    )


def compressed(number: int = 1, uid: str = RLELossless) -> Dataset:
    dataset = ct(number, rows=64)
    dataset.compress(uid, generate_instance_uid=False)
    return dataset


def multiframe(frames: int = 5, uid: str = ExplicitVRLittleEndian) -> Dataset:
    """Return an 8-bit ultrasound loop of 8 rows and 16 columns; every pixel of a frame is its number."""
    dataset = instance(size=0, sop_class=UltrasoundMultiFrameImageStorage, Modality="US")
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 8, 16, str(frames)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.WindowCenter, dataset.WindowWidth = "3", "6"
    dataset.add_new("PixelData", "OB", b"".join(bytes([number]) * 128 for number in range(1, frames + 1)))
    named(dataset)
    if uid != ExplicitVRLittleEndian:
        dataset.compress(uid, generate_instance_uid=False)
    return dataset


def document(data: bytes = PDF, media_type: str = "application/pdf") -> Dataset:
    dataset = instance(size=0, sop_class=EncapsulatedPDFStorage, Modality="DOC")
    dataset.MIMETypeOfEncapsulatedDocument = media_type
    dataset.EncapsulatedDocumentLength = len(data)
    dataset.add_new("EncapsulatedDocument", "OB", data + b"\0" * (len(data) % 2))
    return named(dataset)


VIDEO = bytes(range(251)) * 40


def video(stream: bytes = VIDEO) -> Dataset:
    """Return a video whose stream is in two fragments."""
    dataset = instance(size=0, sop_class=VideoEndoscopicImageStorage, Modality="ES")
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 480, 640, "100"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.SamplesPerPixel, dataset.PlanarConfiguration = 7, 3, 0
    dataset.PhotometricInterpretation = "YBR_PARTIAL_420"
    dataset.add_new("PixelData", "OB", encapsulate([stream[:5000], stream[5000:]], has_bot=False))
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(MPEG4)
    return named(dataset)


def report() -> Dataset:
    """Return a structured report that pydicom ships."""
    path = get_testdata_file("reportsi.dcm")
    dataset = dcmread(str(Path(str(path))))
    return named(dataset)


def read(file: bytes) -> Dataset:
    return dcmread(BytesIO(file))
