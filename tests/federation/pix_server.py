"""A Patient Identifier Cross-reference Manager on the loopback interface, as a test writes it (IHE PIXm, ITI-83)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

FHIR = "application/fhir+json"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def outcome(status: int, code: str) -> web.Response:
    issue = {"severity": "error", "code": code, "diagnostics": "sourceIdentifier Patient Identifier not found"}
    return web.json_response({"resourceType": "OperationOutcome", "issue": [issue]}, status=status, content_type=FHIR)


def parameters(*tokens: str, **more: Any) -> web.Response:
    """Make the answer with these target identifiers, each written as system|value."""
    targets: list[dict[str, Any]] = [{"name": "targetId", "valueReference": {"reference": "Patient/1"}}]
    for token in tokens:
        system, _, value = token.rpartition("|")
        targets.append({"name": "targetIdentifier", "valueIdentifier": {"system": system, "value": value}})
    return web.json_response({"resourceType": "Parameters", "parameter": targets, **more}, content_type=FHIR)


@dataclass
class PixServer:
    """Knows patients, each a list of system|value, and the systems of these.

    Attributes:
        answer: set to answer in another way.
        asked: each request, as its parameters.
        headers: of each request.
        busiest: how many it had at once.
    """

    patients: list[list[str]] = field(default_factory=list)
    answer: Answer | None = None
    asked: list[list[tuple[str, str]]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    url: str = ""
    busiest: int = 0
    under_way: int = 0

    @property
    def sources(self) -> list[str]:
        return [dict(request)["sourceIdentifier"] for request in self.asked]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(list(request.query.items()))
        self.headers.append(dict(request.headers))
        self.under_way += 1
        self.busiest = max(self.busiest, self.under_way)
        try:
            return await (self.answer or self.correspond)(request)
        finally:
            self.under_way -= 1

    async def correspond(self, request: web.Request) -> web.StreamResponse:
        """Answer as ITI-83 says."""
        await asyncio.sleep(0)
        systems = {token.rpartition("|")[0] for patient in self.patients for token in patient}
        source, targets = request.query["sourceIdentifier"], request.query.getall("targetSystem", [])
        if source.rpartition("|")[0] not in systems:
            return outcome(400, "code-invalid")
        if not systems.issuperset(targets):
            return outcome(403, "code-invalid")
        for patient in self.patients:
            if source in patient:
                others = [x for x in patient if x != source]
                return parameters(*(x for x in others if not targets or x.rpartition("|")[0] in targets))
        return outcome(404, "not-found")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["PixServer"]:
        app = web.Application()
        app.router.add_get("/fhir/Patient/$ihe-pix", self.serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            self.url = f"http://127.0.0.1:{port}/fhir"
            yield self
        finally:
            await runner.cleanup()
