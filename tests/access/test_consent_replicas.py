"""Processes that share what patients direct, a database that is gone, and an audit trail that cannot be kept."""

import asyncio
import contextlib
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from gateway.access import database as database_module
from gateway.access.consent import Consents, ConsentsUnread, Policy
from gateway.access.consenting import consent_database
from gateway.access.consents import Consent, Reason
from gateway.access.database import ConsentDatabase, Letter, Work
from gateway.access.directive import Rule
from gateway.access.fhir_consent import ConsentResources
from gateway.access.fhir_terms import Naming
from gateway.access.index import Index
from gateway.access.permit import StudyKey
from gateway.access.principal import Principal
from gateway.access.sqlite import sqlite
from gateway.config.settings import load
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import AuditUnavailable, ConfigError, ConsentUnavailable, VersionConflict
from gateway.events import Event
from tests.access.consenting import FORMS, HIDDEN, path_of, province, until
from tests.access.issuing import real_time
from tests.kit.peers import SECONDS

ME = Principal("me", organisation="org")
STUDY = StudyKey("1.2.3")
PATIENT = PatientIdentifier("ON-HCN", "1")
DENY = [Rule("deny")]
RESOURCES = ConsentResources(Naming(issuer=str, system=str))


def consents(database: ConsentDatabase, **more: Any) -> Consents:
    return Consents(database, Policy(poll_seconds=0.02, stale_seconds=more.pop("stale", 30.0)), RESOURCES, **more)


def opened(kept: Mapping[str, str]) -> AbstractAsyncContextManager[ConsentDatabase]:
    return consent_database(load(overrides={"consent": dict(kept)}).consent)


@pytest.fixture
async def databases(kept: dict[str, Any]) -> AsyncIterator[tuple[ConsentDatabase, ConsentDatabase]]:
    async with opened(kept) as one, opened(kept) as other:
        yield one, other


@pytest.fixture
async def two(databases: tuple[ConsentDatabase, ConsentDatabase]) -> AsyncIterator[tuple[Consents, Consents]]:
    one, other = map(consents, databases)
    async with one.running(), other.running():
        yield one, other


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


async def test_what_is_changed_at_two_replicas_at_once_is_changed_at_one(two: tuple[Consents, Consents]) -> None:
    one, other = two
    made = await one.place(ME, PATIENT, DENY, {})
    changes = [replica.change(ME, made, status="inactive") for replica in (one, other) * 5]
    done = await asyncio.gather(*changes, return_exceptions=True)
    assert sorted(type(x).__name__ for x in done) == ["Consent", *["VersionConflict"] * 9]
    assert (await other.get(made.id)).version == 2
    assert (await one.get(made.id, 1)).status == "active"


async def test_a_person_who_overrides_at_one_replica_does_so_at_the_other(two: tuple[Consents, Consents]) -> None:
    one, other = two
    begun = await one.override(ME, frozenset({PATIENT}), Reason.EXPRESS_CONSENT)
    assert (await other.override(ME, frozenset({PATIENT}), Reason.EXPRESS_CONSENT)).id == begun.id


async def test_while_nothing_changes_no_decision_is_made_again(two: tuple[Consents, Consents]) -> None:
    one, other = two
    for _ in range(2):  # with nothing directed at all, and with something
        before = other.generation
        for _ in range(3):
            await other.refresh()
        assert other.generation == before
        await one.place(ME, PATIENT, DENY, {})
        await other.refresh()


async def test_each_end_of_an_override_is_told_by_one_replica_only(
    databases: tuple[ConsentDatabase, ConsentDatabase],
) -> None:
    told: list[str] = []
    now = [1000.0]

    async def record(_: Principal, event: str, *__: Any, **___: Any) -> None:
        told.append(event)

    replicas = [consents(x, recorder=record, clock=lambda: now[0]) for x in databases]
    async with replicas[0].running(), replicas[1].running():
        for at in range(5):
            who = Principal(f"person {at}", roles=frozenset({"clinician"}))
            await replicas[at % 2].override(who, frozenset({PATIENT}), Reason.EXPRESS_CONSENT)
        now[0] += 1e6
        await until(lambda: told.count("override-end") >= 5)
        for replica, database in zip(replicas, databases, strict=True):
            await replica.refresh()
            assert await database.claim_ends(now[0]) == []
    assert (told.count("override-start"), told.count("override-end")) == (5, 5)


async def test_each_letter_is_had_by_one_replica_until_it_has_had_time_enough_to_send_it(
    databases: tuple[ConsentDatabase, ConsentDatabase],
) -> None:
    for at in range(6):
        await databases[0].put(Consent(str(at), 1, "active", PATIENT, 0.0, {}), letter=Letter(str(at), b"told"))
    taken = await asyncio.gather(*(databases[at % 2].claim_letter(1000.0) for at in range(8)))
    letters = [letter for letter in taken if letter is not None]
    assert sorted(letter.id for letter in letters) == list("012345")
    await databases[0].sent(letters[0], at=1001.0)
    await databases[1].sent(letters[1], again_at=1005.0)
    again = await databases[0].claim_letter(1006.0)
    assert again == Letter(letters[1].id, b"told", attempts=1)
    assert await databases[1].claim_letter(1006.0) is None
    # Whoever had the others is gone.
    later = [await databases[at % 2].claim_letter(1100.0) for at in range(6)]
    assert {x.id for x in later if x is not None} == {x.id for x in letters[1:]}
    assert await databases[1].waiting() == 5


async def test_many_directives_are_read_in_pages_and_none_is_missed(
    databases: tuple[ConsentDatabase, ConsentDatabase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_PAGE", 3)
    for at in range(7):
        await databases[0].put(Consent(str(at), 1, "active", PATIENT, 0.0, {"a": "document"}, tuple(DENY)))
    await databases[0].put(Consent("3", 2, "inactive", PATIENT, 0.0, {}), replaces=1)
    found, last = await databases[1].since(0)
    assert [x.id for x in found] == list("012456")
    assert all(x.rules == tuple(DENY) and x.document == {} for x in found)
    for at in range(6):
        version = 3 if at == 3 else 2
        await databases[1].put(Consent(str(at), version, "inactive", PATIENT, 0.0, {}), replaces=version - 1)
    assert [x.id for x in (await databases[0].since(last))[0]] == list("012345")
    assert await databases[0].since((await databases[0].since(0))[1]) == ([], last + 6)


async def test_directives_that_a_restored_database_has_not_are_not_enforced(kept: dict[str, Any]) -> None:
    async with opened(kept) as database:
        replica = consents(database)
        async with replica.running():
            await replica.place(ME, PATIENT, DENY, {})
            await replica.refresh()
            assert replica.blocked(ME, frozenset({PATIENT}), STUDY)
            before = replica.generation
            await database._engine.write(statement("DELETE FROM consent"))
            await until(lambda: replica.generation != before)
            assert replica.blocked(ME, frozenset({PATIENT}), STUDY) is None


def statement(sql: str) -> Work[None]:
    yield (sql,)


async def test_tables_of_a_newer_release_are_left_alone(kept: dict[str, Any]) -> None:
    async with opened(kept) as database:
        await database._engine.write(statement("UPDATE consent_schema SET version = 2"))
    with pytest.raises(ConfigError, match=r'"consent\.database" has tables of version 2'):
        async with opened(kept):
            pass


async def test_nothing_is_released_once_what_is_directed_is_not_known(tmp_path: Path) -> None:
    seen: list[Event] = []

    def observe(event: Event) -> None:
        seen.append(event)

    async with opened({"database": str(tmp_path / "consent.sqlite")}) as database:
        replica = consents(database, stale=1.0, observe=observe)
        async with replica.running():
            assert replica.blocked(ME, frozenset({PATIENT}), STUDY) is None
            assert replica.fault() == ""
            await database._engine.aclose()
            before = replica.generation
            await until(lambda: replica.generation != before)  # what is under way asks again
            await until(replica.fault)
            with pytest.raises(ConsentUnavailable):
                replica.blocked(ME, frozenset({PATIENT}), STUDY)
    assert [type(event) for event in seen] == [ConsentsUnread]


async def test_what_cannot_be_recorded_is_not_directed_and_not_overridden(kept: dict[str, Any]) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise AuditUnavailable("the disk is full")

    async with opened(kept) as database:
        replica = consents(database, recorder=broken)
        async with replica.running():
            with pytest.raises(AuditUnavailable):
                await replica.place(ME, PATIENT, DENY, {})
            with pytest.raises(AuditUnavailable):
                await replica.override(ME, frozenset({PATIENT}), Reason.EXPRESS_CONSENT)
            assert await database.of([PATIENT]) == []
            assert await database.waiting() == 0


async def test_a_directive_that_one_gateway_takes_in_is_enforced_by_the_other(
    kept: dict[str, Any], tmp_path: Path
) -> None:
    issuer = real_time()
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(province(folder, issuer, **kept)) for folder in folders]
        assert HIDDEN in await other.studies(other.clinician)
        placed = await one.direct({"type": "deny"})
        async with asyncio.timeout(SECONDS):
            while HIDDEN in await other.studies(other.clinician):
                pass
        assert (await other.ask(other.clinician, path_of("", HIDDEN), FORMS[""])).status == 403
        await other.end(placed)
        async with asyncio.timeout(SECONDS):
            while HIDDEN not in await one.studies(one.clinician):
                pass


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
    began = time.process_time()
    found = sum(len(list(index.of(patients))) for patients in asked)
    seconds = (time.process_time() - began) / len(asked)
    assert 2_000 < found < 3_000
    assert seconds < 50e-6


async def test_the_database_is_for_nobody_elses_eyes_and_writes_durably(tmp_path: Path) -> None:
    path = tmp_path / "consent.sqlite"
    async with sqlite(path) as database:
        await database.put(Consent("c", 1, "active", PATIENT, 0.0, {"a": 1}, (Rule("deny"),)))
        # Read by another process's connection before this one is closed.
        with sqlite3.connect(path) as other:
            assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert other.execute("SELECT id FROM consent").fetchall() == [("c",)]
        other.close()
        assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())  # noqa: ASYNC240 - three files
        assert (await database.get("c")).document == {"a": 1}


async def test_a_file_of_the_release_before_tables_had_versions_is_taken_on(tmp_path: Path) -> None:
    path = tmp_path / "consent.sqlite"
    async with sqlite(path) as database:
        await database.put(Consent("c", 1, "active", PATIENT, 0.0, {}, (Rule("deny"),)))
    with sqlite3.connect(path) as before:
        before.execute("DROP TABLE consent_schema")
    before.close()
    async with sqlite(path) as database:
        assert (await database.get("c")).rules == (Rule("deny"),)
