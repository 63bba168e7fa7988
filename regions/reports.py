"""Reports: SR documents (PS3.3 A.35) and Encapsulated PDF (PS3.3 A.45), in English and French."""

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EnhancedSRStorage,
)
from reportlab.lib.pagesizes import LETTER
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table

from regions.modules import code, minutes_later
from regions.plan import Scale, SeriesPlan, StudyPlan
from regions.schedule import findings
from regions.volumes import Instance

_FORMS: Final[Mapping[str, UID]] = {
    "basic": BasicTextSRStorage,
    "enhanced": EnhancedSRStorage,
    "comprehensive": ComprehensiveSRStorage,
}
_SECTIONS: Final = (
    ("history", ("121060", "History"), ("121060", "Histoire clinique")),
    ("findings", ("121070", "Findings"), ("121070", "Constatations")),
    ("impression", ("121072", "Impressions"), ("121072", "Conclusion")),
)
_LANGUAGES: Final = {"en": ("en-CA", "English (CANADA)"), "fr": ("fr-CA", "French (CANADA)")}


def texts(study: StudyPlan) -> Mapping[str, str]:
    """History, findings and impression in the hospital's language."""
    result: Mapping[str, str] = findings()[study.exam][study.lesion][study.hospital.language]
    return result


def spoken(name: str) -> str:
    """A Person Name as it is printed: the alphabetic group, title last."""
    family, given, middle, prefix = (*name.split("=", 1)[0].split("^"), "", "", "")[:4]
    return " ".join(part for part in (prefix, given, middle, family) if part)


def _printable(name: str, instead: str) -> str:
    """The name if the page's fonts have its letters."""
    return name if name.isascii() or name.encode("latin-1", "replace").decode("latin-1") == name else instead


def _item(relationship: str, value_type: str, concept: Dataset) -> Dataset:
    ds = Dataset()
    ds.RelationshipType, ds.ValueType = relationship, value_type
    ds.ConceptNameCodeSequence = Items([concept])
    return ds


def _text(concept: Dataset, value: str) -> Dataset:
    ds = _item("CONTAINS", "TEXT", concept)
    ds.TextValue = value
    return ds


def _coded(relationship: str, concept: Dataset, value: Dataset) -> Dataset:
    ds = _item(relationship, "CODE", concept)
    ds.ConceptCodeSequence = Items([value])
    return ds


def _person(concept: Dataset, name: str) -> Dataset:
    ds = _item("HAS OBS CONTEXT", "PNAME", concept)
    ds.PersonName = name
    return ds


def content(study: StudyPlan, form: str, addendum: str) -> Items:
    """The content tree under the root, after TID 2000 (PS3.16)."""
    french = study.hospital.language == "fr"
    language = _LANGUAGES[study.hospital.language]
    said = texts(study)
    concept = code("121049", "DCM", "Language of Content Item and Descendants")
    items = [
        _coded("HAS CONCEPT MOD", concept, code(language[0], "RFC5646", language[1])),
        _coded("HAS OBS CONTEXT", code("121005", "DCM", "Observer Type"), code("121006", "DCM", "Person")),
        _person(code("121008", "DCM", "Person Observer Name"), study.reading_physician),
    ]
    for key, english, translated in _SECTIONS:
        value, meaning = translated if french else english
        section = _item("CONTAINS", "CONTAINER", code(value, "DCM", meaning))
        section.ContinuityOfContent = "SEPARATE"
        leaf = {
            "history": ("121060", "History"),
            "findings": ("121071", "Finding"),
            "impression": ("121073", "Impression"),
        }
        sentences = said[key].split(". ") if key == "findings" else [said[key]]
        section.ContentSequence = Items(
            [_text(code(leaf[key][0], "DCM", leaf[key][1]), s if s.endswith(".") else f"{s}.") for s in sentences]
        )
        items.append(section)
    if addendum:
        section = _item("CONTAINS", "CONTAINER", code("121076", "DCM", "Conclusions"))
        section.ContinuityOfContent = "SEPARATE"
        section.ContentSequence = Items([_text(code("121077", "DCM", "Conclusion"), addendum)])
        items.append(section)
    if form == "comprehensive":
        items.append(_measurement())
    return Items(items)


def _measurement() -> Dataset:
    """A number with its unit, which Basic Text SR may not hold."""
    ds = _item("CONTAINS", "NUM", code("121206", "DCM", "Distance"))
    value = Dataset()
    value.NumericValue = "17"
    value.MeasurementUnitsCodeSequence = Items([code("mm", "UCUM", "millimeter")])
    ds.MeasuredValueSequence = Items([value])
    return ds


class StructuredReport:
    """Basic Text, Enhanced or Comprehensive SR."""

    makers = ("Aurora Reporting", "Dictation Suite", "7.0")

    def __init__(self, study: StudyPlan, series: SeriesPlan, scale: Scale) -> None:
        del scale  # a report is a report
        self.study, self.series = study, series
        self.options: Mapping[str, Any] = series.options
        self.sop_class: Final = _FORMS[str(self.options["form"])]

    def attributes(self) -> Dataset:
        """SR Document General and the root content item."""
        study, status = self.study, self.options["status"]
        final = status != "preliminary"
        ds = Dataset()
        ds.ContentDate = study.date
        ds.CompletionFlag = "COMPLETE" if final else "PARTIAL"
        ds.VerificationFlag = "VERIFIED" if final else "UNVERIFIED"
        ds.PreliminaryFlag = "FINAL" if final else "PRELIMINARY"
        if final:
            observer = Dataset()
            observer.VerifyingOrganization, observer.VerifyingObserverName = (
                study.hospital.name,
                study.reading_physician,
            )
            observer.VerificationDateTime = f"{study.date}{minutes_later(study.time, 5400)[:6]}"
            observer.VerifyingObserverIdentificationCodeSequence = Items()
            ds.VerifyingObserverSequence = Items([observer])
        ds.ReferencedPerformedProcedureStepSequence = Items()
        ds.PerformedProcedureCodeSequence = Items()
        ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
        french = study.hospital.language == "fr"
        title = "Rapport d'imagerie diagnostique" if french else "Diagnostic imaging report"
        ds.ConceptNameCodeSequence = Items([code("18748-4", "LN", title)])
        ds.ContentSequence = content(study, self.options["form"], self.options["addendum"])
        return ds

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """The one document."""
        for position in range(first, last):
            ds = Dataset()
            ds.InstanceNumber = position + 1
            ds.ContentTime = minutes_later(self.study.time, 5400 if self.options["status"] == "final" else 3600)
            yield Instance(position, ds)


class PdfReport:
    """Encapsulated PDF Storage."""

    sop_class = EncapsulatedPDFStorage
    makers = ("Aurora Reporting", "Dictation Suite", "7.0")

    def __init__(self, study: StudyPlan, series: SeriesPlan, scale: Scale) -> None:
        del scale
        self.study, self.series = study, series

    def attributes(self) -> Dataset:
        """Encapsulated Document."""
        study = self.study
        french = study.hospital.language == "fr"
        ds = Dataset()
        ds.ContentDate = ds.AcquisitionDate = study.date
        ds.ContentTime = minutes_later(study.time, 5400)
        ds.AcquisitionDateTime = f"{study.date}{study.time}"
        ds.ConversionType, ds.BurnedInAnnotation = "WSD", "YES"
        title = "RAPPORT D'IMAGERIE" if french else "DIAGNOSTIC IMAGING REPORT"
        ds.DocumentTitle = title
        ds.ConceptNameCodeSequence = Items([code("18748-4", "LN", "Diagnostic imaging report")])
        ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
        document = pdf(study, title, str(self.series.options["addendum"]))
        ds.EncapsulatedDocumentLength = len(document)
        ds.EncapsulatedDocument = document + bytes(len(document) % 2)
        return ds

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """The one document."""
        for position in range(first, last):
            ds = Dataset()
            ds.InstanceNumber = position + 1
            yield Instance(position, ds)


def pdf(study: StudyPlan, title: str, addendum: str) -> bytes:
    """A page as a report server prints it; the same study gives the same bytes."""
    french = study.hospital.language == "fr"
    styles = getSampleStyleSheet()
    body = ParagraphStyle("body", parent=styles["BodyText"], leading=14, spaceAfter=6)
    labels = (
        ("Patient", "Date de naissance", "Numéro de dossier", "Numéro d'accès", "Examen", "Date", "Médecin référent")
        if french
        else (
            "Patient",
            "Date of birth",
            "Medical record number",
            "Accession number",
            "Examination",
            "Date",
            "Referring physician",
        )
    )
    person = study.person
    values = (
        _printable(spoken(person.name), person.key), _iso(person.birth_date), study.patient_id, study.accession_number,
        study.description,
        _iso(study.date), spoken(study.referring_physician),
    )  # fmt: skip
    story: list[Any] = [
        Paragraph(study.hospital.name, styles["Title"]),
        Paragraph(title.capitalize(), styles["Heading2"]),
        Table(
            [[f"{label}:", value] for label, value in zip(labels, values, strict=True)],
            colWidths=[150, 330],
            hAlign="LEFT",
        ),
        Spacer(1, 12),
    ]
    for key, english, translated in _SECTIONS:
        story.append(Paragraph((translated if french else english)[1].upper(), styles["Heading4"]))
        story.append(Paragraph(texts(study)[key], body))
    if addendum:
        story.append(Paragraph(addendum, body))
    signed = "Signé électroniquement par" if french else "Electronically signed by"
    story.append(Paragraph(f"{signed} {spoken(study.reading_physician)}, {_iso(study.date)}", styles["Italic"]))
    story.append(Paragraph("TEST DATA. Every person, number and finding is invented.", styles["Italic"]))
    buffer = io.BytesIO()
    SimpleDocTemplate(buffer, pagesize=LETTER, title=title, author=study.hospital.name, invariant=1).build(story)
    return buffer.getvalue()


def _iso(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"
