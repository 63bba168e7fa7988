"""One Retrieve transaction over HTTP: the status waits for the first instance, the body follows as the rest arrives."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.errors import GatewayError, NotFound
from gateway.federation.completeness import not_held
from gateway.web.completeness import Header, federation_headers
from gateway.web.policy import permit_of
from gateway.web.problem import problem, region_missing
from gateway.web.streaming import Body, reading

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance, Retrieval
    from gateway.federation.retrieve import FederatedRetrieve


class Representation:
    """How the instances of one retrieve are written; made anew for each request.

    Attributes:
        status: of the response, once the first instance is prepared.
        gzip: whether the body is compressed, known by then, too.
        event: what the audit trail calls it.
    """

    status: int = HTTPStatus.OK
    gzip: bool = False
    event: str = "retrieve"

    async def prepare(self, instance: "Instance") -> bool:
        """Turn to the next instance; False where there is nothing of it to write.

        Raises:
            GatewayError: what the status should tell when it is the first.
        """
        raise NotImplementedError

    async def prepare_all(self, others: AsyncIterator["Instance"]) -> None:
        """Make of the prepared instance and the others an answer that is known before its first byte, if of use.

        Args:
            others: the rest, which are all here; what is not taken of them is prepared one by one.
        """

    def headers(self) -> list[Header]:
        """Return the fields that describe the body, once the first instance is prepared."""
        raise NotImplementedError

    async def write(self, body: Body) -> None:
        """Write the prepared instance."""
        raise NotImplementedError

    def end(self) -> bytes:
        """Return what ends the body."""
        return b""


class RetrieveResponse(Response):
    """Answers from one retrieval; what goes wrong after the status was sent leaves the body without its end."""

    def __init__(
        self,
        federation: "FederatedRetrieve",
        selected: Selection,
        written: Representation,
        deadline: Deadline,
        *,
        service: str,
        strict: bool,
    ) -> None:
        super().__init__()
        self._federation = federation
        self._selected = selected
        self._written = written
        self._deadline = deadline
        self._service = service
        self._strict = strict

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        body = Body(scope, send)
        head = scope["method"] == "HEAD"
        retrieval: Retrieval | None = None
        try:
            async with (
                self._federation.retrieve(
                    self._selected, self._deadline, permit=permit_of(scope), event=self._written.event
                ) as retrieval,
                reading(retrieval) as instances,
            ):
                await self._first(retrieval, instances)
                if retrieval.at_hand:
                    await self._written.prepare_all(instances)
                status, headers = self._head(retrieval)
                body.standing = retrieval.standing
                if not head:
                    await body.start(status, headers, gzip=self._written.gzip)
                    await self._write(body, instances)
        except GatewayError as error:
            if body.begun or retrieval is None:
                raise
            states = error.federation_status or retrieval.completeness.header()
            await problem(error, federation_status=states)(scope, receive, send)
            return
        # The end is told only now: leaving the context may still find that an instance is missing.
        if head:
            await body.start(status, headers, gzip=self._written.gzip)
        await body.end(b"" if head else self._written.end())

    async def _first(self, retrieval: "Retrieval", instances: AsyncIterator["Instance"]) -> None:
        """Go on to the first instance of which there is something to write."""
        arrived = False
        async for instance in instances:
            if self._strict and not arrived and (retrieval.partial or retrieval.completeness.missing):
                raise region_missing(retrieval.completeness)
            arrived = True
            if await self._written.prepare(instance):
                return
        raise NotFound("nothing of that kind is in it") if arrived else not_held("it", retrieval.completeness)

    def _head(self, retrieval: "Retrieval") -> tuple[int, list[Header]]:
        partial = retrieval.partial and self._written.status == HTTPStatus.OK
        status = HTTPStatus.PARTIAL_CONTENT if partial else self._written.status
        told = federation_headers(retrieval.completeness, self._service)
        return status, [*self._written.headers(), *told]

    async def _write(self, body: Body, instances: AsyncIterator["Instance"]) -> None:
        await self._written.write(body)
        async for instance in instances:
            if await self._written.prepare(instance):
                await self._written.write(body)
