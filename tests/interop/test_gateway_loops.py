"""Gateways that are regions of each other: what goes round ends at once, and is told as what it is."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from gateway.assembly import running
from gateway.config.settings import load
from gateway.events import DeliveryQuarantined, RegionOperation
from gateway.region.profile import Profile
from tests.adversity.province import Answer
from tests.kit import dicom
from tests.kit.peers import SECONDS, free_port
from tests.kit.region import ScriptedRegion
from tests.region.web_archive import listing, server
from tests.region.witness import Witness
from tests.scp.pacs import region_profile
from tests.web.storing import FILE, first, values

JSON = "application/dicom+json"
MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'
SOON = 4.0
"""Seconds. A loop that is not seen lasts as long as a search may: half a minute here."""

SETTINGS: dict[str, Any] = {
    "access": {"mode": "open"},
    "ops": {"port": 0},
    "search": {"soft_seconds": 30.0, "hard_seconds": 30.0},
    "retrieve": {"first_instance_seconds": 30.0},
}


@dataclass
class Member:
    """A gateway of the circle, and what it told its observer."""

    port: int
    events: Witness

    async def ask(self, path: str = "/studies", accept: str = JSON, *, sent: bytes = b"", **headers: str) -> Answer:
        began = time.monotonic()
        method = "POST" if sent else "GET"
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                f"http://127.0.0.1:{self.port}/dicom-web{path}",
                headers={"Accept": accept, **headers},
                data=sent or None,
            ) as response,
        ):
            body = await response.read()
            return Answer(response.status, response.headers, body, whole=True, seconds=time.monotonic() - began)


def next_one(port: int) -> Profile:
    return Profile(name="NEXT", dicomweb=f"http://127.0.0.1:{port}/dicom-web")


@asynccontextmanager
async def circle(
    size: int = 2, *, archives: bool = True, stores: Sequence[dict[str, Any]] = ()
) -> AsyncIterator[list[Member]]:
    """Run gateways, each of which has the next one as region NEXT and an archive with a study of its own as OWN."""
    ports, dimse_ports = [free_port() for _ in range(size)], [free_port() for _ in range(size)]
    members = [Member(port, Witness()) for port in ports]
    async with AsyncExitStack() as stack:
        for number, member in enumerate(members):
            profiles = [next_one(ports[(number + 1) % size])]
            if archives:
                own = ScriptedRegion("OWN", dicom.study(number + 1, instances=2))
                profiles.append(region_profile(await stack.enter_async_context(own.running(dimse_ports[number]))))
            settings = SETTINGS | {"http": {"port": member.port}, "dimse": {"port": dimse_ports[number]}}
            if stores:
                settings |= {"store": {"default": ["NEXT"], **stores[number]}}
            await stack.enter_async_context(running(load(overrides=settings), profiles, member.events))
        yield members


STUDIES = {dicom.uid(1), dicom.uid(2)}


async def test_search_has_all_that_there_is_at_once_and_tells_of_the_loop() -> None:
    async with circle() as (one, other):
        for member in (one, other):
            answer = await member.ask()
            assert (answer.status, answer.studies) == (200, STUDIES)
            assert answer.seconds < SOON
            assert answer.states["next"].startswith("state=loop")
            assert answer.states["own"] == "state=complete;matches=1"
            assert "remove one of the two profiles" in answer.headers["Warning"]


async def test_circle_of_three_ends_where_it_began() -> None:
    async with circle(3) as members:
        answer = await members[0].ask()
    assert answer.studies == {*STUDIES, dicom.uid(3)}
    assert answer.seconds < SOON
    assert answer.states["next"].startswith("state=loop")


async def test_gateways_that_have_nothing_but_each_other_say_so() -> None:
    async with circle(archives=False) as (one, _):
        answer = await one.ask()
    assert answer.states == {"next": 'state=loop;missing="next"'}
    assert answer.studies == set()
    assert answer.seconds < SOON


async def test_who_asks_at_both_at_the_same_time_waits_for_nobody_who_waits_for_him() -> None:
    async with circle() as (one, other):
        answers = await asyncio.gather(*(member.ask() for member in (one, other) for _ in range(3)))
        study = dicom.uid(2)
        bodies = await asyncio.gather(*(member.ask(f"/studies/{study}", MULTIPART) for member in (one, other)))
    assert all(answer.studies == STUDIES for answer in answers)
    assert all(answer.seconds < SOON for answer in (*answers, *bodies))
    assert [body.body.count(b"DICM") for body in bodies] == [2, 2]


async def test_strict_caller_gets_nothing_until_it_is_mended() -> None:
    async with circle() as (one, _):
        answer = await one.ask(Prefer="handling=strict")
    assert answer.status == 503
    assert answer.states["next"].startswith("state=loop")


async def test_study_of_the_next_gateway_comes_whole() -> None:
    async with circle() as (one, _):
        answer = await one.ask(f"/studies/{dicom.uid(2)}", MULTIPART)
    assert answer.status in {200, 206}
    assert answer.body.count(b"DICM") == 2
    assert answer.seconds < SOON


# --- what is stored


def upload(number: int = 9) -> bytes:
    part = f"--frontier\r\nContent-Type: {FILE}\r\n\r\n".encode() + dicom.part10(dicom.instance(number))
    return part + b"\r\n--frontier--\r\n"


KIND = {"Content-Type": f'multipart/related; type="{FILE}"; boundary=frontier'}


async def test_instance_that_is_sent_round_is_refused_at_once() -> None:
    async with circle(stores=[{}, {}]) as (one, other):
        answer = await one.ask(sent=upload(), **KIND)
        stores = [x.outcome for x in other.events.of(RegionOperation) if x.verb == "store"]
    assert answer.status == 409
    assert answer.seconds < SOON
    assert first(values(orjson.loads(answer.body), "00081198")[0], "00081197") == 0xC000
    assert stores == ["loop"]


async def test_instance_that_waits_on_its_way_round_ends_in_quarantine(tmp_path: Path) -> None:
    durable = [{"folder": str(tmp_path / name), "answer": "durable"} for name in ("one", "other")]
    async with circle(stores=durable) as (one, other):
        assert (await one.ask(sent=upload(), **KIND)).status == 202
        async with asyncio.timeout(SECONDS):
            while not other.events.of(DeliveryQuarantined):  # noqa: ASYNC110 - a witness tells nobody
                await asyncio.sleep(0.01)
        taken = [x for x in one.events.of(RegionOperation) if x.verb == "store"]
    assert [x.outcome for x in taken] == ["complete"]


# --- the field


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[Member, list[str]]]:
    """Run a gateway over one region, and note the Via fields that it sends there."""
    fields: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        fields.append(request.headers["Via"])
        return listing([])

    async with server(handler) as requests:
        settings = SETTINGS | {"http": {"port": 0}, "dimse": {"port": 0}}
        profile = Profile(name="NEXT", dicomweb=requests.url)
        async with running(load(overrides=settings), [profile]) as up:
            yield Member(up.http_port, Witness()), fields


async def test_request_upstream_names_us_behind_those_that_it_came_through() -> None:
    async with watched() as (member, fields):
        await member.ask()
        await member.ask(Via="1.1 proxy.hospital.example (Smith^John), 2.0 gateway-0123456789abcdef")
    own = fields[0]
    assert re.fullmatch(r"1\.1 gateway-[0-9a-f]{16}", own)
    assert fields[1] == f"1.1 gateway-0123456789abcdef, {own}"


async def test_request_with_our_own_name_is_508_and_says_what_to_remove() -> None:
    async with watched() as (member, fields):
        await member.ask()
        answer = await member.ask(Via=fields[0])
    problem = orjson.loads(answer.body)
    assert (answer.status, answer.headers["Content-Type"]) == (508, "application/problem+json")
    assert problem["type"].endswith("/loop")
    assert 'remove the profile whose "dicomweb" leads here' in problem["detail"]
    assert len(fields) == 1, "nobody is asked for it"


@pytest.mark.parametrize("name", ["gateway-0123456789abcdef", "gateway", ""])
async def test_names_of_others_are_no_loop(name: str) -> None:
    async with watched() as (member, _):
        assert (await member.ask(Via=f"1.1 {name}".strip())).status == 200
