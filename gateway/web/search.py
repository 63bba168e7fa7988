"""The Search transaction (PS3.18 10.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from gateway.dataset.query import Level
from gateway.deadline import Deadline
from gateway.web.caller import caller
from gateway.web.completeness import federation_headers
from gateway.web.compression import asks_for_gzip
from gateway.web.form import Watched, form
from gateway.web.lines import Lines, check_pages
from gateway.web.locations import Locations
from gateway.web.negotiation import JSON_TYPES, NDJSON, accepted, check_charset, preferences, search_type
from gateway.web.parameters import Pair, pairs, search_query
from gateway.web.paths import uid_parameters
from gateway.web.policy import permit_of
from gateway.web.problem import check_strictly
from gateway.web.rows import JsonListing, Presentation, XmlListing, listed

if TYPE_CHECKING:
    from gateway.federation.findings import SearchResult
    from gateway.federation.search import FederatedSearch
    from gateway.federation.workers import Workers


@dataclass(frozen=True, slots=True)
class Search:
    """Answers the Search resources from the federation.

    Attributes:
        workers: who searches will look at what he finds: one is made ready meanwhile.
        seconds: hard limit of a search.
    """

    federation: "FederatedSearch"
    workers: "Workers"
    locations: Locations
    seconds: float

    async def studies(self, request: Request) -> Response:
        """Search for studies."""
        return await self._found(request, Level.STUDY)

    async def series(self, request: Request) -> Response:
        """Search for series: those of a study, or of all."""
        return await self._found(request, Level.SERIES)

    async def instances(self, request: Request) -> Response:
        """Search for instances: those of a series, of a study, or of all."""
        return await self._found(request, Level.IMAGE)

    async def _found(self, request: Request, level: Level) -> Response:
        self.workers.expect()
        parameters = pairs(request.scope["query_string"])
        if request.scope["method"] == "POST":
            parameters += pairs(await form(request))
            return Watched(partial(self._answer, request, level, parameters))
        return await self._answer(request, level, parameters)

    async def _answer(self, request: Request, level: Level, parameters: Sequence[Pair]) -> Response:
        uids = uid_parameters(request)
        media_type = search_type(accepted(request, parameters))
        check_charset(parameters)
        prefer = preferences(request)
        query = search_query(level, parameters, **uids, strict=prefer.strict)
        present = Presentation(query, self.locations)
        deadline = Deadline.after(self.seconds if prefer.wait is None else min(self.seconds, prefer.wait))
        if media_type == NDJSON:
            check_pages(query)
            base, strict = self.locations.base, prefer.strict
            return Lines(self.federation, query, present, base, deadline, strict=strict, gzip=asks_for_gzip(request))
        result = await self.federation.search(
            query, deadline, caller=caller(request.scope), permit=permit_of(request.scope)
        )
        if prefer.strict:
            check_strictly(result)
        texts = (*query.warnings, *result.warnings, *_remaining(result))
        headers = federation_headers(result.completeness, self.locations.base, texts)
        listing = JsonListing(media_type) if media_type in JSON_TYPES else XmlListing()
        return await listed(listing, result.rows, present, headers, gzip=asks_for_gzip(request))


def _remaining(result: "SearchResult") -> list[str]:
    if not result.remaining:
        return []
    return [f"There are {result.remaining} additional results that can be requested"]
