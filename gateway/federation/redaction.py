"""Rows of studies of which single documents are withheld: as they were if the documents were not there."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.dataset.attributes import first
from gateway.dataset.matching import matcher
from gateway.dataset.query import Attribute, Level, Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.federation.derive import SERIES_INSTANCES, STUDY_INSTANCES, STUDY_SERIES
from gateway.federation.merge import MODALITIES_IN_STUDY, RETRIEVE_AE_TITLE, SOP_CLASSES_IN_STUDY

SERIES, INSTANCE = UNIQUE_KEYS[Level.SERIES], UNIQUE_KEYS[Level.IMAGE]
_OF_A_STUDY: Final = frozenset({MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY, STUDY_SERIES, STUDY_INSTANCES})
_TELLING: Final = _OF_A_STUDY | {SERIES_INSTANCES}
"""What a row tells of what is below it."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of a series.

    Attributes:
        instances: how many; None where no region tells.
        titles: the AE titles of those that hold them.
    """

    modality: str
    instances: int | None
    titles: tuple[str, ...]


class Redaction:
    """What a study is without the documents that are withheld.

    Attributes:
        series: what is left, by Series Instance UID; nothing of a series that had nothing else.
    """

    def __init__(self, documents: Collection[str], series: Mapping[str, Remains]) -> None:
        self.series = series
        self._documents = documents
        counts = [x.instances for x in series.values()]
        self._of_study: dict[str, Attribute] = {
            MODALITIES_IN_STUDY: _of("CS", sorted({x.modality for x in series.values() if x.modality})),
            SOP_CLASSES_IN_STUDY: {"vr": "UI"},  # nobody counts them but the regions
            STUDY_SERIES: _of("IS", [len(series)]),
            STUDY_INSTANCES: _of("IS", [sum(map(int, counts))] if None not in counts else []),  # type: ignore[arg-type]
        }

    def keeps(self, row: Row, query: Query) -> bool:
        """Whether a row would be there, and be found."""
        if query.level is Level.IMAGE and first(row.get(INSTANCE)) in self._documents:
            return False
        if not self.series or (query.level is Level.SERIES and first(row.get(SERIES)) not in self.series):
            return False
        about: dict[TagPath, str] = {path: key for path, key in query.keys.items() if path[0] in self._of_study}
        if not about:
            return True
        if about.get((SOP_CLASSES_IN_STUDY,)):
            return False  # it may be for the document that it was found
        return matcher(replace(query, study=None, series=None, keys=about))(self._of_study).matches

    def holders(self, row: Row, level: Level) -> tuple[str, ...]:
        """Return the AE titles of all that hold something of what is left of what a row is about."""
        if level is Level.IMAGE:
            return titles_of([row])
        left = [self.series[str(first(row.get(SERIES)))]] if level is Level.SERIES else self.series.values()
        return tuple(dict.fromkeys(title for x in left for title in x.titles))

    def titles(self, row: Row, level: Level) -> tuple[str, ...]:
        """Return the AE titles of a row without those that hold nothing of what is left; one is always named."""
        held = self.holders(row, level)
        return tuple(title for title in titles_of([row]) if title in held) or held[:1]

    def applied(self, row: Row, level: Level) -> Row:
        """Return a row of which nothing tells of the documents."""
        left = self.series.get(first(row.get(SERIES))) if level is not Level.STUDY else None
        told = dict(self._of_study)
        if left is not None:
            told[SERIES_INSTANCES] = _of("IS", [] if left.instances is None else [left.instances])
        if RETRIEVE_AE_TITLE in row:
            told[RETRIEVE_AE_TITLE] = _of("AE", self.titles(row, level))
        # What a region left empty stays so: an answer that tells more than others would tell that it was changed.
        return {tag: told.get(tag, had) if had.get("Value") else had for tag, had in row.items()}


def is_telling(row: Row, level: Level) -> bool:
    """Whether a row may tell of what is below it or beside it."""
    return level is not Level.IMAGE or not _TELLING.isdisjoint(row)


def titles_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the AE titles of all that hold one of these rows."""
    return tuple(dict.fromkeys(title for row in rows for title in row.get(RETRIEVE_AE_TITLE, {}).get("Value", ())))


def _of(vr: str, values: Iterable[str | int]) -> Attribute:
    listed = list(values)
    return {"vr": vr, "Value": listed} if listed else {"vr": vr}
