"""Instances that a region is given over STOW-RS: what its answer means, in the statuses of a C-STORE."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from gateway.dataset.part10 import split
from gateway.deadline import Deadline
from gateway.errors import (
    Busy,
    Closed,
    DimseFailure,
    GatewayError,
    NotStorable,
    Rejected,
    Reset,
    SpoolDamaged,
    Stalled,
    Unreachable,
)
from gateway.federation.delivery import State, judged
from gateway.region.outcome import BROKEN
from gateway.region.storing import Outgoing
from tests.kit import dicom
from tests.kit.dicom import from_part10
from tests.region.web_archive import JSON, Handler, Web, listing, raw, status, webbed

REAL_TIME = True
INSTANCE = dicom.instance(1, size=300_000)
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
UID = str(INSTANCE.SOPInstanceUID)


def outgoing(syntax: str = EXPLICIT, *, breaks: Exception | None = None) -> Outgoing:
    content = dicom.encode(INSTANCE, syntax)

    async def data() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 65_536):
            yield content[at : at + 65_536]
            if breaks:
                raise breaks

    return Outgoing(str(INSTANCE.SOPClassUID), UID, syntax, data)


async def store(watching: Web, instance: Outgoing | None = None, stall_seconds: float = 5.0) -> int:
    return await watching.region.store(instance or outgoing(), Deadline.after(5), stall_seconds=stall_seconds)


def said(sequence: str, uid: str = UID, **reason: int) -> dict[str, Any]:
    item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    item |= {tag.removeprefix("t"): {"vr": "US", "Value": [value]} for tag, value in reason.items()}
    return {sequence: {"vr": "SQ", "Value": [item]}}


def telling(document: Any, code: int = 200) -> Handler:
    """Read the whole request and answer it so."""

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        answer = listing(document)
        answer.set_status(code)
        return answer

    return handler


STORED = said("00081199")


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
async def test_what_is_sent_is_one_file_as_the_web_takes_it(syntax: str) -> None:
    bodies: list[tuple[str, bytes]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        bodies.append((request.headers["Content-Type"], await request.read()))
        return listing(STORED)

    async with webbed(handler) as (watching, requests):
        assert await store(watching, outgoing(syntax)) == 0
        assert [(x.method, *requests.paths) for x in requests] == [("POST", "/studies")]
    [(kind, content)] = bodies
    boundary = kind.rpartition("boundary=")[2].encode()
    assert kind.startswith('multipart/related; type="application/dicom"; boundary=')
    assert content.startswith(b"--" + boundary + b"\r\n")
    assert content.endswith(b"\r\n--" + boundary + b"--\r\n")
    file = content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n--" + boundary + b"--\r\n")
    meta, _ = split(file)
    assert (meta.sop_instance_uid, meta.transfer_syntax_uid) == (UID, EXPLICIT)
    assert from_part10(file).PixelData == INSTANCE.PixelData


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        (telling(STORED), 0x0000),
        (telling([STORED]), 0x0000),
        (telling(said("00081199", t00081196=0xB007), 202), 0xB007),
        (status(200), 0x0000),
        (status(202), 0xB000),
    ],
)
async def test_what_is_kept_has_the_status_of_a_c_store(handler: Handler, outcome: int) -> None:
    async with webbed(handler) as (watching, _):
        assert await store(watching) == outcome


@pytest.mark.parametrize(
    ("handler", "reason", "state"),
    [
        (telling(said("00081198", t00081197=0x0122), 409), 0x0122, State.REFUSED),
        (telling(said("00081198", t00081197=0xA700), 202), 0xA700, State.LATER),
        (telling(said("00081198", t00081197=0x0110), 200), 0x0110, State.LATER),
        (
            telling({"0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC122]}}]}}),
            0xC122,
            State.REFUSED,
        ),
        (telling(said("00081199", "1.2.3")), 0xC000, State.REFUSED),
        (telling({}), 0xC000, State.REFUSED),
        (status(409), 0xC000, State.REFUSED),
        (status(400), 0xC000, State.REFUSED),
        (status(413), 0xC000, State.REFUSED),
        (status(500), 0x0110, State.LATER),
        (status(507), 0xA700, State.LATER),
    ],
)
async def test_what_is_not_kept_is_never_said_to_be(handler: Handler, reason: int, state: State) -> None:
    async with webbed(handler) as (watching, _):
        with pytest.raises(DimseFailure) as caught:
            await store(watching)
        assert caught.value.status == reason
        assert judged(caught.value).state is state
        assert watching.circuit == []


@pytest.mark.parametrize(
    ("code", "kind", "state", "down"),
    [
        (401, Rejected, State.LATER, True),
        (404, Rejected, State.LATER, True),
        (307, Rejected, State.LATER, True),
        (415, NotStorable, State.REFUSED, False),
        (429, Busy, State.LATER, True),
        (503, Busy, State.LATER, True),
        (504, Unreachable, State.LATER, True),
    ],
)
async def test_a_status_says_whether_another_attempt_may_do_better(
    code: int, kind: type[GatewayError], state: State, down: bool
) -> None:
    async with webbed(status(code, "BELANGER^JEAN")) as (watching, _):
        with pytest.raises(kind) as caught:
            await store(watching)
        assert type(caught.value) is kind
        assert (judged(caught.value).state, judged(caught.value).down) == (state, down)
        assert "BELANGER" not in str(caught.value)


async def test_a_region_that_goes_away_meanwhile_has_not_stored() -> None:
    async with raw(b"") as watching:
        with pytest.raises(BROKEN) as caught:
            await store(watching)
        assert isinstance(caught.value, Closed | Reset)


async def test_a_region_that_takes_nothing_is_given_up() -> None:
    async def deaf(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with webbed(deaf) as (watching, _):
        with pytest.raises(Stalled):
            await store(watching, stall_seconds=0.2)


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), SpoolDamaged("not what arrived")])
async def test_a_file_that_cannot_be_read_is_not_the_regions_fault(fault: Exception) -> None:
    async with webbed(telling(STORED)) as (watching, _):
        for _ in range(6):
            with pytest.raises(type(fault)):
                await store(watching, outgoing(breaks=fault))
        assert watching.circuit == []


async def test_an_answer_in_another_form_is_taken_by_its_status() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        assert request.headers["Accept"] == JSON
        return web.Response(text="<NativeDicomModel/>", content_type="application/dicom+xml")

    async with webbed(handler) as (watching, _):
        assert await store(watching) == 0
