"""What the province holds, for whoever checks an answer against it: the manifest beside the objects."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from regions.people import HEALTH_CARD_ISSUER

VERSION: Final = 1
"""Raised whenever the same seed gives other bytes."""
MANIFEST: Final = "manifest.json"
CROSSWALK: Final = "crosswalk.csv"
SCALES: Final = ("full", "small")
"""Names of the sizes in which a province is made."""


def default_cache(seed: int, scale: str) -> Path:
    """Where a province is kept when nobody says otherwise."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    suffix = "" if scale == SCALES[0] else f"-{scale}"
    return root / "provincial-dicomweb-gateway" / f"province-{VERSION}-{seed}{suffix}"


@dataclass(frozen=True, slots=True)
class Patient:
    """One person and their numbers."""

    key: str
    name: str
    sex: str
    birth_date: str
    health_card_number: str
    medical_record_numbers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TrueInstance:
    """One instance.

    Attributes:
        files: per region that holds it, its Part 10 file relative to the cache folder.
        pixel_data_sha256: of the value of Pixel Data (native: little endian) or Encapsulated Document; empty without.
        data_set_sha256: of the Data Set, before deflation, as acquired (a foreign copy differs).
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    files: Mapping[str, str]
    pixel_data_sha256: str
    data_set_sha256: str


@dataclass(frozen=True, slots=True)
class TrueSeries:
    """One series; instances in the order of Instance Number."""

    series_instance_uid: str
    modality: str
    number: int
    instances: tuple[TrueInstance, ...]

    @property
    def regions(self) -> frozenset[str]:
        """Everybody who holds some of it."""
        return frozenset(region for instance in self.instances for region in instance.files)


@dataclass(frozen=True, slots=True)
class TrueStudy:
    """One study.

    Attributes:
        region: where it was acquired.
        patient: key of the patient.
        patient_ids: Patient ID per region that holds it, as that region's copy states it.
        accession_numbers: likewise.
        purposes: why it is there: "split-series", "ct-volume" and so on.
    """

    study_instance_uid: str
    region: str
    patient: str
    patient_ids: Mapping[str, str]
    accession_numbers: Mapping[str, str]
    date: str
    time: str
    description: str
    character_set: tuple[str, ...]
    purposes: tuple[str, ...]
    series: tuple[TrueSeries, ...]

    @property
    def instances(self) -> tuple[TrueInstance, ...]:
        """All instances, series by series."""
        return tuple(instance for series in self.series for instance in series.instances)

    @property
    def regions(self) -> frozenset[str]:
        """Everybody who holds some of it."""
        return frozenset(region for series in self.series for region in series.regions)

    def held_by(self, region: str) -> tuple[TrueInstance, ...]:
        """What one region holds of it."""
        return tuple(instance for instance in self.instances if region in instance.files)


@dataclass(frozen=True, slots=True)
class Truth:
    """The whole province."""

    version: int
    seed: int
    scale: str
    patients: tuple[Patient, ...]
    studies: tuple[TrueStudy, ...]

    def patient(self, key: str) -> Patient:
        """The patient of a key."""
        return next(patient for patient in self.patients if patient.key == key)

    def having(self, purpose: str) -> tuple[TrueStudy, ...]:
        """All studies with a purpose."""
        return tuple(study for study in self.studies if purpose in study.purposes)

    def study(self, purpose: str) -> TrueStudy:
        """The first study with a purpose."""
        return next(study for study in self.studies if purpose in study.purposes)

    def held_by(self, region: str) -> tuple[TrueStudy, ...]:
        """All studies of which a region holds something."""
        return tuple(study for study in self.studies if region in study.regions)


def truth(cache: Path) -> Truth:
    """Read the manifest of a completed province.

    Raises:
        FileNotFoundError: the folder holds none.
    """
    document = json.loads((cache / MANIFEST).read_text(encoding="utf-8"))
    return Truth(
        document["version"],
        document["seed"],
        document["scale"],
        tuple(Patient(**patient) for patient in document["patients"]),
        tuple(_study(study) for study in document["studies"]),
    )


def _study(document: Mapping[str, Any]) -> TrueStudy:
    fields = dict(document)
    fields["series"] = tuple(
        TrueSeries(**{**series, "instances": tuple(TrueInstance(**instance) for instance in series["instances"])})
        for series in document["series"]
    )
    fields["character_set"], fields["purposes"] = tuple(fields["character_set"]), tuple(fields["purposes"])
    return TrueStudy(**fields)


def write(cache: Path, province: Truth) -> None:
    """Write the manifest."""
    text = json.dumps(asdict(province), ensure_ascii=False, indent=1)
    (cache / MANIFEST).write_text(text, encoding="utf-8")


def is_complete(cache: Path, seed: int, scale: str) -> bool:
    """Whether a folder holds exactly this province, finished."""
    try:
        with (cache / MANIFEST).open(encoding="utf-8") as file:
            head = "".join(file.readline() for _ in range(4))
    except OSError:
        return False
    return head == f'{{\n "version": {VERSION},\n "seed": {seed},\n "scale": "{scale}",\n'


def crosswalk(patients: Sequence[Patient]) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the crosswalk: health card number and its issuer, local number and its issuer."""
    for patient in patients:
        for region, number in patient.medical_record_numbers.items():
            yield patient.health_card_number, HEALTH_CARD_ISSUER, number, region
