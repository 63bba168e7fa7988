"""A peer that asks for it pulls foreign exams under its own numbers; nobody else's bytes are touched."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from gateway.assembly import running
from gateway.config.settings import load
from gateway.dimse.get import get
from gateway.errors import ConfigError, DimseFailure
from gateway.scp.profile import load as load_peers
from tests.dimse.scripts import CT_AS_SCP, GET, MOVE
from tests.kit import dicom, pdus
from tests.kit.region import ScriptedRegion
from tests.scp.pacs import STUDY, Face, face, identifier, peer, soon
from tests.scp.test_retrieve_service import Sink, moved, sink

LOCAL: dict[str, Any] = {"issuer_of_patient_id": "CLINIC", "coerce": True}
CROSSWALK = """health_card_number,issuer,patient_id,issuer_of_patient_id
1001,ON-HCN,MRN00001,archive
1001,ON-HCN,L-77,CLINIC
1002,ON-HCN,MRN00002,archive
"""


@contextlib.asynccontextmanager
async def clinic(tmp_path: Path, *instances: Dataset, **profile: Any) -> AsyncIterator[tuple[Face, Sink]]:
    """Run a gateway for the peer WS, whose own numbers the identity source has, and its Storage SCP."""
    crosswalk = tmp_path / "crosswalk.csv"
    crosswalk.write_text(CROSSWALK)
    identity = {"source": "csv", "crosswalk": str(crosswalk), "provincial_issuer": "ON-HCN"}
    region = ScriptedRegion("ARCHIVE", instances or [dicom.instance(1, size=300_000)])
    async with sink() as workstation:
        peers = [peer(port=workstation.port, **profile)]
        async with face(region, peers=peers, sections={"identity": identity}) as here:
            yield here, workstation


async def pulled(tmp_path: Path, *instances: Dataset, study: str = STUDY, **profile: Any) -> Dataset:
    """Have one instance moved, and return it."""
    async with clinic(tmp_path, *instances, **profile) as (here, workstation), here.associated(MOVE) as association:
        await moved(association, StudyInstanceUID=study)
        ((uid, data),) = workstation.received.items()
        return dicom.decode(data, workstation.syntaxes[uid])


async def test_foreign_exam_is_moved_under_the_local_number_with_its_own_kept(tmp_path: Path) -> None:
    got = await pulled(tmp_path, **LOCAL)
    assert (got.PatientID, got.IssuerOfPatientID) == ("L-77", "CLINIC")
    (item,) = got.OriginalAttributesSequence
    assert item.ModifiedAttributesSequence[0].PatientID == "MRN00001"
    assert item.ReasonForTheAttributeModification == "COERCE"
    assert item.ModifyingSystem == "GATEWAY"
    assert item.SourceOfPreviousValues == "archive"
    assert got.AccessionNumber == "A00001"
    assert got.PixelData == dicom.instance(1, size=300_000).PixelData


async def test_foreign_exam_is_got_under_the_local_number_too(tmp_path: Path) -> None:
    received: list[Dataset] = []

    async def store(incoming: Any) -> int:
        received.append(dicom.decode(b"".join([bytes(x) async for x in incoming])))
        return 0

    async with (
        clinic(tmp_path, **LOCAL) as (here, _),
        here.associated(GET, CT_AS_SCP, serve_store=store) as association,
    ):
        await get(association, pdus.STUDY_GET, identifier("STUDY", StudyInstanceUID=STUDY), soon())
    assert [x.PatientID for x in received] == ["L-77"]


async def test_without_the_option_bytes_are_untouched(tmp_path: Path) -> None:
    instance = dicom.instance(1, size=5000)
    async with clinic(tmp_path, instance, issuer_of_patient_id="CLINIC") as (here, workstation):
        async with here.associated(MOVE) as association:
            await moved(association, StudyInstanceUID=STUDY)
        assert list(workstation.received.values()) == [dicom.encode(instance)]


async def test_own_exam_is_untouched_by_byte(tmp_path: Path) -> None:
    instance = dicom.instance(1, PatientID="L-77", IssuerOfPatientID="CLINIC")
    async with clinic(tmp_path, instance, **LOCAL, accession_prefix="F") as (here, workstation):
        async with here.associated(MOVE) as association:
            await moved(association, StudyInstanceUID=STUDY)
        assert list(workstation.received.values()) == [dicom.encode(instance)]


@pytest.mark.parametrize(("accession", "expected"), [("A1", "EXT-A1"), ("A" * 13, None), ("", None)])
async def test_accession_number_is_prefixed_and_never_cut(tmp_path: Path, accession: str, expected: str | None) -> None:
    instance = dicom.instance(1, AccessionNumber=accession)
    item = Dataset()
    item.LocalNamespaceEntityID = "HDIRS"
    instance.IssuerOfAccessionNumberSequence = [item]
    got = await pulled(tmp_path, instance, **LOCAL, accession_prefix="EXT-")
    before = got.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert (got.AccessionNumber or None) == expected
    if accession:
        assert before.AccessionNumber == accession
        assert before.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "HDIRS"
        assert "IssuerOfAccessionNumberSequence" not in got


async def test_patient_without_a_local_number_is_not_sent(tmp_path: Path) -> None:
    stranger = dicom.instance(2)
    async with clinic(tmp_path, stranger, **LOCAL) as (here, workstation), here.associated(MOVE) as association:
        with pytest.raises(DimseFailure) as caught:
            await moved(association, StudyInstanceUID=dicom.uid(2))
        assert caught.value.status == 0xA702
        assert "knows no Patient ID" in caught.value.comment
        assert workstation.received == {}


async def test_option_without_an_identity_source_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"identity\.source"):
        async with running(load(), [], peers=[peer(**LOCAL)]):
            pass


def test_option_without_the_peers_issuer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ws.toml").write_text('name = "WS"\nae_title = "WS"\naddresses = ["10.0.0.1"]\ncoerce = true\n')
    with pytest.raises(ConfigError, match="issuer_of_patient_id"):
        load_peers(tmp_path)


def test_prefix_longer_than_leaves_room_is_refused(tmp_path: Path) -> None:
    text = 'name = "WS"\nae_title = "WS"\naddresses = ["10.0.0.1"]\naccession_prefix = "MUCH-TOO-LONG"\n'
    (tmp_path / "ws.toml").write_text(text)
    with pytest.raises(ConfigError, match="accession_prefix"):
        load_peers(tmp_path)
