"""Rows as lines, each as soon as it is known: for scripts (application/x-ndjson)."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.dataset.query import Query, Row
from gateway.deadline import Deadline
from gateway.errors import RequestError
from gateway.federation.completeness import LIMITED, Completeness
from gateway.web.completeness import warning
from gateway.web.negotiation import NDJSON
from gateway.web.policy import permit_of
from gateway.web.problem import check_identity, region_missing
from gateway.web.rows import VARY, Presentation
from gateway.web.streaming import Body, reading

if TYPE_CHECKING:
    from gateway.federation.search import FederatedSearch

ENDED: Final = "the limit is reached and the search was ended: there may be more results"
_LINE: Final = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


def check_pages(query: Query) -> None:
    """Refuse what lines cannot have: rows in order of arrival have no second page."""
    if query.offset:
        raise RequestError(f"offset: {NDJSON} has no pages, its rows come unordered: ask for application/dicom+json")


@dataclass(slots=True)
class Summary:
    """What the last line says, since the header is sent before it can be known.

    Attributes:
        rows: how many lines there are before.
        limited: whether the search was ended because the caller wanted no more.
    """

    rows: int = 0
    limited: bool = False

    def line(self, completeness: Completeness, warnings: tuple[str, ...]) -> bytes:
        """Return the last line: one object whose only member is ``federation``."""
        told = dict.fromkeys([*self._gaps(completeness), *warnings])
        federation: dict[str, Any] = {
            "complete": not (self.limited or completeness.missing),
            "regions": [{"name": x.region, "state": x.state, "matches": x.count} for x in completeness.states],
            "rows": self.rows,
            "warnings": list(told),
        }
        return orjson.dumps({"federation": federation}, option=_LINE)

    def _gaps(self, completeness: Completeness) -> list[str]:
        """Tell what may be missing: what a region has more of is not its fault when the caller wanted no more."""
        if not self.limited:
            return completeness.warnings()
        failed = tuple(state for state in completeness.states if state.state != LIMITED)
        return [*Completeness(completeness.unit, failed).warnings(), ENDED]


class Lines(Response):
    """One row to a line, and last of all what became of the regions.

    The status waits for the first row, or for the end where there is none: what fails before is told by it. What
    fails later ends the body without its last line, and without its last chunk.
    """

    def __init__(
        self,
        federation: "FederatedSearch",
        query: Query,
        present: Presentation,
        service: str,
        deadline: Deadline,
        *,
        strict: bool,
        gzip: bool,
    ) -> None:
        super().__init__()
        self._federation = federation
        self._query = query
        self._present = present
        self._deadline = deadline
        self._strict = strict
        self._gzip = gzip
        told = (warning(service, text) for text in query.warnings)
        self._fields = [(b"content-type", NDJSON.encode()), VARY, *told]

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer while the regions do."""
        body = Body(scope, send)
        head = scope["method"] == "HEAD"
        summary = Summary()
        stream = self._federation.stream(self._query, self._deadline, permit=permit_of(scope))
        async with stream as found, reading(found) as rows:
            if self._strict:
                check_identity(found.unavailable)
            async for line in self._lines(rows, summary):
                if not body.begun:
                    await body.start(HTTPStatus.OK, self._fields, gzip=self._gzip)
                if head:
                    break
                await body.write(line)
        if self._strict and found.completeness.missing and not (summary.limited or (head and body.begun)):
            raise region_missing(found.completeness)
        if not body.begun:
            await body.start(HTTPStatus.OK, self._fields, gzip=self._gzip)
        await body.end(b"" if head else summary.line(found.completeness, found.warnings))

    async def _lines(self, rows: AsyncIterator[Row], summary: Summary) -> AsyncGenerator[bytes, None]:
        """Yield a line for each row that the caller wants."""
        limit = self._query.limit
        summary.limited = limit == 0
        while not summary.limited and (row := await anext(rows, None)) is not None:
            summary.rows += 1
            summary.limited = summary.rows == limit
            yield orjson.dumps(self._present(row), option=_LINE)
