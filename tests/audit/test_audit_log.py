"""A caller hears that its record is kept once the disk has it, and never otherwise (promise P04)."""

import asyncio
import os
import resource
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import NoneType

import pytest

from gateway.access.principal import Principal
from gateway.audit.anchor import Anchors
from gateway.audit.log import AuditLog, Upkeep
from gateway.audit.record import Event, Outcome, Record, record_of
from gateway.audit.segments import entries, segments, writers
from gateway.audit.verify import verify
from gateway.audit.writer import LogWriter, Rotation
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import AuditUnavailable, ConfigError
from gateway.events import REQUEST, AuditAnchorFailed, AuditFailed, Observer, Request, unobserved
from tests.audit.logs import DENIED, REPLICA, SEARCH, Seen, searches, until, write


def kept(folder: Path) -> list[Record]:
    return [entry.record for entry, _ in entries(folder / REPLICA)]


@asynccontextmanager
async def running(
    folder: Path,
    *,
    upkeep: Upkeep | None = None,
    anchors: Anchors | None = None,
    rotation: Rotation | None = None,
    observe: Observer = unobserved,
) -> AsyncIterator[AuditLog]:
    writer = LogWriter(folder, REPLICA, anchors=anchors, rotation=rotation or Rotation())
    async with AuditLog(writer, anchors=anchors, upkeep=upkeep or Upkeep(), observe=observe).running() as log:
        yield log


async def test_records_are_kept_in_order_and_the_last_one_tells_of_the_stop(tmp_path: Path) -> None:
    async with running(tmp_path / "log") as log:
        await log.record(Record(Event.START))
        for record in searches(3):
            await log.record(record)
    assert kept(tmp_path / "log") == [Record(Event.START), *searches(3), Record(Event.STOP)]
    assert verify(tmp_path / "log" / REPLICA).fault is None


async def test_a_record_is_on_the_disk_when_its_caller_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path / "log") as log:
        await log.record(SEARCH)
        assert kept(tmp_path / "log") == [SEARCH]


async def test_records_of_the_same_moment_share_one_write_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = 0
    real = os.fdatasync

    def counted(file: int) -> None:
        nonlocal syncs
        syncs += 1
        real(file)

    async with running(tmp_path / "log") as log:
        monkeypatch.setattr(os, "fdatasync", counted)
        async with asyncio.TaskGroup() as group:
            for record in searches(500):
                group.create_task(log.record(record))
    assert len(kept(tmp_path / "log")) == 501
    assert syncs <= 5


async def test_a_caller_that_leaves_takes_nobody_elses_record_along(tmp_path: Path) -> None:
    async with running(tmp_path / "log") as log:
        leaving = [asyncio.ensure_future(log.record(record)) for record in searches(20)]
        staying = [asyncio.ensure_future(log.record(DENIED)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*staying)
        assert all(
            isinstance(x, asyncio.CancelledError) for x in await asyncio.gather(*leaving, return_exceptions=True)
        )
    assert kept(tmp_path / "log").count(DENIED) == 20
    assert verify(tmp_path / "log" / REPLICA).fault is None


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """What a full disk is to a process: the write fails for real, part of it may have been done."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_refuses_and_the_log_is_whole_once_there_is_room_again(tmp_path: Path) -> None:
    seen = Seen()
    async with running(tmp_path / "log", observe=seen) as log:
        await log.record(SEARCH)
        size = segments(tmp_path / "log" / REPLICA)[0][1].stat().st_size
        with no_file_grows_beyond(size + 100):
            for _ in range(3):
                with pytest.raises(AuditUnavailable):
                    await log.record(SEARCH)
            assert not log.is_writable
        await log.record(DENIED)
        assert log.is_writable
    assert seen.has(AuditFailed)
    records = kept(tmp_path / "log")
    assert [record.event for record in records] == [Event.SEARCH, Event.RECOVERY, Event.DENIED, Event.STOP]
    verdict = verify(tmp_path / "log" / REPLICA)
    assert (verdict.fault, verdict.recovered) == (None, 1)


async def test_a_disk_that_does_not_answer_refuses_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    real = os.fdatasync

    def hanging(file: int) -> None:
        answer.wait(60)
        real(file)

    async with running(tmp_path / "log", upkeep=Upkeep(write_seconds=1.0)) as log:
        monkeypatch.setattr(os, "fdatasync", hanging)
        began = time.monotonic()
        first = asyncio.ensure_future(log.record(SEARCH))
        second = asyncio.ensure_future(log.record(SEARCH))
        for one in (first, second):
            with pytest.raises(AuditUnavailable):
                await one
        assert time.monotonic() - began < 5
        answer.set()
        await log.record(DENIED)
    assert kept(tmp_path / "log")[-2] == DENIED


async def test_a_writer_that_fails_in_any_other_way_refuses_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defective(_: int) -> None:
        raise RuntimeError("a defect")

    seen = Seen()
    async with running(tmp_path / "log", observe=seen) as log:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", defective)
            with pytest.raises(AuditUnavailable):
                await log.record(SEARCH)
        await log.record(DENIED)
    assert AuditFailed("RuntimeError") in seen.events
    assert DENIED in kept(tmp_path / "log")


async def test_more_records_than_may_wait_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.audit.log.MOST_WAITING", 3)
    async with running(tmp_path / "log") as log:
        recorded = await asyncio.gather(*map(log.record, searches(5)), return_exceptions=True)
    assert [type(one) for one in recorded] == [NoneType] * 3 + [AuditUnavailable] * 2
    assert kept(tmp_path / "log")[:-1] == searches(3)


async def test_what_is_written_for_several_requests_happens_in_the_name_of_none(tmp_path: Path) -> None:
    named: list[Request | None] = []
    async with running(tmp_path / "log", observe=lambda _: named.append(REQUEST.get())) as log:
        token = REQUEST.set(Request("req-1"))
        await log.record(SEARCH)
        REQUEST.reset(token)
    assert set(named) == {None}


async def test_no_thread_is_left_behind(tmp_path: Path) -> None:
    async with running(tmp_path / "log") as log:
        await log.record(SEARCH)
        assert [one for one in threading.enumerate() if one.name.startswith("audit")]
    assert not [one for one in threading.enumerate() if one.name.startswith("audit")]


async def test_a_log_that_nobody_asks_finds_out_that_the_disk_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.audit.log.RETRY_SECONDS", 0.01)
    async with running(tmp_path / "log") as log:
        with no_file_grows_beyond(10), pytest.raises(AuditUnavailable):
            await log.record(SEARCH)
        await until(lambda: log.is_writable)
    assert kept(tmp_path / "log")[-2].reason == "the log can be written again"


async def test_a_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(ConfigError, match="audit log cannot be written"):
        async with running(tmp_path / "log"):
            pytest.fail("it started")


async def test_a_folder_that_others_can_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        async with running(tmp_path / "log"):
            pytest.fail("it started")


async def test_a_second_writer_of_the_same_name_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "log"):
        with pytest.raises(ConfigError, match="another process writes"):
            async with running(tmp_path / "log"):
                pytest.fail("it started")


async def test_only_the_owner_can_read_the_log(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        anchors = Anchors(tmp_path / "anchors.jsonl")
        async with running(tmp_path / "log", anchors=anchors) as log:
            await log.record(SEARCH)
    finally:
        os.umask(before)
    for path in [anchors.path, *(tmp_path / "log").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700


async def test_the_head_is_anchored_while_it_runs_and_at_its_end(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path / "anchors.jsonl")
    async with running(tmp_path / "log", anchors=anchors, upkeep=Upkeep(anchor_seconds=0.01)) as log:
        await log.record(SEARCH)
        await until(lambda: anchors.last(REPLICA) is not None)
    last = anchors.last(REPLICA)
    assert last is not None
    assert last.link == verify(tmp_path / "log" / REPLICA, anchors).head


async def test_an_anchor_that_cannot_be_written_is_told_and_stops_nothing(tmp_path: Path) -> None:
    seen = Seen()
    async with running(tmp_path / "log", anchors=Anchors(tmp_path / "none" / "anchors"), observe=seen) as log:
        await log.record(SEARCH)
    assert seen.has(AuditAnchorFailed)


async def test_the_chain_goes_on_over_segments_and_lives(tmp_path: Path) -> None:
    for _ in range(3):
        async with running(tmp_path / "log", rotation=Rotation(1000, 1e9)) as log:
            for record in searches(5):
                await log.record(record)
    folder = tmp_path / "log" / REPLICA
    assert len(segments(folder)) > 5
    verdict = verify(folder)
    assert (verdict.fault, verdict.records) == (None, 18)
    lives = {entry.writer for entry, _ in entries(folder)}
    assert len(lives) == 3
    assert writers(tmp_path / "log") == [folder]


async def test_a_segment_is_closed_by_its_age_too(tmp_path: Path) -> None:
    write(tmp_path / "log", searches(2), at=1.6e9)
    async with running(tmp_path / "log", rotation=Rotation(1 << 20, 3600.0)) as log:
        await log.record(SEARCH)
    assert [first for first, _ in segments(tmp_path / "log" / REPLICA)] == [1, 3]


async def test_what_is_older_than_the_retention_is_removed_and_the_log_says_so(tmp_path: Path) -> None:
    now = time.time()
    write(tmp_path / "log", searches(2), searches(2), searches(2), size=100, at=now - 1000)
    write(tmp_path / "log", searches(2), searches(2), size=100, at=now - 10)
    folder = tmp_path / "log" / REPLICA
    async with running(tmp_path / "log", upkeep=Upkeep(anchor_seconds=0.01, retention_seconds=500)):
        await until(lambda: segments(folder)[0][0] > 1)
    remaining = [entry for entry, _ in entries(folder)]
    # The youngest old segment stays: only what follows it says how old its end is, and that is young.
    assert remaining[0].link.seq == 5
    assert Record(Event.RETENTION, Outcome.SUCCESS, reason="removed: 1 to 4") in [x.record for x in remaining]
    assert verify(folder).fault is None


async def test_retention_leaves_what_a_feed_still_has_to_bring(tmp_path: Path) -> None:
    write(tmp_path / "log", *(searches(2) for _ in range(4)), size=100, at=time.time() - 1000)
    folder = tmp_path / "log" / REPLICA
    writer = LogWriter(tmp_path / "log", REPLICA)
    log = AuditLog(writer, upkeep=Upkeep(anchor_seconds=0.01, retention_seconds=1))
    log.needed = lambda: 4
    async with log.running():
        await until(lambda: segments(folder)[0][0] > 1)
    assert segments(folder)[0][0] == 3


async def test_a_record_that_is_too_long_to_be_read_again_is_refused_and_the_log_goes_on(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, REPLICA)
    async with AuditLog(writer).running() as log:
        with pytest.raises(AuditUnavailable, match="ask for less"):
            await log.record(SEARCH._replace(studies=("1.2." + "3" * (1 << 24),)))
        await log.record(SEARCH)
        assert log.is_writable
    assert [entry.record.event for entry, _ in entries(writer.folder)] == [Event.SEARCH, Event.STOP]


async def test_text_that_is_no_unicode_is_recorded_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path / "log") as log:
        await log.record(Record(Event.SEARCH, query="PatientName=\udcff"))
    assert kept(tmp_path / "log")[0].query == r"PatientName=\udcff"


async def test_an_error_inside_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="port"):
        async with running(tmp_path / "log"):
            raise ConfigError("port 8080 cannot be listened on")
    assert kept(tmp_path / "log") == [Record(Event.STOP)]


def test_a_principal_is_recorded_whole() -> None:
    principal = Principal(
        "dr.roy",
        "https://login.example.ca",
        "1.2.3",
        "Hôpital Général",
        "cpso:1",
        frozenset({"physician", "admin"}),
        token_id="jti-1",
        address="10.1.2.3",
    )
    patients = [PatientIdentifier("B", "2"), PatientIdentifier("A", "1"), PatientIdentifier("B", "2")]
    record = record_of(principal, Event.SEARCH, patients=patients, studies=["1.2", "1.2", "1.1"])
    assert (record.subject, record.organisation_name, record.person) == ("dr.roy", "Hôpital Général", "cpso:1")
    assert (record.roles, record.purpose, record.channel) == (("admin", "physician"), "TREAT", "web")
    assert record.patients == (("A", "1"), ("B", "2"))
    assert record.studies == ("1.2", "1.1")
