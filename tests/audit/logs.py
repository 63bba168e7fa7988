"""Audit logs for tests: written at once, or by a running log."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from gateway.audit.anchor import Anchor, Anchors
from gateway.audit.chain import dump
from gateway.audit.record import Event, Outcome, Record
from gateway.audit.writer import LogWriter, Rotation
from gateway.events import Event as Happening

REPLICA = "gw1"

SEARCH = Record(
    Event.SEARCH,
    subject="dr.roy",
    issuer="https://login.example.ca",
    organisation="2.16.840.1.113883.3.59.3:4711",
    organisation_name="Hôpital Général",
    person="cpso:12345",
    roles=("physician",),
    purpose="TREAT",
    token_id="jti-1",
    channel="web",
    address="10.1.2.3",
    patients=(("TEST-HCN", "0041596842"),),
    studies=("1.2.3.4",),
    query="GET /dicom-web/studies?PatientID=0041596842",
    request_id="req-1",
)


def searches(count: int) -> list[Record]:
    return [SEARCH._replace(request_id=f"req-{number}") for number in range(count)]


def write(
    folder: Path, *batches: list[Record], anchors: Anchors | None = None, size: int = 1 << 20, at: float = 1.7e9
) -> Path:
    """Append batches in one life of the writer, anchor its head, and return the folder of its segments."""
    writer = LogWriter(folder, REPLICA, rotation=Rotation(size, 1e9), anchors=anchors)
    writer.open()
    for number, batch in enumerate(batches):
        writer.append([(at + number, dump(record)) for record in batch])
    if anchors is not None:
        anchors.add(Anchor(REPLICA, "2026-11-22T00:00:00Z", writer.head))
    writer.close()
    return writer.folder


DENIED = SEARCH._replace(event=Event.DENIED, outcome=Outcome.DENIED, reason="the token has no scope retrieve", query="")


class Seen:
    """An observer that keeps what it sees."""

    def __init__(self) -> None:
        self.events: list[Happening] = []

    def __call__(self, event: Happening) -> None:
        self.events.append(event)

    def has(self, kind: type[Happening]) -> bool:
        return any(isinstance(event, kind) for event in self.events)


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.005)
