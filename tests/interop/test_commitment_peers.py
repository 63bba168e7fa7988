"""Storage Commitment with peers that others wrote: what they stored through the gateway, they hear is safe."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tests.interop.serving import Gateway, gateway, peer, profile
from tests.kit import dicom
from tests.kit.peers import SECONDS, orthanc, pynetdicom_scp

STUDY = dicom.study(5, instances=2)
UIDS = {str(x.SOPInstanceUID) for x in STUDY}
MISSING = str(dicom.uid(404))


@dataclass
class Told:
    """What a peer was told, and whether it has been."""

    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)

    def take(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information))
        self.arrived.set()
        return 0x0000, None

    @property
    def outcome(self) -> tuple[int, set[str], dict[str, int]]:
        ((kind, told),) = self.reports
        failed = {str(x.ReferencedSOPInstanceUID): x.FailureReason for x in told.get("FailedSOPSequence", [])}
        return kind, {str(x.ReferencedSOPInstanceUID) for x in told.get("ReferencedSOPSequence", [])}, failed


def settings(folder: Path) -> str:
    return f'[store]\ndefault = ["ARCHIVE"]\nfolder = "{folder}"\n'


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An archive that takes all and can be asked for nothing: what is committed was seen to be taken."""
    with pynetdicom_scp("ARCHIVE", [(evt.EVT_C_STORE, lambda _: 0x0000)]) as node:
        yield profile("ARCHIVE", node.port), tmp_path / "queue"


def information(transaction: str, *uids: str) -> Dataset:
    asked = Dataset()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
        asked.ReferencedSOPSequence.append(item)
    return asked


def ask(association: Any, transaction: str, *uids: str) -> int:
    status, _ = association.send_n_action(
        information(transaction, *uids), 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return int(status.Status)


def store_and_ask(one: Gateway, told: Told, *, stays: bool) -> None:
    entity = AE(ae_title="WS")
    entity.add_requested_context(StorageCommitmentPushModel)
    entity.add_requested_context(CTImageStorage)
    handlers = [(evt.EVT_N_EVENT_REPORT, told.take)]
    association = entity.associate("127.0.0.1", one.dimse_port, ae_title="GATEWAY", evt_handlers=handlers)
    assert association.is_established
    assert [association.send_c_store(x).Status for x in STUDY] == [0x0000, 0x0000]
    assert ask(association, str(dicom.uid(70)), *UIDS, MISSING) == 0x0000
    if not stays:
        association.release()
    assert told.arrived.wait(SECONDS)
    if stays:
        association.release()


async def test_pynetdicom_is_told_on_the_association_that_it_keeps(tmp_path: Path, taking: tuple[str, Path]) -> None:
    region, folder = taking
    told = Told()
    peers = [peer("WS", 0, "store", "commit")]
    with gateway(tmp_path, region, settings=settings(folder), peers=peers) as one:
        await asyncio.to_thread(store_and_ask, one, told, stays=True)
    assert told.outcome == (2, UIDS, {MISSING: 0x0110})


async def test_pynetdicom_that_has_left_is_called_by_us_as_its_scp(tmp_path: Path, taking: tuple[str, Path]) -> None:
    region, folder = taking
    told = Told()
    entity = AE(ae_title="WS")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, told.take)])
    assert server is not None
    try:
        peers = [peer("WS", server.server_address[1], "store", "commit")]
        with gateway(tmp_path, region, settings=settings(folder), peers=peers) as one:
            await asyncio.to_thread(store_and_ask, one, told, stays=False)
    finally:
        server.shutdown()
    assert told.outcome == (2, UIDS, {MISSING: 0x0110})


@pytest.mark.peer("orthanc")
def test_orthanc_stores_asks_and_hears_that_all_is_safe(tmp_path: Path, taking: tuple[str, Path]) -> None:
    region, folder = taking
    with orthanc(tmp_path, "CLINIC", dicomweb=False) as clinic:
        peers = [peer("CLINIC", clinic.port, "echo", "store", "commit")]
        with gateway(tmp_path, region, settings=settings(folder), peers=peers) as one:
            clinic.request("PUT", "/modalities/GATEWAY", json.dumps(["GATEWAY", "127.0.0.1", one.dimse_port]).encode())
            clinic.upload(STUDY)
            held = json.loads(clinic.request("GET", "/instances"))
            clinic.request("POST", "/modalities/GATEWAY/store", json.dumps(held).encode())
            asked = {"DicomInstances": [[str(x.SOPClassUID), str(x.SOPInstanceUID)] for x in STUDY]}
            number = json.loads(
                clinic.request("POST", "/modalities/GATEWAY/storage-commitment", json.dumps(asked).encode())
            )["ID"]
            end = time.monotonic() + SECONDS
            while (answer := json.loads(clinic.request("GET", f"/storage-commitment/{number}")))["Status"] == "Pending":
                assert time.monotonic() < end, answer
                time.sleep(0.1)  # Orthanc tells only who asks
    assert answer["Status"] == "Success", answer
    assert {x["SOPInstanceUID"] for x in answer["Success"]} == UIDS
    assert answer["Failures"] == []
