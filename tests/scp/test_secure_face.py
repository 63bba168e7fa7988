"""Both faces of a gateway with certificates: DICOM TLS for its peers, HTTPS for its web callers."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from gateway.assembly import running
from gateway.config.settings import load
from gateway.dimse.echo import echo
from gateway.dimse.requestor import Peer, connect
from gateway.dimse.tls import client_context
from gateway.errors import ConfigError, Rejected
from gateway.events import AssociationRefused
from gateway.region.profile import Profile
from tests.dimse.scripts import ECHO, FIND, QUICK
from tests.scp.pacs import face, peer, rows, soon

REGION = Profile(name="R", ae_title="R", host="127.0.0.1", port=9)


@pytest.fixture
def certified(tmp_path: Path) -> dict[str, str]:
    """Certificates of the gateway and of a peer, of one authority, as the settings name them."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, host in (("gateway", "127.0.0.1"), ("peer", "pacs.example.ca")):
        authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    return {name: str(tmp_path / f"{name}.pem") for name in ("ca", "gateway", "peer")}


async def test_a_certificate_that_is_the_peers_lets_it_in_and_another_does_not(certified: dict[str, str]) -> None:
    peers = [peer("PACS", certificates=("pacs.example.ca",)), peer("OTHER", certificates=("other.example.ca",))]
    ours: dict[str, Any] = {"certificate": certified["gateway"], "ca": certified["ca"]}
    shown = client_context(Path(certified["ca"]), Path(certified["peer"]))
    async with face(peers=peers, **ours) as here:
        at = Peer("127.0.0.1", here.tls_port, "GATEWAY", "PACS", shown)
        async with await connect(at, [ECHO, FIND], soon(), limits=QUICK) as association:
            await echo(association, soon())
            assert len(await rows(association, "STUDY", StudyInstanceUID="")) == 3
        at = Peer("127.0.0.1", here.tls_port, "GATEWAY", "OTHER", shown)
        with pytest.raises(Rejected, match="does not know our AE title"):
            await connect(at, [ECHO], soon(), limits=QUICK)
        # Its AE title alone is nobody's identity.
        at = Peer("127.0.0.1", here.port, "GATEWAY", "PACS")
        with pytest.raises(Rejected, match="does not know our AE title"):
            await connect(at, [ECHO], soon(), limits=QUICK)
        assert [event.reason for event in here.of(AssociationRefused)] == ["certificate", "certificate"]


async def test_the_plain_port_can_be_closed(certified: dict[str, str]) -> None:
    ours = {"certificate": certified["gateway"], "ca": certified["ca"], "tls_port": 0, "plain": False}
    settings = load(overrides={"access": {"mode": "open"}, "ops": {"port": 0}, "http": {"port": 0}, "dimse": ours})
    async with running(settings, [REGION], peers=[peer()]) as gateway:
        assert gateway.dimse_port == 0
        assert gateway.tls_port


async def test_no_port_at_all_is_a_mistake() -> None:
    settings = load(
        overrides={"access": {"mode": "open"}, "ops": {"port": 0}, "http": {"port": 0}, "dimse": {"plain": False}}
    )
    with pytest.raises(ConfigError, match="no port would be open"):
        async with running(settings, [REGION]):
            pass


async def test_the_web_face_speaks_https(certified: dict[str, str]) -> None:
    settings = load(
        overrides={
            "access": {"mode": "open"},
            "ops": {"port": 0},
            "http": {"port": 0, "certificate": certified["gateway"]},
            "dimse": {"port": 0},
        }
    )
    trusting = ssl.create_default_context(cafile=certified["ca"])
    async with running(settings, [REGION]) as gateway, aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{gateway.http_port}/dicom-web/studies"
        async with session.get(url, ssl=trusting) as answer:
            assert (answer.status, answer.headers["Federation-Status"]) == (503, "r;state=refused")
        async with asyncio.timeout(30):
            with pytest.raises(aiohttp.ClientError):
                await session.get(url.replace("https", "http"))


async def test_a_region_may_be_called_by_tls(certified: dict[str, str]) -> None:
    """One gateway is the other's region."""
    ours: dict[str, Any] = {"certificate": certified["gateway"], "ca": certified["ca"]}
    async with face(peers=[peer("OUTER", services=("echo", "find"))], **ours) as inner:
        region = Profile(
            name="INNER",
            ae_title="GATEWAY",
            host="127.0.0.1",
            port=inner.tls_port,
            tls=True,
            ca=certified["ca"],
            certificate=certified["peer"],
        )
        settings = load(
            overrides={
                "access": {"mode": "open"},
                "ops": {"port": 0},
                "http": {"port": 0},
                "dimse": {"port": 0, "ae_title": "OUTER"},
            }
        )
        async with running(settings, [region]) as outer:
            url = f"http://127.0.0.1:{outer.http_port}/dicom-web/studies"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                assert (answer.status, len(await answer.json(content_type=None))) == (200, 3)
