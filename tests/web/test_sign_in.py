"""The demonstration's sign-in: a cookie for browsers on this host, of which no other site can make use."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie

import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from gateway.events import unobserved
from gateway.web.policy import check_policies
from gateway.web.problem import ProblemBoundary
from gateway.web.sign_in import PATH, SignIn, Visitor, Welcome

VISITORS = {"clinician": Visitor("a radiologist", "token-of-the-clinician"), "<b>": Visitor("<i>", "x")}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@asynccontextmanager
async def client(address: str = "127.0.0.1", host: str = "127.0.0.1:8080") -> AsyncIterator[AsyncClient]:
    routes = SignIn(VISITORS, "session", 600).routes()
    check_policies(routes)
    app = ProblemBoundary(Router(routes), observe=unobserved)
    transport = ASGITransport(app=app, client=(address, 1))
    async with AsyncClient(transport=transport, base_url=f"http://{host}") as made:
        yield made


async def signed_in(web: AsyncClient, who: str = "clinician", to: str = "/", **headers: str) -> Response:
    return await web.post(PATH, params={"next": to}, content=f"as={who}", headers={**FORM, **headers})


async def test_the_page_names_everybody_and_holds_no_token_and_no_markup_of_theirs() -> None:
    async with client() as web:
        page = await web.get(PATH)
    assert page.status_code == 200
    assert "clinician" in page.text
    assert "token-of" not in page.text
    assert "<b>" not in page.text
    assert "<i>" not in page.text
    assert "script" not in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"


async def test_signing_in_sets_a_cookie_that_neither_scripts_nor_other_sites_can_use() -> None:
    async with client() as web:
        answer = await signed_in(web, to="/viewer?StudyInstanceUIDs=1.2")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/viewer?StudyInstanceUIDs=1.2")
    cookie = SimpleCookie(answer.headers["Set-Cookie"])["session"]
    assert cookie.value == "token-of-the-clinician"
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/")
    assert cookie["max-age"] == "600"


@pytest.mark.parametrize("to", ["https://attacker.example", "//attacker.example", "/\\attacker.example", "x", ""])
async def test_nobody_is_led_elsewhere(to: str) -> None:
    async with client() as web:
        assert (await signed_in(web, to=to)).headers["Location"] == "/"


async def test_nobody_unknown_is_signed_in() -> None:
    async with client() as web:
        answer = await signed_in(web, "root")
    assert answer.status_code == 400
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.0.0.7", "127.0.0.1:8080"),
        ("127.0.0.1", "attacker.example:8080"),
        ("127.0.0.1", "localhost.attacker.example"),
    ],
)
async def test_a_browser_elsewhere_or_led_here_by_another_name_is_refused(address: str, host: str) -> None:
    async with client(address, host) as web:
        for answer in (await web.get(PATH), await signed_in(web)):
            assert answer.status_code == 403
            assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://attacker.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
async def test_another_site_signs_nobody_in(headers: dict[str, str]) -> None:
    async with client() as web:
        assert (await signed_in(web, **headers)).status_code == 403


# --- who has not signed in


async def told(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the Authorization field that arrives."""
    await PlainTextResponse(Request(scope).headers.get("authorization", ""))(scope, receive, send)


async def welcomed(address: str = "127.0.0.1", host: str = "127.0.0.1:8080", **headers: str) -> Response:
    transport = ASGITransport(app=Welcome(told, SignIn(VISITORS, "session", 600)), client=(address, 1))
    async with AsyncClient(transport=transport, base_url=f"http://{host}") as web:
        return await web.get("/viewer", headers={"Accept": "text/html,*/*;q=0.8", **headers})


async def test_a_new_browser_on_this_host_is_the_first_visitor_from_its_first_page_on() -> None:
    answer = await welcomed()
    assert answer.text == "Bearer token-of-the-clinician"
    cookie = SimpleCookie(answer.headers["Set-Cookie"])["session"]
    assert (cookie.value, cookie["httponly"], cookie["samesite"]) == ("token-of-the-clinician", True, "strict")


@pytest.mark.parametrize(
    "asked",
    [
        {"Accept": "application/dicom+json"},
        {"Cookie": "session=somebody"},
        {"Authorization": "Bearer mine"},
        {"address": "192.0.2.7"},
        {"host": "rebound.example"},
    ],
    ids=["no page", "who has a session", "who has a token", "another host", "another name"],
)
async def test_nobody_else_is_given_a_session(asked: dict[str, str]) -> None:
    answer = await welcomed(**asked)
    assert answer.text == asked.get("Authorization", "")
    assert "Set-Cookie" not in answer.headers
