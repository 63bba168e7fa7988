"""Whatever is done to the log's files afterwards is found, and the place is named."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.anchor import Anchors
from gateway.audit.record import Event
from gateway.audit.segments import entries, segments
from gateway.audit.verify import verify
from tests.audit.logs import searches, write

COUNT = 24
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> list[list[bytes]]:
    """The lines of each of three segments."""
    home = tmp_path_factory.mktemp("original")
    (home / "log").mkdir(mode=0o700)
    one = len(next(path for _, path in segments(write(home / "one", searches(1)))).read_bytes())
    folder = write(home / "log", *([record] for record in searches(COUNT)), size=8 * one)
    lines = [path.read_bytes().splitlines(keepends=True) for _, path in segments(folder)]
    assert [len(x) for x in lines] == [8, 8, 8]
    return lines


def lay(home: Path, lines: list[list[bytes]]) -> Path:
    folder = home / "gw1"
    folder.mkdir(parents=True)
    first = 1
    for segment in lines:
        (folder / f"{first:015d}.jsonl").write_bytes(b"".join(segment))
        first += 8
    return folder


@pytest.fixture
def anchors(tmp_path: Path, original: list[list[bytes]]) -> Anchors:
    """What the second place holds after a clean stop: the head."""
    last = original[-1][-1]
    path = tmp_path / "anchors.jsonl"
    path.write_bytes(b'{"writer":"gw1","at":"2026-11-22T00:00:00Z","seq":%d,"digest":"%b"}\n' % (COUNT, last[11:75]))
    return Anchors(path)


def test_an_untouched_log_is_whole(tmp_path: Path, original: list[list[bytes]], anchors: Anchors) -> None:
    verdict = verify(lay(tmp_path / "log", original), anchors)
    assert verdict.fault is None
    assert (verdict.records, verdict.head.seq, verdict.anchors, verdict.unfinished) == (COUNT, COUNT, 1, 0)


positions = st.integers(0, COUNT - 1)


def place(position: int) -> tuple[int, int]:
    return divmod(position, 8)


@settings(max_examples=60, deadline=None)
@given(position=positions, data=st.data())
def test_a_flipped_bit_is_found_where_it_is(
    tmp_path_factory: pytest.TempPathFactory, original: list[list[bytes]], position: int, data: st.DataObject
) -> None:
    lines = [list(segment) for segment in original]
    segment, line = place(position)
    changed = bytearray(lines[segment][line])
    at = data.draw(st.integers(0, len(changed) - 2))  # without its end of line: the next test has that
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    lines[segment][line] = bytes(changed)
    verdict = verify(lay(tmp_path_factory.mktemp("flip"), lines))
    assert verdict.fault is not None
    assert (verdict.fault.file.name, verdict.fault.line) == (f"{segment * 8 + 1:015d}.jsonl", line + 1)
    assert verdict.fault.seq == position + 1


@pytest.mark.parametrize("position", [0, 7, 12, COUNT - 1])
def test_a_line_whose_end_is_gone_is_found(
    tmp_path: Path, original: list[list[bytes]], anchors: Anchors, position: int
) -> None:
    lines = [list(segment) for segment in original]
    segment, line = place(position)
    lines[segment][line] = lines[segment][line][:-1]
    fault = verify(lay(tmp_path / "log", lines), anchors).fault
    assert fault is not None
    assert fault.seq == position + 1


@settings(max_examples=30, deadline=None)
@given(position=st.integers(0, COUNT - 2))
def test_a_dropped_record_is_found_where_it_was(
    tmp_path_factory: pytest.TempPathFactory, original: list[list[bytes]], position: int
) -> None:
    lines = [list(segment) for segment in original]
    segment, line = place(position)
    del lines[segment][line]
    fault = verify(lay(tmp_path_factory.mktemp("drop"), lines)).fault
    assert fault is not None
    assert fault.seq == position + 1
    assert "missing" in fault.why


@settings(max_examples=30, deadline=None)
@given(first=positions, second=positions)
def test_two_records_in_each_others_place_are_found_at_the_first(
    tmp_path_factory: pytest.TempPathFactory, original: list[list[bytes]], first: int, second: int
) -> None:
    lines = [list(segment) for segment in original]
    (a, i), (b, j) = place(first), place(second)
    lines[a][i], lines[b][j] = lines[b][j], lines[a][i]
    fault = verify(lay(tmp_path_factory.mktemp("reorder"), lines)).fault
    assert (fault is None) == (first == second)
    assert fault is None or fault.seq == min(first, second) + 1


@settings(max_examples=30, deadline=None)
@given(position=positions, source=positions)
def test_an_inserted_record_is_found_where_it_stands(
    tmp_path_factory: pytest.TempPathFactory, original: list[list[bytes]], position: int, source: int
) -> None:
    lines = [list(segment) for segment in original]
    segment, line = place(position)
    lines[segment].insert(line + 1, original[place(source)[0]][place(source)[1]])
    fault = verify(lay(tmp_path_factory.mktemp("insert"), lines)).fault
    if source == position + 1 and line < 7:  # it stands before itself: what comes twice is the next
        assert fault is not None
        assert fault.line == line + 3
    elif source == position + 1:  # the same, over the end of a segment
        assert fault is not None
    else:
        assert fault is not None
        assert (fault.line, fault.seq) == (line + 2, position + 2)


@settings(max_examples=30, deadline=None)
@given(kept=st.integers(0, COUNT - 1))
def test_a_cut_off_tail_is_missed_by_the_anchor(
    tmp_path_factory: pytest.TempPathFactory, original: list[list[bytes]], kept: int
) -> None:
    home = tmp_path_factory.mktemp("truncate")
    path = home / "anchors.jsonl"
    path.write_bytes(
        b'{"writer":"gw1","at":"2026-11-22T00:00:00Z","seq":%d,"digest":"%b"}\n' % (COUNT, original[-1][-1][11:75])
    )
    lines = [segment[: max(0, kept - 8 * number)] for number, segment in enumerate(original)]
    folder = lay(home / "log", [segment for segment in lines if segment])
    fault = verify(folder, Anchors(path)).fault
    assert fault is not None
    assert fault.seq == kept + 1
    assert f"record {COUNT}" in fault.why


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (0, 2)])
def test_swapped_segments_are_found(tmp_path: Path, original: list[list[bytes]], one: int, other: int) -> None:
    lines = [list(segment) for segment in original]
    lines[one], lines[other] = lines[other], lines[one]
    fault = verify(lay(tmp_path / "log", lines)).fault
    assert fault is not None
    assert (fault.file.name, fault.line) == (f"{one * 8 + 1:015d}.jsonl", 1)


def test_a_removed_first_segment_is_found_unless_the_log_says_that_it_removed_it(
    tmp_path: Path, original: list[list[bytes]]
) -> None:
    folder = lay(tmp_path / "log", original)
    (folder / "000000000000001.jsonl").unlink()
    fault = verify(folder).fault
    assert fault is not None
    assert "records 1 to 8 are missing" in fault.why


def test_a_log_that_was_written_anew_with_right_digests_is_not_what_was_anchored(
    tmp_path: Path, anchors: Anchors
) -> None:
    folder = write(tmp_path / "forged", searches(COUNT))
    assert verify(folder).fault is None
    fault = verify(folder, anchors).fault
    assert fault is not None
    assert fault.seq == COUNT
    assert "written anew" in fault.why


def test_anchors_of_what_was_removed_hide_no_later_one(tmp_path: Path, original: list[list[bytes]]) -> None:
    path = tmp_path / "anchors.jsonl"
    told = ((3, original[0][2][11:75]), (12, b"0" * 64), (COUNT, original[-1][-1][11:75]))
    path.write_bytes(b"".join(b'{"writer":"gw1","at":"T","seq":%d,"digest":"%b"}\n' % one for one in told))
    folder = lay(tmp_path / "log", original)
    (folder / "000000000000001.jsonl").unlink()
    fault = verify(folder, Anchors(path)).fault
    assert fault is not None
    assert (fault.seq, fault.line) == (12, 4)


def test_an_unfinished_last_line_is_no_tampering_and_the_next_life_accounts_for_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "log", searches(3))
    path = segments(folder)[-1][1]
    torn = path.read_bytes().splitlines(keepends=True)[-1][:100]
    with path.open("ab") as file:
        file.write(torn)
    verdict = verify(folder)
    assert (verdict.fault, verdict.unfinished, verdict.records) == (None, 100, 3)
    write(tmp_path / "log", searches(2))
    verdict = verify(folder)
    assert (verdict.fault, verdict.recovered, verdict.records) == (None, 1, 6)
    recovery = [entry.record for entry, _ in entries(folder)][3]
    assert recovery.event is Event.RECOVERY
    assert hashlib.sha256(torn).hexdigest() in recovery.reason


def test_a_tail_cut_off_while_the_gateway_was_down_is_not_taken_for_a_crash(tmp_path: Path) -> None:
    anchors = Anchors(tmp_path / "anchors.jsonl")
    folder = write(tmp_path / "log", searches(5), anchors=anchors)
    path = segments(folder)[-1][1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:80])
    write(tmp_path / "log", searches(4), anchors=anchors)
    fault = verify(folder, anchors).fault
    assert fault is not None
    assert fault.seq == 4
    assert "records up to 5 were there" in fault.why


def test_damage_that_a_recovery_does_not_account_for_is_the_fault(tmp_path: Path) -> None:
    folder = write(tmp_path / "log", searches(3))
    path = segments(folder)[-1][1]
    whole = path.read_bytes()
    path.write_bytes(whole + b"torn")
    write(tmp_path / "log", searches(1))
    path.write_bytes(path.read_bytes().replace(b"torn", b"toRn"))
    fault = verify(folder).fault
    assert fault is not None
    assert fault.line == 4


CRASHING = """
import itertools, sys
from pathlib import Path
from tests.audit.logs import SEARCH
from gateway.audit.chain import dump
from gateway.audit.writer import LogWriter
writer = LogWriter(Path(sys.argv[1]), "gw1")
writer.open()
for number in itertools.count():
    writer.append([(1.7e9, dump(SEARCH))] * 50)
    print(writer.head.seq, flush=True)
"""


def test_what_was_acknowledged_before_kill_9_is_there_and_the_log_goes_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CRASHING, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    with process:
        assert process.stdout is not None
        acknowledged = 0
        for line in process.stdout:
            acknowledged = int(line)
            if acknowledged >= 500:
                process.send_signal(signal.SIGKILL)
    folder = write(tmp_path / "log", searches(3))
    verdict = verify(folder)
    assert verdict.fault is None
    assert verdict.records >= acknowledged + 3
