"""A real region over a scripted peer, its inbox and its events."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from gateway.config import settings
from gateway.dataset.query import Level, Query, Row, Selection
from gateway.deadline import Deadline
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.suboperations import SubOperations
from gateway.errors import GatewayError
from gateway.events import CircuitChanged
from gateway.region.breaker import CircuitState
from gateway.region.inbox import Inbox
from gateway.region.node import Region
from gateway.region.profile import Profile
from gateway.wire.limits import Limits
from tests.dimse.scripts import until
from tests.kit import dicom
from tests.kit.scripted import Script, ScriptedNode, scripted_acceptor
from tests.region.witness import Witness

STUDIES = Query(Level.STUDY)
STUDY = Selection(dicom.uid(1))
QUICK = Limits(connect_seconds=1.0, artim_seconds=1.0, linger_seconds=0.1, cancel_seconds=0.4)


class Watched:
    """A region, its inbox and its events."""

    def __init__(
        self, port: int, *, search: dict[str, Any] | None = None, quiet_seconds: float = 0.2, **profile: Any
    ) -> None:
        self.events = Witness()
        self.inbox = Inbox(self.events)
        known = {"name": "NEODIN", "ae_title": "NEODIN", "host": "127.0.0.1", "port": port, **profile}
        chosen = {
            "retrieve": {"quiet_seconds": quiet_seconds},
            "search": {"max_matches_per_region": 100, **(search or {})},
        }
        self.region = Region(Profile(**known), settings.load(None, chosen), self.inbox, self.events, QUICK)

    async def search(self, query: Query = STUDIES, seconds: float = 10.0) -> list[Row]:
        async with aclosing(self.region.search(query, Deadline.after(seconds))) as rows:
            return [found async for found in rows]

    async def gathered(self, query: Query = STUDIES) -> tuple[list[Row], GatewayError | None]:
        """Return what was found, and how it ended."""
        found: list[Row] = []
        try:
            async for each in self.region.search(query, Deadline.after(10.0)):
                found.append(each)  # noqa: PERF401 - what came before the error is what is looked at
        except GatewayError as error:
            return found, error
        return found, None

    async def retrieve(self, selection: Selection = STUDY) -> tuple[SubOperations, list[str]]:
        arrived: list[str] = []

        async def receive(store: IncomingStore, series: str | None) -> int:
            async for _ in store:
                pass
            arrived.append(store.sop_instance_uid)
            return 0

        deadline = Deadline.after(10.0)
        return await self.region.retrieve(selection, receive, deadline, held_up=lambda: False), arrived

    async def fails(self, error: type[GatewayError], times: int = 1, **options: Any) -> None:
        for _ in range(times):
            with pytest.raises(error):
                await self.search(**options)

    @property
    def circuit(self) -> list[CircuitState | str]:
        return [event.state for event in self.events.of(CircuitChanged)]

    def let_the_pause_pass(self) -> None:
        self.region.breaker._until = 0.0


@asynccontextmanager
async def watched(*scripts: Script, **profile: Any) -> AsyncIterator[tuple[Watched, ScriptedNode]]:
    async with scripted_acceptor(*scripts) as node:
        watching = Watched(node.port, **profile)
        try:
            yield watching, node
        finally:
            await watching.region.aclose()


async def left_at(watching: Watched, query: Query, reached: Callable[[], bool]) -> None:
    """Search until a point is reached, then go away as a client does that disconnects."""
    task = asyncio.ensure_future(watching.search(query))
    await until(reached)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


def fields(node: ScriptedNode) -> list[int]:
    """Return the command fields of everything that was asked, over all connections."""
    return [command["command_field"] for peer in node.peers for command in peer.commands]
