"""A gateway as its own process over an honest region, a talkative one and one that is down, all about one patient.

What names the patient are canaries: words that can come from nowhere else. Whoever runs something here notes what came
back, sorted by whether the caller was entitled to it.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from pydicom import Dataset, Sequence

from tests.access.consenting import CLAIMS, CLINIC, HOSPITAL, consent
from tests.access.issuing import AUDIENCE, NAME, Issuer
from tests.kit import dicom, pdus
from tests.kit.peers import SECONDS, free_port
from tests.kit.region import ScriptedRegion
from tests.kit.scripted import Message, ScriptedPeer

PATIENT = "CANARYTREMBLAY^ZOE"
MRN = "CANARYMRN777"
HEALTH_CARD = "9876543217"
ACCESSION = "CANARYACC5"
DESCRIPTION = "CANARYSTUDY OF THE HEAD"
BORN = "19340203"
WORDS = ("CANARY", HEALTH_CARD, BORN)
"""What no log, metric, trace, error, file name or file may hold; letters in either case."""

SHOWN = {
    "name": PATIENT,
    "number": MRN,
    "card": HEALTH_CARD,
    "accession": ACCESSION,
    "study": DESCRIPTION,
    "born": BORN,
}


def of_the_patient(number: int, instances: int = 2, **more: Any) -> list[Dataset]:
    """Return a study whose every name is a canary."""
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = HEALTH_CARD, "ON-HCN"
    named = {
        "PatientName": PATIENT,
        "PatientID": MRN,
        "AccessionNumber": ACCESSION,
        "StudyDescription": DESCRIPTION,
        "PatientBirthDate": BORN,
        "OtherPatientIDsSequence": Sequence([other]),
    }
    return dicom.study(number, instances=instances, size=64 * 1024, **{**named, **more})


STUDY = dicom.uid(1)
ABROAD = dicom.uid(3)
"""The study of the talkative region."""


class Talkative(ScriptedRegion):
    """A region that says whose records they are wherever it can.

    Attributes:
        mode: how it fails: "comment", "garbage", "nonsense" or "uid"; empty for an honest one.
        status: of its answer to a C-STORE.
    """

    def __init__(self) -> None:
        super().__init__("TALKATIVE", of_the_patient(3))
        self.mode = ""
        self.status = 0xA700
        honest = dict(self.answers)
        for command in (pdus.C_FIND_RQ, pdus.C_MOVE_RQ, pdus.C_GET_RQ):
            self.answers[command] = self._answering(honest[command])
        self.answers[pdus.C_STORE_RQ] = self._refuse

    def _answering(self, honest: Any) -> Any:
        async def answer(region: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
            if not self.mode:
                await honest(region, peer, request)
            elif self.mode == "comment":
                told = pdus.response(request.command, 0xC001, error_comment=f"no {PATIENT} {MRN} {HEALTH_CARD}"[:64])
                await peer.send(pdus.message(request.context_id, told))
            elif self.mode == "garbage":
                await peer.send(f"{PATIENT} {MRN} {ACCESSION} {DESCRIPTION}".encode() * 20)
            else:
                row = b"\x10\x00\x10\x00PN" + PATIENT.encode() * 9
                if self.mode == "uid":
                    wrong = Dataset()
                    wrong.QueryRetrieveLevel, wrong.PatientName = "STUDY", PATIENT
                    row = dicom.encode(wrong) + b"\x20\x00\x0d\x00UI" + bytes([len(MRN), 0]) + MRN.encode()
                await peer.send(pdus.find_response(request.context_id, request.command, row))
                await peer.send(pdus.find_response(request.context_id, request.command))

        return answer

    async def _refuse(self, _: ScriptedRegion, peer: ScriptedPeer, request: Message) -> None:
        told = pdus.response(request.command, self.status, error_comment=f"{PATIENT} {MRN} is unknown")
        uid = request.command["affected_sop_instance_uid"]
        await peer.send(pdus.message(request.context_id, told | {"affected_sop_instance_uid": uid}))


@dataclass
class Said:
    """What the gateway said.

    Attributes:
        entitled: bodies that hold what their callers asked for.
        others: everything else: errors and refusals, fields of every answer, Error Comments, operators' pages.
    """

    entitled: list[bytes] = field(default_factory=list)
    others: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Watched:
    """The running gateway.

    Attributes:
        home: the folder of everything it may write, TMPDIR too.
        statuses: of the answers to HTTP requests, by what was asked.
    """

    home: Path
    web: str
    admin: str
    dimse_port: int
    pid: int
    issuer: Issuer
    talkative: Talkative
    session: aiohttp.ClientSession
    said: Said = field(default_factory=Said)
    statuses: dict[str, int] = field(default_factory=dict)

    def token(self, name: str = "clinician", organisation: str = HOSPITAL, **more: Any) -> str:
        claims = {"roles": ["clinician"], "scope": "search retrieve rendered store override", **more}
        return self.issuer.token(sub=name, uao=organisation, uaoName="Somewhere", rid=f"cpso:{name}", **claims)

    async def ask(self, what: str, path: str, token: str = "", method: str = "GET", **more: Any) -> bytes:
        """Make a request, and note what came back under a name of ours."""
        headers = {"Accept": "application/dicom+json", **more.pop("headers", {})}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        key, body = f"{method} {what} #{len(self.statuses)}", bytearray()
        async with self.session.request(method, self.web + path, headers=headers, **more) as answer:
            with contextlib.suppress(aiohttp.ClientError):  # a body that breaks off is read as far as it comes
                async for piece in answer.content.iter_any():
                    body += piece
        self.statuses[key] = answer.status
        self.said.others[f"fields of {key}"] = repr(answer.raw_headers).encode()
        if answer.status < 300 and "problem" not in answer.headers.get("Content-Type", ""):
            self.said.entitled.append(bytes(body))
        else:
            self.said.others[f"body of {key}"] = bytes(body)
        return bytes(body)

    async def operators(self, *paths: str) -> None:
        for path in paths:
            async with self.session.get(self.admin + path) as answer:
                self.said.others[f"{path} ({answer.status})"] = repr(answer.raw_headers).encode() + await answer.read()

    async def direct(self) -> None:
        """Have the patient's records withheld from the clinic."""
        officer = self.token("officer", scope="privacy", roles=[])
        document = consent({"type": "deny", "actor": [_clinic()]}, MRN, "honest")
        headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
        body = await self.ask("consent", "/fhir/Consent", officer, "POST", data=orjson.dumps(document), headers=headers)
        assert MRN.encode() in body

    @property
    def umask(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("Umask:")[2].split()[0], 8)

    def held_open(self) -> Iterator[tuple[str, bytes]]:
        """Yield files that have no name any more and that the gateway still reads."""
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if " (deleted)" in str(entry.readlink()) and entry.is_file():
                    yield str(entry.readlink()), entry.read_bytes()


def _clinic() -> dict[str, Any]:
    reference = {"type": "Organization", "identifier": {"value": CLINIC}}
    return {"role": {"coding": [{"code": "IRCP"}]}, "reference": reference}


def found(data: bytes) -> set[str]:
    """Return the canaries in some bytes."""
    lowered = data.lower()
    return {word for word in WORDS if word.lower().encode() in lowered}


@contextlib.asynccontextmanager
async def watched(home: Path, issuer: Issuer, otlp: str, *, key: str) -> AsyncIterator[Watched]:
    """Run a gateway with everything on; a key encrypts what it keeps."""
    web, admin, dimse, workstation = free_port(), free_port(), free_port(), free_port()
    talkative, honest = Talkative(), ScriptedRegion("HONEST", of_the_patient(1))
    for name in ("regions", "peers", "temporary"):
        (home / name).mkdir()
    (home / "jwks.json").write_bytes(issuer.jwks)
    (home / "key").write_text(key)
    (home / "settings.toml").write_text(_settings(home, otlp, with_key=bool(key)))
    (home / "peers" / "ws.toml").write_text(_peer(workstation))
    async with honest.running(dimse), talkative.running(dimse):
        ports = {"HONEST": honest.node.port, "TALKATIVE": talkative.node.port, "DOWN": free_port()}
        for name, port in ports.items():
            (home / "regions" / f"{name.lower()}.toml").write_text(
                f'name = "{name}"\nae_title = "{name}"\nhost = "127.0.0.1"\nport = {port}\n'
                'move_destinations = ["GATEWAY"]\n'
            )
        options = {"config": home / "settings.toml", "regions": home / "regions", "peers": home / "peers"}
        given = {**options, "http-port": web, "dimse-port": dimse, "ops-port": admin}
        arguments = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
        with (home / "gateway.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "gateway", "serve", *arguments],
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | {"TMPDIR": str(home / "temporary")},
            )  # fmt: skip
        try:
            await _listening(web, home)
            async with aiohttp.ClientSession() as session:
                url = "http://127.0.0.1:"
                yield Watched(home, f"{url}{web}", f"{url}{admin}", dimse, process.pid, issuer, talkative, session)
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(SECONDS):
                assert await process.wait() == 0


async def _listening(port: int, home: Path) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.05)


def _settings(home: Path, otlp: str, *, with_key: bool) -> str:
    sections: Mapping[str, Mapping[str, Any]] = {
        "access": {"mode": "tokens"},
        "audit": {"folder": str(home / "audit")},
        "consent": {"database": str(home / "consent.sqlite")},
        "dimse": {"host": "127.0.0.1"},
        "http": {"host": "127.0.0.1"},
        "ops": {"otlp_endpoint": otlp, "echo_seconds": 0.2},
        "search": {"soft_seconds": SECONDS, "hard_seconds": SECONDS},
        "spool": {"folder": str(home / "spool"), "keep_on_restart": True, "fresh_seconds": 0.1},
        "store": {
            "folder": str(home / "queue"),
            "default": ["TALKATIVE", "DOWN"],
            "answer_seconds": 3.0,
            "retry_seconds": 0.2,
        },
    }
    lines: list[str] = []
    for name, values in sections.items():
        more = {"key_file": str(home / "key")} if with_key and name in {"spool", "store"} else {}
        lines += [f"[{name}]", *(f"{k} = {orjson.dumps(v).decode()}" for k, v in {**values, **more}.items())]
    claims = ", ".join(f'{name} = "{claim}"' for name, claim in CLAIMS.items())
    issuer = {"issuer": NAME, "audiences": [AUDIENCE], "jwks_file": str(home / "jwks.json"), "patient_issuer": "honest"}
    lines += ["[[access.issuers]]", *(f"{k} = {orjson.dumps(v).decode()}" for k, v in issuer.items())]
    return "\n".join([*lines, f"claims = {{ {claims} }}", ""])


def _peer(port: int) -> str:
    return (
        'name = "WS"\nae_title = "WS"\naddresses = ["127.0.0.1"]\nservices = ["echo", "find", "get", "move", "store"]\n'
        f'organisation = "{HOSPITAL}"\nrole = "clinician"\n'
        f'move_destination = {{ host = "127.0.0.1", port = {port} }}\n'
    )
