"""The status page: true, live, in two languages, and without anything of a patient."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.region.breaker import Breaker
from tests.kit import pdus
from tests.kit.region import ScriptedRegion
from tests.kit.scripted import Message, ScriptedPeer
from tests.ops.serving import CANARY, INSTANCES, Watched, archive, nobody, watched

STUDY = INSTANCES[0].StudyInstanceUID


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each look see what is, and the stream go on at once."""
    monkeypatch.setattr("gateway.ops.status.FRESH_SECONDS", 0.0)
    monkeypatch.setattr("gateway.ops.status_pages.EVENT_SECONDS", 0.02)


def of(status: dict[str, Any], name: str) -> dict[str, Any]:
    [region] = [region for region in status["regions"] if region["region"] == name]
    assert isinstance(region, dict)
    return region


async def test_a_region_that_nobody_has_asked_yet_is_grey() -> None:
    async with watched(archive()) as here:
        region = of(await here.status(), "neodin")
    assert (region["light"], region["reasons"], region["last_error"]) == ("grey", ["not-asked"], None)
    assert region["associations"] == {"in_use": 0, "idle": 0, "waiting": 0, "cap": 4}


async def test_a_region_that_answers_is_green_and_shows_how_quick_it_is() -> None:
    async with watched(archive()) as here:
        for _ in range(3):
            assert (await here.search())[0] == 200
        region = of(await here.status(), "neodin")
    assert (region["light"], region["reasons"]) == ("green", ["answers"])
    assert len(region["first_match"]["recent_ms"]) >= 3
    assert 0 < region["first_match"]["p50_ms"] <= region["first_match"]["p95_ms"] < 3000


async def test_a_region_that_is_not_there_is_red_and_the_page_says_who_should_do_what() -> None:
    async with watched(archive(), absent=[nobody()]) as here:
        await here.search()
        status = await here.status()
        _, _, html = await here.get(f"{here.web}/status", **{"Accept-Language": "en"})
        _, _, french = await here.get(f"{here.web}/status", **{"Accept-Language": "fr-CA,fr;q=0.9,en;q=0.5"})
    region = of(status, "hdirs")
    assert (region["light"], region["reasons"]) == ("red", ["absent"])
    assert region["last_error"]["outcome"] == "refused"
    assert "PACS team" in region["last_error"]["remedy"]
    assert "1 of 2 regions answer" in html.decode()
    assert "Nothing listens at 127.0.0.1" in html.decode()
    assert '<html lang="fr">' in french.decode()
    assert "Rien n’écoute à 127.0.0.1" in french.decode()


async def test_a_circuit_that_opens_shows_on_the_page_with_the_time_of_its_next_probe() -> None:
    async with watched(absent=[nobody()]) as here:
        for number in range(Breaker.THRESHOLD):
            await here.search(f"?limit={number + 1}")
        region = of(await here.status(), "hdirs")
        _, _, html = await here.get(f"{here.web}/status?lang=en")
        _, _, metrics = await here.get(f"{here.admin}/metrics")
    assert (region["light"], region["breaker"]["state"]) == ("red", "open")
    assert 20 < region["breaker"]["next_probe_seconds"] <= 36
    assert re.search(r"open, next probe in \d+\u202fs", html.decode())
    assert b'gateway_breaker_state{region="hdirs",state="open"} 1.0' in metrics
    assert b'gateway_breaker_transitions_total{region="hdirs",state="open"} 1.0' in metrics


async def reject(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
    await peer.send(pdus.message(request.context_id, pdus.response(request.command, 0xA801)))


async def test_a_move_destination_that_the_region_does_not_know_is_amber_even_where_c_get_brings_it_all() -> None:
    region = archive()
    region.answers[pdus.C_MOVE_RQ] = reject
    async with watched(region) as here:
        url = f"{here.web}/dicom-web/studies/{STUDY}"
        multipart = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        assert (await here.get(url, Accept=multipart))[0] == 200
        shown = of(await here.status(), "neodin")
    assert (shown["light"], shown["reasons"]) == ("amber", ["unknown-destination"])
    assert shown["move_destination"]["known"] is False


async def test_a_move_destination_that_the_region_knows_is_said_to_be_known() -> None:
    async with watched(archive()) as here:
        multipart = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        assert (await here.get(f"{here.web}/dicom-web/studies/{STUDY}", Accept=multipart))[0] == 200
        shown = of(await here.status(), "neodin")
    assert (shown["light"], shown["move_destination"]["known"]) == ("green", True)


async def test_a_retrieve_under_way_shows_how_far_it_is_and_no_uid() -> None:
    held, go_on = asyncio.Event(), asyncio.Event()
    region = archive()

    async def halfway(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        selected = region.selected(request)
        async with region.storing(request.command["move_destination"]) as sub:
            await region.store(sub, 1, selected[0], request)
            held.set()
            await go_on.wait()
            for number, instance in enumerate(selected[1:], start=2):
                await region.store(sub, number, instance, request)
            await sub.release()
        response = pdus.response(request.command, 0, number_of_completed_suboperations=len(selected))
        await peer.send(pdus.message(request.context_id, response))

    region.answers[pdus.C_MOVE_RQ] = halfway
    async with watched(region) as here, asyncio.TaskGroup() as group:
        multipart = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        retrieve = group.create_task(here.get(f"{here.web}/dicom-web/studies/{STUDY}", Accept=multipart))
        await held.wait()
        [flight] = (await here.status())["flights"]
        _, _, html = await here.get(f"{here.web}/status?lang=en")
        go_on.set()
        assert (await retrieve)[0] == 200
    assert (flight["state"], flight["readers"], flight["instances"]) == ("bringing", 1, 1)
    assert flight["bytes"] > 0
    assert "<table>" in html.decode()
    assert STUDY not in html.decode()


# --- the stream


@contextlib.asynccontextmanager
async def stream(here: Watched, query: str = "") -> AsyncIterator[aiohttp.StreamReader]:
    async with here.session.get(f"{here.web}/status/events{query}") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        yield answer.content


async def data(reader: aiohttp.StreamReader) -> bytes:
    """Return the data of the next event."""
    lines: list[bytes] = []
    async with asyncio.timeout(30):
        while True:
            line = (await reader.readline()).rstrip(b"\n")
            assert not reader.at_eof() or line
            if line.startswith(b"data: "):
                lines.append(line.removeprefix(b"data: "))
            elif not line and lines:
                return b"\n".join(lines)


async def test_the_stream_tells_of_a_region_that_goes_down() -> None:
    async with watched(absent=[nobody()]) as here, stream(here) as events:
        assert of(orjson.loads(await data(events)), "hdirs")["light"] == "grey"
        await here.search()
        async with asyncio.timeout(30):
            while of(orjson.loads(await data(events)), "hdirs")["light"] != "red":
                pass


async def test_the_stream_may_carry_what_the_page_shows() -> None:
    async with watched(archive()) as here, stream(here, "?view=html&lang=fr") as events:
        shown = (await data(events)).decode()
    assert 'id="region-neodin"' in shown
    assert "Récupérations en cours" in shown
    assert "<html" not in shown


async def test_a_reader_of_the_stream_does_not_hold_up_the_end() -> None:
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(watched(archive()))
        events = await stack.enter_async_context(stream(here))
        await data(events)
        began = loop.time()
        leaving = stack.pop_all()
        await leaving.aclose()
    assert loop.time() - began < 2.0


async def test_a_reader_too_many_is_asked_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ops.status_pages.MOST_STREAMS", 1)
    async with watched(archive()) as here, stream(here) as events:
        await data(events)
        status, headers, _ = await here.get(f"{here.web}/status/events")
    assert (status, headers["Retry-After"]) == (503, "10")


# --- what is on none of them


async def test_nothing_of_a_patient_and_no_uid_is_on_any_page_in_any_metric_or_event() -> None:
    async with watched(archive(), absent=[nobody()]) as here:
        multipart = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        _, headers, rows = await here.search(f"?PatientName={CANARY}*&PatientID={CANARY}-ID&{CANARY}=1")
        assert CANARY.encode() in rows
        asked = headers["X-Request-Id"]
        assert (await here.get(f"{here.web}/dicom-web/studies/{STUDY}", Accept=multipart))[0] in {200, 206}
        await here.get(f"{here.web}/dicom-web/studies/{CANARY}")
        shown = b""
        for root in (here.web, here.admin):
            for path in ("/livez", "/readyz", "/startupz", "/status", "/status?lang=fr", "/status.json", "/metrics"):
                _, fields, body = await here.get(root + path)
                shown += body + repr(fields).encode()
            shown += (await here.get(f"{root}/federation/status/{asked}"))[2]
        async with stream(here, "?view=html") as events:
            shown += await data(events)
        told = repr(here.events)
    for secret in (CANARY, STUDY, INSTANCES[0].SeriesInstanceUID, INSTANCES[0].SOPInstanceUID):
        assert secret.encode() not in shown
        assert secret not in told


async def test_the_page_can_load_and_run_nothing_that_is_not_ours() -> None:
    async with watched(archive()) as here:
        _, headers, html = await here.get(f"{here.web}/status")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    text = html.decode()
    assert " style=" not in text
    assert not re.search(r'(?:src|href)="(?!\?|#|/)', text)
