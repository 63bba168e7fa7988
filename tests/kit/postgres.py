"""A PostgreSQL of Debian's, with databases that belong to one test each."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import trustme

from tests.kit.peers import HOST, SECONDS, free_port, require, running

_FOR_TESTS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",  # who wants it has to say so
    "shared_buffers": "16MB",
    "max_connections": "50",
    "ssl": "on",
}
_PSQL = ("--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1")


@dataclass(frozen=True, slots=True)
class Database:
    """A database and the one role that may enter it, of the same name."""

    server: "Postgres"
    name: str
    password_file: Path

    def url(self, host: str = HOST, **options: str) -> str:
        query = f"?{urlencode(options)}" if options else ""
        return f"postgresql://{self.name}@{host}:{self.server.port}/{self.name}{query}"

    @property
    def keys(self) -> dict[str, Any]:
        """Return the keys of [consent] that name it."""
        return {"database": self.url(), "database_password_file": str(self.password_file)}

    def run(self, statement: str) -> str:
        """Run SQL as the superuser; return what it says."""
        return self.server.run(statement, self.name)

    def cut(self) -> None:
        """End every connection."""
        self.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                 " AND pid <> pg_backend_pid()")  # fmt: skip

    def lose(self) -> None:
        """Let nobody in any more."""
        self.server.run(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        self.server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'")

    def find(self) -> None:
        """Let everybody in again."""
        self.server.run(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the server answer nothing for a while, over the connections that there are and over new ones."""
        connections = self.server.run(f"SELECT pid FROM pg_stat_activity WHERE datname = '{self.name}'").split()
        assert connections
        pids = [self.server.pid, *map(int, connections)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server.

    Attributes:
        folder: for what its clients need: the CA of its certificate is "ca.pem".
    """

    programs: Path
    pid: int
    port: int
    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def run(self, statement: str, database: str = "postgres") -> str:
        """Run SQL as the superuser; return what it says."""
        url = f"postgresql://postgres@{HOST}:{self.port}/{database}"
        command = (self.programs / "psql", *_PSQL, "-d", url, "-c", statement)
        environment = {"PGPASSWORD": (self.folder / "password").read_text(), "PATH": os.environ["PATH"]}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    def database(self, options: str = "") -> Database:
        """Make an empty database with an owner of its own."""
        name, password = f"test_{secrets.token_hex(6)}", secrets.token_hex(12)
        self.run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        self.run(f"CREATE DATABASE {name} OWNER {name} {options}")
        file = self.folder / f"{name}.password"
        file.write_text(f"{password}\n")
        return Database(self, name, file)


@contextlib.contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Run a server of its own, which keeps nothing."""
    initdb = _program("initdb")
    with tempfile.TemporaryDirectory(prefix="postgres-") as home:  # which another user can enter, unlike tmp_path
        folder, data = Path(home), Path(home) / "server" / "data"
        data.parent.mkdir()
        user = _user()
        password = folder / "password"
        password.write_text(secrets.token_hex(12))
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate = data.parent / "server.pem"
        authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(certificate)
        certificate.chmod(0o600)
        if user:
            folder.chmod(0o711)
            for path in (data.parent, certificate, password):
                shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
        subprocess.run(
            [initdb, "-D", data, "-U", "postgres", f"--pwfile={password}", "--auth=scram-sha-256", "--no-sync",
             "--encoding=UTF8", "--locale=C", "--no-instructions"],
            check=True, capture_output=True, cwd=data.parent, user=user, group=user and pwd.getpwnam(user).pw_gid,
        )  # fmt: skip
        port = free_port()
        settings = _FOR_TESTS | {"ssl_cert_file": str(certificate), "ssl_key_file": str(certificate)}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        command: list[str | Path] = [initdb.with_name("postgres"), "-D", data, "-p", str(port), *options]
        with running(command, port, folder / "postgres.log", user=user) as process:
            try:
                _wait(initdb.with_name("pg_isready"), port)
                yield Postgres(initdb.parent, process.pid, port, folder)
            finally:
                process.send_signal(signal.SIGINT)  # SIGTERM would wait for its clients
                process.wait(SECONDS)


def _wait(isready: Path, port: int) -> None:
    """Return once it does what it is asked: it listens before."""
    end = time.monotonic() + SECONDS
    while subprocess.run([isready, "-q", "-h", HOST, "-p", str(port)], check=False).returncode:
        if time.monotonic() > end:
            raise TimeoutError("PostgreSQL does not get ready")
        time.sleep(0.02)


def _program(name: str) -> Path:
    """Return a program of the newest release that Debian has here, or of the PATH."""
    there = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which(name)
    return require(there[-1] if there else Path(on_path or f"/usr/lib/postgresql/bin/{name}").resolve())


def _user() -> str | None:
    """Return whom to run it as: it refuses root."""
    if os.geteuid() != 0:
        return None
    return "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
