"""The store queue's ledger: what waits, what was delivered, and what becomes of one that is damaged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import ConfigError, QueueFull
from gateway.spool.commitments import Commitments
from gateway.spool.ledger import DELIVERED, NAME, QUARANTINED, WAITING, Holding, Kept, Ledger
from gateway.spool.queue import Queue

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
UID = "1.2.3.4"
LONGEST = 600.0


def kept(file: str = "f1", uid: str = UID, digest: bytes = b"d1", size: int = 4) -> Kept:
    return Kept(file, digest, size, CT, uid, "1.2.3", "1.2", EXPLICIT, "dimse CLINIC")


def due(ledger: Ledger, region: str = "neodin") -> list[str]:
    return [delivery.kept.file for delivery in ledger.due(region, longest=LONGEST, limit=10)]


def test_what_is_entered_is_due_at_each_of_its_regions_after_a_restart(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert ledger.keep([(kept(), ["neodin", "hdirs"])]) == {"f1"}
    with Ledger(tmp_path) as ledger:
        assert due(ledger) == due(ledger, "hdirs") == ["f1"]
        assert ledger.delivered("f1", "neodin") == []
        assert ledger.delivered("f1", "hdirs") == ["f1"]
        assert due(ledger) == due(ledger, "hdirs") == []


def test_same_bytes_that_wait_already_are_not_entered_again_and_other_bytes_wait_behind_them(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.keep([(kept(), ["neodin"])])
        assert ledger.keep([(kept("f2"), ["neodin"])]) == set()
        assert ledger.keep([(kept("f3", digest=b"d2"), ["neodin"])]) == {"f3"}
        assert due(ledger) == ["f1"]
        ledger.delivered("f1", "neodin")
        assert due(ledger) == ["f3"]


def test_postponed_delivery_is_due_at_once_when_the_clock_was_set_back(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.keep([(kept(), ["neodin"])])
        (delivery,) = ledger.due("neodin", longest=LONGEST, limit=1)
        ledger.postpone(delivery.number, delivery.kept_at + LONGEST / 2, "busy")
        assert due(ledger) == []
        ledger.postpone(delivery.number, delivery.kept_at + 30 * 86400, "busy")
        assert due(ledger) == ["f1"]


def test_holdings_tell_what_waits_what_is_quarantined_and_what_was_delivered(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.keep([(kept(), ["neodin"]), (kept("f2", "1.2.3.5"), ["neodin"])])
        refused = ledger.due("neodin", longest=LONGEST, limit=2)[1]
        ledger.quarantine(refused.number, "no")
        ledger.note([("1.2.3.6", "neodin", CT), ("1.2.3.6", "hdirs", CT)], seconds=LONGEST)
        assert ledger.holdings([UID, "1.2.3.5", "1.2.3.6", "1.2.3.7"]) == {
            UID: [Holding(CT, WAITING, "f1", 4)],
            "1.2.3.5": [Holding(CT, QUARANTINED, "f2", 4)],
            "1.2.3.6": [Holding(CT, DELIVERED), Holding(CT, DELIVERED)],
        }


def test_what_was_delivered_is_forgotten_after_its_time(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.note([(UID, "neodin", CT)], seconds=LONGEST)
        ledger.note([("1.2.3.6", "neodin", CT)], seconds=-1.0)
        assert ledger.holdings([UID, "1.2.3.6"]) == {}


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_ledger_that_is_no_database_is_refused_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ConfigError, match=f"{NAME}.*another folder"):
        Ledger(tmp_path)
    assert (tmp_path / NAME).read_bytes() == content  # what may be in it is still there to be mended


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Queue]:
    queue = Queue(folder, max_bytes=1 << 20)
    queue.open()
    try:
        yield queue
    finally:
        await queue.aclose()


async def arrived(queue: Queue, data: bytes = b"data") -> Kept:
    arrival = queue.arrive()
    await arrival.write(memoryview(data))
    digest = await arrival.finish()
    queue.account(arrival.size)
    return kept(arrival.file, digest=digest, size=arrival.size)


def damage(folder: Path) -> None:
    """Write over the ledger and what SQLite keeps beside it."""
    for path in folder.glob(f"{NAME}*"):
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(b"\xff" * size)


async def test_ledger_that_breaks_while_it_is_used_acknowledges_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        held = await arrived(queue)
        await queue.keep([(held, ["neodin"])])
        damage(tmp_path)
        entry = await arrived(queue, b"more data"), ["neodin"]
        with pytest.raises(QueueFull, match="ledger"):
            await queue.keep([entry])


async def test_files_that_no_row_speaks_of_are_removed_at_the_start_and_others_are_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        held = await arrived(queue, b"x" * 1000)
        await queue.keep([(held, ["neodin"])])
        await arrived(queue, b"never acknowledged")
    async with opened(tmp_path) as queue:
        assert [path.name for path in (tmp_path / "instances").iterdir()] == [held.file]
        assert queue.size == 1000


async def test_what_was_noted_as_delivered_is_known_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        queue.note(kept(), "neodin")
        assert await queue.holdings([UID]) == {UID: [Holding(CT, DELIVERED)]}
        queue.note(kept(uid="1.2.3.5"), "neodin")
    async with opened(tmp_path) as queue:
        assert (await queue.holdings([UID, "1.2.3.5"])).keys() == {UID, "1.2.3.5"}


async def test_requests_for_commitment_survive_and_are_each_due_once(tmp_path: Path) -> None:
    asked = [(CT, UID)]
    requests = Commitments(tmp_path)
    requests.open()
    first = await requests.enter("WS", "1.9.1", asked, most=2)
    assert await requests.enter("WS", "1.9.1", asked, most=2) is None
    second = await requests.enter("WS", "1.9.2", asked, most=2)
    with pytest.raises(QueueFull, match="not reported"):
        await requests.enter("WS", "1.9.3", asked, most=2)
    assert await requests.enter("OTHER", "1.9.1", asked, most=2)
    await requests.aclose()
    requests = Commitments(tmp_path)
    requests.open()
    try:
        assert first is not None
        assert second is not None
        await requests.settle(first)
        found = await requests.due(10, longest=LONGEST, besides={second})
        assert [(x.peer, x.transaction_uid, x.instances, x.attempts) for x in found] == [
            ("OTHER", "1.9.1", ((CT, UID),), 0)
        ]
        await requests.postpone(second, found[0].asked_at + LONGEST / 2)
        assert second not in {x.number for x in await requests.due(10, longest=LONGEST, besides=set())}
    finally:
        await requests.aclose()


async def test_file_of_requests_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "commitments.sqlite").write_bytes(b"something else" * 100)
    with pytest.raises(ConfigError, match="Storage Commitment"):
        Commitments(tmp_path).open()


async def test_keeping_many_at_once_keeps_all(tmp_path: Path) -> None:
    async with opened(tmp_path) as queue:
        entries = [await arrived(queue, b"instance %d" % number) for number in range(20)]
        await asyncio.gather(*(queue.keep([(x, ["neodin"])]) for x in entries))
    with Ledger(tmp_path) as ledger:
        assert ledger.files() == {x.file for x in entries}
