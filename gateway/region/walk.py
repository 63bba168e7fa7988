"""Searches that name no parent, at a region without relational queries: level by level (PS3.4 C.4.1.2.1, trap 18)."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from gateway.dataset.identifier import level_of
from gateway.dataset.matching import matcher
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.errors import TooBroad

STUDY, SERIES = UNIQUE_KEYS[Level.STUDY], UNIQUE_KEYS[Level.SERIES]
MODALITY, MODALITIES_IN_STUDY = ("00080060",), ("00080061",)

OF_THE_ENTITY: Final = frozenset({"00080054", "00080056", "00081190"})
"""Retrieve AE Title, Instance Availability and Retrieve URL of a study are not those of its series."""

Ask: TypeAlias = Callable[[Query], AsyncGenerator[Row, None]]
"""Runs one query and yields its rows."""


def keys_above(query: Query) -> bool:
    """Whether a query has keys or includes of a level above its own, beside the Unique Keys that its path names."""
    return any(_paths_of(query, level) for level in Level if level is not query.level)


def is_hierarchical(query: Query) -> bool:
    """Whether every archive must be able to answer a query as it is (PS3.4 C.4.1.2.1)."""
    if query.level is Level.STUDY:
        return True
    return bool(query.study and (query.series or query.level is Level.SERIES)) and not keys_above(query)


@dataclass(frozen=True, slots=True)
class _Parent:
    """What a step below must name, and the attributes that its rows inherit."""

    study: str | None
    series: str | None = None
    attributes: Row = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Walk:
    """Finds series through their studies, and instances through their series, with one C-FIND for each parent.

    Rows have the attributes of the levels above that PS3.18 10.6.3.3 requires where the path names no parent, and
    those that the caller's keys and includes name. Every level is matched again before the next one is asked.

    Attributes:
        ask: runs the query of one step.
        zone: the region's.
        max_studies: how many studies are walked.
        max_series: how many series are walked.
    """

    ask: Ask
    zone: ZoneInfo
    max_studies: int
    max_series: int

    async def rows(self, query: Query) -> AsyncGenerator[Row, None]:
        """Yield the rows of a query at SERIES or IMAGE level.

        Raises:
            TooBroad: too many studies or series match the keys of their levels; no row was yielded.
        """
        parents = [_Parent(query.study, query.series)]
        if not query.study or _paths_of(query, Level.STUDY):
            parents = await self._studies(query)
        if query.level is Level.IMAGE and (not query.series or _paths_of(query, Level.SERIES)):
            parents = await self._series(query, parents)
        for parent in parents:
            async with aclosing(self._matching(_step(query, query.level, parent))) as rows:
                async for row in rows:
                    yield {**parent.attributes, **row}

    async def _studies(self, query: Query) -> list[_Parent]:
        step = _step(query, Level.STUDY, _Parent(None))
        modality = query.keys.get(MODALITY, "")
        narrowing: dict[TagPath, str] = {MODALITIES_IN_STUDY: modality} if modality != '""' else {}
        # Not a key upstream: a region that leaves it empty would leave out the study. Empty says nothing here.
        may_have = matcher(Query(Level.STUDY, keys=narrowing))
        if modality:
            step = replace(step, include=step.include | {MODALITIES_IN_STUDY})
        studies: list[_Parent] = []
        async with aclosing(self._matching(step)) as rows:
            async for row in rows:
                if not may_have(row):
                    continue
                studies.append(_Parent(row[STUDY]["Value"][0], query.series, _inherited(row)))
                if len(studies) > self.max_studies:
                    raise TooBroad(
                        f"this search meets more than {self.max_studies} studies in a region that can only be searched "
                        "study by study: add StudyInstanceUID, PatientID, AccessionNumber or a StudyDate range, or "
                        "search /studies first"
                    )
        return studies

    async def _series(self, query: Query, studies: list[_Parent]) -> list[_Parent]:
        series: list[_Parent] = []
        for study in studies:
            async with aclosing(self._matching(_step(query, Level.SERIES, study))) as rows:
                async for row in rows:
                    inherited = {**study.attributes, **_inherited(row)}
                    series.append(_Parent(study.study, row[SERIES]["Value"][0], inherited))
                    if len(series) > self.max_series:
                        raise TooBroad(
                            f"this search meets more than {self.max_series} series in a region that can only be "
                            "searched series by series: add SeriesInstanceUID, StudyInstanceUID or Modality, or search "
                            "/series first"
                        )
        return series

    async def _matching(self, step: Query) -> AsyncGenerator[Row, None]:
        """Yield the rows of a step that match, so that a key which the region ignores makes no walk longer."""
        verdict_on = matcher(step, self.zone)
        async with aclosing(self.ask(step)) as rows:
            async for row in rows:
                if verdict_on(row):
                    yield row


def _paths_of(query: Query, level: Level) -> set[TagPath]:
    """Return the keys and includes of a level, but its Unique Key where the path names it."""
    named: dict[TagPath, str | None] = {(STUDY,): query.study, (SERIES,): query.series}
    paths = {*query.keys, *query.include}
    return {path for path in paths if level_of(path[0], query.level) is level and not named.get(path)}


def _step(query: Query, level: Level, parent: _Parent) -> Query:
    """Return the query of one level: its own keys and includes, below the parent."""
    keys = {path: key for path, key in query.keys.items() if level_of(path[0], query.level) is level}
    named = {Level.STUDY: query.study, Level.SERIES: query.series, Level.IMAGE: None}[level]
    is_upper = level is not query.level
    if is_upper and named:
        keys[UNIQUE_KEYS[level],] = named
    return replace(
        query,
        level=level,
        study=parent.study if level is not Level.STUDY else None,
        series=parent.series if level is Level.IMAGE else None,
        keys=keys,
        include=frozenset(path for path in query.include if level_of(path[0], query.level) is level),
        include_all=query.include_all and not (is_upper and named),
        bare=query.bare or bool(is_upper and named),
    )


def _inherited(row: Row) -> Row:
    return {tag: attribute for tag, attribute in row.items() if tag not in OF_THE_ENTITY}
