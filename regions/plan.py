"""What the province shall hold: every study, series and holder, decided before a pixel is computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydicom.uid import UID

from regions.people import LATIN_1, UTF_8, Person


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a province is made.

    Attributes:
        patients: people in it.
        studies: studies at least.
        shrink: divisor of rows and columns.
        thin: divisor of slices and frames, where the number is not the point.
    """

    name: str
    patients: int
    studies: int
    shrink: int
    thin: int

    def matrix(self, pixels: int) -> int:
        """Rows or columns for what would have been so many."""
        return max(pixels // self.shrink, 16)

    def count(self, instances: int) -> int:
        """Slices or frames for what would have been so many."""
        return max(instances // self.thin, min(instances, 3))


FULL: Final = Scale("full", patients=64, studies=150, shrink=1, thin=1)
SMALL: Final = Scale("small", patients=12, studies=40, shrink=8, thin=8)
SCALES: Final[Mapping[str, Scale]] = {scale.name: scale for scale in (FULL, SMALL)}


@dataclass(frozen=True, slots=True)
class Hospital:
    """Where studies are made: an invented institution of a region."""

    name: str
    station: str
    language: str
    zone_offset: str = ""


@dataclass(frozen=True, slots=True)
class Region:
    """How the institutions of one region write their objects.

    Attributes:
        character_set: Specific Character Set (0008,0005) for Latin names.
        utf_8: every other script is written in UTF-8 too.
        states_issuer: Issuer of Patient ID (0010,0021) is present.
    """

    name: str
    character_set: tuple[str, ...]
    utf_8: bool
    states_issuer: bool
    hospitals: tuple[Hospital, ...]


PROVINCE: Final[Mapping[str, Region]] = {
    region.name: region
    for region in (
        Region("NEODIN", LATIN_1, utf_8=True, states_issuer=True, hospitals=(
            Hospital("Hôpital Sainte-Thérèse de Hearst", "HSTH", "fr"),
            Hospital("Rideau River General Hospital", "RRGH", "en"),
            Hospital("Hôpital Vallée-du-Nord", "HVDN", "fr"),
            Hospital("Lake of the Woods Community Hospital", "LWCH", "en", zone_offset="-0600"),
        )),
        Region("SWODIN", UTF_8, utf_8=True, states_issuer=True, hospitals=(
            Hospital("Thames Valley Regional Hospital", "TVRH", "en"),
            Hospital("Erie Shores Memorial Hospital", "ESMH", "en"),
            Hospital("Clinique médicale Pointe-aux-Roches", "CMPR", "fr"),
        )),
        Region("GTAWEST", ("ISO 2022 IR 100",), utf_8=False, states_issuer=False, hospitals=(
            Hospital("Credit River Hospital", "CRVH", "en"),
            Hospital("Humber Ravine Imaging Centre", "HRIC", "en"),
        )),
        Region("HDIRS", LATIN_1, utf_8=False, states_issuer=True, hospitals=(
            Hospital("Oak Ridges Health Sciences Centre", "ORHS", "en"),
            Hospital("Kawartha Lakes District Hospital", "KLDH", "en"),
            Hospital("Centre de santé de la Baie", "CSBA", "fr"),
        )),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """One series to be made.

    Attributes:
        kind: which modality module draws it (regions.objects.KINDS).
        count: instances; a clip counts as one.
        options: what the kind needs to know, such as palette, lesion or view.
        holders: per region the instances it holds, as a half-open range of positions; all when absent.
    """

    uid: str
    number: int
    kind: str
    modality: str
    description: str
    body_part: str
    count: int
    transfer_syntax: UID
    options: Mapping[str, object] = field(default_factory=dict)
    holders: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def holding(self, position: int) -> tuple[str, ...]:
        """The regions that hold the instance at a position."""
        return tuple(region for region, (first, last) in self.holders.items() if first <= position < last)


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """One study to be made.

    Attributes:
        region: where it was acquired, whose Patient ID and accession number it bears.
        exam: key into findings.toml, empty for an examination that is not reported on.
        purposes: why it is in the province, for tests to find it by.
        character_set: the terms of Specific Character Set (0008,0005).
        foreign_copies: regions that hold it with coerced patient and accession fields.
        quirks: departures in its header: "empty-type-2", "no-character-set".
    """

    uid: str
    study_id: str
    person: Person
    region: str
    hospital: Hospital
    accession_number: str
    date: str
    time: str
    exam: str
    lesion: str
    description: str
    referring_physician: str
    reading_physician: str
    character_set: tuple[str, ...]
    series: tuple[SeriesPlan, ...]
    purposes: tuple[str, ...] = ()
    foreign_copies: tuple[str, ...] = ()
    quirks: frozenset[str] = frozenset()

    @property
    def patient_id(self) -> str:
        """The patient's number in the region that acquired the study."""
        return self.person.medical_record_numbers[self.region]

    @property
    def specific_character_set(self) -> str | list[str]:
        """The terms as pydicom takes them."""
        return list(self.character_set) if len(self.character_set) > 1 else self.character_set[0]


def character_set(person: Person, region: Region) -> tuple[str, ...]:
    """The Specific Character Set that a region's scanner writes for a person."""
    if not person.character_set:
        return region.character_set
    return UTF_8 if region.utf_8 else person.character_set
