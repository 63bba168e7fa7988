"""Decisions: who may do what, how often, and that each denial is told to the audit trail first."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.access.decision import Decisions, Limits, Mode
from gateway.access.permit import Block, Permit, StudyKey, Subject
from gateway.access.principal import Principal, Transaction
from gateway.access.rate import Buckets
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import AccessClosed, AccessDenied, AuditUnavailable, TooManyRequests, Unauthenticated

EVERYTHING = frozenset(Transaction)
MINE, ALIAS, OTHER = (PatientIdentifier(*x) for x in (("HCN", "1"), ("NEODIN", "17"), ("NEODIN", "18")))


def caller(*scopes: Transaction, **more: Any) -> Principal:
    return Principal(**{"subject": "x", "issuer": "i", "scopes": frozenset(scopes), **more})


def subject(*patients: PatientIdentifier, study: str = "1.2") -> Subject:
    return Subject(StudyKey(study), frozenset(patients))


class Trail:
    """Keeps what it is told, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.error = error

    async def __call__(self, principal: Principal, event: str, outcome: str = "success", **more: Any) -> None:
        if self.error is not None:
            raise self.error
        self.told.append((principal.subject, event, f"{outcome} {more['reason']}".strip()))


class Linked:
    """Knows that two identifiers are of one patient."""

    async def everyone(self, known: Any) -> dict[PatientIdentifier, frozenset[PatientIdentifier]]:
        return {x: frozenset({MINE, ALIAS, x}) if x in {MINE, ALIAS} else frozenset({x}) for x in known}


class Placed:
    """One patient does not consent."""

    active = True
    selective = False
    generation = 0

    def blocked(self, principal: Principal, patients: frozenset[PatientIdentifier], study: StudyKey) -> Block | None:
        del principal, study
        return Block("domain", "d1", "there is more") if MINE in patients else None

    def hidden(
        self, principal: Principal, patients: frozenset[PatientIdentifier], study: StudyKey
    ) -> Mapping[str, Block]:
        del principal, patients, study
        return {}


@pytest.mark.parametrize("transaction", Transaction)
@pytest.mark.parametrize("who", [None, caller(*EVERYTHING), caller(*EVERYTHING, channel="dimse")])
async def test_nobody_may_anything_until_it_is_said_who(who: Principal | None, transaction: Transaction) -> None:
    with pytest.raises(AccessClosed, match=r"\[access\] mode"):
        await Decisions("closed").permit(who, transaction)


@pytest.mark.parametrize("transaction", Transaction)
@pytest.mark.parametrize("scope", Transaction)
@pytest.mark.parametrize("channel", ["web", "dimse"])
async def test_each_scope_allows_its_transaction_and_no_other(
    scope: Transaction, transaction: Transaction, channel: Any
) -> None:
    who = caller(scope, channel=channel)
    if scope is transaction:
        assert (await Decisions("tokens").permit(who, transaction)).principal is who
        return
    with pytest.raises(AccessDenied) as refused:
        await Decisions("tokens").permit(who, transaction)
    assert isinstance(refused.value, Unauthenticated) == (channel == "web")
    if isinstance(refused.value, Unauthenticated):
        assert (refused.value.code, refused.value.scope) == ("insufficient_scope", transaction)


@pytest.mark.parametrize("mode", ["tokens", "open"])
async def test_who_does_not_say_who_it_is_is_asked(mode: Mode) -> None:
    with pytest.raises(Unauthenticated):
        await Decisions(mode).permit(None, Transaction.SEARCH)


async def test_a_denial_is_told_to_the_audit_trail_before_it_is_told_to_the_caller() -> None:
    trail = Trail()
    decisions = Decisions("tokens", recorder=trail)
    for who in (None, caller(Transaction.STORE)):
        with pytest.raises(AccessDenied):
            await decisions.permit(who, Transaction.SEARCH)
    assert trail.told == [("", "unauthenticated", "denied unauthenticated"), ("x", "denied", "denied unauthenticated")]
    with pytest.raises(AuditUnavailable):
        await Decisions("tokens", recorder=Trail(AuditUnavailable("full"))).permit(None, Transaction.SEARCH)


async def test_a_token_of_one_patient_stores_nothing() -> None:
    with pytest.raises(AccessDenied, match="one patient"):
        await Decisions("tokens").permit(caller(Transaction.STORE, patient=MINE), Transaction.STORE)


async def test_a_token_of_one_patient_sees_that_patient_by_every_number_and_nobody_else() -> None:
    decisions = Decisions("tokens", identities=Linked())
    permit = await decisions.permit(caller(Transaction.SEARCH, patient=MINE), Transaction.SEARCH)
    assert permit.restricted
    blocks = await permit.blocks([subject(MINE), subject(ALIAS), subject(OTHER), subject(), subject(OTHER, ALIAS)])
    assert [block is None for block in blocks] == [True, True, False, False, True]


async def test_nobodys_rows_are_looked_at_where_nothing_restricts() -> None:
    permit = await Decisions("tokens").permit(caller(Transaction.SEARCH), Transaction.SEARCH)
    assert not permit.restricted


async def test_a_directive_is_found_by_any_number_of_its_patient() -> None:
    decisions = Decisions("tokens", identities=Linked(), directives=Placed())
    permit = await decisions.permit(caller(Transaction.SEARCH), Transaction.SEARCH)
    assert permit.restricted
    blocks = await permit.blocks([subject(ALIAS), subject(OTHER)])
    assert blocks == [Block("domain", "d1", "there is more"), None]


async def test_a_subject_that_asks_too_often_is_told_when_to_ask_again_and_others_are_not() -> None:
    decisions = Decisions("tokens", limits=Limits(subject_per_second=0.5, subject_burst=2))
    for _ in range(2):
        await decisions.permit(caller(Transaction.SEARCH), Transaction.SEARCH)
    with pytest.raises(TooManyRequests) as refused:
        await decisions.permit(caller(Transaction.SEARCH), Transaction.SEARCH)
    assert 1 < refused.value.seconds <= 2
    await decisions.permit(caller(Transaction.SEARCH, subject="y"), Transaction.SEARCH)


async def test_an_organisation_that_asks_too_often_is_stopped_whoever_asks_for_it() -> None:
    decisions = Decisions("tokens", limits=Limits(organisation_per_second=0.5, organisation_burst=2))
    for name in ("a", "b"):
        await decisions.permit(caller(Transaction.SEARCH, subject=name, organisation="o"), Transaction.SEARCH)
    with pytest.raises(TooManyRequests):
        await decisions.permit(caller(Transaction.SEARCH, subject="c", organisation="o"), Transaction.SEARCH)
    await decisions.permit(caller(Transaction.SEARCH, organisation="p"), Transaction.SEARCH)


def test_a_bucket_fills_at_its_rate_and_no_further_than_its_burst() -> None:
    now = [0.0]
    buckets = Buckets(2.0, 3, lambda: now[0])
    assert [buckets.take("x") for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] = 0.5
    assert [buckets.take("x"), buckets.take("x")] == [0, 0.5]
    now[0] = 100.0
    assert [buckets.take("x") for _ in range(4)] == [0, 0, 0, 0.5]
    assert not any(Buckets(0.0, 1).take("x") for _ in range(100))


async def test_what_is_released_is_told_with_its_patients_and_studies() -> None:
    told: list[dict[str, Any]] = []

    async def keep(principal: Principal, event: str, outcome: str = "success", **more: Any) -> None:
        told.append({"who": principal.subject, "event": event, "outcome": outcome, **more})

    permit = Permit(caller(), Transaction.SEARCH, recorder=keep, request_id="r1")
    await permit.record("search", subjects=[subject(MINE, study="1.2"), subject(OTHER, study="1.3")], query="q")
    [one] = told
    assert (one["who"], one["event"], one["request_id"], one["query"]) == ("x", "search", "r1", "q")
    assert (set(one["patients"]), one["studies"]) == ({MINE, OTHER}, ["1.2", "1.3"])
