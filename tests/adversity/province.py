"""A gateway between a good region and a faulty one, in this process, with limits of tenths of a second."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import Message as Headers
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.assembly import Gateway, running
from gateway.config.settings import load
from gateway.events import Event
from gateway.region.node import Region
from gateway.region.profile import Profile
from gateway.wire.limits import Limits
from tests.kit import dicom
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion

SOFT = 0.8
"""Seconds a region has for its part of a search."""

SHORT: dict[str, Any] = {
    "connect_seconds": 0.4,
    "artim_seconds": 0.4,
    "linger_seconds": 0.1,
    "stall_seconds": 0.4,
    "idle_seconds": 0.8,
    "cancel_seconds": 0.4,
}
MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'

# Studies 1 and 2 are the good region's, 3 to 5 the faulty one's; 9 is split by series over both.
COUNTED: dict[str, Any] = {
    "ModalitiesInStudy": "CT",
    "NumberOfStudyRelatedSeries": 1,
    "NumberOfStudyRelatedInstances": 2,
}
"""What their rows tell of the level below, so that nothing has to be asked for there."""
GOOD = [
    *dicom.study(1, instances=2, **COUNTED),
    *dicom.study(2, instances=1, **COUNTED),
    *dicom.study(9, series=1, instances=2, **COUNTED),
]
BAD = [
    *dicom.study(3, instances=2, **COUNTED),
    *dicom.study(4, instances=1, **COUNTED),
    *dicom.study(5, instances=1, **COUNTED),
    *(dicom.instance(9, 2, number, size=40_000, **COUNTED) for number in (1, 2, 3)),
]


@dataclass
class Answer:
    """A response, read as far as it came."""

    status: int
    headers: Any
    body: bytes
    whole: bool
    seconds: float

    @property
    def studies(self) -> set[str]:
        """Study Instance UIDs of the rows."""
        return {row["0020000D"]["Value"][0] for row in orjson.loads(self.body)}

    @property
    def states(self) -> dict[str, str]:
        """Region -> what `Federation-Status` says after its name."""
        members = self.headers["Federation-Status"].split(", ")
        return dict(member.split(";", 1) for member in members)

    @property
    def warnings(self) -> list[str]:
        return [text for name, text in self.headers.items() if name.lower() == "warning"]

    @property
    def parts(self) -> list[bytes]:
        """The content of each part that is there whole."""
        holder = Headers()
        holder["Content-Type"] = self.headers["Content-Type"]
        boundary = b"--" + str(holder.get_param("boundary")).encode()
        pieces = self.body.split(b"\r\n" + boundary)
        pieces[0] = pieces[0].removeprefix(boundary)
        return [piece.partition(b"\r\n\r\n")[2] for piece in pieces[:-1]]

    @property
    def closed(self) -> bool:
        """Whether the body has its closing boundary."""
        return self.body.rstrip().endswith(b"--")

    @property
    def instances(self) -> set[str]:
        """SOP Instance UIDs of the whole parts."""
        return {str(dicom.from_part10(part).SOPInstanceUID) for part in self.parts}


@dataclass
class Province:
    """The running gateway, its regions and what it told its observer."""

    gateway: Gateway
    good: ScriptedRegion
    bad: ScriptedRegion
    dimse_port: int
    events: list[Event] = field(default_factory=list)

    async def get(self, path: str, accept: str = "application/dicom+json", **headers: str) -> Answer:
        """Make one request; a body that breaks off is returned as far as it came."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        url = f"http://127.0.0.1:{self.gateway.http_port}/dicom-web{path}"
        body, whole = bytearray(), True
        async with aiohttp.ClientSession() as session, session.get(url, headers={"Accept": accept, **headers}) as reply:
            try:
                async for piece in reply.content.iter_any():
                    body += piece
            except aiohttp.ClientError:
                whole = False
            return Answer(reply.status, reply.headers, bytes(body), whole, loop.time() - started)

    def region(self, name: str) -> Region:
        found = next(region for region in self.gateway.regions if region.profile.id == name)
        assert isinstance(found, Region)
        return found

    def slots(self, name: str) -> str:
        """Return how the pool of a region stands."""
        return repr(self.region(name)._pool)

    async def at_rest(self, seconds: float = 2.0) -> None:
        """Return once no association of ours is busy, within the bound that the promises set."""
        async with asyncio.timeout(seconds):
            while not self._rests:  # noqa: ASYNC110 - a pool tells nobody but who asks
                await asyncio.sleep(0.01)

    @property
    def _rests(self) -> bool:
        pools = [self.slots(name) for name in ("good", "bad")]
        return all("active=0" in pool and "opening=0 waiting=0" in pool for pool in pools)


def profile(region: ScriptedRegion, port: int | None = None, **more: Any) -> Profile:
    """Return the profile of a scripted region, or of what stands in front of it at another port."""
    values = {"name": region.ae_title, "ae_title": region.ae_title, "host": "127.0.0.1"}
    return Profile(**{**values, "port": port or region.node.port, "move_destinations": ("GATEWAY",), **more})


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextlib.asynccontextmanager
async def province(
    monkeypatch: pytest.MonkeyPatch,
    bad: ScriptedRegion | None = None,
    *,
    bad_port: int | None = None,
    settings: dict[str, dict[str, Any]] | None = None,
    **bad_profile: Any,
) -> AsyncIterator[Province]:
    """Run a gateway over a good region and a faulty one; when it is over, nothing may be left."""
    monkeypatch.setattr("gateway.assembly.Limits", lambda **given: Limits(**{**given, **SHORT}))
    dimse_port, files = free_port(), open_files()
    bad = bad or ScriptedRegion("BAD", BAD)
    overrides: dict[str, dict[str, Any]] = {
        "access": {"mode": "open"},
        "http": {"port": 0},
        "ops": {"port": 0, "echo_seconds": 0.0},
        "dimse": {"port": dimse_port},
        "search": {"soft_seconds": SOFT, "hard_seconds": 5.0},
        "retrieve": {"first_instance_seconds": 2.0, "quiet_seconds": 0.4},
    }
    for section, values in (settings or {}).items():
        overrides[section] |= values
    events: list[Event] = []
    async with ScriptedRegion("GOOD", GOOD).running(dimse_port) as good, bad.running(dimse_port):
        profiles = [profile(good), profile(bad, bad_port, **bad_profile)]

        def observe(event: Event) -> None:
            events.append(event)

        async with running(load(overrides=overrides), profiles, observe) as gateway:
            held = Province(gateway, good, bad, dimse_port, events)
            yield held
            await held.at_rest()
    async with asyncio.timeout(30):
        while open_files() > files:  # noqa: ASYNC110 - sockets tell nobody that they are closed
            await asyncio.sleep(0.01)
