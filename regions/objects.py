"""From a plan to files: every instance of a series, encoded, hashed and written."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from regions import codecs, elements
from regions.index import Entry, entry
from regions.modules import accession_issuer, health_card, minutes_later, series_attributes, study_attributes
from regions.people import uid
from regions.pictures import Computed, Mammogram, Photograph, Radiograph, Ultrasound
from regions.plan import PROVINCE, Scale, SeriesPlan, StudyPlan
from regions.reports import PdfReport, StructuredReport
from regions.volumes import Ct, Instance, Mr, Pet


class Maker(Protocol):
    """A modality: the attributes of a series and its instances."""

    sop_class: UID
    makers: tuple[str, str, str]

    def __init__(self, study: StudyPlan, series: SeriesPlan, scale: Scale) -> None: ...
    def attributes(self) -> Dataset:
        """What all instances of the series share."""
        ...

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """The instances from first up to but without last."""
        ...


KINDS: Final[Mapping[str, type[Any]]] = {
    "ct": Ct, "mr": Mr, "pt": Pet, "dx": Radiograph, "cr": Computed, "mg": Mammogram, "us": Ultrasound,
    "xc": Photograph, "sr": StructuredReport, "pdf": PdfReport,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """A run of instances that one worker makes."""

    study: StudyPlan
    series: SeriesPlan
    folder: str
    first: int
    last: int
    scale: Scale


@dataclass(frozen=True, slots=True)
class Made:
    """One instance as it was written.

    Attributes:
        pixel_data_sha256: of Pixel Data (native values little endian) or Encapsulated Document; empty without either.
        data_set_sha256: of the Data Set as it stands in the file of the region that acquired it.
        entries: the index entry per region that holds it.
    """

    position: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    pixel_data_sha256: str
    data_set_sha256: str
    entries: Mapping[str, Entry]


class Writer:
    """Writes the instances of one series, each once, and once more for every foreign copy."""

    def __init__(self, job: Job, root: Path) -> None:
        self.job, self.root = job, root
        study, series = job.study, job.series
        self.maker: Maker = KINDS[series.kind](study, series, job.scale)
        self.syntax = series.transfer_syntax
        odd = self.syntax in {ImplicitVRLittleEndian, ExplicitVRBigEndian}
        self.encodings = (ExplicitVRLittleEndian, self.syntax) if odd else (ExplicitVRLittleEndian,)
        shared = study_attributes(study)
        shared.update(series_attributes(study, series, self.maker.makers))
        shared.update(self.maker.attributes())
        shared.SOPClassUID = self.maker.sop_class
        shared.InstanceCreationDate = study.date
        if self.syntax in codecs.LOSSY_METHOD:
            shared.LossyImageCompression = "01"
            shared.LossyImageCompressionMethod = codecs.LOSSY_METHOD[self.syntax]
        self.document = bytes(shared.get("EncapsulatedDocument", b""))
        self.shared = self._encode(shared)
        self.coerced = {region: self._encode(_coercion(study, region)) for region in study.foreign_copies}

    def _encode(self, dataset: Dataset) -> dict[UID, elements.Elements]:
        """Cut a Data Set into elements, in each encoding that is needed."""
        encoded = {}
        for syntax in self.encodings:
            data = elements.encode(dataset, syntax, self.job.study.specific_character_set)
            encoded[syntax] = elements.split(data, syntax)
            if "no-character-set" in self.job.study.quirks:
                encoded[syntax].pop(0x00080005, None)
        return encoded

    def write(self) -> Iterator[Made]:
        """Make every instance of the job."""
        for instance in self.maker.instances(self.job.first, self.job.last):
            yield self._write(instance)

    def _write(self, instance: Instance) -> Made:
        job, own = self.job, instance.dataset
        sop_instance = uid("instance", job.series.uid, instance.position)
        own.SOPInstanceUID = sop_instance
        own.InstanceCreationTime = minutes_later(job.study.time, 600 + instance.position)
        pixels = codecs.encode(instance.frames, self.syntax, instance.bits) if instance.frames else None
        if pixels and self.syntax in codecs.LOSSY_METHOD:
            native = sum(frame.nbytes for frame in instance.frames)
            own.LossyImageCompressionRatio = f"{native / len(pixels.value):.2f}"
        particular = self._encode(own)
        value = pixels.value if pixels else self.document
        name = f"{job.folder}/{instance.position:04d}.dcm"
        entries, digest = {}, ""
        for region, coerced in {"": None, **self.coerced}.items():
            path = f"{region or 'objects'}/{name}"
            parts = {
                syntax: {**self.shared[syntax], **particular[syntax], **(coerced[syntax] if coerced else {})}
                for syntax in self.encodings
            }
            body = elements.join(parts[self.encodings[-1]]) + (pixels.element if pixels else b"")
            self._store(path, sop_instance, body)
            digest = digest or hashlib.sha256(body).hexdigest()
            record = entry(parts[ExplicitVRLittleEndian], self.syntax, name if region else f"../{path}")
            holders = (region,) if region else job.series.holding(instance.position)
            entries.update(dict.fromkeys(holders, record))
        return Made(
            instance.position, self.maker.sop_class, sop_instance, self.syntax,
            hashlib.sha256(value).hexdigest() if value else "", digest, entries,
        )  # fmt: skip

    def _store(self, path: str, sop_instance: str, body: bytes) -> None:
        if self.syntax == DeflatedExplicitVRLittleEndian:
            deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            body = deflate.compress(body) + deflate.flush()
            body += bytes(len(body) % 2)
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(elements.file_meta(self.maker.sop_class, sop_instance, self.syntax) + body)


def _coercion(study: StudyPlan, region: str) -> Dataset:
    """What an importing archive changed, and what it was before (PS3.3 C.12.1.1.9)."""
    person = study.person
    before = Dataset()
    before.AccessionNumber = study.accession_number
    before.IssuerOfAccessionNumberSequence = accession_issuer(study.region)
    before.PatientID = study.patient_id
    before.IssuerOfPatientID = study.region
    change = Dataset()
    change.SourceOfPreviousValues = study.hospital.name if study.hospital.name.isascii() else study.region
    change.AttributeModificationDateTime = f"{study.date}235900"
    change.ModifyingSystem = f"{region} IMPORT"
    change.ReasonForTheAttributeModification = "COERCE"
    change.ModifiedAttributesSequence = Items([before])
    elsewhere = Dataset()
    elsewhere.PatientID, elsewhere.IssuerOfPatientID, elsewhere.TypeOfPatientID = study.patient_id, study.region, "TEXT"
    ds = Dataset()
    ds.InstanceCoercionDateTime = f"{study.date}235900"
    ds.AccessionNumber = f"FX{study.accession_number[2:]}"
    ds.IssuerOfAccessionNumberSequence = accession_issuer(region)
    ds.PatientID = person.medical_record_numbers[region]
    if PROVINCE[region].states_issuer:
        ds.IssuerOfPatientID = region
    else:
        ds.IssuerOfPatientID = None
    ds.OtherPatientIDsSequence = Items([health_card(person.health_card_number), elsewhere])
    ds.OriginalAttributesSequence = Items([change])
    return ds
