"""What is proposed and what is accepted (PS3.8 7.1.1.13, PS3.7 D.3), R13 and R14."""

from typing import Any

import pytest

from gateway.errors import LocalProtocolError
from gateway.wire.limits import Limits
from gateway.wire.negotiation import (
    AcceptancePolicy,
    AcceptedContext,
    ProposedContext,
    accepted_contexts,
    associate_request,
    choose,
    send_length,
)
from gateway.wire.pdu import AssociateAccept, AssociateRequest, decode
from tests.kit import pdus

EXPLICIT, IMPLICIT, BIG = pdus.EXPLICIT_LE, pdus.IMPLICIT_LE, pdus.EXPLICIT_BE
JPEG, J2K = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"
GE_PRIVATE = "1.2.840.113619.5.2"
LIMITS = Limits()


def asked(*contexts: tuple[int, str, list[str]], user: bytes | None = None) -> AssociateRequest:
    request = decode(pdus.associate_rq(list(contexts), user=user))
    assert isinstance(request, AssociateRequest)
    return request


def answered(*contexts: tuple[int, str, int], user: bytes | None = None) -> AssociateAccept:
    accept = decode(pdus.associate_ac(list(contexts), user=user))
    assert isinstance(accept, AssociateAccept)
    return accept


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ([IMPLICIT, EXPLICIT], EXPLICIT),
        ([BIG, IMPLICIT], IMPLICIT),
        ([IMPLICIT, J2K, JPEG], J2K),
        ([JPEG, J2K, IMPLICIT], JPEG),
        ([JPEG, EXPLICIT], EXPLICIT),
        ([BIG], BIG),
        ([GE_PRIVATE, BIG], BIG),
    ],
)
def test_the_acceptor_prefers_what_the_web_can_be_given(proposed: list[str], chosen: str) -> None:
    accept = choose(asked((1, pdus.CT_IMAGE, proposed)), AcceptancePolicy({pdus.CT_IMAGE}), LIMITS)
    (answer,) = accept.presentation_contexts
    assert (answer.context_id, answer.result, answer.transfer_syntax) == (1, 0, chosen)


def test_each_context_is_answered_on_its_own_in_order() -> None:
    request = asked(
        (5, pdus.CT_IMAGE, [EXPLICIT]), (1, "1.2.840.10008.5.1.1.9", [EXPLICIT]), (3, pdus.CT_IMAGE, [GE_PRIVATE])
    )
    accept = choose(request, AcceptancePolicy({pdus.CT_IMAGE}), LIMITS)
    assert [(c.context_id, c.result) for c in accept.presentation_contexts] == [(5, 0), (1, 3), (3, 4)]


def test_private_sop_classes_are_taken_by_policy_only() -> None:
    request = asked((1, "1.3.46.670589.5.0.1", [EXPLICIT]))
    for private, result in ((True, 0), (False, 3)):
        accept = choose(request, AcceptancePolicy(set(), private_sop_classes=private), LIMITS)
        assert accept.presentation_contexts[0].result == result


def test_the_answer_repeats_the_ae_titles_and_says_our_maximum_length() -> None:
    request = asked((1, pdus.VERIFICATION, [IMPLICIT]))
    accept = choose(request, AcceptancePolicy({pdus.VERIFICATION}), Limits(max_pdu_length=70_000))
    assert (accept.called_ae_title, accept.calling_ae_title) == ("GATEWAY", "SCRIPTED")
    assert accept.user_information.max_length == 70_000
    assert accept.user_information.implementation_class_uid
    assert len(accept.user_information.implementation_version_name) <= 16


def test_no_role_is_granted_that_was_not_proposed_or_is_not_served() -> None:
    roles = [pdus.role_selection(pdus.CT_IMAGE, 1, 1), pdus.role_selection("1.2.3", 1, 1)]
    request = asked((1, pdus.CT_IMAGE, [EXPLICIT]), user=pdus.user_information(16_384, *roles))
    accept = choose(request, AcceptancePolicy({pdus.CT_IMAGE}), LIMITS)
    assert [(r.sop_class_uid, r.scu_role) for r in accept.user_information.roles] == [(pdus.CT_IMAGE, True)]
    assert (
        choose(asked((1, pdus.CT_IMAGE, [EXPLICIT])), AcceptancePolicy({pdus.CT_IMAGE}), LIMITS).user_information.roles
        == ()
    )


def test_a_request_numbers_its_contexts_with_odd_ids() -> None:
    contexts = [ProposedContext(f"1.2.{n}", (EXPLICIT,)) for n in range(128)]
    request = associate_request("ARCHIVE", "GATEWAY", contexts, LIMITS)
    assert [c.context_id for c in request.presentation_contexts] == list(range(1, 256, 2))
    assert decode(request.encode()) == request


@pytest.mark.parametrize("count", [0, 129])
def test_a_request_has_1_to_128_contexts(count: int) -> None:
    with pytest.raises(LocalProtocolError):
        associate_request("A", "B", [ProposedContext("1.2.3", (EXPLICIT,))] * count, LIMITS)


def test_the_scp_role_is_proposed_once_for_each_sop_class_that_asks_for_it() -> None:
    contexts = [
        ProposedContext(pdus.STUDY_GET, (EXPLICIT,)),
        ProposedContext(pdus.CT_IMAGE, (EXPLICIT,), scp_role=True),
        ProposedContext(pdus.CT_IMAGE, (J2K,), scp_role=True),
    ]
    request = associate_request("ARCHIVE", "GATEWAY", contexts, LIMITS)
    roles = request.user_information.roles
    assert [(r.sop_class_uid, r.scu_role, r.scp_role) for r in roles] == [(pdus.CT_IMAGE, False, True)]


def wants_role(*roles: bytes) -> bytes:
    return pdus.user_information(16_384, *roles)


AS_SCP = pdus.role_selection(pdus.CT_IMAGE, 0, 1)
CONTEXTS: list[tuple[int, str, list[str]]] = [
    (1, pdus.STUDY_FIND, [EXPLICIT, IMPLICIT]),
    (3, pdus.CT_IMAGE, [EXPLICIT]),
]
REQUEST = asked(*CONTEXTS, user=wants_role(AS_SCP))


def test_contexts_in_force_are_those_proposed_and_accepted() -> None:
    user = wants_role(AS_SCP)
    accept = answered((1, IMPLICIT, 0), (3, EXPLICIT, 0), user=user)
    assert accepted_contexts(REQUEST, accept) == {
        1: AcceptedContext(1, pdus.STUDY_FIND, IMPLICIT),
        3: AcceptedContext(3, pdus.CT_IMAGE, EXPLICIT, scp_role=True, scu_role=False),
    }


@pytest.mark.parametrize(
    ("proposed", "answered_with", "granted"),
    [
        ([AS_SCP], [AS_SCP], True),
        ([AS_SCP], [pdus.role_selection(pdus.CT_IMAGE, 0, 0)], False),
        ([AS_SCP], [], True),  # PS3.7 D.3.3.4 wants an answer; many an SCP of C-GET forgets it and goes on
        ([], [AS_SCP], False),
        ([], [], False),
    ],
    ids=["granted", "declined", "not answered", "not proposed", "neither"],
)
def test_the_scp_role_is_ours_when_we_proposed_it_and_nobody_declined(
    proposed: list[bytes], answered_with: list[bytes], granted: bool
) -> None:
    request = asked(*CONTEXTS, user=wants_role(*proposed))
    accept = answered((1, IMPLICIT, 0), (3, EXPLICIT, 0), user=wants_role(*answered_with))
    assert accepted_contexts(request, accept)[3].scp_role is granted


@pytest.mark.parametrize(
    "answer",
    [(5, EXPLICIT, 0), (1, JPEG, 0), (1, EXPLICIT, 1), (1, EXPLICIT, 3), (1, EXPLICIT, 4), (1, EXPLICIT, 9)],
    ids=[
        "not proposed",
        "other transfer syntax",
        "user rejection",
        "abstract syntax",
        "transfer syntax",
        "unknown result",
    ],
)
def test_an_answer_to_something_else_puts_nothing_in_force(answer: tuple[int, str, int]) -> None:
    assert accepted_contexts(REQUEST, answered(answer)) == {}


@pytest.mark.parametrize(
    ("theirs", "length"),
    [(0, 131_072), (8, 8), (16_384, 16_384), (131_072, 131_072), (2**32 - 1, 131_072)],
)
def test_we_send_no_longer_pdus_than_the_peer_takes_nor_than_ours(theirs: int, length: int) -> None:  # R14
    user: Any = answered((1, EXPLICIT, 0), user=pdus.user_information(theirs)).user_information
    assert send_length(user, LIMITS) == length


def test_a_peer_that_does_not_say_is_sent_what_every_peer_takes() -> None:
    user = answered((1, EXPLICIT, 0), user=pdus.user_information(None)).user_information
    assert 0 < send_length(user, LIMITS) <= 16_384
