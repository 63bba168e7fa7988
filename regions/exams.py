"""The examinations of the province: which series each consists of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from regions.plan import Scale


@dataclass(frozen=True, slots=True)
class Draft:
    """A series before it has a UID and a place."""

    kind: str
    modality: str
    description: str
    body_part: str
    count: int
    transfer_syntax: UID = ExplicitVRLittleEndian
    options: Mapping[str, object] = field(default_factory=dict)


GREYSCALE: Final = (
    JPEGLSLossless, ExplicitVRLittleEndian, HTJ2KLossless, RLELossless, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless,
    ImplicitVRLittleEndian, JPEGLosslessSV1,
)  # fmt: skip
PROJECTIONS: Final = (
    JPEGLSLossless, ExplicitVRLittleEndian, HTJ2KLossless, JPEGLosslessSV1, HTJ2K, JPEGLSNearLossless, RLELossless,
    JPEGLSLossless, JPEG2000, HTJ2KLossless,
)  # fmt: skip
CLIPS: Final = (JPEGBaseline8Bit,)

DESCRIPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "ct-head": ("CT HEAD WITHOUT CONTRAST", "TDM CÉRÉBRALE SANS CONTRASTE"),
    "ct-chest": ("CT CHEST", "TDM THORACIQUE"),
    "ct-abdomen": ("CT ABDOMEN AND PELVIS WITH CONTRAST", "TDM ABDOMEN ET BASSIN AVEC CONTRASTE"),
    "mr-head": ("MRI BRAIN", "IRM CÉRÉBRALE"),
    "dx-chest": ("CHEST PA AND LATERAL", "POUMONS PA ET LATÉRAL"),
    "dx-abdomen": ("ABDOMEN SUPINE", "ABDOMEN SANS PRÉPARATION"),
    "us-abdomen": ("US ABDOMEN", "ÉCHOGRAPHIE ABDOMINALE"),
    "us-heart": ("TRANSTHORACIC ECHOCARDIOGRAM", "ÉCHOCARDIOGRAPHIE TRANSTHORACIQUE"),
    "mg": ("MAMMOGRAPHY BILATERAL", "MAMMOGRAPHIE BILATÉRALE"),
    "pet": ("PET/CT WHOLE BODY FDG", "TEP/TDM CORPS ENTIER AU FDG"),
    "photo": ("DERMATOLOGY PHOTOGRAPHS", "PHOTOGRAPHIES DERMATOLOGIQUES"),
}
"""Study Description (0008,1030) in English and French."""


def ct_head(scale: Scale, lesion: str, syntax: UID, slices: int = 16) -> list[Draft]:
    """Plain head CT, 5 to 8 mm."""
    options = {"phantom": "head", "lesion": lesion, "span": (14.0, 156.0)}
    return [Draft("ct", "CT", "AXIAL HEAD", "HEAD", scale.count(slices), syntax, options)]


def ct_torso(
    scale: Scale, lesion: str, syntax: UID, slices: int, span: tuple[float, float], **more: object
) -> list[Draft]:
    """Chest, abdomen or all of it."""
    options = {"phantom": "torso", "lesion": lesion, "span": span, **more}
    part = "CHEST" if span[1] <= 320 else "ABDOMEN" if span[0] > 200 else "CHESTABDPELVIS"
    label = "AXIAL WITH CONTRAST" if more.get("contrast") else "AXIAL"
    return [Draft("ct", "CT", label, part, scale.count(slices), syntax, options)]


def mr_head(
    scale: Scale, lesion: str, syntax: UID, slices: int = 12, weights: Sequence[str] = ("T1", "T2", "FLAIR")
) -> list[Draft]:
    """Brain MR in several weightings of the same slices."""
    labels = {"T1": "AX T1 SE", "T2": "AX T2 TSE", "FLAIR": "AX FLAIR", "DWI": "AX DWI b1000"}
    return [
        Draft(
            "mr", "MR", labels[weight], "BRAIN", scale.count(slices), syntax,
            {"lesion": lesion, "weighting": weight, "span": (30.0, 150.0)},
        )
        for weight in weights
    ]  # fmt: skip


def mr_perfusion() -> list[Draft]:
    """Six hundred instances: three anatomical series and a perfusion series of 24 time points, at every scale."""
    anatomy = [
        Draft(
            "mr",
            "MR",
            label,
            "BRAIN",
            40,
            JPEGLSLossless,
            {"lesion": "tumour", "weighting": weight, "span": (20.0, 156.0)},
        )
        for weight, label in (("T1", "AX T1 MPR"), ("T2", "AX T2 TSE"), ("FLAIR", "AX FLAIR"))
    ]
    perfusion = Draft(
        "mr", "MR", "AX DSC PERFUSION", "BRAIN", 480, ExplicitVRLittleEndian,
        {"lesion": "tumour", "weighting": "PERFUSION", "span": (30.0, 140.0), "phases": 24, "matrix": 128},
    )  # fmt: skip
    return [*anatomy, perfusion]


def projection(exam: str, lesion: str, syntax: UID) -> list[Draft]:
    """Radiographs and mammograms."""
    options = {"lesion": lesion}
    if exam == "dx-chest":
        return [Draft("dx", "DX", "PA AND LATERAL", "CHEST", 2, syntax, options)]
    if exam == "dx-abdomen":
        return [Draft("cr", "CR", "SUPINE", "ABDOMEN", 1, syntax, options)]
    return [Draft("mg", "MG", "SCREENING VIEWS", "BREAST", 4, syntax, options)]


def ultrasound(scale: Scale, exam: str, lesion: str, syntax: UID) -> list[Draft]:
    """A clip and two stills of the abdomen; a grey and a colour clip of the heart."""
    frames = scale.count(16)
    if exam == "us-heart":
        options = {"view": "heart", "lesion": lesion, "frames": frames}
        return [
            Draft("us", "US", "A4C", "HEART", 1, syntax, options),
            Draft("us", "US", "A4C COLOUR", "HEART", 1, JPEGBaseline8Bit, {**options, "colour": True}),
        ]
    options = {"view": "liver", "lesion": lesion, "frames": frames}
    return [
        Draft("us", "US", "RUQ CINE", "ABDOMEN", 1, syntax, options),
        Draft("us", "US", "RUQ STILLS", "ABDOMEN", 2, RLELossless, {**options, "frames": 1}),
    ]


def pet(scale: Scale, lesion: str) -> list[Draft]:
    """Low-dose CT and attenuation-corrected PET over the same range."""
    span = (0.0, 590.0)
    low_dose = {"phantom": "torso", "lesion": lesion, "span": span, "matrix": 256, "noise": 22.0}
    return [
        Draft("ct", "CT", "CT AC LOW DOSE", "WHOLEBODY", scale.count(48), JPEGLSLossless, low_dose),
        Draft(
            "pt",
            "PT",
            "PET WB AC",
            "WHOLEBODY",
            scale.count(64),
            ExplicitVRLittleEndian,
            {"lesion": lesion, "span": span},
        ),
    ]


def photograph() -> list[Draft]:
    """A colour photograph of a naevus and its close-up."""
    return [Draft("xc", "XC", "LEFT FOREARM", "ARM", 2, JPEGBaseline8Bit)]


def structured_report(
    form: str, *, status: str = "final", addendum: str = "", syntax: UID = ExplicitVRLittleEndian
) -> Draft:
    """A report as SR: "basic", "enhanced" or "comprehensive"."""
    return Draft("sr", "SR", "REPORT", "", 1, syntax, {"form": form, "status": status, "addendum": addendum})


def pdf_report(*, addendum: str = "") -> Draft:
    """A report as Encapsulated PDF."""
    return Draft("pdf", "DOC", "REPORT PDF", "", 1, ExplicitVRLittleEndian, {"addendum": addendum})


def series_of(scale: Scale, exam: str, lesion: str, syntax: UID) -> list[Draft]:
    """The image series of an examination."""
    match exam:
        case "ct-head":
            drafts = ct_head(scale, lesion, syntax)
        case "ct-chest":
            drafts = ct_torso(scale, lesion, syntax, 15, (6.0, 300.0))
        case "ct-abdomen":
            drafts = ct_torso(scale, lesion, syntax, 15, (225.0, 590.0), contrast=True)
        case "mr-head":
            weights = ("T2", "FLAIR", "DWI") if lesion == "infarct" else ("T1", "T2", "FLAIR")
            drafts = mr_head(scale, lesion, syntax, weights=weights)
        case "us-abdomen" | "us-heart":
            drafts = ultrasound(scale, exam, lesion, syntax)
        case "pet":
            drafts = pet(scale, lesion)
        case "photo":
            drafts = photograph()
        case _:
            drafts = projection(exam, lesion, syntax)
    return drafts


def syntaxes(exam: str) -> tuple[UID, ...]:
    """The transfer syntaxes that an examination's archives use, in turn."""
    if exam.startswith("us-"):
        return CLIPS
    return GREYSCALE if exam.startswith(("ct", "mr")) else PROJECTIONS
