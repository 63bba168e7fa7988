"""A database of consents in PostgreSQL: gateways on several hosts may share it."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg

from gateway.access.database import ConsentDatabase, Dialect, Work
from gateway.alongside import alongside
from gateway.config.consent import hosts_of
from gateway.errors import ConfigError, ConsentUnavailable, GatewayError, RequestError

T = TypeVar("T")
_Job: TypeAlias = "tuple[Work[Any], str, asyncio.Future[Any]]"

SECONDS: Final = 5.0
"""How long the database may take for a transaction, with connecting where that is needed."""
_WRITERS: Final = 0x67775F63
"""Of the advisory lock that a writer holds; any number that nobody else uses in this database."""
_SETTINGS: Final = {
    "application_name": "gateway",
    # Of a replica that vanished with its host, nobody hears: its lock is not to stop the others.
    "idle_in_transaction_session_timeout": "10000",
}
_DURABLY: Final = (
    "SELECT set_config('synchronous_commit', 'on', FALSE) WHERE current_setting('synchronous_commit') = 'off'"
)
_WORDS: Final = Dialect(
    sequence="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    octets="BYTEA",
    flag="BOOLEAN",
    tables="SELECT count(*) FROM pg_catalog.pg_class WHERE oid = to_regclass($1)",
)
_FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, ValueError)
_UNFIT: Final = (asyncpg.DataError, UnicodeEncodeError)
_REMEDIES: Final[Mapping[type[Exception], str]] = {
    asyncpg.InvalidAuthorizationSpecificationError: "check the user, the password of "
    "consent.database_password_file or PGPASSWORD, and that pg_hba.conf lets them in from here",
    asyncpg.InvalidCatalogNameError: "create the database, encoded as UTF8",
    asyncpg.InsufficientPrivilegeError: "let the user own the database, or create the tables and use them",
    asyncpg.PostgresError: "see the log of the server",
    asyncpg.ClientConfigurationError: "correct the URL; sslmode=verify-full, which goes for other hosts, needs "
    "sslrootcert=FILE with the authority of the server's certificate",
    asyncpg.TargetServerAttributeNotMatched: "name the server that takes writes, not a standby",
    TimeoutError: "see that the server runs, that its address is right, and that no firewall drops what goes there",
    OSError: "see that the server runs at this address, and offers TLS with a certificate for it by an authority of "
    "sslrootcert",
}


@asynccontextmanager
async def postgres(
    url: str, password_file: Path | None = None, *, seconds: float = SECONDS
) -> AsyncIterator[ConsentDatabase]:
    """Open a database by its URL, which holds no password.

    Raises:
        ConfigError: it cannot be opened, and who can mend it is told how; or it is of a newer release.
    """
    engine = PostgresEngine(url, password_file, seconds=seconds)
    try:
        async with alongside(engine.run()):
            try:
                database = ConsentDatabase(engine)
                await _prepare(database, url)
                yield database
            finally:
                await engine.settled()
    finally:
        await engine.aclose()


async def _prepare(database: ConsentDatabase, url: str) -> None:
    try:
        await database.prepare()
    except ConsentUnavailable as error:
        raise ConfigError(f'"consent.database" {_place(url)}: {error}') from None


class PostgresEngine:
    """Does the work over one connection, one piece after the other; one that failed is given up, and the next is new.

    Args:
        url: as PostgreSQL defines it (libpq, Connection URIs), with its TLS options.
        password_file: holds the password alone, read for each connection; None where the environment has it.
        seconds: how long a transaction may take, with connecting where that is needed.
    """

    dialect: Final = _WORDS

    def __init__(self, url: str, password_file: Path | None = None, *, seconds: float = SECONDS) -> None:
        self._url = url
        self._password_file = password_file
        self._seconds = seconds
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._connection: Any = None
        self.opened = 0

    async def read(self, work: Work[T]) -> T:
        """Do what changes nothing and sees one state of the database."""
        return await self._do(work, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    async def write(self, work: Work[T]) -> T:
        """Do what may change something, while nobody else does; once it returns it is kept for good.

        One writer at a time: rows become visible in the order of their sequence numbers, so that nobody who asks for
        what is behind a number misses a lower one that was committed later.
        """
        return await self._do(work, f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({_WRITERS})")

    async def run(self) -> None:
        """Do the work, until cancelled.

        Who asked for it may go: what was begun is ended, for a connection does not outlive being cancelled.
        """
        while True:
            work, begin, done = await self._jobs.get()
            try:
                if not done.done():
                    result = await self._attempt(work, begin)
                    if not done.done():
                        done.set_result(result)
            except Exception as error:  # noqa: BLE001 - it is for who asked
                if not done.done():
                    done.set_exception(error)
            finally:
                self._jobs.task_done()

    async def settled(self) -> None:
        """Return once nothing is under way."""
        await self._jobs.join()

    async def aclose(self) -> None:
        """Let go of the database."""
        with suppress(*_FAILURES):
            if self._connection is not None:
                await self._connection.close(timeout=self._seconds)
        self._give_up()

    async def _do(self, work: Work[T], begin: str) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait((work, begin, done))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                return await done
        raise _unavailable(TimeoutError())

    async def _attempt(self, work: Work[T], begin: str) -> T:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._transaction(work, begin)
        except _UNFIT:
            unavailable = None
        except _FAILURES as error:
            unavailable = _unavailable(error)
        # Not while an error of the database is handled: what it says may hold identifiers (DETAIL).
        if unavailable is None:
            raise RequestError("no text in a database has a NUL character, or half of one beyond U+FFFF")
        raise unavailable

    async def _transaction(self, work: Work[T], begin: str) -> T:
        try:
            await self._begin(begin)
            try:
                done = await self._run(work)
            except GatewayError:
                await self._connection.execute("ROLLBACK")
                raise
            await self._connection.execute("COMMIT")
        except GatewayError:
            raise
        except BaseException:
            self._give_up()  # who knows what is on its way yet
            raise
        return done

    async def _begin(self, begin: str) -> None:
        if self._connection is not None:
            try:
                await self._connection.execute(begin)
            except _FAILURES:
                self._give_up()  # it was cut while it rested: nothing was begun, and nothing is lost
            else:
                return
        self._connection = await self._connect()
        self.opened += 1
        await self._connection.execute(begin)

    async def _run(self, work: Work[T]) -> T:
        try:
            statement, *values = next(work)
            while True:
                rows = await self._connection.fetch(statement, *values)
                statement, *values = work.send(rows)
        except StopIteration as end:
            done: T = end.value
            return done

    async def _connect(self) -> Any:
        connection = await asyncpg.connect(
            self._url,
            password=await self._password(),
            ssl=_tls(self._url),
            target_session_attrs="read-write",  # a standby lags behind, and so would what is enforced
            server_settings=_SETTINGS,
        )
        try:
            # What is told to be kept is on the disk, whatever the server does for others.
            await connection.execute(_DURABLY)
        except BaseException:
            connection.terminate()
            raise
        if connection.get_settings().server_encoding == "UTF8":
            return connection
        connection.terminate()
        raise ConsentUnavailable("the consent database is not encoded as UTF8: create one that is")

    async def _password(self) -> str | None:
        if self._password_file is None:
            return None
        try:
            return (await asyncio.to_thread(self._password_file.read_text, "utf-8")).strip()
        except (OSError, UnicodeDecodeError):
            told = f"{self._password_file} holds no password: check consent.database_password_file"
        raise ConsentUnavailable(told)

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _unavailable(error: Exception) -> ConsentUnavailable:
    """Tell who runs the gateway what to do, in words of ours."""
    remedy = next((text for kind, text in _REMEDIES.items() if isinstance(error, kind)), "see that it runs")
    return ConsentUnavailable(
        f"the consent database cannot be used ({type(error).__name__}): {remedy}. Until then nothing is released"
    )


def _tls(url: str) -> str | None:
    """Return the sslmode that goes where neither the URL nor the environment says one; None leaves it to them."""
    if "sslmode" in parse_qs(urlsplit(url).query) or os.environ.get("PGSSLMODE"):
        return None
    return None if all(map(_is_here, hosts_of(url))) else "verify-full"


def _is_here(host: str) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"} or host.startswith("/")


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
