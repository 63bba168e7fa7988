"""C-FIND of an archive (PS3.4 C.4.1): from an Identifier to the Identifiers that answer it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from regions.elements import Elements, decode, encode, explicit, join, split
from regions.index import Group, Index
from regions.matching import keys_of, matches

LEVELS: Final = ("PATIENT", "STUDY", "SERIES", "IMAGE")
_UNIQUE: Final[Mapping[str, tuple[str, str]]] = {
    "PATIENT": ("PatientID", "patient_id"),
    "STUDY": ("StudyInstanceUID", "study_instance_uid"),
    "SERIES": ("SeriesInstanceUID", "series_instance_uid"),
    "IMAGE": ("SOPInstanceUID", "sop_instance_uid"),
}
"""The unique key of each level and its column in the index."""

_KEYWORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "PATIENT": (
        "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDsSequence",
    ),
    "STUDY": (
        "StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName",
        "StudyDescription", "StudyInstanceUID", "StudyID", "PatientAge", "TimezoneOffsetFromUTC", "ModalitiesInStudy",
        "SOPClassesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
    ),
    "SERIES": (
        "Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime",
        "BodyPartExamined", "ProtocolName", "Laterality", "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime", "PerformedProcedureStepID", "PerformedProcedureStepDescription",
        "RequestAttributesSequence", "InstitutionName", "StationName", "Manufacturer", "ManufacturerModelName",
        "NumberOfSeriesRelatedInstances",
    ),
}  # fmt: skip
_ALWAYS: Final = frozenset((0x00080005, 0x00080052, 0x00080054, 0x00080056))


class IdentifierError(Exception):
    """The Identifier does not fit the Information Model (A900)."""


@dataclass(frozen=True, slots=True)
class Question:
    """An Identifier understood.

    Attributes:
        level: Query/Retrieve Level.
        unique: values per index column of the unique keys at this level and above.
    """

    level: str
    unique: Mapping[str, list[str]]


def question(identifier: Dataset, *, patient_root: bool, retrieve: bool = False) -> Question:
    """Check the hierarchical keys (PS3.4 C.4.1.2.1, C.4.2.1.4.1).

    Raises:
        IdentifierError: a level that the model lacks, or a unique key missing above it.
    """
    level = str(identifier.get("QueryRetrieveLevel", "")).strip()
    levels = LEVELS if patient_root else LEVELS[1:]
    if level not in levels:
        raise IdentifierError("Query/Retrieve Level missing or not of this model")
    unique: dict[str, list[str]] = {}
    for above in levels[: levels.index(level) + 1]:
        keyword, column = _UNIQUE[above]
        values = _values(identifier, keyword)
        if above != level and len(values) != 1:
            raise IdentifierError(f"{keyword} needs one value at level {level}")
        if above == level and retrieve and not values:
            raise IdentifierError(f"{keyword} names nothing to retrieve")
        if values and not (above == "PATIENT" and any("*" in value or "?" in value for value in values)):
            unique[column] = values
    return Question(level, unique)


def _values(identifier: Dataset, keyword: str) -> list[str]:
    element = identifier.get(Tag(keyword))
    if element is None or not element.value:
        return []
    many = element.value if element.VM > 1 else [element.value]
    return [text for text in (str(one).strip(" \0") for one in many) if text not in {"", "*"}]


class Search:
    """One C-FIND request at work."""

    def __init__(self, index: Index, identifier: Dataset, *, patient_root: bool, ae_title: str) -> None:
        """Understand the request.

        Raises:
            IdentifierError: it cannot be.
        """
        self.index, self.identifier, self.ae_title = index, identifier, ae_title
        self.question = question(identifier, patient_root=patient_root)
        self.returned = {
            int(element.tag): str(element.VR).encode()
            for element in identifier
            if element.tag not in _ALWAYS and element.tag.element
        }
        known = self._known()
        self.unsupported = {tag for tag in self.returned if known is not None and tag not in known}
        self.keys = [key for key in keys_of(identifier) if key.tag not in _ALWAYS and key.tag not in self.unsupported]

    def _known(self) -> set[int] | None:
        """Tags that this level returns and matches; None for all that an instance's header has."""
        level = self.question.level
        if level == "IMAGE":
            return None
        return {
            tag
            for above in LEVELS[: LEVELS.index(level) + 1]
            for keyword in _KEYWORDS[above]
            if (tag := tag_for_keyword(keyword)) is not None
        } | {0x00201200, 0x00201202, 0x00201204}

    def answers(self, transfer_syntax: UID) -> Iterator[bytes]:
        """Encode one Identifier per match."""
        column = _UNIQUE[self.question.level][1]
        for group in self.index.groups(column, self.question.unique):
            held = self._elements(group)
            if self._fits(held):
                data = join(self._answer(held))
                if transfer_syntax != ExplicitVRLittleEndian:
                    data = encode(decode(data, ExplicitVRLittleEndian), transfer_syntax)
                yield data

    def _elements(self, group: Group) -> Elements:
        """The header of an entity and what is computed for it."""
        held = split(group.header, ExplicitVRLittleEndian)
        level = self.question.level
        computed: list[tuple[int, bytes, str]] = []
        if level == "PATIENT":
            computed = [
                (0x00201200, b"IS", str(group.studies)),
                (0x00201202, b"IS", str(group.series)),
                (0x00201204, b"IS", str(group.instances)),
            ]
        elif level == "STUDY":
            computed = [
                (0x00080061, b"CS", "\\".join(group.modalities)),
                (0x00080062, b"UI", "\\".join(group.sop_classes)),
                (0x00201206, b"IS", str(group.series)),
                (0x00201208, b"IS", str(group.instances)),
            ]
        elif level == "SERIES":
            computed = [(0x00201209, b"IS", str(group.instances))]
        else:
            computed = [(0x00083002, b"UI", group.transfer_syntax_uid)]
        held.update((tag, explicit(tag, vr, text.encode())) for tag, vr, text in computed)
        return held

    def _fits(self, held: Elements) -> bool:
        if not self.keys:
            return True
        wanted = {0x00080005, *(int(key.tag) for key in self.keys)}
        dataset = decode(join({tag: held[tag] for tag in wanted if tag in held}), ExplicitVRLittleEndian)
        return all(matches(key, dataset) for key in self.keys)

    def _answer(self, held: Elements) -> Elements:
        """What was asked for and is known, empty where it has no value."""
        answer = {
            tag: held.get(tag) or explicit(tag, vr, b"")
            for tag, vr in self.returned.items()
            if tag not in self.unsupported
        }
        if 0x00080005 in held:
            answer[0x00080005] = held[0x00080005]
        answer[0x00080052] = explicit(0x00080052, b"CS", self.question.level.encode())
        answer[0x00080054] = explicit(0x00080054, b"AE", self.ae_title.encode())
        answer[0x00080056] = explicit(0x00080056, b"CS", b"ONLINE")
        return answer
