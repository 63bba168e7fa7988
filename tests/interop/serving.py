"""The gateway as its own process, and the few HTTP requests that tests make of it."""

import contextlib
import http.client
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import orjson

from tests.kit.peers import SECONDS, free_port, running

ROOT = Path(__file__).parents[2]

PATIENT = {
    "GATEWAY_SEARCH__SOFT_SECONDS": str(SECONDS),
    "GATEWAY_SEARCH__HARD_SECONDS": str(SECONDS),
    "GATEWAY_RETRIEVE__FIRST_INSTANCE_SECONDS": str(SECONDS),
    "GATEWAY_AUDIT__WRITE_SECONDS": str(SECONDS),
}
"""The environment of a gateway whose peers answer whatever they are asked, however busy the machine is."""

JSON = "application/dicom+json"
MULTIPART = 'multipart/related; type="application/dicom"; transfer-syntax=*'

JsonRow = dict[str, dict[str, list[object]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: Message
    body: bytes

    @property
    def rows(self) -> list[JsonRow]:
        rows: list[JsonRow] = orjson.loads(self.body)
        return rows

    @property
    def parts(self) -> list[tuple[Message, bytes]]:
        """Headers and content of each part; a body that breaks off raises."""
        boundary = self.headers.get_param("boundary")
        assert isinstance(boundary, str), self.headers["Content-Type"]
        pieces = (b"\r\n" + self.body).split(b"\r\n--" + boundary.encode())
        assert pieces[-1].strip() == b"--", "the last boundary is missing"
        return [(http.client.parse_headers(_Lines(head)), content) for head, content in map(_halves, pieces[1:-1])]


class _Lines:
    """What `parse_headers` reads from."""

    def __init__(self, head: bytes) -> None:
        self._lines = iter([*head.splitlines(keepends=True), b"\r\n", b""])

    def readline(self, _: int = -1) -> bytes:
        return next(self._lines)


def _halves(piece: bytes) -> tuple[bytes, bytes]:
    head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    return head + b"\r\n", content


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway; its AE title is GATEWAY."""

    http_port: int
    dimse_port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def get(self, path: str, accept: str = JSON, *, root: str = "/dicom-web") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", f"{root}{path}", headers={"Accept": accept})
            with connection.getresponse() as response:
                return Answer(response.status, response.headers, response.read())


def peer(ae_title: str, port: int = 0, *services: str, **more: str) -> str:
    """Make the profile of a peer on the loopback interface; one with a port takes instances there."""
    asked = services or ("echo", "find", "get", "move", "store")
    lines = [
        f'name = "{ae_title}"\nae_title = "{ae_title}"\naddresses = ["127.0.0.1"]\nservices = {list(asked)}\n',
        f'move_destination = {{ host = "127.0.0.1", port = {port} }}\n' if port else "",
        *(f"{key} = {value}\n" for key, value in more.items()),
    ]
    return "".join(lines)


def profile(ae_title: str, port: int, retrieve: str = "auto") -> str:
    """Make the profile of a region on the loopback interface that knows us as GATEWAY."""
    return (
        f'name = "{ae_title}"\nae_title = "{ae_title}"\nhost = "127.0.0.1"\nport = {port}\n'
        f'retrieve = "{retrieve}"\nmove_destinations = ["GATEWAY"]\n'
    )


@contextlib.contextmanager
def gateway(
    home: Path,
    region: str | Sequence[str] | Callable[[int], str],
    dimse_port: int = 0,
    *,
    settings: str = "",
    peers: Sequence[str] = (),
) -> Iterator[Gateway]:
    """Run a gateway over regions, for peers: their profiles, or what makes one once its DIMSE port is known.

    Without peers any AE title of this host may ask.
    """
    http_port, dimse_port = free_port(), dimse_port or free_port()
    regions, config = home / f"regions-{http_port}", home / f"settings-{http_port}.toml"
    regions.mkdir()
    text = settings or ("" if peers else '[dimse]\nunknown_peers = "loopback"\n')
    config.write_text(text if "[access]" in text else f'{text}\n[access]\nmode = "open"\n')
    made = region(dimse_port) if callable(region) else region
    for rank, profile in enumerate([made] if isinstance(made, str) else made):
        (regions / f"{rank}.toml").write_text(profile)
    options: dict[str, int | Path] = {
        "--regions": regions,
        "--config": config,
        "--http-port": http_port,
        "--dimse-port": dimse_port,
        "--ops-port": 0,
    }
    if peers:
        options["--peers"] = folder = home / f"peers-{http_port}"
        folder.mkdir()
        for number, peer in enumerate(peers):
            (folder / f"{number}.toml").write_text(peer)
    arguments = [str(word) for option in options.items() for word in option]
    log = home / f"gateway-{http_port}.log"
    with running(
        [sys.executable, "-m", "gateway", "serve", *arguments], http_port, log, environment=PATIENT
    ) as process:
        yield Gateway(http_port, dimse_port, process.pid)
