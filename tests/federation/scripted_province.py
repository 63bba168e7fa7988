"""Scripted regions behind one search."""

from types import TracebackType
from typing import Any, Self

from gateway.dataset.attributes import first
from gateway.dataset.query import Level, Query, Row
from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.events import RegionOperation
from gateway.federation.findings import SearchLimits, SearchResult
from gateway.federation.patients import Patients
from gateway.federation.search import FederatedSearch
from tests.federation.scripted_region import KEYS, ScriptedRegion, study_row
from tests.region.witness import Witness

STUDIES = Query(Level.STUDY)
SERIES = Query(Level.SERIES, study="1.1")


class Province:
    """Some regions behind one search; as a context it is one gateway, otherwise a new one for each search."""

    def __init__(self, *regions: ScriptedRegion, patients: Patients | None = None, **limits: Any) -> None:
        self.events = Witness()
        self.regions = regions
        self._made = {"patients": patients, "limits": SearchLimits(**limits)}
        self._open: FederatedSearch | None = None

    def gateway(self) -> FederatedSearch:
        return FederatedSearch(self.regions, self.events, **self._made)  # type: ignore[arg-type]

    async def __aenter__(self) -> Self:
        self._open = await self.gateway().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._open is not None
        await self._open.__aexit__(kind, error, traceback)

    async def search(self, query: Query = STUDIES, seconds: float = 30.0, caller: str = "") -> SearchResult:
        if self._open is not None:
            return await self._open.search(query, Deadline.after(seconds), caller=caller)
        async with self.gateway() as federation:
            return await federation.search(query, Deadline.after(seconds), caller=caller)

    def operations(self) -> list[tuple[str, str, int]]:
        return [(x.region, x.outcome, x.count) for x in self.events.of(RegionOperation)]

    def asked(self, level: Level = Level.STUDY) -> list[int]:
        """Return how many questions of a level each region met."""
        return [sum(query.level is level for query in region.asked) for region in self.regions]


def holding(name: str, *studies: str, **more: Any) -> ScriptedRegion:
    return ScriptedRegion(name, rows=[study_row(uid) for uid in studies], **more)


def failing(name: str, error: GatewayError | None, *studies: str, after: int = 0) -> ScriptedRegion:
    return holding(name, *studies, failures={Level.STUDY: (after, error)})


def uids(result: SearchResult | list[Row], level: Level = Level.STUDY) -> list[str]:
    rows = result if isinstance(result, list) else result.rows
    return [first(x[KEYS[level]]) for x in rows]
