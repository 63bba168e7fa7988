"""The one instance that stands for a series or a study, found without retrieving the others."""

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from gateway.access.permit import Permit
from gateway.dataset.query import Level, Query, Row, Selection
from gateway.deadline import Deadline
from gateway.errors import NotFound
from gateway.federation.completeness import not_held
from gateway.federation.permission import blocked
from gateway.web.locations import uid_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.federation.findings import SearchResult
    from gateway.federation.search import FederatedSearch

MODALITY: Final = "00080060"
SERIES_INSTANCE_UID: Final = "0020000E"
SOP_INSTANCE_UID: Final = "00080018"
KEPT_SECONDS: Final = 300.0
MOST_KEPT: Final = 4096
WITHOUT_PICTURES: Final = frozenset(
    {"SR", "KO", "PR", "DOC", "REG", "FID", "RTSTRUCT", "RTPLAN", "RTRECORD", "PLAN", "ECG", "HD", "EPS", "AU", "RWV"}
)


class Representatives:
    """Chooses the middle instance of a series, of a study's first series with images; for a while always the same."""

    def __init__(self, search: "FederatedSearch") -> None:
        self._search = search
        self._chosen: OrderedDict[Hashable, tuple[float, Selection]] = OrderedDict()

    async def of(self, selected: Selection, deadline: Deadline, permit: Permit) -> Selection:
        """Return the one instance of a study or a series.

        Raises:
            NotFound: there is no such study or series.
            RegionMissing: the regions that answered do not know it.
            NoRegionAnswered: none answered.
            ConsentBlocked: its patient does not consent, and the caller is to know it.
        """
        now = time.monotonic()
        # What was chosen for one caller, or before a directive, would tell who may not have it that there is something.
        key = selected, (permit.principal, permit.generation) if permit.restricted else None
        at, chosen = self._chosen.get(key, (now - KEPT_SECONDS, None))
        if chosen is None or at <= now - KEPT_SECONDS:
            chosen = await self._choose(selected, deadline, permit)
            self._chosen[key] = now, chosen
            self._chosen.move_to_end(key)
            while len(self._chosen) > MOST_KEPT:
                self._chosen.popitem(last=False)
        return chosen

    async def _choose(self, selected: Selection, deadline: Deadline, permit: Permit) -> Selection:
        series = selected.series
        if series is None:
            rows = await _rows(self._search, Query(Level.SERIES, selected.study), deadline, permit)
            series = uid_of(next(filter(_has_pictures, rows), rows[0]), SERIES_INSTANCE_UID)
        if series is None:
            raise NotFound("the study has no series that can be named")
        rows = await _rows(self._search, Query(Level.IMAGE, selected.study, series), deadline, permit)
        uid = uid_of(rows[(len(rows) - 1) // 2], SOP_INSTANCE_UID)
        if uid is None:
            raise NotFound("the series has no instance that can be named")
        return Selection(selected.study, series, (uid,))


async def _rows(search: "FederatedSearch", query: Query, deadline: Deadline, permit: Permit) -> list[Row]:
    result: SearchResult = await search.search(query, deadline, permit=permit)
    if result.rows:
        return result.rows
    raise blocked(result.notices[0]) if result.notices else not_held("it", result.completeness)


def _has_pictures(row: Row) -> bool:
    values = row.get(MODALITY, {}).get("Value") or [""]
    return values[0] not in WITHOUT_PICTURES
