"""Processes that share what patients direct, a database that is gone, and an audit trail that cannot be kept."""

import random
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.access.consent import Consents, Policy
from gateway.access.consents import Consent, Reason
from gateway.access.database import ConsentDatabase
from gateway.access.directive import Rule
from gateway.access.fhir_consent import ConsentResources, Naming
from gateway.access.index import Index
from gateway.access.permit import StudyKey
from gateway.access.principal import Principal
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import AuditUnavailable, ConsentUnavailable, VersionConflict
from tests.access.consenting import until

ME = Principal("me", organisation="org")
STUDY = StudyKey("1.2.3")
PATIENT = PatientIdentifier("ON-HCN", "1")
DENY = [Rule("deny")]
RESOURCES = ConsentResources(Naming(issuer=str, system=str))


def consents(database: ConsentDatabase, **more: Any) -> Consents:
    return Consents(database, Policy(poll_seconds=0.02, stale_seconds=more.pop("stale", 30.0)), RESOURCES, **more)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Consents, Consents]]:
    databases = [ConsentDatabase(tmp_path / "consent.sqlite") for _ in range(2)]
    one, other = map(consents, databases)
    async with one.running(), other.running():
        yield one, other
    for database in databases:
        database.close()


async def test_what_one_replica_takes_in_holds_at_once_there_and_soon_at_the_other(
    two: tuple[Consents, Consents],
) -> None:
    one, other = two
    before = other.generation
    made = await one.place(ME, PATIENT, DENY, {})
    assert one.blocked(ME, frozenset({PATIENT}), STUDY)
    await until(lambda: other.generation != before)
    block = other.blocked(ME, frozenset({PATIENT}), STUDY)
    assert block is not None
    assert block.directive == made.id
    before = one.generation
    await other.change(ME, made, status="inactive")
    await until(lambda: one.generation != before)
    assert one.blocked(ME, frozenset({PATIENT}), STUDY) is None
    with pytest.raises(VersionConflict):
        await one.change(ME, made, status="active")


async def test_each_end_of_an_override_is_told_by_one_replica_only(tmp_path: Path) -> None:
    told: list[str] = []
    now = [1000.0]

    async def record(_: Principal, event: str, *__: Any, **___: Any) -> None:
        told.append(event)

    databases = [ConsentDatabase(tmp_path / "consent.sqlite") for _ in range(2)]
    replicas = [consents(x, recorder=record, clock=lambda: now[0]) for x in databases]
    async with replicas[0].running(), replicas[1].running():
        for at in range(5):
            who = Principal(f"person {at}", roles=frozenset({"clinician"}))
            await replicas[at % 2].override(who, frozenset({PATIENT}), Reason.EXPRESS_CONSENT)
        now[0] += 1e6
        await until(lambda: told.count("override-end") >= 5)
        for replica, database in zip(replicas, databases, strict=True):
            await replica.refresh()
            assert database.claim_ends(now[0]) == []
    assert (told.count("override-start"), told.count("override-end")) == (5, 5)
    for database in databases:
        database.close()


async def test_nothing_is_released_once_what_is_directed_is_not_known(tmp_path: Path) -> None:
    database = ConsentDatabase(tmp_path / "consent.sqlite")
    replica = consents(database, stale=0.2)
    async with replica.running():
        assert replica.blocked(ME, frozenset({PATIENT}), STUDY) is None
        database.close()
        before = replica.generation
        await until(lambda: replica.generation != before)  # what is under way asks again
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > 0.3)
        with pytest.raises(ConsentUnavailable):
            replica.blocked(ME, frozenset({PATIENT}), STUDY)


async def test_what_cannot_be_recorded_is_not_directed_and_not_overridden(tmp_path: Path) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise AuditUnavailable("the disk is full")

    database = ConsentDatabase(tmp_path / "consent.sqlite")
    replica = consents(database, recorder=broken)
    async with replica.running():
        with pytest.raises(AuditUnavailable):
            await replica.place(ME, PATIENT, DENY, {})
        with pytest.raises(AuditUnavailable):
            await replica.override(ME, frozenset({PATIENT}), Reason.EXPRESS_CONSENT)
        assert database.of([PATIENT]) == []
        assert database.waiting() == 0
    database.close()


async def test_a_decision_costs_microseconds_among_a_hundred_thousand_directives() -> None:
    index = Index()
    one = [
        Consent(str(at), 1, "active", PatientIdentifier("ON-HCN", str(at)), 0.0, {}, (Rule("deny", study="1.2.3"),))
        for at in range(100_000)
    ]
    index.take(one, 1.0)
    assert len(index) == 100_000
    asked = [frozenset({PatientIdentifier("ON-HCN", str(x)), PatientIdentifier("L", "x")}) for x in
             random.Random(1).sample(range(200_000), 5_000)]  # fmt: skip
    began = time.perf_counter()
    found = sum(len(list(index.of(patients))) for patients in asked)
    seconds = (time.perf_counter() - began) / len(asked)
    assert 2_000 < found < 3_000
    assert seconds < 50e-6


def test_the_database_is_for_nobody_elses_eyes_and_writes_durably(tmp_path: Path) -> None:
    path = tmp_path / "consent.sqlite"
    database = ConsentDatabase(path)
    database.put(Consent("c", 1, "active", PATIENT, 0.0, {"a": 1}, (Rule("deny"),)))
    # Read by another process's connection before this one is closed.
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("SELECT id FROM consent").fetchall() == [("c",)]
    other.close()
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    assert database.get("c").document == {"a": 1}
    database.close()
