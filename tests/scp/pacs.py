"""A gateway over scripted regions, in this process, and what a PACS says to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset

from gateway.assembly import running
from gateway.config.settings import load
from gateway.deadline import Deadline
from gateway.dimse.association import Association
from gateway.dimse.find import find
from gateway.dimse.requestor import Peer, connect
from gateway.events import Event
from gateway.region.profile import Profile
from gateway.scp.profile import PeerProfile
from gateway.wire.negotiation import ProposedContext
from tests.dimse.scripts import FIND, QUICK
from tests.kit import dicom, pdus
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion

INSTANCES = [*dicom.study(1, series=2, instances=2), *dicom.study(2, instances=1), *dicom.study(3, instances=1)]
STUDY, SERIES = dicom.uid(1), dicom.uid(1, 1)


def peer(ae_title: str = "WS", port: int = 0, **more: Any) -> PeerProfile:
    """Make the profile of a peer on this host; one with a port takes instances there."""
    destination = {"move_destination": {"host": "127.0.0.1", "port": port}} if port else {}
    return PeerProfile(**{"name": ae_title, "ae_title": ae_title, "addresses": ("127.0.0.1",), **destination, **more})


@dataclass
class Face:
    """The running gateway as a peer sees it.

    Attributes:
        port: where it listens.
        tls_port: where it does so with TLS.
        regions: what stands behind it.
        events: what it told its observer.
        news: set by each of them.
    """

    port: int
    tls_port: int
    regions: Sequence[ScriptedRegion]
    events: list[Event] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[Event], count: int = 1) -> Any:
        """Wait until there were so many events of a kind, and return the last."""
        async with asyncio.timeout(30):
            while len(self.of(kind)) < count:
                self.news.clear()
                await self.news.wait()
        return self.of(kind)[-1]

    @contextlib.asynccontextmanager
    async def associated(
        self, *contexts: ProposedContext, ae_title: str = "WS", called: str = "GATEWAY", **more: Any
    ) -> AsyncIterator[Association]:
        """Run the body with an association of a peer, then release it."""
        here = Peer("127.0.0.1", self.port, called, ae_title)
        async with await connect(here, contexts or (FIND,), soon(), limits=QUICK, **more) as association:
            yield association


@contextlib.asynccontextmanager
async def face(
    *regions: ScriptedRegion,
    peers: Sequence[PeerProfile] = (),
    spool: dict[str, int] | None = None,
    access: dict[str, Any] | None = None,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
    **dimse: Any,
) -> AsyncIterator[Face]:
    """Run a gateway over regions for peers, with these settings of its DIMSE face, and of other sections."""
    port, events, news = free_port(), list[Event](), asyncio.Event()
    overrides: dict[str, Mapping[str, Any]] = {
        "access": access or {"mode": "open"},
        "http": {"port": 0},
        "ops": {"port": 0, "echo_seconds": 0.0},
        "dimse": {"port": port, "tls_port": 0, **dimse},
        "spool": spool or {},
        "search": {"soft_seconds": 1.0, "hard_seconds": 5.0},
        "retrieve": {"first_instance_seconds": 5.0, "quiet_seconds": 0.4},
        **(sections or {}),
    }

    def observe(event: Event) -> None:
        events.append(event)
        news.set()

    async with contextlib.AsyncExitStack() as stack:
        behind = regions or (ScriptedRegion("ARCHIVE", INSTANCES),)
        for region in behind:
            await stack.enter_async_context(region.running(port))
        profiles = [region_profile(region) for region in behind]
        gateway = await stack.enter_async_context(
            running(load(overrides=overrides), profiles, observe, peers=peers or [peer()])
        )
        yield Face(gateway.dimse_port, gateway.tls_port, behind, events, news)


def region_profile(region: ScriptedRegion, **more: Any) -> Profile:
    values = {"name": region.ae_title, "ae_title": region.ae_title, "host": "127.0.0.1", "port": region.node.port}
    return Profile(**{**values, "move_destinations": ("GATEWAY",), **more})


def soon() -> Deadline:
    return Deadline.after(10.0)


def identifier(level: str, **keys: Any) -> bytes:
    """Encode an Identifier in Explicit VR Little Endian; keys are keywords."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dicom.encode(dataset)


async def rows(association: Association, level: str, model: str = pdus.STUDY_FIND, **keys: Any) -> list[Dataset]:
    """Ask by C-FIND and return the matches."""
    async with aclosing(find(association, model, identifier(level, **keys), soon())) as matches:
        return [dicom.decode(match) async for match in matches]
