"""``gateway doctor``: it names the step that fails in each broken set-up, and what to tell the administrator."""

import asyncio
import contextlib
import datetime as dt
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
from pynetdicom import AE
from pynetdicom.sop_class import PatientRootQueryRetrieveInformationModelFind, Verification
from typer.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.cli.doctor import examine
from gateway.cli.steps import FAILED, OK, SKIPPED, Step
from gateway.config.settings import Settings, load
from gateway.dimse.acceptor import Acceptor
from gateway.region.profile import Profile
from tests.kit import dicom, pdus
from tests.kit.fault_proxy import fault_proxy
from tests.kit.peers import free_port, orthanc, pynetdicom_archive, pynetdicom_scp
from tests.kit.region import ScriptedRegion, counted, send_rows
from tests.kit.scripted import Message, ScriptedPeer, scripted_acceptor

SECONDS = 5.0  # what only a region that is not well needs
QUIET = 1.0  # what one that says nothing is waited for
INSTANCES = dicom.study(1, instances=2)


def region(port: int, **more: Any) -> Profile:
    facts = {"name": "NEODIN", "ae_title": "NEODIN", "host": "127.0.0.1", "port": port, "max_associations": 2}
    return Profile.model_validate({**facts, "move_destinations": ("GATEWAY",), **more})


def settings(port: int = 0) -> Settings:
    return load(None, {"dimse": {"port": port or free_port()}}, {})


async def failing(profile: Profile, chosen: Settings | None = None, seconds: float = SECONDS) -> Step:
    """Examine a region that is not well; return the step that fails, and be sure that it is the last."""
    found = await examine(chosen or settings(), [profile], seconds, quiet=True)
    steps = found["neodin"]
    assert [step.name for step in steps if step.state == FAILED] == [steps[-1].name]
    return steps[-1]


# --- a region that is well


@pytest.fixture
def archive() -> Iterator[tuple[int, Settings]]:
    chosen = settings()
    with pynetdicom_archive("NEODIN", INSTANCES, {"GATEWAY": chosen.dimse.port}) as node:
        yield node.port, chosen


async def test_a_region_that_is_well_passes_every_step(archive: tuple[int, Settings]) -> None:
    port, chosen = archive
    [steps] = (await examine(chosen, [region(port)], 10.0, quiet=True)).values()
    assert {step.name: step.state for step in steps} == {
        **dict.fromkeys(("dns", "tcp", "associate", "echo", "associations", "study-root", "find"), OK),
        **dict.fromkeys(("character-set", "get", "move"), OK),
        "tls": SKIPPED,
    }, steps


async def test_no_value_of_a_patient_is_told(archive: tuple[int, Settings]) -> None:
    port, chosen = archive
    [steps] = (await examine(chosen, [region(port)], 10.0, quiet=True)).values()
    assert not any("Tremblay" in step.text + step.mail or "MRN0" in step.text + step.mail for step in steps)


async def test_an_orthanc_that_is_well_passes_every_step(tmp_path: Path) -> None:
    chosen = settings()
    with orthanc(tmp_path, "NEODIN", {"GATEWAY": chosen.dimse.port}, dicomweb=False) as peer:
        peer.upload(INSTANCES)
        [steps] = (await examine(chosen, [region(peer.port)], 10.0, quiet=True)).values()
    assert not [step for step in steps if step.state == FAILED], steps
    assert steps[-1] == Step("move", OK, "one instance came to GATEWAY", "", steps[-1].seconds)


# --- the broken set-ups


async def test_a_name_that_nobody_knows() -> None:
    step = await failing(region(104, host="no-such-host.invalid"))
    assert step.name == "dns"


async def test_a_wrong_port() -> None:
    step = await failing(region(free_port()))
    assert (step.name, "nothing listens there" in step.text) == ("tcp", True)
    assert "NEODIN at 127.0.0.1:" in step.mail


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Give a port whose backlog is full: the kernel drops what comes, as a firewall does."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield server.getsockname()[1]


async def test_a_firewall_that_drops_everything() -> None:
    with black_hole() as port:
        step = await failing(region(port), seconds=QUIET)
    assert (step.name, "firewall" in step.text) == ("tcp", True)
    assert "open the firewall" in step.mail


async def test_a_host_that_takes_the_connection_and_says_nothing() -> None:
    async with scripted_acceptor(ScriptedPeer.hold) as node:
        step = await failing(region(node.port), seconds=QUIET)
    assert (step.name, "says nothing" in step.text) == ("associate", True)


async def test_an_archive_that_falls_silent_behind_a_proxy() -> None:
    with pynetdicom_archive("NEODIN", INSTANCES) as node:
        async with fault_proxy(node.port) as proxy:
            proxy.to_client.after_pdu(0).freeze()
            step = await failing(region(proxy.port), seconds=QUIET)
    assert step.name == "associate"


async def test_a_web_server_at_the_port() -> None:
    async def answer(peer: ScriptedPeer) -> None:
        await peer.reader.read(6)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with scripted_acceptor(answer) as node:
        step = await failing(region(node.port))
    assert (step.name, "does not speak DICOM" in step.text) == ("associate", True)


async def test_an_ae_title_of_ours_that_is_refused() -> None:
    async def reject(peer: ScriptedPeer) -> None:
        await peer.recv(pdus.A_ASSOCIATE_RQ)
        await peer.send(pdus.associate_rj(1, 1, 3))
        await peer.hold()

    async with scripted_acceptor(reject) as node:
        step = await failing(region(node.port))
    assert (step.name, "GATEWAY" in step.text) == ("associate", True)
    assert step.mail.endswith("calling AE title not recognized. Please add GATEWAY at 127.0.0.1.")


async def test_an_orthanc_that_does_not_know_us(tmp_path: Path) -> None:
    options = {"DicomAlwaysAllowFind": False, "DicomAlwaysAllowGet": False, "DicomAlwaysAllowMove": False}
    with orthanc(tmp_path, "NEODIN", dicomweb=False, options=options) as peer:
        step = await failing(region(peer.port))
    assert step.name in {"study-root", "find"}
    assert step.mail


async def test_an_ae_title_of_theirs_that_is_wrong(tmp_path: Path) -> None:
    with orthanc(tmp_path, "ELSEWHERE", dicomweb=False) as peer:
        step = await failing(region(peer.port))
    assert (step.name, "called AE title not recognized" in step.mail) == ("associate", True)


@pytest.mark.parametrize("spare", [0, 1])
async def test_an_association_limit(spare: int) -> None:
    with pynetdicom_scp("NEODIN", maximum_associations=1 + spare) as node, contextlib.ExitStack() as stack:
        other = AE("OTHER")
        other.add_requested_context(Verification)
        held = other.associate("127.0.0.1", node.port, ae_title="NEODIN")
        assert held.is_established
        stack.callback(held.release)
        step = await failing(region(node.port))
    assert step.name == ("associations" if spare else "associate")
    assert "associations" in step.mail
    assert ("max_associations = 1" in step.text) == bool(spare)


async def test_no_study_root() -> None:
    served = [Verification, PatientRootQueryRetrieveInformationModelFind]
    with pynetdicom_scp("NEODIN", supported=served) as node:
        step = await failing(region(node.port))
    assert (step.name, "Study Root" in step.mail) == ("study-root", True)


async def test_a_find_that_is_refused() -> None:
    async def refuse(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await peer.send(pdus.find_response(request.context_id, request.command, status=0xA700))

    scripted = ScriptedRegion("NEODIN", INSTANCES)
    scripted.answers[pdus.C_FIND_RQ] = refuse
    async with scripted.running():
        step = await failing(region(scripted.node.port))
    assert (step.name, "A700H" in step.mail) == ("find", True)


# --- character sets


@contextlib.asynccontextmanager
async def speaking(stated: str | None, encoded_in: str) -> AsyncIterator[int]:
    """Run a region whose rows say one character set and use another."""

    async def answer(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        def row(encoded: bytes) -> bytes:
            found = dicom.decode(encoded)
            found.SpecificCharacterSet = stated
            found.PatientName = "Zo*"
            return dicom.encode(found).replace(b"Zo* ", "Zoé".encode(encoded_in).ljust(4))

        await send_rows(peer, request, map(row, region.rows(request)))
        await peer.send(pdus.find_response(request.context_id, request.command))

    scripted = ScriptedRegion("NEODIN", INSTANCES)
    scripted.answers[pdus.C_FIND_RQ] = answer
    async with scripted.running():
        yield scripted.node.port


@pytest.mark.parametrize(
    ("stated", "encoded_in", "configured", "said"),
    [
        (None, "utf-8", "ISO_IR 100", 'write character_set = "ISO_IR 192"'),
        (None, "latin-1", "ISO_IR 192", 'write character_set = "ISO_IR 100"'),
        ("ISO_IR 100", "utf-8", "ISO_IR 100", "it says its text is ISO_IR 100, and it is UTF-8"),
        ("ISO_IR 192", "latin-1", "ISO_IR 100", "it says its text is ISO_IR 192, and it is not"),
    ],
)
async def test_a_wrong_character_set(stated: str | None, encoded_in: str, configured: str, said: str) -> None:
    async with speaking(stated, encoded_in) as port:
        step = await failing(region(port, character_set=configured))
    assert (step.name, said in step.text) == ("character-set", True)
    assert "Zo" not in step.text


@pytest.mark.parametrize(
    ("stated", "encoded_in", "configured"),
    [(None, "utf-8", "ISO_IR 192"), (None, "latin-1", "ISO_IR 100"), ("ISO_IR 192", "utf-8", "ISO_IR 100")],
)
async def test_a_character_set_that_is_right(stated: str | None, encoded_in: str, configured: str) -> None:
    async with speaking(stated, encoded_in) as port:
        profile = region(port, character_set=configured, move_destinations=())
        [steps] = (await examine(settings(), [profile], SECONDS, quiet=True)).values()
    assert next(step for step in steps if step.name == "character-set").state == OK


# --- Move Destinations


async def test_a_move_destination_that_the_region_does_not_know() -> None:
    with pynetdicom_archive("NEODIN", INSTANCES) as node:
        step = await failing(region(node.port))
    assert (step.name, "A801" in step.text) == ("move", True)
    assert "Please register GATEWAY at 127.0.0.1, port " in step.mail


async def test_a_move_destination_that_is_registered_with_another_port() -> None:
    async def call_elsewhere(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        await peer.send(counted(request, 0xA702, 0, 0, failed=1))

    chosen = settings()
    scripted = ScriptedRegion("NEODIN", INSTANCES)
    scripted.answers[pdus.C_MOVE_RQ] = call_elsewhere
    async with scripted.running():
        step = await failing(region(scripted.node.port), chosen)
    assert (step.name, "never called us" in step.text) == ("move", True)
    assert f"port {chosen.dimse.port}" in step.mail


async def test_a_region_that_calls_itself_otherwise_than_its_profile_says() -> None:
    chosen = settings()
    with pynetdicom_archive("OTHER", INSTANCES, {"GATEWAY": chosen.dimse.port}) as node:
        step = await failing(region(node.port), chosen)
    assert (step.name, "itself OTHER" in step.text) == ("move", True)


async def test_a_move_is_left_out_where_the_gateway_itself_has_the_port(archive: tuple[int, Settings]) -> None:
    port, chosen = archive
    with socket.create_server(("127.0.0.1", chosen.dimse.port)):
        [steps] = (await examine(chosen, [region(port)], SECONDS, quiet=True)).values()
    assert (steps[-1].name, steps[-1].state) == ("move", SKIPPED)
    assert "is the gateway running?" in steps[-1].text


# --- TLS


@contextlib.asynccontextmanager
async def secured(tmp_path: Path, *names: str, days: int) -> AsyncIterator[tuple[int, str]]:
    """Listen with a certificate for these names that ends in so many days; give the port and the authority's file."""
    authority = trustme.CA()
    now = dt.datetime.now(dt.UTC)
    issued = authority.issue_cert(
        *names, not_before=now - dt.timedelta(days=90), not_after=now + dt.timedelta(days=days)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with Acceptor(accept=lambda _: None) as acceptor:
        yield await acceptor.start("127.0.0.1", 0, context), str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("names", "days", "said"),
    [(["127.0.0.1"], -1, "it has expired"), (["pacs.example.ca"], 90, "it is for another host")],
)
async def test_a_certificate_that_will_not_do(tmp_path: Path, names: Sequence[str], days: int, said: str) -> None:
    async with secured(tmp_path, *names, days=days) as (port, ca):
        step = await failing(region(port, tls=True, ca=ca))
    assert (step.name, said in step.text, said in step.mail) == ("tls", True, True)


async def test_an_authority_that_is_not_known(tmp_path: Path) -> None:
    async with secured(tmp_path, "127.0.0.1", days=90) as (port, _):
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        step = await failing(region(port, tls=True, ca=str(tmp_path / "other.pem")))
    assert (step.name, "authority is not known" in step.text) == ("tls", True)


async def test_a_certificate_that_ends_soon_is_told_of(tmp_path: Path) -> None:
    async with secured(tmp_path, "127.0.0.1", days=5) as (port, ca):
        found = await examine(settings(), [region(port, tls=True, ca=ca)], SECONDS, quiet=True)
    [step] = [step for step in found["neodin"] if step.name == "tls"]
    assert (step.state, "DAYS LEFT" in step.text) == (OK, True)


async def test_a_region_without_tls_that_is_called_with_it() -> None:
    with pynetdicom_archive("NEODIN", INSTANCES) as node:
        step = await failing(region(node.port, tls=True))
    assert step.name == "tls"


# --- the command


@pytest.fixture
def home(tmp_path: Path, archive: tuple[int, Settings]) -> Path:
    port, chosen = archive
    (tmp_path / "regions").mkdir()
    text = 'name = "{0}"\nae_title = "{0}"\nhost = "127.0.0.1"\nport = {1}\nmove_destinations = ["GATEWAY"]\n'
    (tmp_path / "regions/a.toml").write_text(text.format("NEODIN", port))
    (tmp_path / "regions/b.toml").write_text(text.format("HDIRS", free_port()))
    (tmp_path / "gateway.toml").write_text(f"[dimse]\nport = {chosen.dimse.port}\n")
    return tmp_path


def doctor(home: Path, *more: str) -> Result:
    options = ["--regions", str(home / "regions"), "--config", str(home / "gateway.toml")]
    return CliRunner().invoke(app, ["doctor", *more, *options])


def test_the_exit_code_says_whether_all_some_or_none_are_well(home: Path) -> None:
    assert doctor(home, "neodin").exit_code == 0
    assert doctor(home, "HDIRS").exit_code == 4
    result = doctor(home)
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert sum(line.startswith("neodin: ") for line in lines) == 11
    assert [line for line in lines if line.startswith("hdirs: to tell its administrator: ")]


def test_json_tells_every_step(home: Path) -> None:
    result = doctor(home, "--json")
    told = {one["region"]: one for one in json.loads(result.stdout)}
    assert (told["neodin"]["healthy"], told["hdirs"]["healthy"]) == (True, False)
    assert told["hdirs"]["steps"][-1]["name"] == "tcp"


def test_an_empty_archive_is_no_fault(tmp_path: Path) -> None:
    with pynetdicom_archive("NEODIN", []) as node:
        [steps] = asyncio.run(examine(settings(), [region(node.port)], SECONDS, quiet=True)).values()
    assert [step.name for step in steps if step.state == SKIPPED] == ["tls", "character-set", "get", "move"]
