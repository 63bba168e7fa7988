"""``gateway doctor`` and ``region`` of regions that speak DICOMweb: the step that fails, and what to tell whom."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from typer.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.cli.doctor import examine
from gateway.cli.steps import FAILED, OK, SKIPPED, Step
from gateway.config.settings import load
from gateway.region.profile import Profile
from gateway.region.profile import load as load_profiles
from tests.kit import dicom
from tests.kit.peers import free_port
from tests.region.web_archive import JSON, Handler, server

INSTANCES = dicom.study(1, instances=2)
TOKEN = "s3cret-token"
BOUNDARY = "b0undary"


def answer(request: web.Request) -> web.Response:
    """Answer as an archive that holds one study."""
    if request.headers["Accept"] != JSON:
        file = dicom.part10(INSTANCES[0])
        body = b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n--%b--" % (
            BOUNDARY.encode(),
            file,
            BOUNDARY.encode(),
        )
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        return web.Response(body=body, headers={"Content-Type": kind})
    rows = [INSTANCES[0].to_json_dict()] if int(request.query.get("offset", 0)) == 0 else []
    for one in rows:
        one.pop("7FE00010", None)
    return web.Response(text=json.dumps(rows), content_type=JSON)


async def archive(request: web.Request) -> web.StreamResponse:
    return answer(request)


def with_token(status_without: int) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        known = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        return answer(request) if known else web.Response(status=status_without)

    return handler


def only(searches: bool) -> Handler:
    """Answer searches or nothing but them with what there is."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if (request.headers["Accept"] == JSON) == searches:
            return answer(request)
        return web.Response(status=404 if searches else 500)

    return handler


async def steps(url: str, **profile: object) -> list[Step]:
    known = Profile.model_validate({"name": "WEBBED", "dicomweb": url, **profile})
    [found] = (await examine(load(None, {"dimse": {"port": 0}}, {}), [known], 5.0, quiet=True)).values()
    return found


async def failing(url: str, **profile: object) -> Step:
    """Examine a region that is not well; return the step that fails, and be sure that it is the last."""
    found = await steps(url, **profile)
    assert [step.name for step in found if step.state == FAILED] == [found[-1].name]
    return found[-1]


async def test_a_region_that_is_well_passes_every_step_and_no_value_of_a_patient_is_told() -> None:
    async with server(archive) as requests:
        found = await steps(requests.url)
    assert {step.name: step.state for step in found} == {
        **dict.fromkeys(("dns", "tcp", "http", "find", "retrieve"), OK),
        **dict.fromkeys(("tls", "token"), SKIPPED),
    }, found
    assert not any(str(INSTANCES[0].PatientID) in step.text or "Tremblay" in step.text for step in found)


async def test_a_token_that_is_accepted_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    async with server(with_token(401)) as requests:
        found = await steps(requests.url, token_file=str(tmp_path / "token"))
    assert {step.name: step.state for step in found}["token"] == OK
    assert found[-1].state == OK


@pytest.mark.parametrize(
    ("status", "token", "said", "asked"),
    [
        (401, "0ld-t0ken", "it may have expired", "which issuer, audience and scopes"),
        (401, "", 'write "token_file"', "which has no token"),
        (403, "kn0wn-t0ken", "does not allow us to search (403)", "Please allow us QIDO-RS"),
    ],
)
async def test_a_caller_who_is_not_known_is_told_from_one_who_is_not_allowed(
    tmp_path: Path, status: int, token: str, said: str, asked: str
) -> None:
    (tmp_path / "token").write_text(token)
    shown = {"token_file": str(tmp_path / "token")} if token else {}
    async with server(with_token(status)) as requests:
        step = await failing(requests.url, **shown)
    assert step.name == "token"
    assert said in step.text
    assert asked in step.mail
    assert not token or token not in step.text + step.mail


async def test_a_token_file_that_is_not_there_is_told_at_the_step_of_the_token(tmp_path: Path) -> None:
    async with server(archive) as requests:
        step = await failing(requests.url, token_file=str(tmp_path / "missing"))
    assert (step.name, step.mail) == ("token", "")
    assert "cannot be read" in step.text


async def test_a_name_that_nobody_knows() -> None:
    step = await failing("http://no-such-host.invalid/dicom-web")
    assert step.name == "dns"
    assert '"dicomweb"' in step.text


async def test_a_port_at_which_nothing_listens() -> None:
    step = await failing(f"http://127.0.0.1:{free_port()}/dicom-web")
    assert (step.name, "nothing listens there" in step.text) == ("tcp", True)
    assert "refuses TCP connections" in step.mail


async def test_plain_http_that_is_called_with_tls() -> None:
    async with server(archive) as requests:
        step = await failing(requests.url.replace("http:", "https:"))
    assert step.name == "tls"
    assert "may speak plain HTTP" in step.text


async def test_a_certificate_of_an_authority_that_is_not_known_and_of_one_that_is(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with server(archive, tls) as requests:
        step = await failing(requests.url)
        trusted = {one.name: one for one in await steps(requests.url, ca=str(tmp_path / "ca.pem"))}
    assert (step.name, "authority is not known" in step.text) == ("tls", True)
    assert trusted["tls"].text.startswith("certificate until ")
    assert trusted["retrieve"].state == OK


@asynccontextmanager
async def talking(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """Serve what is no HTTP."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            await answer(writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/dicom-web"


async def test_what_does_not_speak_http() -> None:
    async def greet(writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.ca ESMTP\r\n")
        await writer.drain()

    async with talking(greet) as url:
        step = await failing(url)
    assert step.name == "http"
    assert "do not serve" in step.mail


async def test_a_path_at_which_there_is_no_search() -> None:
    async def nothing(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    async with server(nothing) as requests:
        step = await failing(requests.url)
    assert step.name == "find"
    assert 'check the path in "dicomweb"' in step.text


async def test_an_instance_that_is_listed_and_not_sent() -> None:
    async with server(only(searches=True)) as requests:
        step = await failing(requests.url)
    assert step.name == "retrieve"
    assert step.mail


async def test_an_empty_archive_is_no_fault() -> None:
    async def empty(_: web.Request) -> web.StreamResponse:
        return web.Response(text="[]", content_type=JSON)

    async with server(empty) as requests:
        found = {step.name: step for step in await steps(requests.url)}
    assert (found["find"].state, found["retrieve"].state) == (OK, SKIPPED)


async def command(*arguments: object) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, list(map(str, arguments)))


async def test_list_and_echo_know_regions_of_dicomweb(tmp_path: Path) -> None:
    async with server(with_token(403)) as requests:
        (tmp_path / "token").write_text(TOKEN)
        text = f'name = "{{}}"\ndicomweb = "{requests.url}"\n'
        (tmp_path / "a.toml").write_text(text.format("ALLOWED") + f'token_file = "{tmp_path / "token"}"\n')
        (tmp_path / "b.toml").write_text(text.format("STRANGER"))
        listed = await command("region", "list", "--regions", tmp_path)
        echoed = await command("region", "echo", "--regions", tmp_path)
    assert listed.stdout.splitlines()[1].split("\t")[:4] == ["ALLOWED", "ALLOWED", requests.url, "wado-rs"]
    answers, refuses = echoed.stdout.splitlines()
    assert answers.startswith("allowed: answers in ")
    assert "stranger: region stranger refuses" in refuses
    assert echoed.exit_code == 3


async def test_what_is_learned_of_a_region_loads_back_as_its_profile(tmp_path: Path) -> None:
    async def picky(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/series"):
            return web.Response(status=400)
        if "StudyTime" in request.query:
            return web.Response(status=500)
        if any(name in request.query for name in ("PatientID", "StudyDate")):
            return web.Response(text="[]", content_type=JSON)
        return answer(request)

    async with server(picky) as requests:
        result = await command("region", "profile", requests.url, "--name", "LAKESIDE", "--output", tmp_path / "a.toml")
        unnamed = await command("region", "profile", requests.url)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "a.toml").read_text()
    assert "# honours the keys: StudyDate, PatientID\n" in text
    assert "# fails at the keys: StudyTime\n" in text
    assert "# accepts: QIDO-RS, WADO-RS\n" in text
    [known] = load_profiles(tmp_path)
    assert (known.name, known.dicomweb, known.relational_queries) == ("LAKESIDE", requests.url, "never")
    assert str(INSTANCES[0].PatientID) not in text
    assert "add --name" in str(unnamed.exception)


async def test_a_region_that_refuses_us_teaches_nothing_and_writes_nothing(tmp_path: Path) -> None:
    async with server(with_token(401)) as requests:
        arguments = ("region", "profile", requests.url, "--name", "LAKESIDE", "--output", tmp_path / "a.toml")
        result = await command(*arguments)
    assert "refuses a search (401)" in str(result.exception)
    assert not (tmp_path / "a.toml").exists()
