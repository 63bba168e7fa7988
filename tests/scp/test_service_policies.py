"""Every DIMSE service, against every peer: what its profile lets it do, and nothing where nobody was let in."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.access.decision import Decisions
from gateway.dimse.association import Association
from gateway.dimse.echo import echo
from gateway.dimse.get import get
from gateway.dimse.incoming import IncomingStore
from gateway.dimse.move import move
from gateway.dimse.store import store
from gateway.errors import AccessDenied, DimseFailure, Rejected
from gateway.region.inbox import Inbox
from gateway.scp.face import SOP_CLASSES
from gateway.scp.gate import Gate
from gateway.scp.principal import ALLOWED, principal
from gateway.scp.storage import Storage
from gateway.wire.negotiation import ProposedContext
from tests.dimse.callers import accepting
from tests.dimse.scripts import CT, ECHO, FIND, GET, MOVE, associated
from tests.kit import dicom, pdus
from tests.kit.peers import DicomNode
from tests.region.witness import Witness
from tests.scp.pacs import STUDY, face, identifier, peer, rows, soon

NOT_AUTHORIZED = 0x0124
CLOSED: dict[str, Any] = {"mode": "closed"}


def test_every_service_of_a_peer_says_what_it_allows() -> None:
    assert set(ALLOWED) >= set(SOP_CLASSES)
    assert {name for name, allowed in ALLOWED.items() if not allowed} == {"echo"}


@pytest.mark.parametrize("services", [("echo",), ("find",), ("get", "move"), ("store",), ("find", "store")])
def test_a_peer_is_who_its_profile_says(services: Sequence[str]) -> None:
    profile = peer(services=services, organisation="org-1", role="radiologist", title="Workstation")
    who = principal(profile, "10.0.0.1", "TREAT")
    assert (who.subject, who.organisation, who.organisation_name) == ("WS", "org-1", "Workstation")
    assert (who.purpose, who.channel, who.address) == ("TREAT", "dimse", "10.0.0.1")
    assert who.roles == {"radiologist"}
    assert who.scopes == frozenset().union(*(ALLOWED[name] for name in services))  # type: ignore[index]  # of strings
    assert principal(peer(purpose="ETREAT"), "10.0.0.1", "TREAT").purpose == "ETREAT"


async def found(association: Association) -> None:
    await rows(association, "STUDY", StudyInstanceUID=STUDY)


async def moved(association: Association) -> None:
    await move(association, pdus.STUDY_MOVE, identifier("STUDY", StudyInstanceUID=STUDY), "WS", soon())


async def got(association: Association) -> None:
    await get(association, pdus.STUDY_GET, identifier("STUDY", StudyInstanceUID=STUDY), soon())


async def untaken(_: IncomingStore) -> int:
    pytest.fail("an instance came")


REFUSED = {"find": (FIND, found), "move": (MOVE, moved), "get": (GET, got)}


@pytest.mark.parametrize("service", REFUSED)
async def test_where_it_was_not_said_who_may_no_service_is_given_and_no_region_asked(service: str) -> None:
    context, ask = REFUSED[service]
    as_scp = ProposedContext(pdus.CT_IMAGE, (pdus.EXPLICIT_LE,), scp_role=True)
    async with (
        face(access=CLOSED) as gateway,
        gateway.associated(context, as_scp, serve_store=untaken) as association,
    ):
        with pytest.raises(DimseFailure) as refused:
            await ask(association)
        assert refused.value.status == NOT_AUTHORIZED
        assert not any(gateway.regions[0].saw(x) for x in (pdus.C_FIND_RQ, pdus.C_MOVE_RQ, pdus.C_GET_RQ))


async def test_echo_is_answered_whoever_may_anything() -> None:
    async with face(access=CLOSED) as gateway, gateway.associated(ECHO) as association:
        await echo(association, soon())


@pytest.mark.parametrize("service", REFUSED)
async def test_a_peer_is_denied_what_is_not_among_its_services(service: str) -> None:
    others = tuple(name for name in ("echo", "find", "move", "get", "store") if name != service)
    async with face(peers=[peer(services=("echo",))]) as gateway:
        context, _ = REFUSED[service]
        with pytest.raises(Rejected, match="accepts none"):
            async with gateway.associated(context):
                pass
    denied = principal(peer(services=others), "127.0.0.1", "TREAT")
    wanted = ALLOWED[service] - denied.scopes  # type: ignore[index]  # of strings
    for transaction in wanted:
        with pytest.raises(AccessDenied) as refused:
            await Decisions("tokens").permit(denied, transaction)
        assert refused.value.dimse_status == NOT_AUTHORIZED


async def test_an_instance_is_taken_from_nobody_where_it_was_not_said_who_may_store() -> None:
    @asynccontextmanager
    async def intake(_peer: Any, _address: str) -> AsyncIterator[Any]:
        pytest.fail("it was taken in")
        yield

    storage = Storage(peer(), Inbox(Witness()), Gate(Decisions("closed")), intake)
    instance = dicom.instance(1)
    async with (
        accepting(storage.take) as (_, port),
        associated(DicomNode("GATEWAY", "127.0.0.1", port), CT) as association,
    ):
        uids = pdus.CT_IMAGE, instance.SOPInstanceUID, pdus.EXPLICIT_LE
        with pytest.raises(DimseFailure) as refused:
            await store(association, *uids, [dicom.encode(instance)], soon())
    assert refused.value.status == NOT_AUTHORIZED
