"""Attributes that every object of the province carries: patient, study, series, equipment (PS3.3 Annex C.7)."""

import hashlib
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from regions.people import HEALTH_CARD_ISSUER, HEALTH_CARD_OID
from regions.plan import PROVINCE, SeriesPlan, StudyPlan

PRIVATE_CREATOR = "PROVINCE TEST 1.0"


def generator(*parts: object) -> np.random.Generator:
    """Random numbers that depend on nothing but the parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16])))


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded entry (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def health_card(number: str) -> Dataset:
    """An item of Other Patient IDs Sequence (0010,1002) that names the province-wide number."""
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = HEALTH_CARD_OID, "ISO"
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID, item.TypeOfPatientID = number, HEALTH_CARD_ISSUER, "TEXT"
    item.IssuerOfPatientIDQualifiersSequence = Items([issuer])
    return item


def accession_issuer(region: str) -> Items:
    """Issuer of Accession Number Sequence (0008,0051)."""
    item = Dataset()
    item.LocalNamespaceEntityID = region
    return Items([item])


def age(birth_date: str, date: str) -> str:
    """Patient's Age (0010,1010)."""
    years = int(date[:4]) - int(birth_date[:4]) - (date[4:] < birth_date[4:])
    return f"{years:03d}Y"


def minutes_later(time: str, seconds: float) -> str:
    """A TM so many seconds later, held within the day."""
    start = int(time[:2]) * 3600 + int(time[2:4]) * 60 + int(time[4:6])
    moment = min(start + seconds, 86_399.0)
    whole = int(moment)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{int(moment % 1 * 1e6):06d}"


def study_attributes(study: StudyPlan) -> Dataset:
    """Patient, General Study and SOP Common."""
    person = study.person
    ds = Dataset()
    ds.SpecificCharacterSet = study.specific_character_set
    ds.StudyDate, ds.StudyTime = study.date, study.time
    ds.AccessionNumber = study.accession_number
    if study.accession_number:
        ds.IssuerOfAccessionNumberSequence = accession_issuer(study.region)
    ds.InstitutionName = study.hospital.name
    ds.ReferringPhysicianName = study.referring_physician
    if study.hospital.zone_offset:
        ds.TimezoneOffsetFromUTC = study.hospital.zone_offset
    ds.StudyDescription = study.description
    ds.PatientName = person.name
    ds.PatientID = study.patient_id
    if PROVINCE[study.region].states_issuer:
        ds.IssuerOfPatientID = study.region
    ds.PatientBirthDate, ds.PatientSex = person.birth_date, person.sex
    ds.OtherPatientIDsSequence = Items([health_card(person.health_card_number)])
    ds.PatientAge = age(person.birth_date, study.date)
    ds.StudyInstanceUID, ds.StudyID = study.uid, study.study_id
    if "empty-type-2" in study.quirks:
        for keyword in (
            "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "PatientSex", "StudyID",
            "PatientAge",
        ):  # fmt: skip
            setattr(ds, keyword, None)
    return ds


def series_attributes(study: StudyPlan, series: SeriesPlan, makers: Sequence[str]) -> Dataset:
    """General Series and General Equipment; makers are manufacturer, model and software."""
    ds = Dataset()
    ds.Modality = series.modality
    ds.SeriesDate, ds.SeriesTime = study.date, minutes_later(study.time, 120 * min(series.number, 12))
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = makers
    ds.StationName = f"{study.hospital.station}{series.modality}1"
    ds.DeviceSerialNumber = f"{int.from_bytes(study.hospital.station.encode()) % 100_000:05d}"
    ds.SeriesDescription = series.description
    ds.SeriesInstanceUID, ds.SeriesNumber = series.uid, series.number
    if series.body_part:
        ds.BodyPartExamined = series.body_part
        ds.ProtocolName = series.description
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = study.date, study.time
    ds.PerformedProcedureStepID = f"PPS{study.study_id}"
    ds.PerformedProcedureStepDescription = study.description
    if study.accession_number:
        request = Dataset()
        request.AccessionNumber = study.accession_number
        request.RequestedProcedureDescription = study.description
        request.ScheduledProcedureStepDescription = study.description
        request.ScheduledProcedureStepID, request.RequestedProcedureID = f"SPS{study.study_id}", f"RP{study.study_id}"
        ds.RequestAttributesSequence = Items([request])
    return ds


def grey_pixels(ds: Dataset, rows: int, columns: int, bits: int, *, signed: bool = False) -> None:
    """Image Pixel (PS3.3 C.7.6.3) for one sample per pixel."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated = 8 if bits <= 8 else 16
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)


def private_block(ds: Dataset, position: int) -> None:
    """Private elements (PS3.5 7.8): text, numbers, bytes and a sequence."""
    block = ds.private_block(0x0019, PRIVATE_CREATOR, create=True)
    block.add_new(0x01, "LO", "GEOMETRY V2")
    block.add_new(0x02, "DS", [f"{position * 0.25:.2f}", "1.50"])
    block.add_new(0x03, "OB", bytes(range(32)))
    block.add_new(0x04, "FD", [0.1 * position, 2.5e-3])
    item = Dataset()
    inner = item.private_block(0x0019, PRIVATE_CREATOR, create=True)
    inner.add_new(0x11, "SH", "ROW")
    inner.add_new(0x12, "SL", -position)
    block.add_new(0x10, "SQ", Items([item]))
