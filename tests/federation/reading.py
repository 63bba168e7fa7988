"""Some scripted regions behind one federated retrieve, and its reader."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Self

from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.dimse.suboperations import SubOperations
from gateway.federation.retrieval import Retrieval
from gateway.federation.retrieve import FederatedRetrieve
from gateway.region.inbox import Receiver
from gateway.spool.spool import Spool
from tests.federation.scripted_region import Holdings, ScriptedRegion
from tests.region.witness import Witness

STUDY = Selection("1")
CT: Holdings = {"1": {"1.1": ["1.1.1", "1.1.2", "1.1.3"]}}
MR: Holdings = {"1": {"1.2": ["1.2.1", "1.2.2"]}}
OF_THE_SPOOL = {"max_bytes", "memory_bytes", "seconds", "folder", "keep_on_restart"}
EVERYTHING = ["1.1.1", "1.1.2", "1.1.3", "1.2.1", "1.2.2"]


class Province:
    """Some regions behind one retrieve, and a reader."""

    def __init__(self, *regions: ScriptedRegion, **settings: Any) -> None:
        self.events = Witness()
        self.regions = regions
        self.settings = settings
        self.spool: Spool
        self.federation: FederatedRetrieve
        self._depth = 0
        self.got: list[tuple[str, str, bytes]] = []
        self.completeness = ""

    async def __aenter__(self) -> Self:
        """Start it, unless that is done."""
        if self._depth == 0:
            self.spool = Spool(**{k: v for k, v in self.settings.items() if k in OF_THE_SPOOL})
            await self.spool.start()
            rest = {k: v for k, v in self.settings.items() if k not in OF_THE_SPOOL}
            self.federation = FederatedRetrieve(self.regions, self.events, self.spool, **rest)
            await self.federation.__aenter__()
        self._depth += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            await self.federation.__aexit__(None, None, None)
            await self.spool.aclose()

    @asynccontextmanager
    async def retrieve(self, selection: Selection, deadline: Deadline) -> AsyncIterator[Retrieval]:
        async with self, self.federation.retrieve(selection, deadline) as retrieval:
            yield retrieval

    async def read(
        self, selection: Selection = STUDY, *, seconds: float = 60.0, pause: float = 0.0, first: int | None = None
    ) -> "Province":
        """Read the selection to its end, or the first so many instances."""
        async with self.retrieve(selection, Deadline.after(seconds)) as retrieval:
            try:
                await self._read(retrieval, pause, first)
            finally:
                self.completeness = retrieval.completeness.header()
        return self

    async def _read(self, retrieval: Retrieval, pause: float, first: int | None) -> None:
        async with aclosing(aiter(retrieval)) as instances:  # type: ignore[type-var]
            async for instance in instances:
                data = b""
                async for fragment in instance:
                    await asyncio.sleep(pause)
                    data += fragment
                self.got.append((instance.sop_instance_uid, instance.region, data))
                if len(self.got) == first:
                    return

    @property
    def uids(self) -> list[str]:
        return sorted(uid for uid, _, _ in self.got)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way any more and nothing of what was on its way is kept."""
        return not any(region.under_way or any(x.buffered for x in region.stores) for region in self.regions)


def holding(name: str, held: Holdings, how: Any = None, **more: Any) -> ScriptedRegion:
    return ScriptedRegion(name, held, sends=how, **more)


async def forever(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
    await asyncio.Event().wait()
    raise AssertionError


def then(*steps: Callable[[ScriptedRegion, Selection, Receiver], Awaitable[SubOperations]]) -> Any:
    """Do one after the other; the last one tells how it went."""

    async def send(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        results = [await step(region, selection, receive) for step in steps]
        return results[-1]

    return send
