"""Radiographs, mammograms, ultrasound and photographs."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    VLPhotographicImageStorage,
)

from regions import radiography, ultrasound
from regions.anatomy import clouds
from regions.codecs import photometric_interpretation
from regions.modules import code, generator, grey_pixels, minutes_later
from regions.plan import Scale, SeriesPlan, StudyPlan
from regions.volumes import Instance


class _Picture:
    """What the single-picture modalities share."""

    makers: tuple[str, str, str]

    def __init__(self, study: StudyPlan, series: SeriesPlan, scale: Scale) -> None:
        self.study, self.series, self.scale = study, series, scale
        self.options: Mapping[str, Any] = series.options
        self.lesion = str(self.options.get("lesion", ""))

    def attributes(self) -> Dataset:
        """What all pictures of the series share."""
        ds = Dataset()
        ds.AcquisitionDate = ds.ContentDate = self.study.date
        return ds

    def moment(self, position: int) -> Dataset:
        """The start of an instance's own attributes."""
        ds = Dataset()
        ds.InstanceNumber = position + 1
        ds.AcquisitionTime = ds.ContentTime = minutes_later(self.study.time, 60 + 45 * position)
        return ds

    def rng(self, position: int) -> np.random.Generator:
        """Random numbers of one picture."""
        return generator("picture", self.series.uid, position)


class _Film(_Picture):
    """A projection image for presentation (PS3.3 C.8.11)."""

    def film(self, ds: Dataset, rows: int, columns: int, spacing: float) -> None:
        """DX Image and Detector."""
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.PresentationIntentType, ds.BurnedInAnnotation = "FOR PRESENTATION", "NO"
        ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
        ds.PresentationLUTShape, ds.LossyImageCompression = "IDENTITY", "00"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
        ds.ImagerPixelSpacing = [f"{spacing:.4f}"] * 2
        ds.DetectorType, ds.DetectorConfiguration, ds.DetectorID = "DIRECT", "AREA", "FPD-4343"
        ds.KVP, ds.ExposureInuAs, ds.DistanceSourceToDetector = 120, 2800, 1800
        grey_pixels(ds, rows, columns, 12)


class Radiograph(_Film):
    """Digital X-Ray Image Storage - For Presentation: a chest in two views."""

    sop_class = DigitalXRayImageStorageForPresentation
    makers = ("Aurora Imaging", "Lumen DR", "DR 6.3")

    def attributes(self) -> Dataset:
        """What both views share."""
        ds = super().attributes()
        side = self.scale.matrix(1024)
        self.film(ds, side, side, 360 / side)
        ds.WindowCenter, ds.WindowWidth = 2500, 2300
        ds.AnatomicRegionSequence = Items([code("T-D3000", "SRT", "Chest")])
        return ds

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """Postero-anterior, then lateral."""
        side = self.scale.matrix(1024)
        for position in range(first, last):
            ds = self.moment(position)
            lateral = position == 1
            ds.ViewPosition = "LL" if lateral else "PA"
            ds.PatientOrientation = ["A", "F"] if lateral else ["L", "F"]
            ds.ImageLaterality = "U"
            view = code("R-10236", "SRT", "left lateral") if lateral else code("R-10214", "SRT", "postero-anterior")
            ds.ViewCodeSequence = Items([view])
            draw = radiography.chest_lateral if lateral else radiography.chest
            yield Instance(position, ds, [draw(self.rng(position), side, side, self.lesion).astype(np.uint16)], 12)


class Computed(_Film):
    """Computed Radiography Image Storage: an abdomen."""

    sop_class = ComputedRadiographyImageStorage
    makers = ("Aurora Imaging", "Lumen CR", "CR 2.9")

    def attributes(self) -> Dataset:
        """What the plate says."""
        ds = super().attributes()
        side = self.scale.matrix(1024)
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.ViewPosition, ds.PatientOrientation = "AP", ["L", "F"]
        ds.KVP, ds.PlateID, ds.ImagerPixelSpacing = 75, "P0417", [f"{360 / side:.4f}"] * 2
        ds.WindowCenter, ds.WindowWidth = 2900, 1600
        grey_pixels(ds, side, side, 12)
        return ds

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """One supine view."""
        side = self.scale.matrix(1024)
        for position in range(first, last):
            image = radiography.abdomen(self.rng(position), side, side, self.lesion)
            yield Instance(position, self.moment(position), [image.astype(np.uint16)], 12)


class Mammogram(_Film):
    """Digital Mammography X-Ray Image Storage - For Presentation: four views."""

    sop_class = DigitalMammographyXRayImageStorageForPresentation
    makers = ("Aurora Imaging", "Rosa FFDM", "MG 5.0")

    def attributes(self) -> Dataset:
        """What all views share."""
        ds = super().attributes()
        rows, columns = self.scale.matrix(1024), self.scale.matrix(768)
        self.film(ds, rows, columns, 0.18)
        ds.KVP, ds.BodyPartThickness, ds.CompressionForce = 29, 54, 95
        ds.PositionerType, ds.OrganExposed, ds.BreastImplantPresent = "MAMMOGRAPHIC", "BREAST", "NO"
        ds.WindowCenter, ds.WindowWidth = 1700, 2600
        ds.AnatomicRegionSequence = Items([code("T-04000", "SRT", "Breast")])
        return ds

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """RCC, LCC, RMLO, LMLO, as they are hung."""
        rows, columns = self.scale.matrix(1024), self.scale.matrix(768)
        for position in range(first, last):
            right, oblique = position % 2 == 0, position >= 2
            lesion = self.lesion if right == (self.lesion == "mass") else ""
            ds = self.moment(position)
            ds.ImageLaterality, ds.ViewPosition = "R" if right else "L", "MLO" if oblique else "CC"
            ds.PatientOrientation = ["P" if right else "A", "F" if oblique else "R"]
            ds.PositionerPrimaryAngle = "45" if oblique else "0"
            view = (
                code("R-10226", "SRT", "medio-lateral oblique") if oblique else code("R-10242", "SRT", "cranio-caudal")
            )
            view.ViewModifierCodeSequence = Items()
            ds.ViewCodeSequence, ds.PartialView = Items([view]), "NO"
            rng = self.rng(position)
            image = radiography.mammogram(rng, rows, columns, oblique=oblique, right=right, lesion=lesion)
            yield Instance(position, ds, [image.astype(np.uint16)], 12)


class Ultrasound(_Picture):
    """Ultrasound (Multi-frame) Image Storage: clips and stills, grey or with colour flow."""

    makers = ("Aurora Imaging", "Sonar E9", "US 3.3")

    def __init__(self, study: StudyPlan, series: SeriesPlan, scale: Scale) -> None:
        super().__init__(study, series, scale)
        self.frames = int(self.options["frames"])
        self.colour = bool(self.options.get("colour"))
        self.sop_class: Final = UltrasoundMultiFrameImageStorage if self.frames > 1 else UltrasoundImageStorage

    def attributes(self) -> Dataset:
        """What all clips share."""
        ds = super().attributes()
        rows, columns = self.scale.matrix(480), self.scale.matrix(640)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL" if self.options["view"] == "liver" else "ADULT ECHO"]
        grey_pixels(ds, rows, columns, 8)
        if self.colour:
            ds.SamplesPerPixel, ds.PlanarConfiguration = 3, 0
            ds.PhotometricInterpretation = photometric_interpretation(self.series.transfer_syntax, 3)
            ds.UltrasoundColorDataPresent = 1
        if self.frames > 1:
            ds.NumberOfFrames, ds.FrameTime, ds.CineRate = self.frames, "33.333", 30
            ds.FrameIncrementPointer = Tag(0x0018, 0x1063)
        region = Dataset()
        region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 2 if self.colour else 1, 2
        region.RegionLocationMinX0, region.RegionLocationMinY0 = columns // 40, 0
        region.RegionLocationMaxX1, region.RegionLocationMaxY1 = columns - columns // 40, rows - 1
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
        region.PhysicalDeltaX = region.PhysicalDeltaY = 16.0 / rows
        ds.SequenceOfUltrasoundRegions = Items([region])
        return ds

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """One clip or still per instance."""
        rows, columns = self.scale.matrix(480), self.scale.matrix(640)
        for position in range(first, last):
            moving = ultrasound.clip(
                self.rng(position), rows, columns, self.frames, view=self.options["view"], lesion=self.lesion
            )
            frames: list[NDArray[np.uint8]] = list(moving)
            if self.colour:
                frames = [ultrasound.colour_flow(frame, n / self.frames) for n, frame in enumerate(frames)]
            yield Instance(position, self.moment(position), frames, 8)


class Photograph(_Picture):
    """VL Photographic Image Storage: a naevus on a forearm."""

    sop_class = VLPhotographicImageStorage
    makers = ("Aurora Imaging", "Clinic Camera", "1.0")

    def attributes(self) -> Dataset:
        """What both photographs share."""
        ds = super().attributes()
        rows, columns = self.scale.matrix(576), self.scale.matrix(768)
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        grey_pixels(ds, rows, columns, 8)
        ds.SamplesPerPixel, ds.PlanarConfiguration = 3, 0
        ds.PhotometricInterpretation = photometric_interpretation(self.series.transfer_syntax, 3)
        ds.Laterality, ds.PatientOrientation = "L", ["", ""]
        ds.BurnedInAnnotation, ds.AcquisitionContextSequence = "NO", Items()
        ds.AnatomicRegionSequence = Items([code("T-D8700", "SRT", "Forearm")])
        return ds

    def instances(self, first: int, last: int) -> Iterator[Instance]:
        """The forearm, then closer."""
        rows, columns = self.scale.matrix(576), self.scale.matrix(768)
        for position in range(first, last):
            yield Instance(
                position, self.moment(position), [_naevus(self.rng(position), rows, columns, 1 + 2 * position)], 8
            )


def _naevus(rng: np.random.Generator, rows: int, columns: int, zoom: int) -> NDArray[np.uint8]:
    """Skin with its grain and light falling from one side, and a pigmented spot with an irregular border."""
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    y, x = (y - rows / 2) / columns, (x - columns / 2) / columns
    grain = clouds(rng, rows, columns, 1.1)
    light = 1.02 - 0.25 * x - 0.4 * y**2 + 0.02 * grain
    theta, radius = np.arctan2(y, x), np.hypot(x, y * 1.2) / zoom
    border = 0.045 * (1 + 0.16 * np.sin(3 * theta + 1) + 0.09 * np.sin(7 * theta))
    spot = np.clip((border - radius) / 0.008 + 0.5, 0, 1) * (0.85 + 0.12 * clouds(rng, rows, columns, 1.6))
    skin, pigment = np.array((224, 172, 146), np.float32), np.array((92, 54, 40), np.float32)
    spot = np.clip(spot, 0, 1)[..., None]
    picture = (skin * (1 - spot) + pigment * spot) * light[..., None]
    result: NDArray[np.uint8] = np.clip(picture + 2 * rng.standard_normal(picture.shape, np.float32), 0, 255).astype(
        np.uint8
    )
    return result
