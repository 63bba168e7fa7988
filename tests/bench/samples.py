"""The studies that the bench loads: one large CT and many small studies.

How many elements a header has weighs on an archive more than on us: Orthanc opens a file for each row of its own
QIDO, and DCMTK searches its dictionary for each private element it sends. The large CT has the 117 public elements
of a scanner and no private ones; the small studies have 296 with those a GE scanner adds.
"""

from collections.abc import Iterator
from io import BytesIO
from random import Random

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.10.1561"
CT_STUDY = f"{ROOT}.1"
CT_SERIES = f"{CT_STUDY}.1"
PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"  # Modality Performed Procedure Step SOP Class
SLICES = 400
ROWS = 512
SMALL_STUDIES = 500

FAMILY_NAMES = ("TREMBLAY", "MACDONALD", "GAGNÉ", "NGUYEN", "SINGH", "O'BRIEN", "BÉLANGER", "WHITEDUCK")
GIVEN_NAMES = ("ANNE MARIE", "JOHN", "ÉLISE", "THI", "HARPREET", "MAEVE", "LUC", "WINONA")

# How many private elements of each VR pydicom's CT_small.dcm carries.
PRIVATE_GROUPS = {
    0x0009: ("GEMS_IDEN_01", {"LO": 1, "SH": 5, "SL": 2, "UL": 1}),
    0x0011: ("GEMS_PATI_01", {"SS": 1}),
    0x0019: ("GEMS_ACQU_01", {"DS": 21, "LO": 2, "SL": 9, "SS": 24}),
    0x0021: ("GEMS_RELA_01", {"FL": 2, "LO": 1, "SH": 2, "SS": 5, "UL": 2, "US": 1}),
    0x0023: ("GEMS_STDY_01", {"FD": 1, "SL": 1, "SS": 1}),
    0x0025: ("GEMS_SERS_01", {"SH": 1, "SL": 5, "SS": 2}),
    0x0027: ("GEMS_IMAG_01", {"FL": 15, "SH": 6, "SL": 4, "SS": 4}),
    0x0029: ("GEMS_IMPS_01", {"DS": 2, "SH": 2, "SL": 4, "SS": 2}),
    0x0043: ("GEMS_PARM_01", {"DS": 5, "FL": 4, "OB": 3, "SH": 1, "SL": 11, "SS": 14, "US": 3}),
}
PRIVATE_VALUES: dict[str, str | int | float | bytes] = {
    "DS": "862.399902",
    "FD": 1.5,
    "FL": -77.2040634,
    "LO": "CT_LIGHTSPEED",
    "OB": bytes(range(80)),
    "SH": "I/O 2.1",
    "SL": 1_074_528_401,
    "SS": -1200,
    "UL": 6_000,
    "US": 3,
}


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Make one item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def patient_and_study(number: int, study: str) -> Dataset:
    """Make the attributes of one patient and study; number 0 is the large CT."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.PatientName = f"{FAMILY_NAMES[number % 8]}^{GIVEN_NAMES[number // 8 % 8]}^{number}"
    header.PatientID = f"NEO{number:07d}"
    header.IssuerOfPatientID = "NEODIN"
    header.PatientBirthDate = f"{1930 + number % 80}0{1 + number % 9}1{number % 9}"
    header.PatientSex = "FM"[number % 2]
    header.PatientAge = f"{95 - number % 80:03d}Y"
    header.PatientWeight = "71.5"
    header.StudyInstanceUID = study
    header.StudyID = str(1000 + number)
    header.StudyDate = f"2024{1 + number % 12:02d}{1 + number % 28:02d}"
    header.StudyTime = f"{number % 24:02d}{number % 60:02d}12.345"
    header.AccessionNumber = f"A{number:08d}"
    header.ReferringPhysicianName = "LAVOIE^GENEVIÈVE^^DR"
    header.StudyDescription = "CT THORAX ABDOMEN PELVIS WITH CONTRAST"
    header.InstitutionName = "Health Sciences North"
    header.StationName = "CT2"
    header.ManufacturerModelName = "Revolution CT"
    header.Manufacturer = "GE MEDICAL SYSTEMS"
    return header


def add_acquisition(header: Dataset) -> None:
    """Add what a CT scanner writes beside the geometry (PS3.3 C.8.2.1), sequences included."""
    header.ProcedureCodeSequence = Sequence([code("77477000", "SCT", "Computed tomography")])
    header.AnatomicRegionSequence = Sequence([code("416775004", "SCT", "Chest, abdomen and pelvis")])
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    request.RequestedProcedureDescription = "CT chest, abdomen and pelvis with contrast"
    request.ScheduledProcedureStepID = "SPS1"
    request.ScheduledProcedureStepDescription = "CT CAP"
    request.ScheduledProtocolCodeSequence = Sequence([code("CTCAP", "99HSN", "CT chest abdomen pelvis")])
    header.RequestAttributesSequence = Sequence([request])
    header.ReferencedPerformedProcedureStepSequence = Sequence([reference(PERFORMED_STEP, f"{ROOT}.9")])
    header.ReferencedImageSequence = Sequence([reference(CTImageStorage, f"{ROOT}.8.{i}") for i in range(1, 4)])
    for keyword, value in {
        "SeriesDescription": "AXIAL 1.25 MM",
        "ProtocolName": "5.8 CHEST ABDO PELVIS",
        "BodyPartExamined": "CHEST",
        "PatientPosition": "FFS",
        "ContrastBolusAgent": "OMNIPAQUE 350",
        "ContrastBolusRoute": "IV",
        "ScanOptions": "HELICAL MODE",
        "SliceThickness": "1.25",
        "KVP": "120",
        "DataCollectionDiameter": "500",
        "ReconstructionDiameter": "360",
        "DistanceSourceToDetector": "949.147",
        "DistanceSourceToPatient": "541",
        "GantryDetectorTilt": "0",
        "TableHeight": "169.5",
        "RotationDirection": "CW",
        "ExposureTime": "500",
        "XRayTubeCurrent": "380",
        "Exposure": "190",
        "FilterType": "BODY FILTER",
        "GeneratorPower": "45600",
        "FocalSpots": "1.2",
        "ConvolutionKernel": "STANDARD",
        "SoftwareVersions": ["revo_ct_21b.33", "4.1"],
        "SingleCollimationWidth": 0.625,
        "TotalCollimationWidth": 80.0,
        "TableSpeed": 158.7,
        "TableFeedPerRotation": 79.4,
        "SpiralPitchFactor": 0.992,
        "CTDIvol": 11.27,
        "PerformedProcedureStepID": "PPS1",
        "PerformedProcedureStepStartDate": "20240102",
        "PerformedProcedureStepStartTime": "101112",
        "DeviceSerialNumber": "HSN00417",
        "InstitutionAddress": "41 Ramsey Lake Road, Sudbury ON",
        "OperatorsName": ["ROY^M", "LEE^K"],
        "TimezoneOffsetFromUTC": "-0500",
    }.items():
        setattr(header, keyword, value)


def add_private(header: Dataset) -> None:
    """Add the private elements of a GE scanner, as many as pydicom's CT_small.dcm has."""
    for group, (creator, counts) in PRIVATE_GROUPS.items():
        block = header.private_block(group, creator, create=True)
        element = 0
        for vr, count in counts.items():
            for _ in range(count):
                element += 1
                block.add_new(element, vr, PRIVATE_VALUES[vr])


def add_image(header: Dataset, series: str, number: int, rows: int) -> None:
    """Add the geometry and the Image Pixel module (PS3.3 C.7.6.2, C.7.6.3) of one slice."""
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = f"{series}.{number}"
    header.SeriesInstanceUID = series
    header.SeriesNumber = "2"
    header.Modality = "CT"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.AcquisitionNumber = "1"
    header.InstanceNumber = str(number)
    header.SeriesDate = header.AcquisitionDate = header.ContentDate = header.StudyDate
    header.SeriesTime = header.AcquisitionTime = header.ContentTime = header.StudyTime
    header.FrameOfReferenceUID = f"{series}.9999"
    header.PositionReferenceIndicator = "XY"
    header.ImagePositionPatient = ["-180.0", "-180.0", f"{-1.25 * number:.2f}"]
    header.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    header.SliceLocation = f"{-1.25 * number:.2f}"
    header.PixelSpacing = ["0.703125", "0.703125"]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows = header.Columns = rows
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = 1
    header.WindowCenter = ["40", "-600"]
    header.WindowWidth = ["400", "1500"]
    header.RescaleIntercept = "-1024"
    header.RescaleSlope = "1"
    header.RescaleType = "HU"


def ct_header(number: int = 1) -> Dataset:
    """Make the header of one slice of the large CT, everything but Pixel Data."""
    header = patient_and_study(0, CT_STUDY)
    add_acquisition(header)
    add_image(header, CT_SERIES, number, ROWS)
    return header


def part10(header: Dataset, pixels: bytes) -> bytes:
    """Return the instance as a file in Explicit VR Little Endian (PS3.10 7)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = header.SOPClassUID
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.file_meta = meta
    header.add_new(0x7FE00010, "OW", pixels)
    file = BytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def data_set(header: Dataset) -> bytes:
    """Return a Data Set alone, in Explicit VR Little Endian."""
    file = BytesIO()
    header.save_as(file, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return file.getvalue()


def pixels(number: int, rows: int) -> bytes:
    return Random(number).randbytes(rows * rows * 2)


def ct_slices(count: int = SLICES) -> Iterator[bytes]:
    """Yield the slices of the large CT as files, about 530 kB each."""
    for number in range(1, count + 1):
        yield part10(ct_header(number), pixels(number, ROWS))


def small_study_uid(number: int) -> str:
    return f"{ROOT}.2.{number}"


def small_studies(count: int = SMALL_STUDIES) -> Iterator[bytes]:
    """Yield studies of one instance each: the pixels are few, the header is full."""
    for number in range(1, count + 1):
        study = small_study_uid(number)
        header = patient_and_study(number, study)
        add_acquisition(header)
        add_private(header)
        add_image(header, f"{study}.1", 1, 8)
        yield part10(header, pixels(number, 8))
