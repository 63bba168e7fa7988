"""Who is not let in is in the audit trail, with the address that it came from, on both faces."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.access.principal import Principal
from gateway.assembly import running
from gateway.config.settings import load
from gateway.dimse.requestor import Peer, connect
from gateway.errors import AuditUnavailable, Rejected
from gateway.events import AssociationRefused, Event
from gateway.ops.refusals import MOST_WAITING, Refusals
from tests.access.issuing import real_time
from tests.dimse.scripts import ECHO, QUICK
from tests.kit.peers import free_port
from tests.scp.pacs import peer, soon


class Trail:
    """Keeps what is recorded of whom."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str, str, str, str]] = []
        self.news = asyncio.Event()
        self.broken = False

    async def __call__(self, who: Principal, event: str, outcome: str = "success", **more: Any) -> None:
        if self.broken:
            self.broken = False
            raise AuditUnavailable("the disk is full")
        self.told.append((who.subject, who.channel, who.address, event, outcome, more["reason"]))
        self.news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.told) < count:
                self.news.clear()
                await self.news.wait()


async def test_who_is_turned_away_is_recorded_with_its_address(tmp_path: Path) -> None:
    trail, port = Trail(), free_port()
    overrides: dict[str, dict[str, Any]] = {
        "access": {"mode": "tokens", "issuers": [real_time().settings(tmp_path).model_dump()]},
        "ops": {"port": 0},
        "http": {"port": 0},
        "dimse": {"port": port},
    }
    async with running(load(overrides=overrides), [], peers=[peer()], recorder=trail) as gateway:
        with pytest.raises(Rejected):
            await connect(Peer("127.0.0.1", port, "GATEWAY", "STRANGER"), (ECHO,), soon(), limits=QUICK)
        await trail.until(1)
        url = f"http://127.0.0.1:{gateway.http_port}/dicom-web/studies"
        for headers in ({}, {"Authorization": "Bearer abc"}):
            async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
                assert answer.status == 401
    here = "127.0.0.1", "unauthenticated", "denied"
    assert trail.told == [
        ("STRANGER", "dimse", *here, "calling-ae-title"),
        *[("", "web", *here, "unauthenticated")] * 2,
    ]


async def test_a_flood_of_strangers_costs_little_and_a_full_disk_ends_nothing() -> None:
    trail, seen = Trail(), list[Event]()

    def see(event: Event) -> None:
        seen.append(event)

    refusals = Refusals(trail, see)
    stranger = AssociationRefused("STRANGER", "GATEWAY", "10.0.0.1", "address")
    for _ in range(MOST_WAITING + 5):
        refusals(stranger)
    assert len(seen) == MOST_WAITING + 5
    trail.broken = True
    task = asyncio.ensure_future(refusals.run())
    await trail.until(MOST_WAITING - 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(trail.told) == MOST_WAITING - 1
