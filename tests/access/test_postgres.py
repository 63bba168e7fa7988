"""Directives in PostgreSQL: how it is reached, what is told when it is not, and that nothing is released meanwhile."""

import asyncio
import json
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.access.consent import Consents, ConsentsRead, ConsentsUnread, Policy
from gateway.access.consents import Consent
from gateway.access.database import ConsentDatabase, Work
from gateway.access.directive import Rule
from gateway.access.fhir_consent import ConsentResources
from gateway.access.fhir_terms import Naming
from gateway.access.permit import StudyKey
from gateway.access.postgres import _WRITERS, _tls
from gateway.access.postgres import postgres as opened
from gateway.access.principal import Principal
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import ConfigError, ConsentUnavailable, RequestError
from gateway.events import Event
from tests.access.consenting import HIDDEN, province, until
from tests.access.issuing import real_time
from tests.kit.peers import SECONDS, free_port
from tests.kit.postgres import Database, Postgres

ME = Principal("me", organisation="org")
STUDY = StudyKey("1.2.3")
PATIENT = PatientIdentifier("ON-HCN", "9999999999-CANARY")
RESOURCES = ConsentResources(Naming(issuer=str, system=str))
COLUMNS = "id, version, status, issuer, value, updated_at, current, content, document"


def directive(id_: str, *, status: str = "active", version: int = 1) -> Consent:
    return Consent(id_, version, status, PATIENT, 0.0, {}, (Rule("deny"),))


@pytest.fixture
def place(postgres: Postgres) -> Database:
    return postgres.database()


@pytest.fixture
async def database(place: Database) -> AsyncIterator[ConsentDatabase]:
    async with opened(place.url(), place.password_file) as made:
        yield made


async def sessions(place: Database) -> Any:
    """Return a connection of somebody else."""
    return await asyncpg.connect(place.url(), password=place.password_file.read_text().strip())


# --- at the start


async def refusal(url: str, password: Path | None) -> str:
    with pytest.raises(ConfigError) as told:
        async with opened(url, password, seconds=5):
            pass
    assert str(told.value).startswith(f'"consent.database" postgresql://{urlsplit(url).netloc.rpartition("@")[2]}/')
    return str(told.value)


async def test_a_server_that_is_not_there_is_told_at_the_start() -> None:
    told = await refusal(f"postgresql://gateway@127.0.0.1:{free_port()}/gateway", None)
    assert "see that the server runs at this address" in told


async def test_what_is_wrong_with_user_password_or_database_is_told_at_the_start(
    postgres: Postgres, place: Database, tmp_path: Path
) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("wrong\n")
    assert "consent.database_password_file or PGPASSWORD" in await refusal(place.url(), wrong)
    assert "holds no password: check" in await refusal(place.url(), tmp_path / "nowhere")
    server = place.url().removesuffix(place.name)
    assert "create the database" in await refusal(f"{server}nowhere", place.password_file)
    assert "let the user own the database" in await refusal(f"{server}postgres", place.password_file)
    latin = postgres.database("ENCODING 'LATIN1' TEMPLATE template0")
    assert "not encoded as UTF8" in await refusal(latin.url(), latin.password_file)


async def test_a_standby_is_no_database_of_directives(place: Database) -> None:
    place.run(f"ALTER DATABASE {place.name} SET default_transaction_read_only = on")
    assert "not a standby" in await refusal(place.url(), place.password_file)


async def test_who_may_only_use_the_tables_uses_them(place: Database) -> None:
    async with opened(place.url(), place.password_file):
        pass
    place.run(f"REVOKE ALL ON SCHEMA public FROM PUBLIC; ALTER SCHEMA public OWNER TO postgres;"
              f"GRANT USAGE ON SCHEMA public TO {place.name}")  # fmt: skip
    async with opened(place.url(), place.password_file) as database:
        await database.put(directive("c"))


async def test_two_replicas_that_start_at_once_make_the_tables_once(place: Database) -> None:
    async def start() -> int:
        async with opened(place.url(), place.password_file) as database:
            return await database.waiting()

    assert await asyncio.gather(*(start() for _ in range(4))) == [0] * 4
    assert place.run("SELECT count(*) FROM consent_schema").strip() == "1"


# --- TLS


async def test_the_server_is_believed_by_its_certificate_alone(postgres: Postgres, place: Database) -> None:
    trusted = {"sslmode": "verify-full", "sslrootcert": str(postgres.ca)}
    async with opened(place.url(**trusted), place.password_file):
        assert place.run("SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                         " WHERE application_name = 'gateway'").strip() == "t"  # fmt: skip
    # The certificate is that of 127.0.0.1.
    assert "certificate" in await refusal(place.url("localhost", **trusted), place.password_file)
    other = {"sslmode": "verify-full", "sslrootcert": str(place.password_file)}
    assert "sslrootcert" in await refusal(place.url(**other), place.password_file)


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://gateway@db.example.org/gateway", "verify-full"),
        ("postgresql://gateway@127.0.0.1,db.example.org/gateway", "verify-full"),
        ("postgresql://gateway@db.example.org/gateway?sslmode=disable", None),
        ("postgresql://gateway@[::1]:5433/gateway", None),
        ("postgresql:///gateway?host=/run/postgresql", None),
    ],
)
def test_other_hosts_show_a_certificate_unless_the_url_says_otherwise(
    url: str, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert _tls(url) == mode


# --- what is kept, and in which order it is seen


async def test_what_is_kept_is_on_the_disk_also_where_the_server_does_not_wait_for_it(
    postgres: Postgres, database: ConsentDatabase
) -> None:
    assert postgres.run("SHOW synchronous_commit").strip() == "off"

    def asked() -> Work[str]:
        [(value,)] = yield ("SHOW synchronous_commit",)
        return str(value)

    assert await database._engine.read(asked()) == "on"


async def test_no_directive_is_missed_that_is_committed_after_one_that_came_later(
    place: Database, database: ConsentDatabase
) -> None:
    row = "('a', 1, 'active', 'i', 'v', 0, TRUE, '{\"rules\":[],\"override\":null}', '{}')"
    blocked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with opened(place.url(), place.password_file) as elsewhere:
        other = await sessions(place)
        try:
            await other.execute(f"BEGIN; SELECT pg_advisory_xact_lock({_WRITERS})")
            await other.execute(f"INSERT INTO consent ({COLUMNS}) VALUES {row}")
            later = asyncio.create_task(elsewhere.put(directive("b")))
            async with asyncio.timeout(SECONDS):
                while not await other.fetchval(blocked):
                    pass
            assert await database.since(0) == ([], 0)
            await other.execute("COMMIT")
            await later
        finally:
            await other.close()
    found, last = await database.since(0)
    assert ([x.id for x in found], last) == (["a", "b"], 2)


async def test_nothing_that_the_database_says_of_a_value_is_told_to_anybody(database: ConsentDatabase) -> None:
    def twice() -> Work[None]:
        for _ in range(2):
            yield (
                "INSERT INTO outbox (id, body, due) VALUES ($1, $2, 0)", PATIENT.value, b"CANARY",
            )  # fmt: skip

    with pytest.raises(ConsentUnavailable) as told:
        await database._engine.write(twice())
    assert "UniqueViolationError" in str(told.value)
    assert "CANARY" not in "".join(traceback.format_exception(told.value))
    assert told.value.__context__ is None


async def test_text_that_no_database_takes_is_the_mistake_of_who_sent_it(database: ConsentDatabase) -> None:
    for text in ("a\0b", "a\ud800b"):
        with pytest.raises(RequestError):
            await database.of([PatientIdentifier("i", text)])
    assert await database.of([PATIENT]) == []


# --- while it cannot be had


def consents(database: ConsentDatabase, seen: list[Any], stale: float = 1.0) -> Consents:
    def observe(event: Event) -> None:
        seen.append(event)

    policy = Policy(poll_seconds=0.02, stale_seconds=stale)
    return Consents(database, policy, RESOURCES, observe=observe)


async def decided(replica: Consents, *, hidden: bool) -> None:
    """Wait until the study is hidden, or no more."""
    async with asyncio.timeout(SECONDS):
        while bool(replica.blocked(ME, frozenset({PATIENT}), STUDY)) is not hidden:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_nothing_is_released_while_it_is_lost_and_all_is_known_when_it_is_back(
    place: Database, database: ConsentDatabase
) -> None:
    seen: list[Any] = []
    replica = consents(database, seen)
    async with opened(place.url(), place.password_file) as elsewhere, replica.running():
        assert replica.blocked(ME, frozenset({PATIENT}), STUDY) is None
        place.lose()
        await until(replica.fault)
        with pytest.raises(ConsentUnavailable):
            replica.blocked(ME, frozenset({PATIENT}), STUDY)
        with pytest.raises(ConsentUnavailable):
            await replica.place(ME, PATIENT, [Rule("deny")], {})
        assert "Until then nothing is released" in replica.fault()
        place.find()
        await elsewhere.put(directive("meanwhile"))
        await until(lambda: not replica.fault())
        await decided(replica, hidden=True)
    assert [type(event) for event in seen] == [ConsentsUnread, ConsentsRead]
    assert "CANARY" not in str(seen)


async def test_a_server_that_answers_nothing_is_one_that_is_lost(place: Database) -> None:
    async with opened(place.url(), place.password_file, seconds=0.5) as database:
        replica = consents(database, [])
        async with replica.running():
            with place.frozen():
                await until(replica.fault)
                with pytest.raises(ConsentUnavailable):
                    replica.blocked(ME, frozenset({PATIENT}), STUDY)
            await until(lambda: not replica.fault())
            assert replica.blocked(ME, frozenset({PATIENT}), STUDY) is None


async def test_behind_a_new_connection_may_be_a_server_that_knows_less(
    place: Database, database: ConsentDatabase
) -> None:
    replica = consents(database, [], stale=30)
    async with replica.running():
        for _ in range(2):
            await replica.place(ME, PATIENT, [Rule("deny")], {})
        await replica.refresh()
        # The standby that takes over had not heard of them; another directive was placed there since.
        place.run("DELETE FROM consent WHERE seq <= 2")
        place.run(f"INSERT INTO consent ({COLUMNS})"
                  """ SELECT 'b' || n, 1, 'active', 'i', 'v', 0, TRUE, '{"rules":[],"override":null}', '{}'"""
                  " FROM generate_series(1, 3) AS n")  # fmt: skip
        place.cut()
        await decided(replica, hidden=False)


async def test_a_password_that_was_changed_is_read_from_its_file(place: Database, database: ConsentDatabase) -> None:
    place.run(f"ALTER ROLE {place.name} PASSWORD 'another'")
    place.password_file.write_text("another")
    place.cut()
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                assert await database.waiting() == 0
                break
            except ConsentUnavailable:
                await asyncio.sleep(0.01)


async def test_a_replica_that_vanishes_in_the_middle_does_not_stop_the_others(place: Database) -> None:
    async with opened(place.url(), place.password_file) as database:

        def asked() -> Work[str]:
            [(value,)] = yield ("SHOW idle_in_transaction_session_timeout",)
            return str(value)

        assert await database._engine.read(asked()) == "10s"


async def test_a_gateway_without_it_answers_503_says_so_to_its_load_balancer_and_recovers(
    place: Database, tmp_path: Path
) -> None:
    async with province(tmp_path, real_time(), stale_seconds=2.0, **place.keys) as here:
        assert HIDDEN in await here.studies(here.clinician)
        await here.direct({"type": "deny"})

        async def ready() -> Any:
            return json.loads((await here.ask("", "/readyz")).body)["checks"]["consent"]

        assert await ready() == "ok"
        place.lose()
        async with asyncio.timeout(SECONDS):
            while await ready() == "ok":
                pass
        assert "the consent database cannot be used" in await ready()
        refused = await here.ask(here.clinician, "/dicom-web/studies")
        assert (refused.status, refused.json["type"].rpartition("/")[2]) == (503, "consent-unavailable")
        placed = await here.ask(here.privacy, "/fhir/Consent?patient.identifier=north%7CMRN-1&status=active")
        assert placed.status == 503
        place.find()
        async with asyncio.timeout(SECONDS):
            while await ready() != "ok":
                pass
        assert HIDDEN not in await here.studies(here.clinician)


async def test_who_goes_in_the_middle_leaves_the_connection_to_the_others(
    place: Database, database: ConsentDatabase
) -> None:
    other = await sessions(place)
    try:
        await other.execute(f"BEGIN; SELECT pg_advisory_xact_lock({_WRITERS})")
        gone = asyncio.create_task(database.put(directive("c")))
        async with asyncio.timeout(SECONDS):
            while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
                pass
        gone.cancel()
        await asyncio.wait([gone])
        assert gone.cancelled()
    finally:
        await other.close()
    assert (await database.get("c")).id == "c"
    assert database.opened == 1
