"""What is added to a patient's record is told to the audit trail with that patient, whoever brings it."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from pydicom import Dataset

from gateway.assembly import running
from gateway.config.settings import load
from gateway.dataset.patient import PatientIdentifier
from gateway.dimse.requestor import Peer, connect
from gateway.dimse.store import store
from tests.dimse.scripts import CT, QUICK
from tests.kit import dicom, pdus
from tests.kit.peers import free_port
from tests.kit.region import ScriptedRegion, answer_echo
from tests.scp.pacs import peer, region_profile, soon

ISSUERS = [{"issuer": "ON-HCN", "oid": "1.2.3.4"}]
STATED = PatientIdentifier("ON-HCN", "1234567890")


class Clinic:
    """A gateway that stores in the north, and what it had recorded."""

    def __init__(self, dimse_port: int, http_port: int, session: aiohttp.ClientSession) -> None:
        self.dimse_port = dimse_port
        self.url = f"http://127.0.0.1:{http_port}/dicom-web/studies"
        self.session = session
        self.told: list[dict[str, Any]] = []

    async def post(self, *instances: Dataset) -> int:
        parts = b"".join(
            b"--x\r\nContent-Type: application/dicom\r\n\r\n" + dicom.part10(one) + b"\r\n" for one in instances
        )
        kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
        async with self.session.post(self.url, data=parts + b"--x--\r\n", headers=kind) as answer:
            return answer.status

    async def c_store(self, instance: Dataset) -> int:
        here = Peer("127.0.0.1", self.dimse_port, "GATEWAY", "WS")
        async with await connect(here, (CT,), soon(), limits=QUICK) as association:
            uids = pdus.CT_IMAGE, instance.SOPInstanceUID, pdus.EXPLICIT_LE
            return await store(association, *uids, [dicom.encode(instance)], soon())

    @property
    def last(self) -> dict[str, Any]:
        told = self.told[-1]
        return {**told, "patients": set(told["patients"])}


@pytest.fixture
async def clinic() -> AsyncIterator[Clinic]:
    port = free_port()
    overrides: dict[str, dict[str, Any]] = {
        "access": {"mode": "open"},
        "ops": {"port": 0},
        "http": {"port": 0},
        "dimse": {"port": port},
        "identity": {"issuers": ISSUERS},
        "store": {"default": ["NORTH"], "required": ["StudyDate"]},
    }
    north = ScriptedRegion("NORTH", [])
    north.answers[pdus.C_STORE_RQ] = answer_echo
    made: list[Clinic] = []

    async def note(_: Any, event: str, outcome: str = "success", **more: Any) -> None:
        if event == "store":
            made[0].told.append({"outcome": outcome, **more})

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(north.running(port))
        peers = [peer(services=("echo", "store"), issuer_of_patient_id="CLINIC")]
        running_ = running(load(overrides=overrides), [region_profile(north)], peers=peers, recorder=note)
        gateway = await stack.enter_async_context(running_)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        made.append(Clinic(gateway.dimse_port, gateway.http_port, session))
        yield made[0]


async def test_stow_is_told_with_the_patient_in_the_namespace_of_the_region_or_as_stated(clinic: Clinic) -> None:
    plain = dicom.instance(1, PatientID="MRN-1")
    stated = dicom.instance(2, PatientID="1234567890", IssuerOfPatientID="1.2.3.4")
    assert await clinic.post(plain, dicom.instance(1, 1, 2, PatientID="MRN-1"), stated) == 200
    told = [(*told["patients"], *told["studies"], told["instances"]) for told in clinic.told]
    north = PatientIdentifier("north", "MRN-1")
    assert sorted(told) == [(STATED, dicom.uid(2), 1), (north, dicom.uid(1), 2)]


async def test_a_c_store_is_told_with_the_patient_in_the_namespace_of_its_sender_or_as_stated(clinic: Clinic) -> None:
    assert await clinic.c_store(dicom.instance(1, PatientID="MRN-1")) == 0
    assert clinic.last["patients"] == {PatientIdentifier("CLINIC", "MRN-1")}
    assert await clinic.c_store(dicom.instance(2, PatientID="1234567890", IssuerOfPatientID="ON-HCN")) == 0
    assert clinic.last["patients"] == {STATED}


async def test_what_was_refused_is_told_with_the_patient_too_and_what_names_nobody_with_nobody(clinic: Clinic) -> None:
    undated = dicom.instance(1, PatientID="1234567890", IssuerOfPatientID="ON-HCN")
    undated.StudyDate = ""
    assert await clinic.post(undated) == 409
    assert (clinic.last["outcome"], clinic.last["patients"]) == ("failure", {STATED})
    assert await clinic.post(dicom.instance(2, PatientID="")) == 200
    assert clinic.last["patients"] == set()
