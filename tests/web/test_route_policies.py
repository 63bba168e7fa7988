"""Every route of the web face, against every caller: who is let in where, and that no route forgets to ask."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from httpx2 import ASGITransport, AsyncClient
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from gateway.access.decision import Decisions
from gateway.access.keys import KeyFile
from gateway.access.principal import Transaction
from gateway.access.token import Tokens
from gateway.events import unobserved
from gateway.web.app import Archive, WebSettings, all_routes, create_app
from gateway.web.policy import RouteWithoutPolicyError, check_policies, endpoints, public
from tests.access.issuing import NAME, Issuer, real_time
from tests.web.fakes import FakeRetrieve, FakeSearch, SameProcess, ct, study_row

SEARCH, RETRIEVE, RENDERED, STORE = (
    *(Transaction.SEARCH, Transaction.RETRIEVE, Transaction.RENDERED, Transaction.STORE),
)
STUDY = "/studies/{study}"
SERIES = f"{STUDY}/series/{{series}}"
INSTANCE = f"{SERIES}/instances/{{instance}}"
FRAMES = f"{INSTANCE}/frames/{{frames}}"
FORM = "application/x-www-form-urlencoded"

POLICIES: dict[str, Transaction] = {
    **dict.fromkeys(("/studies", "/series", "/instances", f"{STUDY}/series", f"{STUDY}/instances"), SEARCH),
    f"{SERIES}/instances": SEARCH,
    **dict.fromkeys((STUDY, SERIES, INSTANCE, FRAMES), RETRIEVE),
    **{f"{level}{tail}": RETRIEVE for level in (STUDY, SERIES, INSTANCE) for tail in ("/metadata", "/bulkdata")},
    **{f"{level}/pixeldata": RETRIEVE for level in (STUDY, SERIES, INSTANCE)},
    f"{INSTANCE}/bulkdata/{{path:path}}": RETRIEVE,
    **{
        f"{level}{tail}": RENDERED
        for level in (STUDY, SERIES, INSTANCE, FRAMES)
        for tail in ("/rendered", "/thumbnail")
    },
    "/wado": RENDERED,
}
"""What each resource below a root is of; a route that is not here fails the walk below."""

UIDS = {"study": "1.2.3", "series": "1.2.3.4", "instance": "1.2.3.4.1", "frames": "1", "path:path": "00420011"}


def resource(path: str) -> str:
    """Return a route's path below its root."""
    return re.sub(r"^(/regions/[a-z]+)?(/dicom-web)?", "", path)


def archive() -> Archive:
    return Archive(cast("Any", FakeSearch([study_row()])), cast("Any", FakeRetrieve([ct()])))


def served() -> list[BaseRoute]:
    store = cast("Any", SimpleNamespace())
    workers = cast("Any", SameProcess())
    return all_routes(
        archive(), workers, WebSettings(), Decisions("tokens"), store=store, regions={"neodin": archive()}
    )


def walk() -> Iterator[tuple[str, str, Transaction]]:
    """Yield path, method and transaction of each resource that is served."""
    for path, route in endpoints(served()):
        assert resource(path) in POLICIES, f"{path} has no row in the table of policies"
        expected = POLICIES[resource(path)]
        assert isinstance(route, Route)
        for method in sorted(route.methods or ()):
            yield path, method, expected


WALK = sorted(set(walk()))


def test_every_row_of_the_table_is_of_a_route_that_is_served() -> None:
    assert {resource(path) for path, _, _ in WALK} == set(POLICIES)
    assert {path.startswith("/regions/neodin/") for path, _, _ in WALK} == {True, False}


async def handler(_: Any) -> Response:
    return Response()


@pytest.mark.parametrize(
    "route",
    [
        Route("/x", handler),
        Mount("/x", routes=[Route("/y", handler)]),
        Mount("/x", app=cast("Any", handler)),
        WebSocketRoute("/x", cast("Any", handler)),
    ],
)
def test_a_route_that_does_not_say_who_may_cannot_be_served(route: BaseRoute) -> None:
    with pytest.raises(RouteWithoutPolicyError):
        check_policies([Route("/good", public(handler)), route])
    arch, workers = archive(), cast("Any", SameProcess())
    with pytest.raises(RouteWithoutPolicyError):
        create_app(arch.search, arch.retrieve, workers, WebSettings(), decisions=Decisions("open"), pages=[route])


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return real_time()


@asynccontextmanager
async def client(issuer: Issuer, folder: Path, **settings: Any) -> AsyncIterator[tuple[AsyncClient, Archive]]:
    chosen = issuer.settings(folder)
    tokens = Tokens([chosen], {NAME: KeyFile(Path(chosen.jwks_file))})
    province = archive()
    mode = settings.pop("mode", "tokens")
    app = create_app(
        province.search,
        province.retrieve,
        cast("Any", SameProcess()),
        WebSettings(**settings),
        unobserved,
        store=cast("Any", SimpleNamespace()),
        regions={"neodin": province},
        decisions=Decisions(mode),
        tokens=tokens,
        pages=[Route("/probe", public(handler))],
    )
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://gateway") as made:
        yield made, province


def asked(province: Archive) -> int:
    """Return how often the federation was asked anything."""
    return len(cast("Any", province.search).queries) + len(cast("Any", province.retrieve).selections)


async def ask(web: AsyncClient, path: str, method: str, token: str | None, **headers: str) -> Any:
    url = path
    for name, value in UIDS.items():
        url = url.replace(f"{{{name}}}", value)
    if url.endswith("/wado"):
        url += "?requestType=WADO&studyUID=1.2.3&seriesUID=1.2.3.4&objectUID=1.2.3.4.1"
    fields = {**headers, **({} if token is None else {"Authorization": token})}
    if method == "POST":
        fields.setdefault("Content-Type", FORM)
    return await web.request(method, url, headers=fields)


def expected_for(path: str, method: str, transaction: Transaction) -> Transaction:
    return STORE if method == "POST" and resource(path) == STUDY else transaction


async def test_nobody_is_let_in_anywhere_without_a_good_token(issuer: Issuer, tmp_path: Path) -> None:
    everything = " ".join(Transaction)
    lacking = {x: f"Bearer {issuer.token(scope=others(x))}" for x in Transaction}
    faults = {
        "none": None,
        "basic": "Basic dXNlcjpwYXNz",
        "empty": "Bearer ",
        "garbage": "Bearer abc",
        "alg none": f"Bearer {issuer.unsigned()}",
        "HS with the public key": f"Bearer {issuer.by_public_key()}",
        "expired": f"Bearer {issuer.token(scope=everything, exp=int(issuer.now) - 3600)}",
        "wrong audience": f"Bearer {issuer.token(scope=everything, aud='other')}",
        "forged": f"Bearer {issuer.forged(scope=everything)}",
        "no scope": f"Bearer {issuer.token(scope='')}",
    }
    async with client(issuer, tmp_path) as (web, province):
        for path, method, transaction in WALK:
            lacks = lacking[expected_for(path, method, transaction)]
            for fault, token in {**faults, "every scope but its own": lacks}.items():
                answer = await ask(web, path, method, token)
                case = f"{method} {path}: {fault}"
                assert answer.status_code == 401, case
                challenge = answer.headers["WWW-Authenticate"]
                assert challenge.startswith('Bearer realm="gateway"'), case
                assert ('error="insufficient_scope", scope=' in challenge) == ("scope" in fault), case
        assert asked(province) == 0


def others(transaction: Transaction) -> str:
    return " ".join(x for x in Transaction if x is not transaction)


async def test_the_scope_of_its_transaction_lets_in_everywhere(issuer: Issuer, tmp_path: Path) -> None:
    tokens = {x: f"Bearer {issuer.token(scope=str(x))}" for x in Transaction}
    async with client(issuer, tmp_path) as (web, _):
        for path, method, transaction in WALK:
            answer = await ask(web, path, method, tokens[expected_for(path, method, transaction)])
            assert answer.status_code not in {401, 403, 503}, f"{method} {path}"


async def test_where_it_was_not_said_who_may_nobody_may_anything(issuer: Issuer, tmp_path: Path) -> None:
    token = f"Bearer {issuer.token(scope=' '.join(Transaction))}"
    async with client(issuer, tmp_path, mode="closed") as (web, province):
        for path, method, _ in WALK:
            assert (await ask(web, path, method, token)).status_code == 503, f"{method} {path}"
        assert asked(province) == 0
        assert (await web.get("/probe")).status_code == 200


async def test_what_is_public_needs_no_token_and_minds_no_bad_one(issuer: Issuer, tmp_path: Path) -> None:
    async with client(issuer, tmp_path) as (web, _):
        for headers in ({}, {"Authorization": "Bearer abc"}):
            assert (await web.get("/probe", headers=headers)).status_code == 200


async def test_instances_posted_to_studies_are_a_store_and_forms_a_search(issuer: Issuer, tmp_path: Path) -> None:
    async with client(issuer, tmp_path) as (web, _):
        search, store = (f"Bearer {issuer.token(scope=scope)}" for scope in ("search", "store"))
        dicom = {"Content-Type": "application/dicom"}
        assert (await ask(web, "/dicom-web/studies", "POST", store)).status_code == 401
        assert (await ask(web, "/dicom-web/studies", "POST", search)).status_code == 200
        assert (await ask(web, "/dicom-web/studies", "POST", search, **dicom)).status_code == 401


async def test_wado_uri_gives_whole_instances_to_those_only_who_may_retrieve(issuer: Issuer, tmp_path: Path) -> None:
    url = "/dicom-web/wado?requestType=WADO&studyUID=1.2.3&seriesUID=1.2.3.4&objectUID=1.2.3.4.1"
    async with client(issuer, tmp_path) as (web, _):
        for scope, status in (("rendered", 401), ("retrieve", 200)):
            headers = {"Authorization": f"Bearer {issuer.token(scope=scope)}"}
            for asking in (
                web.get(f"{url}&contentType=application/dicom", headers=headers),
                web.get(url, headers={**headers, "Accept": "application/dicom"}),
            ):
                assert (await asking).status_code == status


async def test_regions_are_named_to_nobody_who_does_not_say_who_he_is(issuer: Issuer, tmp_path: Path) -> None:
    async with client(issuer, tmp_path) as (web, _):
        answer = await web.get("/regions/nowhere/dicom-web/studies")
        assert answer.status_code == 404
        assert "neodin" not in answer.text


# --- cookies


async def test_a_cookie_does_for_reading_and_not_for_writing(issuer: Issuer, tmp_path: Path) -> None:
    cookie = {"Cookie": f"other=1; session={issuer.token(scope=' '.join(Transaction))}"}
    async with client(issuer, tmp_path, cookie="session") as (web, _):
        assert (await web.get("/dicom-web/studies", headers=cookie)).status_code == 200
        assert (await web.head("/dicom-web/studies", headers=cookie)).status_code == 200
        for media_type in (FORM, "application/dicom"):
            headers = {**cookie, "Content-Type": media_type}
            assert (await web.post("/dicom-web/studies", headers=headers)).status_code == 401
    async with client(issuer, tmp_path) as (web, _):
        assert (await web.get("/dicom-web/studies", headers=cookie)).status_code == 401


async def test_the_field_comes_before_the_cookie_and_there_is_one_of_it(issuer: Issuer, tmp_path: Path) -> None:
    good = issuer.token()
    async with client(issuer, tmp_path, cookie="session") as (web, _):
        mixed = {"Cookie": f"session={good}", "Authorization": "Bearer abc"}
        assert (await web.get("/dicom-web/studies", headers=mixed)).status_code == 401
        twice = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")]
        assert (await web.get("/dicom-web/studies", headers=twice)).status_code == 401


# --- whose snapshot it is


async def test_pages_of_one_subject_are_not_continued_by_another(issuer: Issuer, tmp_path: Path) -> None:
    async with client(issuer, tmp_path) as (web, province):
        for token in (issuer.token(sub="a"), issuer.token(sub="a", jti="renewed"), issuer.token(sub="b")):
            headers = {"Authorization": f"Bearer {token}"}
            assert (await web.get("/dicom-web/studies", headers=headers)).status_code == 200
    first, renewed, other = cast("Any", province.search).callers
    assert first == renewed != other


# --- other origins


async def test_a_viewer_of_a_configured_origin_may_read_the_challenge_and_no_other(
    issuer: Issuer, tmp_path: Path
) -> None:
    origin = "https://viewer.example"
    async with client(issuer, tmp_path, cors_origins=(origin,)) as (web, _):
        asked_before = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        fields = {**asked_before, "Access-Control-Request-Headers": "Authorization"}
        preflight = await web.options("/dicom-web/studies", headers=fields)
        assert (preflight.status_code, preflight.headers["Access-Control-Max-Age"]) == (200, "600")
        answer = await web.get("/dicom-web/studies", headers={"Origin": origin})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, origin)
        exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
        assert exposed >= {"Warning", "ETag", "Federation-Status", "Content-Location", "WWW-Authenticate"}
        assert "Access-Control-Allow-Credentials" not in answer.headers
        for other in ("https://viewer.example.attacker.example", "http://viewer.example", "null"):
            refused = await web.get("/dicom-web/studies", headers={"Origin": other})
            assert "Access-Control-Allow-Origin" not in refused.headers
