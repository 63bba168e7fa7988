"""A gateway before two regions whose patients direct who may see what, and those who ask it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from gateway.assembly import running
from gateway.config.settings import load
from gateway.scp.profile import PeerProfile
from tests.access.issuing import Issuer
from tests.kit import dicom
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion
from tests.scp.pacs import region_profile

HIDDEN, SECOND, OTHERS, ABSENT = dicom.uid(1), dicom.uid(5), dicom.uid(2), dicom.uid(9)
"""Two studies of the patient who directs something, one of somebody else, and one that is nowhere."""

NORTH = [
    *dicom.study(1, instances=2, PatientID="MRN-1", AccessionNumber="ACC-1"),
    *dicom.study(5, instances=1, PatientID="MRN-1", AccessionNumber="ACC-5"),
    *dicom.study(2, instances=2, PatientID="MRN-2", AccessionNumber="ACC-2"),
]
SOUTH = [*dicom.study(6, instances=1, PatientID="MRN-1", AccessionNumber="ACC-1")]
"""In the south, MRN-1 is the number of somebody else."""
ELSEWHERE = dicom.uid(6)

CLAIMS = {"organisation": "uao", "organisation_name": "uaoName", "person": "rid", "roles": "roles"}
HOSPITAL, CLINIC = "org:hospital", "org:clinic"
EVERYTHING = "search retrieve rendered override"
FHIR = "application/fhir+json"

FORMS = {
    "": "multipart/related; type=application/dicom; transfer-syntax=*",
    "?zip": "application/zip",
    "/metadata": "application/dicom+json",
    "/bulkdata": "multipart/related; type=application/octet-stream",
    "/series/{series}": "multipart/related; type=application/dicom; transfer-syntax=*",
    "/series/{series}/instances/{instance}": "multipart/related; type=application/dicom; transfer-syntax=*",
    "/series/{series}/metadata": "application/dicom+json",
    "/series/{series}/instances/{instance}/frames/1": "multipart/related; type=application/octet-stream",
    "/series/{series}/instances/{instance}/bulkdata": "multipart/related; type=application/octet-stream",
    "/series/{series}/instances/{instance}/rendered": "image/png",
    "/rendered": "image/png",
    "/thumbnail": "image/png",
    "/series/{series}/thumbnail": "image/png",
    "/pixeldata": "multipart/related; type=application/octet-stream",
}
"""What a study is retrieved as, and the Accept field of it."""


class Clock:
    """Seconds since the epoch, as a test wants them."""

    def __init__(self, now: float = 1_900_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]
    warnings: list[str]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Province:
    """The gateway, as its callers see it.

    Attributes:
        clinician: of the hospital; may override.
        other: of the clinic.
        privacy: a privacy officer.
        told: what the audit trail has heard: event, outcome and what else was said.
    """

    url: str
    dimse_port: int
    session: aiohttp.ClientSession
    issuer: Issuer
    clock: Clock
    database: Path
    regions: Sequence[ScriptedRegion]
    told: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    @property
    def clinician(self) -> str:
        return self.token("clinician", HOSPITAL, "cpso:1")

    @property
    def other(self) -> str:
        return self.token("other", CLINIC, "cpso:2")

    @property
    def privacy(self) -> str:
        return self.token("officer", HOSPITAL, "", scope="privacy", roles=[])

    def token(self, name: str, organisation: str, person: str, **more: Any) -> str:
        claims = {"roles": ["clinician"], "scope": EVERYTHING, **more}
        return self.issuer.token(sub=name, uao=organisation, uaoName="Somewhere", rid=person or None, **claims)

    async def ask(self, who: str, path: str, accept: str = "*/*", method: str = "GET", **more: Any) -> Answer:
        fields = {"Authorization": f"Bearer {who}", "Accept": accept, "X-Request-Id": "the-same-for-all"}
        headers = {**fields, **more.pop("headers", {})}
        async with self.session.request(method, self.url + path, headers=headers, **more) as answer:
            return Answer(answer.status, await answer.read(), answer.headers, answer.headers.getall("Warning", []))

    async def studies(self, who: str, query: str = "", **more: Any) -> set[str]:
        answer = await self.ask(who, f"/dicom-web/studies{query}", **more)
        assert answer.status == 200, answer.body
        return {row["0020000D"]["Value"][0] for row in answer.json}

    async def direct(
        self, provision: dict[str, Any], patient: str = "MRN-1", issuer: str = "north", **more: Any
    ) -> Answer:
        """Have a privacy officer place a directive."""
        document = {**consent(provision, patient, issuer), **more}
        answer = await self.ask(self.privacy, "/fhir/Consent", FHIR, "POST", **posted(document))
        assert answer.status == 201, answer.body
        return answer

    async def end(self, placed: Answer) -> Answer:
        """Have a privacy officer end what was placed."""
        document = {**placed.json, "status": "inactive"}
        path, headers = f"/fhir/Consent/{document['id']}", {"If-Match": placed.headers["ETag"]}
        changed = posted(document)
        changed["headers"] |= headers
        answer = await self.ask(self.privacy, path, FHIR, "PUT", **changed)
        assert answer.status == 200, answer.body
        return answer

    def events(self, *names: str) -> list[tuple[str, str, dict[str, Any]]]:
        return [told for told in self.told if told[0] in names]


async def until(happened: Callable[[], object]) -> None:
    """Wait for what happens in another task, which has nothing that could be waited for."""
    async with asyncio.timeout(30):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def posted(document: Any) -> dict[str, Any]:
    return {"data": orjson.dumps(document), "headers": {"Content-Type": FHIR}}


def consent(provision: dict[str, Any], patient: str = "MRN-1", issuer: str = "north") -> dict[str, Any]:
    """Make a Consent as PCF has it."""
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"code": "INFA"}]}],
        "patient": {"identifier": {"system": issuer, "value": patient}},
        "dateTime": "2026-01-01T00:00:00Z",
        "policy": [{"uri": "urn:policy"}],
        "provision": provision,
    }


def actor(kind: str, value: str) -> dict[str, Any]:
    return {"role": {"coding": [{"code": "IRCP"}]}, "reference": {"type": kind, "identifier": {"value": value}}}


def record(uid: str) -> dict[str, Any]:
    identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}
    return {"meaning": "instance", "reference": {"type": "ImagingStudy", "identifier": identifier}}


def report(accession: str) -> dict[str, Any]:
    return {"meaning": "instance", "reference": {"type": "DiagnosticReport", "identifier": {"value": accession}}}


def path_of(form: str, study: str) -> str:
    number = int(study.rpartition(".")[2])
    tail = form.removesuffix("?zip").format(series=dicom.uid(number, 1), instance=dicom.uid(number, 1, 1))
    return f"/dicom-web/studies/{study}{tail}"


@contextlib.asynccontextmanager
async def province(
    folder: Path,
    issuer: Issuer,
    *,
    peers: Sequence[PeerProfile] = (),
    regions: Sequence[ScriptedRegion] = (),
    retrieve: dict[str, Any] | None = None,
    profile: dict[str, Any] | None = None,
    **consent_settings: Any,
) -> AsyncIterator[Province]:
    """Run a gateway whose audit trail is a list."""
    port, clock = free_port(), Clock()
    database = folder / "consent.sqlite"
    overrides: dict[str, dict[str, Any]] = {
        "access": {"mode": "tokens", "issuers": [issuer.settings(folder, claims=CLAIMS).model_dump()]},
        "consent": {"database": str(database), "poll_seconds": 0.05, **consent_settings},
        "ops": {"port": 0},
        "http": {"port": 0},
        "dimse": {"port": port},
        "search": {"soft_seconds": 2.0, "hard_seconds": 5.0},
        "retrieve": {"first_instance_seconds": 5.0, "quiet_seconds": 0.4, **(retrieve or {})},
    }
    told: list[tuple[str, str, dict[str, Any]]] = []

    async def note(_: Any, event: str, outcome: str = "success", **more: Any) -> None:
        told.append((event, outcome, more))

    async with contextlib.AsyncExitStack() as stack:
        behind = regions or [ScriptedRegion("NORTH", NORTH), ScriptedRegion("SOUTH", SOUTH)]
        for region in behind:
            await stack.enter_async_context(region.running(port))
        profiles = [region_profile(region, **(profile or {})) for region in behind]
        made = running(load(overrides=overrides), profiles, peers=peers, recorder=note, clock=clock)
        gateway = await stack.enter_async_context(made)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{gateway.http_port}"
        yield Province(url, gateway.dimse_port, session, issuer, clock, database, behind, told)
