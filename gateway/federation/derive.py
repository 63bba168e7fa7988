"""What regions leave out and the levels below tell: modalities and counts (traps 1, 9 and 21)."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gateway.dataset.attributes import first
from gateway.dataset.dictionary import keyword_of, vr_of
from gateway.dataset.query import Level, Query, Row, TagPath
from gateway.dataset.required import UNIQUE_KEYS
from gateway.deadline import Deadline
from gateway.errors import DatasetError, RequestError
from gateway.federation.asking import Regions
from gateway.federation.completeness import COMPLETE, LIMITED, PARTIAL, Completeness
from gateway.federation.merge import MODALITIES_IN_STUDY, union
from gateway.region.together import together

STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID = UNIQUE_KEYS.values()
MODALITY = "00080060"
STUDY_SERIES, STUDY_INSTANCES, SERIES_INSTANCES = "00201206", "00201208", "00201209"

DERIVED: Mapping[Level, tuple[str, ...]] = {
    Level.STUDY: (MODALITIES_IN_STUDY, STUDY_SERIES, STUDY_INSTANCES),
    Level.SERIES: (SERIES_INSTANCES,),
    Level.IMAGE: (),
}
"""What is asked of the levels below, at each level (PS3.18 Tables 10.6.3-3, 10.6.3-4)."""

HEALTHY = frozenset({COMPLETE, LIMITED, DatasetError.slug})
"""States of a region that can be asked on."""

AT_ONCE = 3
"""Questions to one region at the same time; its associations are fewer than a page's studies, and others wait too."""

Holdings: TypeAlias = dict[str, dict[str, Row]]
"""Series to the regions that list it, and their rows of it."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series whose instances are to be counted, and who lists it."""

    study: str
    uid: str
    regions: tuple[str, ...]


@dataclass(slots=True)
class Gaps:
    """What stays open after derivation.

    Attributes:
        estimated: Unique Keys of the rows whose counts are only the highest that one of several holders tells.
        unknown: attribute to the Unique Keys of the rows that lack it.
    """

    estimated: set[str] = field(default_factory=set)
    unknown: dict[str, set[str]] = field(default_factory=dict)

    def leave_empty(self, rows: Sequence[Row], level: Level) -> None:
        """Take note of what these rows still lack; there it is present, and empty."""
        for tag in DERIVED[level]:
            for row in rows:
                if lacks(row, tag):
                    row[tag] = {"vr": vr_of(tag)}
                    self.unknown.setdefault(tag, set()).add(first(row[UNIQUE_KEYS[level]]))

    def warnings(self, rows: Sequence[Row], level: Level) -> Iterator[str]:
        """Say how many of these rows lack what, once for attributes that as many lack."""
        if not self.unknown and not self.estimated:
            return
        uids = [first(row[UNIQUE_KEYS[level]]) for row in rows]
        lacking: dict[int, list[str]] = {}
        for tag in DERIVED[level]:
            lacking.setdefault(sum(uid in self.unknown.get(tag, ()) for uid in uids), []).append(keyword_of(tag))
        for empty, names in lacking.items():
            if empty:
                verb, what = ("is", "it is") if len(names) == 1 else ("are", "they are")
                yield f"{', '.join(names)} of {_rows(empty)} {verb} not known: {what} left empty"
        if estimated := sum(uid in self.estimated for uid in uids):
            yield (
                f"the counts of {_rows(estimated)} held by several regions are the highest that one of them tells: "
                "there may be more"
            )


class Derivation:
    """Completes rows by C-FIND below them, at their holders only and no further than its limits and deadline.

    What cannot be had stays as it is; nothing is ever guessed.
    """

    def __init__(
        self, regions: Regions, states: Completeness, deadline: Deadline, *, studies: int, series: int
    ) -> None:
        self._regions = regions
        self._studies_left = studies
        self._series_left = series
        self._slots = {id_: asyncio.Semaphore(AT_ONCE) for id_ in regions.by_id}
        self._deadlines = {id_: deadline.within(region.patience) for id_, region in regions.by_id.items()}
        # Who could not answer the search itself is not asked for more: that would only keep the caller waiting.
        self._failed = {state.region for state in states.missing if state.state not in {*HEALTHY, PARTIAL}}

    async def studies(
        self, rows: Sequence[Row], held_by: Mapping[str, tuple[str, ...]], wanted: Collection[str]
    ) -> set[str]:
        """Complete study rows; return the UIDs of those with several holders whose union did not become known."""
        held = [(row, held_by[first(row[STUDY_INSTANCE_UID])]) for row in rows]
        asked = held[: self._studies_left]
        self._studies_left -= len(asked)
        listed = await together([self._listed(first(row[STUDY_INSTANCE_UID]), ids) for row, ids in asked])
        known = [(row, ids, holdings) for (row, ids), holdings in zip(asked, listed, strict=True) if holdings]
        uncounted = [
            Series(first(row[STUDY_INSTANCE_UID]), uid, tuple(by_region))
            for row, ids, holdings in known
            if STUDY_INSTANCES in wanted and (len(ids) > 1 or lacks(row, STUDY_INSTANCES))
            for uid, by_region in sorted(holdings.items())
            if _told(*by_region.values()) is None
        ]
        counts = await self._count(uncounted)
        done = {
            first(row[STUDY_INSTANCE_UID])
            for row, ids, holdings in known
            if _complete_study(row, holdings, counts, exact=len(ids) > 1)
        }
        return {uid for row, ids in held if len(ids) > 1 and (uid := first(row[STUDY_INSTANCE_UID])) not in done}

    async def series(self, rows: Sequence[Row], held_by: Mapping[str, tuple[str, ...]], study: str | None) -> set[str]:
        """Complete series rows; return the UIDs of those with several holders whose union did not become known."""
        wanted: list[Series] = []
        for row in rows:
            uid, parent = first(row[SERIES_INSTANCE_UID]), study or first(row.get(STUDY_INSTANCE_UID))
            if parent:
                wanted.append(Series(str(parent), uid, held_by[uid]))
        counts = await self._count(wanted)
        for row in rows:
            count = counts.get(first(row[SERIES_INSTANCE_UID]))
            if count is not None:
                row[SERIES_INSTANCES] = _number(count)
        shared = {uid for row in rows if len(held_by[uid := first(row[SERIES_INSTANCE_UID])]) > 1}
        return {uid for uid in shared if counts.get(uid) is None}

    async def _listed(self, study: str, ids: Sequence[str]) -> Holdings | None:
        """List a study's series at all its holders; None where one of them does not tell."""
        include: frozenset[TagPath] = frozenset({(MODALITY,), (SERIES_INSTANCES,)})
        query = Query(Level.SERIES, study=study, include=include, bare=True)
        answers = await together([self._ask(id_, query) for id_ in ids])
        holdings: Holdings = {}
        for id_, rows in zip(ids, answers, strict=True):
            if not rows:
                return None
            for row in rows:
                if uid := first(row.get(SERIES_INSTANCE_UID)):
                    holdings.setdefault(str(uid), {})[id_] = row
        return holdings

    async def _count(self, wanted: Sequence[Series]) -> dict[str, int | None]:
        """Count the instances of each series over its holders; None where that is not known."""
        asked = wanted[: self._series_left]
        self._series_left -= len(asked)
        counts = await together([self._counted(series) for series in asked])
        return {series.uid: count for series, count in zip(asked, counts, strict=True)}

    async def _counted(self, series: Series) -> int | None:
        query = Query(Level.IMAGE, study=series.study, series=series.uid, bare=True)
        answers = await together([self._ask(id_, query) for id_ in series.regions])
        if not all(answers):
            return None
        return len({first(row.get(SOP_INSTANCE_UID)) for rows in answers if rows for row in rows} - {None, ""})

    async def _ask(self, id_: str, query: Query) -> list[Row] | None:
        """Ask one region; None where it does not give all it has, after which it is not asked again."""
        async with self._slots[id_]:
            if id_ in self._failed or self._deadlines[id_].passed:
                return None
            try:
                [answer] = await self._regions.ask({id_: (query,)}, self._deadlines[id_])
            except RequestError:
                return None
        if answer.state not in HEALTHY:
            self._failed.add(id_)
        return answer.rows if answer.state == COMPLETE else None


def lacks(row: Row, tag: str) -> bool:
    """Whether a row does not tell an attribute."""
    attribute = row.get(tag)
    values = attribute.get("Value") if attribute else None
    return not values or values[0] is None or values[0] == ""


def _complete_study(row: Row, holdings: Holdings, counts: Mapping[str, int | None], *, exact: bool) -> bool:
    """Set what the holdings tell: everything where they are of several regions, else what is missing.

    Returns:
        whether the number of instances is known now.
    """
    if exact or lacks(row, STUDY_SERIES):
        row[STUDY_SERIES] = _number(len(holdings))
    found = sorted({str(m) for rows in holdings.values() for x in rows.values() if (m := first(x.get(MODALITY)))})
    if exact or lacks(row, MODALITIES_IN_STUDY):
        row[MODALITIES_IN_STUDY] = union(row.get(MODALITIES_IN_STUDY), {"vr": "CS", "Value": found})
    if not exact and not lacks(row, STUDY_INSTANCES):
        return True
    told = [counts[uid] if uid in counts else _told(*rows.values()) for uid, rows in holdings.items()]
    if None in told:
        return False
    row[STUDY_INSTANCES] = _number(sum(count for count in told if count is not None))
    return True


def _told(*rows: Row) -> int | None:
    """Return what the only holder of a series tells of its instances, if anything."""
    count: Any = first(rows[0].get(SERIES_INSTANCES)) if len(rows) == 1 else None
    return count if isinstance(count, int) else None


def _number(count: int) -> dict[str, Any]:
    return {"vr": "IS", "Value": [count]}


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"
