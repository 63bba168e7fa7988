"""The Search transaction (PS3.18 10.6)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.dataset.query import Level, Query, Row
from gateway.deadline import Deadline
from gateway.web.completeness import federation_headers
from gateway.web.locations import Locations, uid_of
from gateway.web.negotiation import accepted, json_type, preferences
from gateway.web.parameters import pairs, search_query
from gateway.web.paths import uid_parameters
from gateway.web.problem import region_missing

if TYPE_CHECKING:
    from gateway.federation.search import FederatedSearch, SearchResult

RETRIEVE_URL = "00081190"
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"


@dataclass(frozen=True, slots=True)
class Search:
    """Answers the Search resources from the federation."""

    federation: "FederatedSearch"
    locations: Locations
    seconds: float

    async def studies(self, request: Request) -> Response:
        """Search for studies."""
        return await self._answer(request, Level.STUDY)

    async def series(self, request: Request) -> Response:
        """Search for the series of a study."""
        return await self._answer(request, Level.SERIES)

    async def instances(self, request: Request) -> Response:
        """Search for the instances of a series."""
        return await self._answer(request, Level.IMAGE)

    async def _answer(self, request: Request, level: Level) -> Response:
        uids = uid_parameters(request)
        parameters = pairs(request.scope["query_string"])
        media_type = json_type(accepted(request, parameters))
        prefer = preferences(request)
        query = search_query(level, parameters, **uids, strict=prefer.strict)
        seconds = self.seconds if prefer.wait is None else min(self.seconds, prefer.wait)
        result = await self.federation.search(query, Deadline.after(seconds))
        if prefer.strict and result.completeness.missing:
            raise region_missing(result.completeness)
        body = orjson.dumps([self._presented(row, query) for row in result.rows], option=orjson.OPT_SORT_KEYS)
        response = Response(body, media_type=media_type)
        texts = (*query.warnings, *result.warnings, *_remaining(result))
        response.raw_headers.extend(federation_headers(result.completeness, self.locations.base, texts))
        return response

    def _presented(self, row: Row, query: Query) -> dict[str, Any]:
        """Add where the row's entity is found; leave out what breaks OHIF's list: ModalitiesInStudy without value."""
        shown = {tag: value for tag, value in row.items() if tag != "00080061" or value.get("Value")}
        study = query.study or uid_of(row, STUDY)
        series = query.series or uid_of(row, SERIES)
        if study is not None:
            below = (series if query.level is not Level.STUDY else None, uid_of(row, INSTANCE))
            url = self.locations.resource(study, *below)
            shown[RETRIEVE_URL] = {"vr": "UR", "Value": [url]}
        return shown


def _remaining(result: "SearchResult") -> list[str]:
    if not result.remaining:
        return []
    return [f"There are {result.remaining} additional results that can be requested"]
