"""(e): Data Set bytes to DICOM JSON, against pydicom."""

import time
from collections.abc import Callable
from io import BytesIO

import orjson
from pydicom import Dataset
from pydicom.filereader import read_dataset

from gateway.dataset.json_model import dumps, to_json_model
from tests.bench import samples
from tests.bench.figures import Figure, faster, medians
from tests.bench.search import KEYS
from tests.bench.setting import Setting
from tests.bench.upper_layer import EXPLICIT_VR_LE


def identifier() -> Dataset:
    """Make what an archive answers to a Search for Studies."""
    held = samples.patient_and_study(0, samples.CT_STUDY)
    held.ModalitiesInStudy = "CT"
    held.NumberOfStudyRelatedSeries, held.NumberOfStudyRelatedInstances = 1, samples.SLICES
    row = Dataset()
    row.SpecificCharacterSet = held.SpecificCharacterSet
    row.QueryRetrieveLevel = "STUDY"
    row.RetrieveAETitle = "ORTHANC"
    for key in KEYS:
        row[key] = held[key]
    return row


def by_pydicom(data: bytes) -> bytes:
    """Convert in the shortest way pydicom has, and with the encoder that the gateway uses."""
    row = read_dataset(BytesIO(data), is_implicit_VR=False, is_little_endian=True)
    encoded: bytes = orjson.dumps(row.to_json_dict())
    return encoded


def by_gateway(data: bytes) -> bytes:
    return dumps(to_json_model(data, EXPLICIT_VR_LE))


def timed(convert: Callable[[bytes], bytes], data: bytes) -> Callable[[], float]:
    """Return a run of about a twentieth of a second; it gives the seconds of one conversion."""
    start = time.perf_counter()
    convert(data)
    times = max(3, int(0.05 / (time.perf_counter() - start)))

    def run() -> float:
        start = time.perf_counter()
        for _ in range(times):
            convert(data)
        return (time.perf_counter() - start) / times

    return run


def conversions(_: Setting) -> list[Figure]:
    figures = []
    header = samples.ct_header()
    samples.add_private(header)
    for what, row in {"C-FIND Identifier": identifier(), "CT header": header}.items():
        data = samples.data_set(row)
        taken = medians({"gateway": timed(by_gateway, data), "pydicom": timed(by_pydicom, data)}, runs=9)
        elements = sum(1 for _ in row.iterall())
        figures.append(
            faster("e", f"{what} of {elements} elements to JSON", taken["gateway"], taken["pydicom"], "pydicom", 12)
        )
    return figures
