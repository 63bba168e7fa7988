"""CT, MR and PET series: slices through the head and torso phantoms."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage

from regions import head, torso
from regions.anatomy import Canvas, Palette, Plane, noise_tile
from regions.codecs import Frame
from regions.modules import code, generator, grey_pixels, minutes_later, private_block
from regions.people import uid
from regions.plan import Scale, SeriesPlan, StudyPlan


@dataclass(frozen=True, slots=True)
class Instance:
    """One object before it is encoded: its own attributes, and its frames if it is an image."""

    position: int
    dataset: Dataset
    frames: Sequence[Frame] = ()
    bits: int = 16


_ANATOMY: Final[Mapping[str, tuple[str, str]]] = {
    "HEAD": ("T-D1100", "Head"),
    "CHEST": ("T-D3000", "Chest"),
    "ABDOMEN": ("T-D4000", "Abdomen"),
    "CHESTABDPELVIS": ("R-FAB55", "Chest, Abdomen and Pelvis"),
    "WHOLEBODY": ("T-D0010", "Entire body"),
}
"""Anatomic Region per Body Part Examined (PS3.16 Annex L)."""


def _heights(series: SeriesPlan, slices: int) -> list[float]:
    top, bottom = cast("tuple[float, float]", series.options["span"])
    return [top + (bottom - top) * n / max(slices - 1, 1) for n in range(slices)]


def _plane(ds: Dataset, z: float, canvas: Canvas, thickness: float) -> None:
    """Image Plane (PS3.3 C.7.6.2): axial, head first."""
    corner = -canvas.matrix * canvas.spacing / 2 + canvas.spacing / 2
    ds.ImagePositionPatient = [f"{corner:.4f}", f"{corner:.4f}", f"{900 - z:.4f}"]
    ds.SliceLocation = f"{900 - z:.4f}"
    ds.SliceThickness = f"{thickness:.3f}"


def _common(study: StudyPlan, canvas: Canvas) -> Dataset:
    ds = Dataset()
    ds.FrameOfReferenceUID = uid("frame of reference", study.uid)
    ds.PositionReferenceIndicator = ""
    ds.PatientPosition = "HFS"
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [f"{canvas.spacing:.6f}", f"{canvas.spacing:.6f}"]
    ds.AcquisitionDate = ds.ContentDate = study.date
    return ds


def _moment(ds: Dataset, study: StudyPlan, series: SeriesPlan, position: int, step: float) -> None:
    ds.InstanceNumber = position + 1
    ds.AcquisitionTime = ds.ContentTime = minutes_later(study.time, 120 * min(series.number, 12) + 10 + position * step)


class Ct:
    """CT Image Storage."""

    sop_class = CTImageStorage
    makers = ("Aurora Imaging", "Borealis 128", "VX 4.1")
    _windows: Final[Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[str]]]] = {
        "head": ((40, 500), (80, 2500), ("BRAIN", "BONE")),
        "torso": ((50, -500), (400, 1500), ("SOFT TISSUE", "LUNG")),
    }

    def __init__(self, study: StudyPlan, series: SeriesPlan, scale: Scale) -> None:
        self.study, self.series = study, series
        options: Mapping[str, Any] = series.options
        self.phantom, self.lesion = options["phantom"], options["lesion"]
        self.signed = bool(options.get("signed"))
        rng = generator("anatomy", study.uid)
        self.phase = float(rng.uniform(0, 6))
        field = float(rng.uniform(235, 255) if self.phantom == "head" else rng.uniform(385, 425))
        wobble = 1.5 if self.phantom == "head" else 3.0
        self.canvas = Canvas(scale.matrix(options.get("matrix", 512)), field, wobble=wobble, phase=self.phase)
        self.torso = torso.Torso(rng, self.lesion)
        self.table = torso.couch(self.canvas, torso.CT_PALETTE)
        self.heights = _heights(series, series.count)
        noise = generator("noise", series.uid)
        self.grain = float(options.get("noise", 3.0 if self.phantom == "head" else 12.0))
        self.tiles = [noise_tile(noise, self.canvas.matrix) * np.float32(self.grain) for _ in range(3)]
        self.contrast = bool(options.get("contrast"))

    def attributes(self) -> Dataset:
        """What all slices share."""
        ds = _common(self.study, self.canvas)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ScanOptions, ds.KVP, ds.DataCollectionDiameter = "HELICAL MODE", 120, 500
        ds.ReconstructionDiameter = f"{self.canvas.matrix * self.canvas.spacing:.2f}"
        ds.GantryDetectorTilt, ds.TableHeight, ds.RotationDirection = 0, 155, "CW"
        ds.ExposureTime, ds.FilterType, ds.FocalSpots = 500, "BODY FILTER", [0.7]
        ds.ConvolutionKernel = "H31s" if self.phantom == "head" else "B40f"
        ds.AcquisitionNumber = self.series.number
        if self.contrast:
            ds.ContrastBolusAgent, ds.ContrastBolusRoute = "IOHEXOL 300", "IV"
            ds.ContrastBolusVolume = 90
        bits = 16 if self.signed else 12
        grey_pixels(ds, self.canvas.matrix, self.canvas.matrix, bits, signed=self.signed)
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0 if self.signed else -1024, 1, "HU"
        centre, width, names = self._windows[self.phantom]
        ds.WindowCenter, ds.WindowWidth = list(centre), list(width)
        ds.WindowCenterWidthExplanation = list(names)
        region = _ANATOMY[self.series.body_part]
        ds.AnatomicRegionSequence = Items([code(region[0], "SRT", region[1])])
        private_block(ds, self.series.number)
        return ds

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """Slices from first up to but without last."""
        palette = torso.CONTRAST_PALETTE if self.contrast else torso.CT_PALETTE
        spacing = abs(self.heights[-1] - self.heights[0]) / max(len(self.heights) - 1, 1)
        for position in range(first, last):
            z = self.heights[position]
            if self.phantom == "head":
                image = head.head_slice(self.canvas, z, head.CT_PALETTE, lesion=self.lesion, phase=self.phase)
            else:
                image = self.torso.slice(self.canvas, z, palette, self.table)
            ds = Dataset()
            _moment(ds, self.study, self.series, position, 0.25)
            _plane(ds, z, self.canvas, max(spacing, 0.625))
            current = int(180 + 90 * math.sin(z / 60))
            ds.XRayTubeCurrent, ds.Exposure = current, current // 2
            shift = (37 * position) % self.canvas.matrix
            noisy = image + np.roll(self.tiles[position % 3], (shift, 2 * shift), (0, 1))
            if self.signed:
                frame: Frame = np.clip(np.rint(noisy), -1024, 3071).astype(np.int16)
            else:
                frame = np.clip(np.rint(noisy + np.float32(1024)), 0, 4095).astype(np.uint16)
            yield Instance(position, ds, [frame], 16 if self.signed else 12)


class Mr:
    """MR Image Storage."""

    sop_class = MRImageStorage
    makers = ("Aurora Imaging", "Meridian 3T", "MR 11.2")
    _weightings: Final[Mapping[str, tuple[Palette, float, float, float, float]]] = {
        # palette, repetition, echo and inversion time, flip angle
        "T1": (head.T1_PALETTE, 550, 12, 0, 70),
        "T2": (head.T2_PALETTE, 4200, 98, 0, 120),
        "FLAIR": (head.FLAIR_PALETTE, 9000, 110, 2500, 150),
        "DWI": (head.DIFFUSION_PALETTE, 5600, 84, 0, 90),
        "PERFUSION": (head.T2_PALETTE, 1500, 32, 0, 60),
    }

    def __init__(self, study: StudyPlan, series: SeriesPlan, scale: Scale) -> None:
        self.study, self.series = study, series
        options: Mapping[str, Any] = series.options
        self.weighting, self.lesion = options["weighting"], options["lesion"]
        rng = generator("anatomy", study.uid)
        self.phase = float(rng.uniform(0, 6))
        self.canvas = Canvas(
            scale.matrix(options.get("matrix", 256)), float(rng.uniform(220, 240)), wobble=1.5, phase=self.phase
        )
        self.phases = options.get("phases", 1)
        self.heights = _heights(series, series.count // self.phases)
        noise = generator("noise", series.uid)
        self.tiles = [noise_tile(noise, self.canvas.matrix, 0) * np.float32(11) for _ in range(4)]
        bias = self.canvas.axis / np.float32(400)
        self.bias: Plane = np.asarray(1 - bias[None, :] ** 2 * 1.4 - (bias[:, None] - 0.05) ** 2 * 1.4, np.float32)

    def attributes(self) -> Dataset:
        """What all slices share."""
        _, repetition, echo, inversion, flip = self._weightings[self.weighting]
        ds = _common(self.study, self.canvas)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        ds.ScanningSequence = ["SE", "IR"] if inversion else "EP" if self.weighting in {"DWI", "PERFUSION"} else "SE"
        ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SK", "FS", "2D"
        ds.SequenceName = f"*{self.weighting.lower()}2d1"
        ds.RepetitionTime, ds.EchoTime, ds.FlipAngle, ds.EchoTrainLength = repetition, echo, flip, 9
        if inversion:
            ds.InversionTime = inversion
        ds.NumberOfAverages, ds.ImagingFrequency, ds.ImagedNucleus = 1, "123.24", "1H"
        ds.EchoNumbers, ds.MagneticFieldStrength, ds.PercentSampling, ds.PixelBandwidth = 1, 3, 100, 130
        ds.TransmitCoilName, ds.InPlanePhaseEncodingDirection = "Body", "ROW"
        ds.SAR = "0.41"
        grey_pixels(ds, self.canvas.matrix, self.canvas.matrix, 12)
        ds.WindowCenter, ds.WindowWidth = 480, 960
        return ds

    def _palette(self, phase: int) -> Palette:
        """During a first pass of contrast the parenchyma darkens and recovers."""
        palette = self._weightings[self.weighting][0]
        if self.weighting != "PERFUSION":
            return palette
        t = (phase - 7) / 2.4
        drop = math.exp(-0.5 * t * t) if t < 0 else math.exp(-0.5 * t * t) * 0.85 + 0.15 * (1 - math.exp(-t))
        weights = {
            "grey": 0.52,
            "white": 0.26,
            "deep grey": 0.48,
            "cerebellum": 0.5,
            "enhancing rim": 0.75,
            "tumour": 0.3,
        }
        return {tissue: value * (1 - weights.get(tissue, 0) * drop) for tissue, value in palette.items()}

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """Slices from first up to but without last; phases follow one another."""
        slices = len(self.heights)
        spacing = abs(self.heights[-1] - self.heights[0]) / max(slices - 1, 1)
        for position in range(first, last):
            phase, place = divmod(position, slices)
            z = self.heights[place]
            image = (
                head.head_slice(self.canvas, z, self._palette(phase), lesion=self.lesion, phase=self.phase) * self.bias
            )
            ds = Dataset()
            _moment(ds, self.study, self.series, position, 0.6)
            _plane(ds, z, self.canvas, 5.0)
            ds.SpacingBetweenSlices = f"{spacing:.3f}"
            if self.phases > 1:
                ds.TemporalPositionIdentifier, ds.NumberOfTemporalPositions = phase + 1, self.phases
            ds.AcquisitionNumber = phase + 1
            shift = (29 * position) % self.canvas.matrix
            real = image + np.roll(self.tiles[position % 2], shift, 0)
            modulus = np.hypot(real, np.roll(self.tiles[2 + position % 2], shift, 1))
            yield Instance(position, ds, [np.clip(np.rint(modulus), 0, 4095).astype(np.uint16)], 12)


class Pet:
    """Positron Emission Tomography Image Storage."""

    sop_class = PositronEmissionTomographyImageStorage
    makers = ("Aurora Imaging", "Solstice PET/CT", "PT 2.0")

    def __init__(self, study: StudyPlan, series: SeriesPlan, scale: Scale) -> None:
        self.study, self.series = study, series
        rng = generator("anatomy", study.uid)
        phase = float(rng.uniform(0, 6))
        self.canvas = Canvas(scale.matrix(128), 500.0, wobble=3.0, phase=phase)
        self.torso = torso.Torso(rng, str(series.options["lesion"]))
        self.heights = _heights(series, series.count)
        self.noise = noise_tile(generator("noise", series.uid), self.canvas.matrix, 2)

    def attributes(self) -> Dataset:
        """What all slices share."""
        ds = _common(self.study, self.canvas)
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.SeriesType, ds.Units, ds.CountsSource = ["WHOLE BODY", "IMAGE"], "BQML", "EMISSION"
        ds.CorrectedImage = ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"]
        ds.DecayCorrection, ds.AttenuationCorrectionMethod = "START", "measured,CT"
        ds.RandomsCorrectionMethod, ds.ScatterCorrectionMethod = "DLYD", "Model-based"
        ds.ReconstructionMethod, ds.CollimatorType = "OSEM 3i21s", "NONE"
        ds.NumberOfSlices, ds.DecayFactor, ds.FrameReferenceTime = self.series.count, 1, 60_000
        ds.ActualFrameDuration, ds.PatientWeight, ds.PatientSize = 120_000, 74, "1.72"
        drug = Dataset()
        drug.Radiopharmaceutical = "Fluorodeoxyglucose F^18^"
        drug.RadiopharmaceuticalStartTime = minutes_later(self.study.time, -3600)
        drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 370_000_000, "6586.2"
        drug.RadionuclidePositronFraction = "0.97"
        drug.RadionuclideCodeSequence = Items([code("C-111A1", "SRT", "^18^Fluorine")])
        drug.RadiopharmaceuticalCodeSequence = Items([code("C-B1031", "SRT", "Fluorodeoxyglucose F^18^")])
        ds.RadiopharmaceuticalInformationSequence = Items([drug])
        ds.EnergyWindowRangeSequence = Items()
        grey_pixels(ds, self.canvas.matrix, self.canvas.matrix, 16)
        ds.RescaleType = "BQML"
        return ds

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """Slices from first up to but without last."""
        for position in range(first, last):
            z = self.heights[position]
            uptake = np.maximum(self.torso.slice(self.canvas, z, torso.UPTAKE_PALETTE), 0)
            for axis in (0, 1) * 3:  # the scanner's resolution, some 7 mm
                uptake = (uptake + np.roll(uptake, 1, axis) + np.roll(uptake, -1, axis)) / np.float32(3)
            uptake = np.maximum(uptake + np.sqrt(uptake) * np.roll(self.noise, 31 * position, 0) * np.float32(0.14), 0)
            activity = uptake * np.float32(370e6 * 0.68 / 74_000)
            slope = max(float(activity.max()), 1.0) / 32_767
            ds = Dataset()
            _moment(ds, self.study, self.series, position, 2.0)
            _plane(ds, z, self.canvas, 4.0)
            ds.ImageIndex = position + 1
            ds.RescaleIntercept, ds.RescaleSlope = 0, f"{slope:.9g}"
            ds.WindowCenter, ds.WindowWidth = f"{13_600:.1f}", f"{27_200:.1f}"
            yield Instance(position, ds, [np.rint(activity / np.float32(slope)).astype(np.uint16)], 16)
