"""A whole gateway in this process over scripted regions, and what its operators read of it."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from gateway.assembly import Gateway, running
from gateway.config.settings import load
from gateway.events import Event
from gateway.region.profile import Profile
from tests.kit import dicom
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion

CANARY = "CANARY"
"""Part of every value of the patient in the scripted archives."""

PATIENT: dict[str, Any] = {
    "PatientName": f"{CANARY}^Name",
    "PatientID": f"{CANARY}-ID",
    "AccessionNumber": f"{CANARY}-ACC",
}
INSTANCES = [*dicom.study(1, instances=2, **PATIENT), *dicom.study(2, instances=3, **PATIENT)]


@dataclass(frozen=True)
class Watched:
    """A gateway that runs, and a client."""

    gateway: Gateway
    regions: Sequence[ScriptedRegion]
    events: list[Event]
    session: aiohttp.ClientSession

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.gateway.http_port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.gateway.ops_port}"

    async def get(self, url: str, **headers: str) -> tuple[int, Any, bytes]:
        async with self.session.get(url, headers=headers) as answer:
            return answer.status, answer.headers, await answer.read()

    async def status(self) -> dict[str, Any]:
        _, _, body = await self.get(f"{self.admin}/status.json")
        found: dict[str, Any] = orjson.loads(body)
        return found

    async def search(self, query: str = "", **headers: str) -> tuple[int, Any, bytes]:
        return await self.get(f"{self.web}/dicom-web/studies{query}", **headers)


def profile(region: ScriptedRegion, **more: Any) -> Profile:
    values = {"name": region.ae_title, "ae_title": region.ae_title, "host": "127.0.0.1", "port": region.node.port}
    return Profile(**{**values, "move_destinations": ("GATEWAY",), **more})


@contextlib.asynccontextmanager
async def watched(
    *regions: ScriptedRegion, absent: Sequence[Profile] = (), settings: dict[str, dict[str, Any]] | None = None
) -> AsyncIterator[Watched]:
    """Run a gateway over regions, and over some that are not there."""
    port, events = free_port(), list[Event]()
    overrides: dict[str, dict[str, Any]] = {
        "http": {"port": 0},
        "dimse": {"port": port},
        "search": {"soft_seconds": 3.0, "hard_seconds": 5.0},
        "retrieve": {"quiet_seconds": 0.4},
        "access": {"mode": "open"},
        "ops": {"port": 0, "echo_seconds": 0.0},
    }
    for section, values in (settings or {}).items():
        overrides[section] = overrides.get(section, {}) | values

    def observe(event: Event) -> None:
        events.append(event)

    async with contextlib.AsyncExitStack() as stack:
        for region in regions:
            await stack.enter_async_context(region.running(port))
        profiles = [*map(profile, regions), *absent]
        gateway = await stack.enter_async_context(running(load(overrides=overrides), profiles, observe))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Watched(gateway, regions, events, session)


def archive(name: str = "NEODIN") -> ScriptedRegion:
    return ScriptedRegion(name, INSTANCES)


def nobody(name: str = "HDIRS") -> Profile:
    """Return the profile of a region whose port nobody listens on."""
    return Profile(name=name, ae_title=name, host="127.0.0.1", port=free_port(), move_destinations=("GATEWAY",))
