"""The Retrieve transaction: instances or their metadata, each as it arrives (PS3.18 10.4)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.errors import GatewayError, NotFound
from gateway.web.completeness import Header, federation_headers
from gateway.web.instances import Instances
from gateway.web.locations import Locations
from gateway.web.metadata import Metadata
from gateway.web.negotiation import accepted, instance_format, json_type, preferences
from gateway.web.parameters import pairs
from gateway.web.paths import selection
from gateway.web.problem import problem, region_missing
from gateway.web.streaming import Body, reading

if TYPE_CHECKING:
    from gateway.federation.flights import Instance
    from gateway.federation.retrieve import FederatedRetrieve, Retrieval


class Representation(Protocol):
    """How the instances of one retrieve are written; made anew for each request."""

    async def prepare(self, instance: "Instance") -> None:
        """Turn to the next instance; raises GatewayError for what the status should tell when it is the first."""

    def headers(self) -> list[Header]:
        """Return the fields that describe the body, once the first instance is prepared."""

    async def write(self, body: Body) -> None:
        """Write the prepared instance."""

    def end(self) -> bytes:
        """Return what ends the body."""


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Answers the Retrieve resources from the federation.

    Attributes:
        seconds: until the first byte of a response.
    """

    federation: "FederatedRetrieve"
    locations: Locations
    default_transfer_syntax: str
    seconds: float

    async def instances(self, request: Request) -> Response:
        """Retrieve a study, a series or an instance."""
        selected = selection(request)
        ranges = accepted(request, pairs(request.scope["query_string"]))
        chosen = instance_format(ranges, one_instance=bool(selected.instances), default=self.default_transfer_syntax)
        return self._response(request, selected, Instances(chosen, selected, self.locations))

    async def metadata(self, request: Request) -> Response:
        """Retrieve the metadata of a study, a series or an instance."""
        selected = selection(request)
        media_type = json_type(accepted(request, pairs(request.scope["query_string"])))
        return self._response(request, selected, Metadata(media_type, selected, self.locations))

    def _response(self, request: Request, selected: Selection, written: Representation) -> Response:
        prefer = preferences(request)
        seconds = self.seconds if prefer.wait is None else min(self.seconds, prefer.wait)
        return RetrieveResponse(self, selected, written, Deadline.after(seconds), strict=prefer.strict)


class RetrieveResponse(Response):
    """The status waits for the first instance; the body follows as the rest arrives."""

    def __init__(
        self, service: Retrieve, selected: Selection, written: Representation, deadline: Deadline, *, strict: bool
    ) -> None:
        super().__init__()
        self._service = service
        self._selected = selected
        self._written = written
        self._deadline = deadline
        self._strict = strict

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; what goes wrong after the status was sent leaves the body without its end."""
        body = Body(scope, send)
        head = scope["method"] == "HEAD"
        retrieval: Retrieval | None = None
        try:
            async with (
                self._service.federation.retrieve(self._selected, self._deadline) as retrieval,
                reading(retrieval) as instances,
            ):
                await self._first(retrieval, instances)
                status, headers = self._head(retrieval)
                if not head:
                    await body.start(status, headers)
                    await self._write(body, instances)
        except GatewayError as error:
            if body.begun or retrieval is None:
                raise
            await problem(error, federation_status=retrieval.completeness.header())(scope, receive, send)
            return
        # The end is told only now: leaving the context may still find that an instance is missing.
        if head:
            await body.start(status, headers)
        await body.end(b"" if head else self._written.end())

    async def _first(self, retrieval: "Retrieval", instances: AsyncIterator["Instance"]) -> None:
        first = await anext(instances, None)
        if first is None:
            raise NotFound("no region that answered holds it")
        if self._strict and (retrieval.partial or retrieval.completeness.missing):
            raise region_missing(retrieval.completeness)
        await self._written.prepare(first)

    def _head(self, retrieval: "Retrieval") -> tuple[int, list[Header]]:
        status = HTTPStatus.PARTIAL_CONTENT if retrieval.partial else HTTPStatus.OK
        told = federation_headers(retrieval.completeness, self._service.locations.base)
        return status, [*self._written.headers(), *told]

    async def _write(self, body: Body, instances: AsyncIterator["Instance"]) -> None:
        await self._written.write(body)
        async for instance in instances:
            await self._written.prepare(instance)
            await self._written.write(body)
