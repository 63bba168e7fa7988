"""The province's calendar: first the studies that are there on purpose, then everyday work."""

import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from regions import exams
from regions.exams import Draft
from regions.people import ASCII_PHYSICIANS, LATIN_1, PHYSICIANS, Person, uid
from regions.plan import PROVINCE, Scale, SeriesPlan, StudyPlan, character_set

EVERYDAY: Final[Mapping[str, int]] = {
    "dx-chest": 20, "dx-abdomen": 7, "ct-head": 9, "ct-chest": 6, "ct-abdomen": 6, "mr-head": 14, "us-abdomen": 14,
    "us-heart": 9, "mg": 7, "pet": 3, "photo": 3,
}  # fmt: skip
"""Examinations and how often they are made."""

Holders = Mapping[str, tuple[float, float]]
"""Per region the part of a series it holds, as fractions."""

FORMS: Final = ("basic", "enhanced", "basic", "comprehensive")


@cache
def findings() -> Mapping[str, Any]:
    """Texts per examination, lesion and language."""
    with (Path(__file__).parent / "findings.toml").open("rb") as file:
        return tomllib.load(file)


class Calendar:
    """Books studies one after the other; everything depends on the seed and the order alone."""

    def __init__(self, seed: int, scale: Scale, people: Sequence[Person]) -> None:
        self.seed = seed
        self.scale = scale
        self.people = people
        self.studies: list[StudyPlan] = []
        self.rng = random.Random(f"calendar/{seed}/{scale.name}")
        self._serial = count(1)

    def book(
        self,
        person: Person,
        region: str,
        exam: str,
        lesion: str,
        drafts: Sequence[Draft] = (),
        *,
        reports: Sequence[Draft] = (),
        holders: Sequence[Holders] = (),
        hospital: int | None = None,
        **more: Any,
    ) -> StudyPlan:
        """Enter one study.

        Args:
            person: the patient.
            region: where it is acquired.
            exam: what kind of examination.
            lesion: what is to be seen, or normal.
            drafts: its image series; those of the examination when empty.
            reports: series that follow them.
            holders: who holds each series; the region alone when empty, the last one for all that follow.
            hospital: which of the region's institutions.
            more: other fields of StudyPlan.
        """
        serial = next(self._serial)
        scripted = bool(person.character_set)
        where = PROVINCE[region]
        choices = [h for h in where.hospitals if not scripted or (h.name.isascii() and h.language == "en")]
        chosen = where.hospitals[hospital] if hospital is not None else self.rng.choice(choices)
        drafts = [*(drafts or self.everyday(exam, lesion, serial)), *reports]
        study = uid("study", self.seed, self.scale.name, serial)
        doctors = ASCII_PHYSICIANS if scripted else PHYSICIANS
        plan = StudyPlan(
            uid=study,
            study_id=f"{serial:05d}",
            person=person,
            region=region,
            hospital=chosen,
            accession_number=f"{region[:2]}{self.rng.randrange(10**6, 10**7)}",
            date=f"{self.rng.randrange(2021, 2026)}{self.rng.randrange(1, 11):02d}{self.rng.randrange(1, 29):02d}",
            time=f"{self.rng.randrange(7, 19):02d}{self.rng.randrange(60):02d}{self.rng.randrange(60):02d}",
            exam=exam if exam in findings() else "",
            lesion=lesion,
            description=exams.DESCRIPTIONS[exam][chosen.language == "fr"],
            referring_physician=self.rng.choice(doctors),
            reading_physician=self.rng.choice(doctors),
            character_set=character_set(person, where),
            series=tuple(
                self._series(study, n, draft, holders[min(n, len(holders) - 1)] if holders else {region: (0.0, 1.0)})
                for n, draft in enumerate(drafts)
            ),
        )
        plan = replace(plan, **more)
        self.studies.append(plan)
        return plan

    def _series(self, study: str, position: int, draft: Draft, holders: Holders) -> SeriesPlan:
        return SeriesPlan(
            uid=uid("series", study, position),
            number=position + 1 if draft.kind not in {"sr", "pdf"} else 900 + position,
            kind=draft.kind,
            modality=draft.modality,
            description=draft.description,
            body_part=draft.body_part,
            count=draft.count,
            transfer_syntax=draft.transfer_syntax,
            options=draft.options,
            holders={
                region: (round(first * draft.count), round(last * draft.count))
                for region, (first, last) in holders.items()
            },
        )

    def everyday(self, exam: str, lesion: str, serial: int) -> list[Draft]:
        """The examination's series in the transfer syntax whose turn it is."""
        turn = exams.syntaxes(exam)
        return exams.series_of(self.scale, exam, lesion, turn[serial % len(turn)])

    def fill(self) -> None:
        """Book everyday studies until everyone has one and there are enough."""
        seen = {study.person.key for study in self.studies}
        waiting = [person for person in self.people if person.key not in seen]
        names, weights = list(EVERYDAY), list(EVERYDAY.values())
        while waiting or len(self.studies) < self.scale.studies:
            person = waiting.pop() if waiting else self.rng.choice(self.people)
            exam = self.rng.choices(names, weights)[0]
            if exam == "mg" and person.sex != "F":
                exam = "dx-chest"
            lesions = list(findings().get(exam, {"": {}}))
            lesion = self.rng.choice(lesions)
            region = self.rng.choice(list(PROVINCE))
            reports = [self._report()] if exam in findings() and self.rng.random() < 0.62 else []
            copied = self.rng.random() < 0.05
            other = self.rng.choice([name for name in PROVINCE if name != region])
            whole: Holders = dict.fromkeys((region, other) if copied else (region,), (0.0, 1.0))
            self.book(
                person, region, exam, lesion, reports=reports, holders=[whole], purposes=("copied",) if copied else ()
            )

    def _report(self) -> Draft:
        if self.rng.random() < 0.34:
            return exams.pdf_report()
        return exams.structured_report(self.rng.choice(FORMS))


def _the_patient_of_four_regions(calendar: Calendar) -> None:
    """One patient with studies in every region, under four Patient IDs."""
    person, tag = calendar.people[2], ("four-regions",)
    book = calendar.book
    sr, pdf = exams.structured_report, exams.pdf_report
    book(person, "NEODIN", "ct-head", "normal", reports=[sr("basic")], hospital=0, purposes=tag)
    book(person, "SWODIN", "mr-head", "white matter", reports=[pdf()], purposes=tag)
    book(person, "GTAWEST", "dx-chest", "normal", purposes=tag)
    book(person, "HDIRS", "us-abdomen", "gallstone", reports=[sr("enhanced")], purposes=tag)


def _shared_studies(calendar: Calendar) -> None:
    """Studies that more than one region holds, in every way that happens."""
    people, scale, book = calendar.people, calendar.scale, calendar.book
    whole = (0.0, 1.0)
    everywhere: Holders = {"NEODIN": whole, "SWODIN": whole}
    book(people[0], "NEODIN", "mr-head", "tumour", holders=[everywhere], purposes=("copied",))

    phases = [
        replace(draft, description=label)
        for label, contrast in (("NATIVE", False), ("ARTERIAL", True), ("VENOUS", True), ("DELAYED", True))
        for draft in exams.ct_torso(scale, "lung cancer", JPEGLSLossless, 16, (6.0, 300.0), contrast=contrast)
    ]
    near, far = {"GTAWEST": whole}, {"HDIRS": whole}
    book(
        people[1],
        "GTAWEST",
        "ct-chest",
        "lung cancer",
        phases,
        holders=[near, near, far, far],
        purposes=("split-series",),
    )

    long = exams.ct_torso(scale, "nodule", HTJ2KLossless, 96, (2.0, 310.0))
    parts: Holders = {"NEODIN": (0.0, 0.625), "HDIRS": (0.375, 1.0)}
    book(people[3], "NEODIN", "ct-chest", "nodule", long, hospital=1, holders=[parts], purposes=("split-instances",))

    stone = exams.ct_torso(scale, "stone", ExplicitVRLittleEndian, 14, (225.0, 590.0), contrast=True)
    book(people[4], "SWODIN", "ct-abdomen", "stone", stone, purposes=("foreign-copy",), foreign_copies=("GTAWEST",))

    fewer: list[Holders] = [
        {"HDIRS": whole, "NEODIN": whole}, {"HDIRS": whole, "NEODIN": (0.0, 0.5)}, {"HDIRS": whole},
    ]  # fmt: skip
    book(people[5], "HDIRS", "mr-head", "normal", holders=fewer, purposes=("different-counts",))

    reports = [exams.structured_report("enhanced"), exams.pdf_report()]
    apart: list[Holders] = [{"NEODIN": whole}, {"HDIRS": whole}]
    book(people[0], "NEODIN", "ct-head", "infarct", reports=reports, holders=apart, purposes=("report-elsewhere",))


def _large_studies(calendar: Calendar) -> None:
    """Several hundred instances: one CT volume, and one study of six hundred."""
    people, scale = calendar.people, calendar.scale
    volume = exams.ct_torso(scale, "lung cancer", ExplicitVRLittleEndian, 400, (0.0, 598.5), contrast=True, signed=True)
    calendar.book(
        people[2], "NEODIN", "ct-chest", "lung cancer", volume, reports=[exams.structured_report("basic")],
        description="CT CHEST ABDOMEN PELVIS", hospital=1, purposes=("ct-volume", "four-regions"),
    )  # fmt: skip
    calendar.book(people[0], "SWODIN", "mr-head", "tumour", exams.mr_perfusion(), purposes=("big-600",))


def _encodings(calendar: Calendar) -> None:
    """Transfer syntaxes and character sets that everyday work would not be sure to bring."""
    people, scale, book = calendar.people, calendar.scale, calendar.book
    book(
        people[1],
        "HDIRS",
        "ct-head",
        "infarct",
        exams.ct_head(scale, "infarct", ImplicitVRLittleEndian),
        purposes=("implicit",),
    )
    old = exams.mr_head(scale, "meningioma", ExplicitVRBigEndian, 8, ("T1", "T2"))
    book(people[3], "HDIRS", "mr-head", "meningioma", old, purposes=("big-endian",))
    deflated = exams.structured_report("comprehensive", syntax=DeflatedExplicitVRLittleEndian)
    book(people[4], "GTAWEST", "dx-chest", "pneumonia", reports=[deflated], purposes=("deflated",))
    codecs = [
        replace(draft, description=f"AXIAL {syntax.name}"[:60])
        for syntax in (RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2K)
        for draft in exams.ct_head(scale, "haemorrhage", syntax, 2)
    ]
    codecs = [replace(draft, options={**draft.options, "span": (80.0, 100.0)}) for draft in codecs]
    book(
        people[5],
        "SWODIN",
        "ct-head",
        "haemorrhage",
        [*codecs, *exams.photograph()],
        purposes=("codecs", "private-tags"),
    )
    for syntax in (ExplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit):
        clip = exams.ultrasound(scale, "us-heart", "normal", syntax)
        book(people[1], "HDIRS", "us-heart", "normal", clip, purposes=("us-multi-frame",))
    for n, person in enumerate(person for person in people if person.character_set):
        book(person, ("GTAWEST", "HDIRS")[n % 2], "dx-chest", "normal", purposes=("script",))
    book(people[0], "HDIRS", "dx-chest", "normal", quirks=frozenset({"no-character-set"}), character_set=LATIN_1,
         purposes=("no-character-set",))  # fmt: skip


def _traps(calendar: Calendar) -> None:
    """What a federation trips over: empty fields, colliding numbers, midnight, amended reports."""
    people, book = calendar.people, calendar.book
    book(people[5], "GTAWEST", "dx-chest", "effusion", quirks=frozenset({"empty-type-2"}), accession_number="",
         purposes=("empty-type-2",))  # fmt: skip
    for person, region in ((people[3], "SWODIN"), (people[4], "GTAWEST")):
        book(person, region, "dx-chest", "normal", accession_number="1000001", purposes=("same-accession",))
    for person, region in ((people[3], "HDIRS"), (people[4], "SWODIN")):
        book(person, region, "us-abdomen", "normal", purposes=("same-patient-id",))
    book(people[4], "NEODIN", "ct-head", "normal", hospital=3, time="233540", purposes=("time-zone",))
    addendum = (
        "ADDENDUM: the nodule was already present, unchanged, on an outside examination. Six-month follow-up suffices."
    )
    versions = [
        exams.structured_report("basic", status="preliminary"),
        exams.structured_report("basic"),
        exams.structured_report("basic", status="amended", addendum=addendum),
        exams.pdf_report(addendum=addendum),
    ]
    book(people[5], "HDIRS", "ct-chest", "nodule", reports=versions, hospital=0, purposes=("amended-report",))
    book(people[2], "SWODIN", "pet", "lung cancer", reports=[exams.pdf_report()], purposes=("pet",))
    book(people[0], "GTAWEST", "mg", "mass", reports=[exams.structured_report("enhanced")], purposes=("mammography",))


def schedule(seed: int, scale: Scale, people: Sequence[Person]) -> list[StudyPlan]:
    """All studies of a province."""
    calendar = Calendar(seed, scale, people)
    for chapter in (_the_patient_of_four_regions, _shared_studies, _large_studies, _encodings, _traps):
        chapter(calendar)
    calendar.fill()
    return calendar.studies
