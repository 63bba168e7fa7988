"""What was taken in reaches its region as it is; decoded only where the region takes it in no other way."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from pynetdicom import evt

from gateway.assembly import running
from gateway.config.settings import load
from gateway.dataset.jobs import transcode_instance
from gateway.dimse.requestor import Peer, connect
from gateway.dimse.store import store
from gateway.errors import DimseFailure, NotStorable
from gateway.region.profile import Profile
from gateway.region.storing import Outgoing
from gateway.wire.negotiation import ProposedContext
from tests.dimse.scripts import QUICK
from tests.kit import dicom, pdus
from tests.kit.peers import pynetdicom_scp
from tests.scp.pacs import peer, soon
from tests.web.storing import FakeRegion, first, origin, values

FAILED, FAILURE, REFERENCED = "00081198", "00081197", "00081199"


def compressed() -> Dataset:
    instance = dicom.instance(1, size=8192)
    instance.compress(RLELossless, generate_instance_uid=False)
    return instance


class Archive:
    """A Storage SCP of pynetdicom that takes CT in these Transfer Syntaxes only, and nothing else at all."""

    def __init__(self) -> None:
        self.received: list[Dataset] = []
        self.syntaxes: list[str] = []

    def take(self, event: evt.Event) -> int:
        self.received.append(event.dataset)
        self.syntaxes.append(str(event.context.transfer_syntax))
        return 0


@contextlib.asynccontextmanager
async def gateway(*transfer_syntaxes: str, supported: tuple[str, ...]) -> AsyncIterator[tuple[int, Archive]]:
    archive = Archive()
    scp = pynetdicom_scp(
        "ARCHIVE", [(evt.EVT_C_STORE, archive.take)], supported=supported, transfer_syntaxes=transfer_syntaxes
    )
    overrides: dict[str, dict[str, Any]] = {
        "access": {"mode": "open"},
        "ops": {"port": 0},
        "http": {"port": 0},
        "dimse": {"port": 0},
        "store": {"default": ["ARCHIVE"]},
    }
    with scp as node:
        profile = Profile(name="ARCHIVE", ae_title="ARCHIVE", host="127.0.0.1", port=node.port)
        async with running(load(overrides=overrides), [profile], peers=[peer(services=("store",))]) as up:
            yield up.dimse_port, archive


async def contributed(port: int, instance: Dataset) -> int:
    syntax = str(instance.file_meta.TransferSyntaxUID)
    here = Peer("127.0.0.1", port, "GATEWAY", "WS")
    async with await connect(here, [ProposedContext(pdus.CT_IMAGE, (syntax,))], soon(), limits=QUICK) as association:
        uids = pdus.CT_IMAGE, str(instance.SOPInstanceUID), syntax
        return await store(association, *uids, [dicom.encode(instance, syntax)], soon())


@pytest.mark.parametrize("with_verification", [True, False])
@pytest.mark.parametrize("accepted", [pdus.EXPLICIT_LE, pdus.IMPLICIT_LE])
async def test_compressed_instance_is_decoded_for_a_region_that_takes_nothing_else(
    accepted: str, with_verification: bool
) -> None:
    supported = (pdus.CT_IMAGE, pdus.VERIFICATION) if with_verification else (pdus.CT_IMAGE,)
    syntaxes = (accepted, pdus.IMPLICIT_LE) if with_verification else (accepted,)
    async with gateway(*syntaxes, supported=supported) as (port, archive):
        assert await contributed(port, compressed()) == 0
    (got,) = archive.received
    assert got.PixelData == dicom.instance(1, size=8192).PixelData
    assert archive.syntaxes == [accepted]


async def test_compressed_instance_goes_as_it_is_to_a_region_that_takes_it() -> None:
    instance = compressed()
    async with gateway(RLELossless, pdus.EXPLICIT_LE, supported=(pdus.CT_IMAGE,)) as (port, archive):
        assert await contributed(port, instance) == 0
    assert archive.received[0].PixelData == instance.PixelData
    assert archive.syntaxes == [RLELossless]


async def test_explicit_instance_is_reencoded_for_a_region_that_takes_only_implicit() -> None:
    instance = dicom.instance(1, size=8192)
    async with gateway(ImplicitVRLittleEndian, supported=(pdus.CT_IMAGE, pdus.VERIFICATION)) as (port, archive):
        assert await contributed(port, instance) == 0
    assert archive.received[0].PixelData == instance.PixelData


async def test_damaged_instance_that_would_have_to_be_decoded_is_refused_as_what_it_is() -> None:
    instance = compressed()
    # Behind the offset table and the header of its fragment: the RLE header.
    instance.PixelData = instance.PixelData[:20] + b"\xff" * 64 + instance.PixelData[84:]
    async with gateway(pdus.EXPLICIT_LE, pdus.IMPLICIT_LE, supported=(pdus.CT_IMAGE, pdus.VERIFICATION)) as here:
        port, archive = here
        with pytest.raises(DimseFailure) as caught:
            await contributed(port, instance)
    assert caught.value.status == 0xC122
    assert archive.received == []


async def test_sop_class_that_a_region_does_not_take_holds_up_nothing_else() -> None:
    mr = "1.2.840.10008.5.1.4.1.1.4"
    async with gateway(pdus.EXPLICIT_LE, pdus.IMPLICIT_LE, supported=(mr, pdus.VERIFICATION)) as (port, _):
        with pytest.raises(DimseFailure) as caught:
            await contributed(port, dicom.instance(1))
    assert caught.value.status == 0x0122


# --- through the queue


class Picky(FakeRegion):
    """Takes nothing compressed."""

    async def store(self, instance: Outgoing, deadline: Any, *, stall_seconds: float) -> int:
        if instance.transfer_syntax_uid == RLELossless:
            raise NotStorable("NEODIN does not take RLE", status=0xC122)
        return await super().store(instance, deadline, stall_seconds=stall_seconds)


async def decode(data: bytes, source_uid: str, target_uid: str) -> bytes:
    return transcode_instance(data, source_uid, target_uid)


async def test_what_is_stored_by_the_web_is_decoded_on_its_way_too(tmp_path: Path) -> None:
    region = Picky()
    async with origin(region, folder=tmp_path, decode=decode) as served:
        response = await served.post([dicom.part10(compressed())])
        assert response.status_code == 200
        ((outgoing, data),) = region.stored
    assert outgoing.transfer_syntax_uid == pdus.EXPLICIT_LE
    assert dicom.decode(data).PixelData == dicom.instance(1, size=8192).PixelData
    assert len(values(response.json(), REFERENCED)) == 1


async def test_what_nothing_can_decode_is_refused(tmp_path: Path) -> None:
    async with origin(Picky(), folder=tmp_path) as served:
        response = await served.post([dicom.part10(compressed())])
    assert response.status_code == 409
    assert first(values(response.json(), FAILED)[0], FAILURE) == 0xC122
