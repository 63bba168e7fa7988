"""What a search finds: all of it, a page of it, and how far it goes."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from gateway.access.permit import Subject
from gateway.config.settings import SearchSettings
from gateway.dataset.query import Row
from gateway.errors import IdentityUnavailable
from gateway.federation.completeness import Completeness
from gateway.federation.derive import Gaps
from gateway.federation.merge import Told
from gateway.federation.redaction import Redaction
from gateway.federation.remarks import Remarks


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of the merged rows, and how far they can be trusted.

    Attributes:
        rows: merged, ordered, cut; others may be shown the same rows, so they are not to be changed.
        remaining: matches behind this page.
        completeness: the state of each region.
        warnings: what the caller should hear, beside what completeness says.
        unavailable: why identifiers could not be resolved, where they could not.
        estimated: Unique Keys of rows whose counts are only the highest that one of several holders tells.
        notices: those of the warnings that tell of what is withheld.
    """

    rows: list[Row]
    remaining: int
    completeness: Completeness
    warnings: tuple[str, ...]
    unavailable: IdentityUnavailable | None = None
    estimated: frozenset[str] = frozenset()
    notices: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Findings:
    """All that the regions gave to one question, merged and ordered: what pages are cut from.

    Attributes:
        rows: in order; those of pages that were looked at are completed.
        held_by: Unique Key of each row to the ids of its holders.
        completeness: the state of each region.
        noted: what callers should hear.
        unavailable: why identifiers could not be resolved, where they could not.
        told: what each holder tells of what is below a study that several hold.
        gaps: what could not be derived.
        completed: ids of the rows, as objects, that are.
        completing: held by the page that is being completed.
        whose: ids of the rows, as objects, to whose they are by the word of their regions.
        shown_of: the same, by what completed rows show.
        redactions: ids of the rows, as objects, to what may be told of them.
        withheld: studies that nothing may tell of.
        emptied: regions of which no row is left without them.
        notices: what the caller is told of that.
    """

    rows: list[Row]
    held_by: Mapping[str, tuple[str, ...]]
    completeness: Completeness
    noted: Remarks
    unavailable: IdentityUnavailable | None
    told: Mapping[str, Told] = field(default_factory=dict)
    gaps: Gaps = field(default_factory=Gaps)
    remarks: dict[str, None] = field(default_factory=dict)
    completed: set[int] = field(default_factory=set)
    completing: asyncio.Lock = field(default_factory=asyncio.Lock)
    whose: dict[int, Subject] = field(default_factory=dict)
    shown_of: dict[int, Subject] = field(default_factory=dict)
    redactions: Mapping[int, Redaction] = field(default_factory=dict)
    withheld: Collection[str] = ()
    emptied: Collection[str] = ()
    notices: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the caller should hear."""
        return (*self.noted.warnings(self.withheld, self.emptied), *self.notices)


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """How far a search goes.

    Attributes:
        max_results: rows of one page.
        max_matches_per_region: rows taken from one region for one question.
        snapshot_seconds: how long the pages behind the first stay as they are.
        snapshot_rows: rows kept for that, over all searches.
        derived_studies: studies of one page whose series are asked for because a region left something out.
        derived_series: series of one page whose instances are asked for likewise.
    """

    max_results: int = 1000
    max_matches_per_region: int = 10_000
    snapshot_seconds: float = 60.0
    snapshot_rows: int = 50_000
    derived_studies: int = 128
    derived_series: int = 128

    @classmethod
    def of(cls, settings: SearchSettings) -> Self:
        """Return the limits of the settings."""
        return cls(
            max_results=settings.max_results,
            max_matches_per_region=settings.max_matches_per_region,
            snapshot_seconds=settings.snapshot_seconds,
            snapshot_rows=settings.snapshot_rows,
            derived_studies=settings.derived_studies,
            derived_series=settings.derived_series,
        )
