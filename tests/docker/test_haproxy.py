"""docker/haproxy.cfg as it stands, with addresses of this host, in front of two gateways that run."""

import contextlib
import http.client
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.interop.contract import INSTANCES
from tests.interop.serving import Gateway, gateway, profile
from tests.kit.peers import ECHOSCU, FINDSCU, HAPROXY, SECONDS, free_port, pynetdicom_archive, require, run, running

CONFIGURATION = Path(__file__).parents[2] / "docker" / "haproxy.cfg"
STUDIES = [f"1.2.826.0.1.{number}" for number in range(40)]
SETTINGS = '[dimse]\nae_title = "{}"\nunknown_peers = "loopback"\n'
REPLICAS = ("GW1", "GW2")


@dataclass(frozen=True)
class Pair:
    """Two replicas, and the address that is theirs together."""

    http_port: int
    dimse_port: int
    replicas: dict[str, Gateway]

    def get(self, path: str, method: str = "GET", **fields: str) -> tuple[int, str]:
        """Return the status of a request and which replica answered; 0 where nobody did."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=SECONDS)
        with contextlib.closing(connection):
            try:
                connection.request(method, path, headers=fields)
                with connection.getresponse() as response:
                    response.read()
                    return response.status, response.headers.get("X-Served-By", "")
            except (OSError, http.client.HTTPException):
                return 0, ""


@contextlib.contextmanager
def pair(home: Path) -> Iterator[Pair]:
    ports = {name: free_port() for name in REPLICAS}
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(pynetdicom_archive(instances=INSTANCES, destinations=ports))
        replicas = {}
        for name in REPLICAS:
            region = profile(archive.ae_title, archive.port).replace('["GATEWAY"]', f'["{name}"]')
            settings = SETTINGS.format(name)
            replicas[name] = stack.enter_context(gateway(home, region, ports[name], settings=settings))
        web, dimse = free_port(), free_port()
        file = home / "haproxy.cfg"
        file.write_text(_here(CONFIGURATION.read_text(), replicas, web, dimse))
        stack.enter_context(running([require(HAPROXY), "-db", "-f", file], web, home / "haproxy.log"))
        yield Pair(web, dimse, replicas)


def _here(text: str, replicas: dict[str, Gateway], web: int, dimse: int) -> str:
    """Put addresses of this host in place of those of the example, and have it say which replica answers."""
    changes = {"bind :8080": f"bind 127.0.0.1:{web}", "bind :11112": f"bind 127.0.0.1:{dimse}"}
    for name, replica in replicas.items():
        changes[f"{name.lower()}:8080"] = f"127.0.0.1:{replica.http_port}"
        changes[f"{name.lower()}:11112"] = f"127.0.0.1:{replica.dimse_port}"
    for name in ("timeout connect", "timeout check"):  # who refuses is missed at once, who is slow is not
        changes[f"{name} 2s"] = f"{name} {SECONDS:.0f}s"
    changes["inspect-delay 5s"] = f"inspect-delay {SECONDS:.0f}s"
    changes["    balance hash"] = "    http-response set-header X-Served-By %s\n    balance hash"
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


def ways_to(study: str) -> list[str]:
    """Return resources of one study, as different user agents ask for them."""
    return [
        f"/dicom-web/studies/{study}",
        f"/dicom-web/studies/{study}/series/1.2/metadata",
        f"/dicom-web/studies/{study.replace('.', '%2E')}/series",
        f"/dicom-web/studies?StudyInstanceUID={study}",
        f"/dicom-web/studies?limit=3&0020000D={study}&offset=1",
        f"/dicom-web/studies?StudyInstanceUID={study},1.9.9",
        f"/dicom-web/studies?StudyInstanceUID={study}%2C1.9.9&includefield=all",
        f"/regions/nowhere/dicom-web/studies/{study}/series",
        f"/dicom-web/wado?requestType=WADO&studyUID={study}&seriesUID=1&objectUID=1",
        f"/viewer?StudyInstanceUIDs={study},1.9.9",
    ]


def test_all_that_is_asked_of_a_study_meets_in_one_replica(both: Pair) -> None:
    served = {study: {both.get(path)[1] for path in ways_to(study)} for study in STUDIES[:10]}
    assert all(len(names) == 1 for names in served.values()), served


def test_studies_are_shared_out_over_both_replicas(both: Pair) -> None:
    names = [both.get(f"/dicom-web/studies/{study}/thumbnail")[1] for study in STUDIES]
    assert set(names) == {"gw1", "gw2"}
    assert min(names.count("gw1"), names.count("gw2")) >= len(STUDIES) // 5


def test_the_pages_of_a_search_meet_in_one_replica(both: Pair) -> None:
    for key in ("PatientName=A*", "StudyDate=20240101-", "Modality=CT", "AccessionNumber=1"):
        pages = [f"{key}&limit=2", f"{key}&limit=2&offset=2", f"{key}&limit=2&offset=40"]
        assert len({both.get(f"/dicom-web/studies?{page}")[1] for page in pages}) == 1


def test_header_names_that_servers_read_differently_are_refused(both: Pair) -> None:
    assert both.get("/livez")[0] == 200
    with socket.create_connection(("127.0.0.1", both.http_port), timeout=SECONDS) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: h\r\nContent_Length: 4\r\nConnection: close\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] == b"403"


async def test_dimse_goes_to_the_replica_of_the_called_ae_title(both: Pair) -> None:
    for name in REPLICAS:
        # Each replica refuses every other AE title than its own: an answer is proof of the way.
        echo = await run(ECHOSCU, "-aec", name, "127.0.0.1", both.dimse_port)
        assert echo.returncode == 0, echo.output
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
        found = await run(FINDSCU, "-v", "-S", "-aec", name, "127.0.0.1", both.dimse_port, *keys)
        assert found.returncode == 0, found.output
        assert "StudyInstanceUID" in found.output


async def test_another_called_ae_title_and_what_is_no_association_are_closed(both: Pair) -> None:
    assert (await run(ECHOSCU, "-aec", "GW3", "127.0.0.1", both.dimse_port)).returncode != 0
    assert (await run(ECHOSCU, "-aec", "GW12", "127.0.0.1", both.dimse_port)).returncode != 0
    for sent in (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"\x01\x00\x7f\xff\xff\xff" + bytes(100)):
        with socket.create_connection(("127.0.0.1", both.dimse_port), timeout=SECONDS) as connection:
            connection.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""


def test_a_replica_that_is_killed_costs_less_than_one_request_in_a_hundred(tmp_path: Path) -> None:
    with pair(tmp_path) as both:
        first = {study: both.get(f"/dicom-web/studies/{study}/series") for study in STUDIES}
        assert all(status for status, _ in first.values())
        victim = first[STUDIES[0]][1]
        statuses: SimpleQueue[int] = SimpleQueue()

        def ask(first_round: threading.Event) -> None:
            for number in range(150):
                statuses.put(both.get(f"/dicom-web/studies?StudyInstanceUID={STUDIES[number % len(STUDIES)]}")[0])
                if number == 20:
                    first_round.set()

        rounds = [threading.Event() for _ in range(4)]
        threads = [threading.Thread(target=ask, args=(event,)) for event in rounds]
        for thread in threads:
            thread.start()
        for event in rounds:
            event.wait(SECONDS)
        os.kill(both.replicas[victim.upper()].pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        seen = [statuses.get() for _ in range(600)]
        failed = [status for status in seen if status != 200]
        assert len(failed) < 6, failed
        [other] = {"gw1", "gw2"} - {victim}
        assert {both.get(f"/dicom-web/studies/{study}/series")[1] for study in STUDIES} == {other}
