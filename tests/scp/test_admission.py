"""Who may associate: called by our name, from a known address under a known name, and for no more than is allowed."""

from typing import Any

import pytest

from gateway.assembly import running
from gateway.config.settings import load
from gateway.dimse.acceptor import CALLED_AE_TITLE_NOT_RECOGNIZED, CALLING_AE_TITLE_NOT_RECOGNIZED, Caller, Terms
from gateway.errors import ConfigError, Rejected
from gateway.events import AssociationRefused, Event
from gateway.region.profile import Profile
from gateway.scp.admission import Admission
from gateway.scp.profile import PeerProfile
from gateway.wire.negotiation import AcceptancePolicy, ProposedContext
from tests.dimse.scripts import ECHO, FIND, GET, MOVE
from tests.kit import pdus
from tests.scp.pacs import face, peer

REGION = Profile(name="R", ae_title="REGION", host="10.9.9.9", port=104, move_destinations=("GATEWAY", "GATEWAY2"))
OF_REGIONS = Terms(AcceptancePolicy(frozenset({"region"})), {})
EXPLICIT = (pdus.EXPLICIT_LE,)


def admission(*peers: PeerProfile, events: list[Event] | None = None, open_to_loopback: bool = False) -> Admission:

    def observe(event: Event) -> None:
        if events is not None:
            events.append(event)

    return Admission(
        "GATEWAY",
        [REGION],
        peers,
        observe,
        of_regions=OF_REGIONS,
        of_peer=lambda profile, is_region: Terms(AcceptancePolicy(frozenset({profile.name, str(is_region)})), {}),
        open_to_loopback=open_to_loopback,
    )


def served(verdict: Any) -> set[str]:
    assert isinstance(verdict, Terms), verdict
    names = verdict.policy.abstract_syntaxes
    assert isinstance(names, frozenset)
    return set(names)


@pytest.mark.parametrize(
    ("caller", "rejection", "reason"),
    [
        (Caller("WS", "ELSEWHERE", "127.0.0.1"), CALLED_AE_TITLE_NOT_RECOGNIZED, "called-ae-title"),
        (Caller("STRANGER", "GATEWAY", "127.0.0.1"), CALLING_AE_TITLE_NOT_RECOGNIZED, "calling-ae-title"),
        (Caller("WS", "GATEWAY", "10.0.0.1"), CALLING_AE_TITLE_NOT_RECOGNIZED, "address"),
        (Caller("WS", "GATEWAY2", "127.0.0.1"), CALLING_AE_TITLE_NOT_RECOGNIZED, "called-ae-title"),
        (Caller("SECURE", "GATEWAY", "127.0.0.1"), CALLING_AE_TITLE_NOT_RECOGNIZED, "certificate"),
        (
            Caller("SECURE", "GATEWAY", "127.0.0.1", frozenset({"other.example.ca"})),
            CALLING_AE_TITLE_NOT_RECOGNIZED,
            "certificate",
        ),
    ],
)
def test_a_stranger_is_rejected_with_the_reason_and_told_of(caller: Caller, rejection: Any, reason: str) -> None:
    events: list[Event] = []
    secure = peer("SECURE", certificates=("pacs.example.ca",))
    assert admission(peer(), secure, events=events)(caller) == rejection
    assert events == [AssociationRefused(caller.calling_ae_title, caller.called_ae_title, caller.address, reason)]


def test_a_certificate_makes_an_ae_title_an_identity() -> None:
    secure = peer("SECURE", certificates=("pacs.example.ca",))
    assert served(admission(secure)(Caller("SECURE", "GATEWAY", "127.0.0.1", frozenset({"x", "pacs.example.ca"}))))


def test_regions_may_store_what_we_ask_for_wherever_they_call_from() -> None:
    for called in ("GATEWAY", "GATEWAY2"):
        assert admission()(Caller("REGION", called, "10.9.9.8")) is OF_REGIONS


def test_a_region_may_be_a_peer_too() -> None:
    both = admission(peer("REGION"))
    assert served(both(Caller("REGION", "GATEWAY", "127.0.0.1"))) == {"REGION", "True"}
    assert both(Caller("REGION", "GATEWAY2", "127.0.0.1")) is OF_REGIONS


def test_the_loopback_is_open_only_where_that_is_said_and_never_to_ourselves() -> None:
    opened = admission(open_to_loopback=True)
    assert served(opened(Caller("ANYONE", "GATEWAY", "127.0.0.1"))) == {"loopback", "False"}
    assert served(opened(Caller("ANYONE", "GATEWAY", "::1"))) == {"loopback", "False"}
    assert opened(Caller("ANYONE", "GATEWAY", "10.0.0.1")) == CALLING_AE_TITLE_NOT_RECOGNIZED
    assert opened(Caller("GATEWAY", "GATEWAY", "127.0.0.1")) == CALLING_AE_TITLE_NOT_RECOGNIZED


@pytest.mark.parametrize(
    ("services", "accepted"),
    [
        (("echo",), {pdus.VERIFICATION}),
        (("find",), {pdus.STUDY_FIND}),
        (("find", "move"), {pdus.STUDY_FIND, pdus.STUDY_MOVE}),
        (("get",), {pdus.STUDY_GET, pdus.CT_IMAGE}),
    ],
)
async def test_a_peer_gets_the_contexts_of_its_services_alone(services: tuple[str, ...], accepted: set[str]) -> None:
    as_scp = ProposedContext(pdus.CT_IMAGE, EXPLICIT, scp_role=True)
    async with (
        face(peers=[peer(services=services)]) as here,
        here.associated(ECHO, FIND, MOVE, GET, as_scp) as association,
    ):
        assert {context.abstract_syntax for context in association.contexts.values()} == accepted


async def test_who_may_get_may_not_store() -> None:
    async with face(peers=[peer(services=("get",))]) as here:
        with pytest.raises(Rejected, match="accepts none"):
            async with here.associated(ProposedContext(pdus.CT_IMAGE, EXPLICIT)):
                pass


async def test_a_peer_that_is_called_as_we_are_is_a_mistake() -> None:
    settings = load(overrides={"ops": {"port": 0}, "http": {"port": 0}, "dimse": {"port": 0}})
    with pytest.raises(ConfigError, match="is our own"):
        async with running(settings, [REGION], peers=[peer("GATEWAY")]):
            pass
