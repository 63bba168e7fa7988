"""C-STORE from a peer: its instance is handed on whole, and answered with what became of it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from gateway.access.decision import Decisions
from gateway.dataset.patient import PatientIdentifier
from gateway.dimse.store import store
from gateway.errors import DimseFailure, LimitExceeded, Rejected
from gateway.region.inbox import Inbox
from gateway.scp.gate import Gate
from gateway.scp.profile import PeerProfile
from gateway.scp.storage import Intake, Result, Storage
from tests.dimse.callers import accepting
from tests.dimse.scripts import CT, associated, soon
from tests.kit import dicom, pdus
from tests.kit.peers import DicomNode
from tests.kit.region import ScriptedRegion
from tests.kit.scripted import Message, ScriptedPeer
from tests.region.witness import Witness
from tests.scp.pacs import face, peer

INSTANCE = dicom.instance(1, size=300_000)


@dataclass
class Contributions:
    """Where contributions go in these tests: it keeps what it gets, and answers as it is told.

    Attributes:
        status: what it answers.
        error: what it raises instead, when an instance is half read.
    """

    status: int = 0
    error: Exception | None = None
    taken: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    sources: list[tuple[str, str]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def intake(self, peer: PeerProfile, address: str) -> AsyncIterator[Intake]:
        self.sources.append((peer.ae_title, address))
        yield self

    async def take(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        fragments: AsyncIterator[memoryview],
    ) -> Result:
        data = b""
        async for fragment in fragments:
            data += fragment
            if self.error is not None:
                raise self.error
        self.taken.append((sop_class_uid, sop_instance_uid, transfer_syntax_uid, data))
        uid, nobody = "1.2", frozenset[PatientIdentifier]()
        return SimpleNamespace(status=self.status, stored=not self.status, study_instance_uid=uid, patients=nobody)


async def stored(contributions: Contributions) -> int:
    storage = Storage(peer(), Inbox(Witness()), Gate(Decisions("open")), contributions.intake)
    async with (
        accepting(storage.take) as (_, port),
        associated(DicomNode("GATEWAY", "127.0.0.1", port), CT) as association,
    ):
        uids = pdus.CT_IMAGE, INSTANCE.SOPInstanceUID, pdus.EXPLICIT_LE
        return await store(association, *uids, [dicom.encode(INSTANCE)], soon())


async def test_an_instance_is_handed_on_whole_in_the_name_of_its_peer() -> None:
    contributions = Contributions()
    assert await stored(contributions) == 0x0000
    expected = pdus.CT_IMAGE, str(INSTANCE.SOPInstanceUID), pdus.EXPLICIT_LE, dicom.encode(INSTANCE)
    assert contributions.taken == [expected]
    assert contributions.sources == [("WS", "127.0.0.1")]


async def test_a_warning_is_passed_on() -> None:
    assert await stored(Contributions(status=0xB000)) == 0xB000


@pytest.mark.parametrize(
    ("contributions", "status"),
    [
        (Contributions(status=0xA900), 0xA900),
        (Contributions(error=LimitExceeded("full", limit="queue_bytes")), 0xA700),
    ],
)
async def test_what_is_not_safe_is_never_a_success(contributions: Contributions, status: int) -> None:
    with pytest.raises(DimseFailure) as caught:
        await stored(contributions)
    assert caught.value.status == status


async def test_where_nothing_takes_contributions_no_peer_may_store() -> None:
    async with face(peers=[peer(services=("echo", "store"))]) as here:
        with pytest.raises(Rejected, match="accepts none"):
            async with here.associated(CT):
                pass


async def test_what_a_peer_stores_goes_where_the_rule_of_its_organisation_says() -> None:
    taken: list[str] = []

    def region(name: str) -> ScriptedRegion:
        async def take(region: ScriptedRegion, peer: ScriptedPeer, message: Message) -> None:
            taken.append(name)
            await peer.send(pdus.message(message.context_id, pdus.response(message.command)))

        made = ScriptedRegion(name, [])
        made.answers[pdus.C_STORE_RQ] = take
        return made

    rules = [{"regions": ["SECOND"], "organisation": ["General Hospital"]}]
    peers = [
        peer("WS", services=("store",), organisation="General Hospital"),
        peer("OTHER", services=("store",)),
    ]
    sections = {"store": {"default": ["FIRST"], "rules": rules}}
    async with face(region("FIRST"), region("SECOND"), peers=peers, sections=sections) as here:
        for ae_title in ("WS", "OTHER"):
            async with here.associated(CT, ae_title=ae_title) as association:
                uids = pdus.CT_IMAGE, INSTANCE.SOPInstanceUID, pdus.EXPLICIT_LE
                assert await store(association, *uids, [dicom.encode(INSTANCE)], soon()) == 0
    assert taken == ["SECOND", "FIRST"]
