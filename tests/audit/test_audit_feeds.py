"""The feeds bring every record, in order, to real and failing receivers, and go on after a restart."""

import asyncio
import contextlib
import ssl
import textwrap
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from gateway.audit.chain import GENESIS, Entry, decode, dump, encode
from gateway.audit.feed import Feed, FeedFailed
from gateway.audit.fhir_feed import FhirReceiver
from gateway.audit.segments import entries
from gateway.audit.source import AuditSource
from gateway.audit.syslog import SyslogReceiver, frame
from gateway.audit.tls import client_context
from gateway.errors import ConfigError
from gateway.events import AuditFeedState, unobserved
from tests.audit.audit_schema import parse
from tests.audit.logs import SEARCH, Seen, searches, until, write
from tests.kit.peers import HOST, free_port, require, running

SOURCE = AuditSource("gw1", "HDIRS", "https://imaging.example.ca/dicom-web", "GATEWAY")
RSYSLOGD = Path("/usr/sbin/rsyslogd")
RSYSLOG_OPENSSL = next(Path("/usr/lib").glob("*/rsyslog/lmnsd_ossl.so"), Path("/usr/lib/rsyslog/lmnsd_ossl.so"))


def feed(folder: Path, receiver: Any, observe: Any = unobserved) -> Feed:
    return Feed(folder, receiver, observe, poll_seconds=0.01, retry_seconds=0.01, longest_retry_seconds=0.05)


@dataclass
class Certificates:
    ca: Path
    server: Path
    client: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    home = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    paths = Certificates(home / "ca.pem", home / "server.pem", home / "client.pem")
    authority.cert_pem.write_to_path(str(paths.ca))
    authority.issue_cert(HOST, "localhost").private_key_and_cert_chain_pem.write_to_path(str(paths.server))
    authority.issue_cert("gw1.example.ca").private_key_and_cert_chain_pem.write_to_path(str(paths.client))
    return paths


@contextlib.contextmanager
def rsyslog(home: Path, port: int, certificates: Certificates) -> Iterator[Path]:
    """Run Debian's rsyslog as a TLS receiver that wants a client certificate, and give the file that it writes."""
    require(RSYSLOGD)
    require(RSYSLOG_OPENSSL)
    received = home / "received.log"
    config = home / "rsyslog.conf"
    config.write_text(
        textwrap.dedent(f"""
        global(workDirectory="{home}" maxMessageSize="64k" defaultNetstreamDriver="ossl"
               defaultNetstreamDriverCAFile="{certificates.ca}"
               defaultNetstreamDriverCertFile="{certificates.server}"
               defaultNetstreamDriverKeyFile="{certificates.server}")
        module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
        template(name="raw" type="string" string="- %pri% %hostname% %app-name% %msgid% %msg%\\n")
        input(type="imtcp" port="{port}" address="{HOST}")
        action(type="omfile" file="{received}" template="raw" asyncWriting="off" flushOnTXEnd="on")
        """)
    )
    arguments = [str(RSYSLOGD), "-n", "-i", str(home / "rsyslog.pid"), "-f", str(config)]
    with running(arguments, port, home / "rsyslog.out"):
        yield received


def messages(received: Path) -> list[str]:
    """Return the lines that are written whole."""
    return received.read_text().rpartition("\n")[0].splitlines() if received.exists() else []


@pytest.mark.peer("rsyslog")
async def test_rsyslog_receives_every_record_over_mutual_tls(tmp_path: Path, certificates: Certificates) -> None:
    write(tmp_path / "log", searches(30))
    port = free_port()
    tls = client_context(certificates.ca, certificates.client, certificates.client)
    with rsyslog(tmp_path, port, certificates) as received:
        async with feed(tmp_path / "log", SyslogReceiver(HOST, port, tls, SOURCE)).running():
            await until(lambda: len(messages(received)) >= 30)
            write(tmp_path / "log", searches(5))
            await until(lambda: len(messages(received)) >= 35)
    lines = messages(received)
    assert len(lines) == 35
    for line in lines:
        _, priority, host, app, kind, message = line.split(" ", 5)
        assert (priority, host, app, kind) == ("85", "gw1", "gateway", "DICOM+RFC3881")
        root = parse(message.strip().removeprefix("\ufeff"))
        assert root[0][0].get("csd-code") == "110112"


@pytest.mark.peer("rsyslog")
async def test_an_outage_of_rsyslog_loses_nothing(tmp_path: Path, certificates: Certificates) -> None:
    folder = write(tmp_path / "log", searches(10))
    port = free_port()
    seen = Seen()
    tls = client_context(certificates.ca, certificates.client, certificates.client)
    async with feed(
        tmp_path / "log", SyslogReceiver(HOST, port, tls, SOURCE, seconds=3), seen
    ).running() as running_feed:
        with rsyslog(tmp_path, port, certificates) as received:
            await until(lambda: len(messages(received)) >= 10)
        write(tmp_path / "log", searches(10))
        await until(lambda: seen.has(AuditFeedState))
        assert running_feed.lag_seconds > 0
        with rsyslog(tmp_path, port, certificates) as received:
            await until(lambda: all(f"{x.writer} {x.link.seq}" in told(received) for x, _ in entries(folder)), 30)


def told(received: Path) -> set[str]:
    """The places in the chain of what was received."""
    found = set()
    for line in messages(received):
        root = parse(line.split(" ", 5)[5].strip().removeprefix("\ufeff"))
        values = {x.get("type"): x.attrib["value"] for x in root.iter("ParticipantObjectDetail")}
        found.add(b64decode(values["Record"]).decode())
    return found


@pytest.mark.peer("rsyslog")
async def test_a_receiver_without_our_authority_gets_nothing(tmp_path: Path, certificates: Certificates) -> None:
    write(tmp_path / "log", searches(1))
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    seen = Seen()
    port = free_port()
    with rsyslog(tmp_path, port, certificates) as received:
        async with feed(tmp_path / "log", SyslogReceiver(HOST, port, client_context(other), SOURCE), seen).running():
            await until(lambda: seen.has(AuditFeedState))
    assert messages(received) == []
    state = seen.events[0]
    assert isinstance(state, AuditFeedState)
    assert "TLS failed" in state.detail


def test_a_frame_counts_its_octets() -> None:
    """RFC 5425 4.3: MSG-LEN is in octets of the SYSLOG-MSG, which begins its UTF-8 part with a BOM (RFC 5424 6.4)."""
    folder_entry = _entry()
    made = frame(folder_entry, "<é/>", "gw 1")
    length, _, body = made.partition(b" ")
    assert int(length) == len(body)
    head, _, message = body.partition(b"\xef\xbb\xbf")
    assert head.startswith(b"<85>1 2023-11-14T22:13:20.000000Z gw_1 gateway ")
    assert head.endswith(b" DICOM+RFC3881 - ")
    assert message == "<é/>".encode()


def _entry() -> Entry:
    return decode(encode(dump(SEARCH), 1.7e9, "gw1/0a1b2c3d", GENESIS)[0])


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="certificate"):
        client_context(tmp_path / "none.pem")


@dataclass
class Repository:
    """A scripted FHIR server.

    Attributes:
        answers: statuses of the next answers; behind them all is 201.
    """

    answers: list[int] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.json()
        status = self.answers.pop(0) if self.answers else 201
        self.tokens.add(request.headers.get("Authorization", ""))
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        if status == 201:
            assert request.content_type == "application/fhir+json"
            self.events.append(body)
        return web.Response(status=status)

    def places(self) -> list[str]:
        return [event["entity"][-1]["what"]["identifier"]["value"] for event in self.events]


@pytest.fixture
async def repository() -> AsyncIterator[Repository]:
    made = Repository()
    app = web.Application()
    app.router.add_post("/fhir/AuditEvent", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    made.url = f"http://{HOST}:{runner.addresses[0][1]}/fhir"
    yield made
    await runner.cleanup()


async def test_a_fhir_repository_that_fails_and_recovers_gets_every_record(
    tmp_path: Path, repository: Repository
) -> None:
    folder = write(tmp_path / "log", searches(40))
    (tmp_path / "token").write_text("secret\n")
    repository.answers = [503, 201, 429, 0, 500, 401, 201, 422]
    seen = Seen()
    receiver = FhirReceiver(repository.url, SOURCE, token_file=tmp_path / "token")
    async with feed(tmp_path / "log", receiver, seen).running() as running_feed:
        await until(lambda: len(set(repository.places())) == 40)
        await until(lambda: running_feed.lag_seconds == 0)
    assert set(repository.places()) == {f"{x.writer} {x.link.seq}" for x, _ in entries(folder)}
    assert repository.tokens == {"Bearer secret"}
    states = [event for event in seen.events if isinstance(event, AuditFeedState)]
    assert [state.outcome for state in states][-1] == "complete"
    assert "secret" not in str(states)
    assert "0041596842" not in str(states)


async def bring(folder: Path, repository: Repository, total: int) -> None:
    """Run a feed until it has brought so many records in all its lives."""
    async with feed(folder, FhirReceiver(repository.url, SOURCE)).running() as running_feed:
        await until(lambda: running_feed.needed("gw1") == total + 1)


async def test_a_feed_goes_on_after_a_restart_where_it_was(tmp_path: Path, repository: Repository) -> None:
    write(tmp_path / "log", searches(10))
    await bring(tmp_path / "log", repository, 10)
    write(tmp_path / "log", searches(5))
    await bring(tmp_path / "log", repository, 15)
    assert len(repository.events) == 15
    assert len(set(repository.places())) == 15


async def test_a_search_of_two_patients_is_posted_as_two_events(tmp_path: Path, repository: Repository) -> None:
    write(tmp_path / "log", [SEARCH._replace(patients=(("A", "1"), ("B", "2")))])
    async with feed(tmp_path / "log", FhirReceiver(repository.url, SOURCE)).running():
        await until(lambda: len(repository.events) == 2)
    assert [x["entity"][0]["what"]["identifier"]["value"] for x in repository.events] == ["1", "2"]


async def test_a_fhir_repository_gets_our_client_certificate(tmp_path: Path, certificates: Certificates) -> None:
    made = Repository()
    app = web.Application()
    app.router.add_post("/fhir/AuditEvent", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    server.load_cert_chain(certificates.server)
    server.verify_mode = ssl.CERT_REQUIRED
    await web.TCPSite(runner, HOST, 0, ssl_context=server).start()
    url = f"https://{HOST}:{runner.addresses[0][1]}/fhir"
    write(tmp_path / "log", searches(1))
    tls = client_context(certificates.ca, certificates.client, certificates.client)
    async with feed(tmp_path / "log", FhirReceiver(url, SOURCE, tls=tls)).running():
        await until(lambda: len(made.events) == 1)
    await runner.cleanup()


class Nobody:
    """A receiver that is away."""

    name = "nobody"

    async def send(self, batch: Any) -> None:
        await asyncio.sleep(0)
        raise FeedFailed("away")

    async def aclose(self) -> None:
        pass


async def test_what_a_receiver_lacks_is_needed_and_its_age_is_the_lag(tmp_path: Path) -> None:
    write(tmp_path / "log", searches(3), at=1.7e9)
    seen = Seen()
    async with feed(tmp_path / "log", Nobody(), seen).running() as running_feed:
        await until(lambda: len(seen.events) > 3)
        assert running_feed.lag_seconds > 1e7
        assert running_feed.needed("gw1") == 1
