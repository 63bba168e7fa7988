"""Probes: a region that is down does not take the gateway off; being about to stop does."""

import aiohttp
import orjson
import pytest

from gateway.ops.probes import Probes
from gateway.web.pages import Page, Visit
from gateway.web.server import WebServer
from tests.ops.serving import archive, nobody, watched


def checks(page: Page) -> dict[str, str]:
    assert isinstance(page.body, bytes)
    found: dict[str, str] = orjson.loads(page.body)["checks"]
    return found


async def test_a_gateway_all_of_whose_regions_are_down_lives_and_takes_requests() -> None:
    async with watched(absent=[nobody()]) as here:
        assert (await here.search())[0] == 503
        for root in (here.web, here.admin):
            for path in ("/livez", "/readyz", "/startupz"):
                status, headers, body = await here.get(root + path)
                assert (status, headers["Cache-Control"]) == (200, "no-store"), path
                assert set(orjson.loads(body)["checks"].values()) == {"ok"}


async def test_a_probe_may_be_asked_for_by_head_and_by_nothing_else() -> None:
    async with watched(archive()) as here:
        async with here.session.head(f"{here.web}/readyz") as answer:
            assert answer.status == 200
        async with here.session.post(f"{here.web}/readyz") as answer:
            assert answer.status == 405


async def test_before_all_listeners_are_up_it_lives_and_takes_no_requests() -> None:
    probes = Probes()
    assert (await probes.livez(Visit())).status == 200
    assert (await probes.startupz(Visit())).status == (await probes.readyz(Visit())).status == 503
    probes.started()
    assert (await probes.startupz(Visit())).status == (await probes.readyz(Visit())).status == 200


async def test_what_is_about_to_stop_lives_and_takes_no_requests() -> None:
    probes = Probes()
    probes.started()
    probes.drain()
    assert (await probes.livez(Visit())).status == (await probes.startupz(Visit())).status == 200
    page = await probes.readyz(Visit())
    assert page.status == 503
    assert "about to stop" in checks(page)["draining"]


async def test_operators_still_see_that_it_drains_while_the_faces_close(monkeypatch: pytest.MonkeyPatch) -> None:
    urls, told = list[str](), list[dict[str, str]]()
    ended = WebServer.aclose

    async def asking(server: WebServer, grace: float) -> None:
        await ended(server, grace)
        if not told:  # the face has just closed
            async with aiohttp.ClientSession() as session, session.get(urls[0]) as answer:
                assert answer.status == 503
                told.append(orjson.loads(await answer.read())["checks"])

    monkeypatch.setattr(WebServer, "aclose", asking)
    async with watched(archive()) as here:
        urls.append(f"{here.admin}/readyz")
    assert "about to stop" in told[0]["draining"]


async def test_a_check_that_finds_something_makes_it_take_no_requests() -> None:
    probes = Probes()
    probes.started()
    problem = ""
    probes.require("spool", lambda: problem)
    assert (await probes.readyz(Visit())).status == 200
    problem = "no room"
    page = await probes.readyz(Visit())
    assert (page.status, checks(page)["spool"]) == (503, "no room")
