"""A PIXm manager is asked as ITI-83 says, within bounds, and whatever it answers is no surprise; trap 27."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from gateway.config.settings import load
from gateway.dataset.patient import PatientIdentifier
from gateway.deadline import Deadline
from gateway.errors import ConfigError, IdentityUnavailable
from gateway.federation.issuers import Issuer, Issuers
from gateway.federation.pixm import MOST_BYTES, MOST_REQUESTS, PixManager, pix_manager
from tests.federation.pix_server import PixServer, outcome, parameters
from tests.federation.test_identity import ids
from tests.kit.peers import free_port

REAL_TIME = True

HCN, NEODIN, HDIRS = "https://example.ca/hcn", "urn:oid:2.25.1", "urn:oid:2.25.2"
ISSUERS = Issuers(
    [
        Issuer("HCN", "2.25.3", HCN),
        Issuer("NEODIN", "2.25.1"),
        Issuer("HDIRS", "2.25.2"),
        Issuer("SWODIN"),
    ]
)
MARIE = ids("HCN 100", "NEODIN 7", "HDIRS 8")
KNOWN = PatientIdentifier("NEODIN", "7")
EXTRA = b'null, 5, {"name": "targetIdentifier"}, {"name": "targetIdentifier", "valueIdentifier": 7}, '
OPENING = b'"parameter": ['


def marie() -> PixServer:
    return PixServer([[f"{HCN}|100", f"{NEODIN}|7", f"{HDIRS}|8"], [f"{HCN}|200", f"{HDIRS}|7"]])


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(seconds)


@contextlib.asynccontextmanager
async def manager(server: PixServer, seconds: float = 5.0, token: Path | None = None) -> AsyncIterator[PixManager]:
    async with server.running(), pix_manager(server.url, ISSUERS, token_file=token, seconds=seconds) as made:
        yield made


# --- what is asked


async def test_a_number_is_asked_for_by_its_system_and_leads_to_all_of_its_patient() -> None:
    server = marie()
    async with manager(server) as pix:
        assert await pix.identifiers(KNOWN, soon()) == MARIE
        assert await pix.identifiers(PatientIdentifier("HCN", "100"), soon()) == MARIE
    assert server.sources == [f"{NEODIN}|7", f"{HCN}|100"]
    assert [value for name, value in server.asked[0] if name == "targetSystem"] == [HCN, NEODIN, HDIRS]
    assert server.headers[0]["Accept"] == "application/fhir+json"
    assert "Authorization" not in server.headers[0]


async def test_a_number_arrives_as_it_is_whatever_characters_it_has() -> None:
    server = marie()
    number = "7 é|&targetSystem=x%20+/#"
    async with manager(server) as pix:
        assert await pix.identifiers(PatientIdentifier("NEODIN", number), soon()) == frozenset()
    assert server.sources == [f"{NEODIN}|{number}"]


async def test_an_issuer_without_a_system_cannot_be_asked_about() -> None:
    server = marie()
    async with manager(server) as pix:
        assert await pix.identifiers(PatientIdentifier("SWODIN", "7"), soon()) == frozenset()
    assert server.asked == []


async def test_who_issued_a_bare_number_is_found_by_asking_for_each_issuer() -> None:
    server = marie()
    async with manager(server) as pix:
        assert await pix.issuers_of("7", soon()) == {"NEODIN", "HDIRS"}
        assert await pix.issuers_of("999", soon()) == frozenset()
    assert sorted(server.sources[:3]) == sorted([f"{HCN}|7", f"{NEODIN}|7", f"{HDIRS}|7"])


async def test_many_questions_are_asked_a_few_at_a_time() -> None:
    server = marie()
    gate = asyncio.Event()

    async def when_told(request: web.Request) -> web.StreamResponse:
        if server.under_way == MOST_REQUESTS:
            gate.set()
        await gate.wait()
        return await server.correspond(request)

    server.answer = when_told
    async with manager(server) as pix, asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(pix.identifiers(PatientIdentifier("NEODIN", str(number)), soon()))
    assert len(server.asked) == 40
    assert server.busiest == MOST_REQUESTS


# --- what it answers


async def test_an_unknown_number_is_no_failure() -> None:
    async with manager(marie()) as pix:
        assert await pix.identifiers(PatientIdentifier("NEODIN", "999"), soon()) == frozenset()


async def test_an_issuer_that_the_manager_does_not_have_is_no_failure() -> None:
    async with manager(PixServer([[f"{HCN}|100"]])) as pix:
        assert await pix.identifiers(KNOWN, soon()) == frozenset()


async def test_a_manager_that_lacks_one_of_our_issuers_is_asked_for_all_that_it_has() -> None:
    server = PixServer([[f"{HCN}|100", f"{NEODIN}|7"]])
    async with manager(server) as pix:
        assert await pix.identifiers(KNOWN, soon()) == ids("HCN 100", "NEODIN 7")
        assert await pix.identifiers(PatientIdentifier("HCN", "100"), soon()) == ids("HCN 100", "NEODIN 7")
    assert len(server.asked) == 3, "it is told our issuers once, not with every question"


async def test_a_patient_without_other_numbers_is_known_by_the_one() -> None:
    async with manager(PixServer([[f"{NEODIN}|7"], [f"{HCN}|1"], [f"{HDIRS}|1"]])) as pix:
        assert await pix.identifiers(KNOWN, soon()) == {KNOWN}


async def test_numbers_that_are_of_no_use_are_passed_over() -> None:
    server = marie()
    odd = [f"{HDIRS}|*", f"{HDIRS}|", "urn:oid:2.25.99|5", "|5", f"{HDIRS}|8\\9", f"{HDIRS}|8"]

    async def answer(_: web.Request) -> web.StreamResponse:
        made = parameters(*odd).body
        assert isinstance(made, bytes)
        assert made.count(OPENING) == 1
        return web.Response(body=made.replace(OPENING, OPENING + EXTRA))

    server.answer = answer
    async with manager(server) as pix:
        assert await pix.identifiers(KNOWN, soon()) == {KNOWN, PatientIdentifier("HDIRS", "8")}


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (lambda: outcome(500, "exception"), "failed (500)"),
        (lambda: outcome(401, "login"), "pixm_token_file"),
        (lambda: outcome(403, "forbidden"), "pixm_token_file"),
        (lambda: outcome(400, "invalid"), "failed (400)"),
        (lambda: outcome(404, "not-supported"), "no PIXm manager"),
        (lambda: web.Response(status=404, text="<html>"), "no PIXm manager"),
        (lambda: web.Response(text="hello"), "no PIXm manager"),
        (lambda: web.json_response([]), "no PIXm manager"),
        (lambda: web.json_response({"resourceType": "Bundle"}), "no PIXm manager"),
        (lambda: web.Response(body=b" " * (MOST_BYTES + 1)), "more than"),
        (lambda: web.Response(status=302, headers={"Location": "/fhir/elsewhere"}), "redirects (302)"),
        (lambda: web.Response(status=204), "failed (204)"),
    ],
)
async def test_any_other_answer_says_what_to_mend_and_names_no_patient(
    response: Callable[[], web.Response], said: str
) -> None:
    server = marie()

    async def answer(_: web.Request) -> web.StreamResponse:
        return response()

    server.answer = answer
    async with manager(server) as pix:
        with pytest.raises(IdentityUnavailable) as caught:
            await pix.identifiers(PatientIdentifier("NEODIN", "7654321"), soon())
    assert said in str(caught.value)
    assert "7654321" not in repr(caught.value)
    assert len(server.asked) == 1, "a redirect is not followed, a failure not repeated"


async def test_a_manager_that_breaks_off_is_a_failure_that_names_no_patient() -> None:
    server = marie()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    server.answer = answer
    async with manager(server) as pix:
        with pytest.raises(IdentityUnavailable, match="cannot be reached") as caught:
            await pix.identifiers(PatientIdentifier("NEODIN", "7654321"), soon())
    assert "7654321" not in repr(caught.value)


async def test_a_manager_that_is_not_there_is_a_failure() -> None:
    async with pix_manager(f"http://127.0.0.1:{free_port()}", ISSUERS, token_file=None, seconds=5.0) as pix:
        with pytest.raises(IdentityUnavailable, match="cannot be reached"):
            await pix.identifiers(KNOWN, soon())


@pytest.mark.parametrize(("own", "callers"), [(0.1, 30.0), (30.0, 0.1)])
async def test_a_silent_manager_costs_its_own_time_at_the_most_and_never_more_than_the_callers(
    own: float, callers: float
) -> None:
    server, released = marie(), asyncio.Event()

    async def silent(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return parameters()

    server.answer = silent
    async with manager(server, seconds=own) as pix, asyncio.timeout(5.0):
        with pytest.raises(IdentityUnavailable, match="did not answer"):
            await pix.identifiers(KNOWN, soon(callers))
        with pytest.raises(IdentityUnavailable, match="did not answer"):
            await pix.issuers_of("7", soon(callers))
        released.set()


# --- credentials


async def test_the_token_is_read_for_each_request_so_that_it_may_be_renewed(tmp_path: Path) -> None:
    token, server = tmp_path / "token", marie()
    token.write_text("first.token\n")
    async with manager(server, token=token) as pix:
        await pix.identifiers(KNOWN, soon())
        token.write_text("second.token\n")
        await pix.identifiers(KNOWN, soon())
        token.unlink()
        with pytest.raises(IdentityUnavailable, match="pixm_token_file"):
            await pix.identifiers(KNOWN, soon())
    assert [headers["Authorization"] for headers in server.headers] == ["Bearer first.token", "Bearer second.token"]


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two words", b"line\nline", b"\xe9"])
async def test_a_token_file_without_a_token_is_told_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    with pytest.raises(ConfigError, match=str(token)) as caught:
        async with pix_manager("http://127.0.0.1:1", ISSUERS, token_file=token, seconds=1.0):
            pytest.fail("it started")
    assert "words" not in str(caught.value)


def test_a_token_has_no_place_in_the_settings() -> None:
    secrets = [name for name in type(load().identity).model_fields if "token" in name or "password" in name]
    assert secrets == ["pixm_token_file"]
