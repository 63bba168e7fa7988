"""Finding the first record of a log that is not as it was written."""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.audit.anchor import Anchor, Anchors
from gateway.audit.chain import GENESIS, Checked, Link, check, decode, following
from gateway.audit.record import Event
from gateway.audit.segments import segments

_UNFINISHED: Final = re.compile(r"unfinished: (\d+) bytes, SHA-256 ([0-9a-f]{64})")
_MISSING: Final = re.compile(r"missing: (\d+) to (\d+), anchored at (\S+)")
_REMOVED: Final = re.compile(r"removed: (\d+) to (\d+)")
# Looked for before a line is decoded: few are of the log itself.
_RECOVERY: Final = b'"record":{"event":"recovery"'
_RETENTION: Final = b'"record":{"event":"retention"'


@dataclass(frozen=True, slots=True)
class Fault:
    """The first place where a log is not as it was written.

    Attributes:
        file: the segment.
        line: counted from 1.
        seq: the record that is expected there, or found.
        why: for people.
    """

    file: Path
    line: int
    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verification of a writer's log found.

    Attributes:
        writer: the replica.
        records: how many were checked.
        head: the last one.
        fault: the first broken one; None where all is whole.
        unfinished: bytes at the end that are no record: being written just now, or left by a crash.
        recovered: how often the log was found with an unfinished end and went on.
        anchors: how many were compared.
    """

    writer: str
    records: int
    head: Link
    fault: Fault | None = None
    unfinished: int = 0
    recovered: int = 0
    anchors: int = 0


class _Broken(Exception):
    """Carries the fault up."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.why)
        self.fault = fault


class _Walk:
    """One pass over the segments of a writer."""

    def __init__(self, folder: Path, anchors: Iterator[Anchor]) -> None:
        self.folder = folder
        self.head = GENESIS
        self.records = self.recovered = self.compared = 0
        self.damage = b""
        self.removed = 0
        self._first = 0
        self._damaged: Fault | None = None
        self._anchors = anchors
        self._anchor: Anchor | None = None
        self._next_anchor: float = math.inf
        self._take_anchor()
        self._file = folder
        self._line = 0

    def _take_anchor(self) -> None:
        self._anchor = next(self._anchors, None)
        self._next_anchor = self._anchor.link.seq if self._anchor else math.inf

    def run(self) -> None:
        """Check everything.

        Raises:
            _Broken: at the first fault.
        """
        for first, path in segments(self.folder):
            if self._damaged is not None:
                raise _Broken(self._damaged)
            self._file, self._line = path, 0
            if not self.records:
                self._first, self.head = first, Link(first - 1, "")
            elif first != self.head.seq + 1:
                raise self._broken(
                    f"the segment's name says {first}: "
                    + (f"records {self.head.seq + 1} to {first - 1} are missing" if first > self.head.seq else "moved")
                )
            self._segment(path)
        anchored = self._anchor is not None and self._anchor.link.seq > self.head.seq
        # A crash leaves a line without its end; what has one was whole, and was changed.
        if self._damaged is not None and (anchored or self.damage.endswith(b"\n")):
            raise _Broken(self._damaged)
        self._end()

    def _segment(self, path: Path) -> None:
        """Check one segment: most lines simply follow, and only the others are looked at closely."""
        with path.open("rb") as file:
            seq, previous = self.head.seq, self.head.digest.encode()
            for line in file:
                self._line += 1
                digest = following(line, previous, seq + 1)
                of_the_log = _RECOVERY in line or _RETENTION in line
                if digest and self._damaged is None and seq + 1 < self._next_anchor and not of_the_log:
                    seq, previous = seq + 1, digest
                    continue
                self._reached(seq, previous)
                if self._look_closer(line) and of_the_log:
                    self._heed(line)
                seq, previous = self.head.seq, self.head.digest.encode()
            self._reached(seq, previous)

    def _reached(self, seq: int, digest: bytes) -> None:
        self.records += seq - self.head.seq
        self.head = Link(seq, digest.decode())

    def _look_closer(self, line: bytes) -> bool:
        """Whether a line that does not simply follow is whole nevertheless and rightly there."""
        checked = check(line)
        if checked is None:
            self._damaged = self._damaged or self._broken(_damage(line)).fault
            self.damage += line
            return False
        if self._damaged is not None:
            self._recovered(line if _RECOVERY in line else b"")
        self._check_place(checked)
        self._advance(checked.link)
        return True

    def _check_place(self, checked: Checked) -> None:
        seq = checked.link.seq
        if seq != self.head.seq + 1:
            raise self._broken(_out_of_order(self.head.seq + 1, seq))
        if checked.previous != self.head.digest and self.head.digest:
            raise self._broken("it was not written behind the record before it: one of the two was put in its place")
        if seq == 1 and checked.previous != GENESIS.digest:
            raise self._broken("it is not the first record of its chain")

    def _advance(self, link: Link) -> None:
        self.head = link
        self.records += 1
        while self._anchor is not None and self._anchor.link.seq <= link.seq:
            anchor = self._anchor
            self._take_anchor()
            self.compared += anchor.link.seq == link.seq
            if anchor.link.seq == link.seq and anchor.link.digest != link.digest:
                raise self._broken(
                    f"it is not the record that was anchored at {anchor.at}: it was written anew", link.seq
                )

    def _recovered(self, line: bytes) -> None:
        """Accept damage that the record behind it accounts for; anything else is the fault."""
        fault, damage = self._damaged, self.damage
        told = _UNFINISHED.search(decode(line).record.reason) if line else None
        told_of = (damage, damage.removesuffix(b"\n"))
        if fault is None or told is None or told[2] not in {hashlib.sha256(x).hexdigest() for x in told_of}:
            raise _Broken(fault) if fault else self._broken("damaged")
        self._damaged, self.damage = None, b""
        self.recovered += 1

    def _heed(self, line: bytes) -> None:
        """Take from a record of the log itself what it tells of the log."""
        record = decode(line).record
        if missing := _MISSING.search(record.reason if record.event is Event.RECOVERY else ""):
            raise self._broken(f"records up to {missing[2]} were there at {missing[3]} and are cut off", self.head.seq)
        if removed := _REMOVED.search(record.reason if record.event is Event.RETENTION else ""):
            self.removed = max(self.removed, int(removed[2]))

    def _end(self) -> None:
        if self._anchor is not None and self._anchor.link.seq > self.head.seq:
            self._line += 1
            raise self._broken(
                f"the log ends here, but record {self._anchor.link.seq} was there at {self._anchor.at}: cut off"
            )
        if self._first > 1 and self.removed < self._first - 1:
            self._file, self._line, self.head = segments(self.folder)[0][1], 1, Link(self._first - 1, "")
            raise self._broken(f"records 1 to {self._first - 1} are missing, and no retention removed them")

    def _broken(self, why: str, seq: int = 0) -> _Broken:
        return _Broken(Fault(self._file, self._line, seq or self.head.seq + 1, why))


def verify(folder: Path, anchors: Anchors | None = None) -> Verdict:
    """Check the chain of one writer from its first record to its last, and against the anchors."""
    walk = _Walk(folder, anchors.of(folder.name) if anchors else iter(()))
    fault = None
    try:
        walk.run()
    except _Broken as broken:
        fault = broken.fault
    unfinished = 0 if fault else len(walk.damage)
    return Verdict(folder.name, walk.records, walk.head, fault, unfinished, walk.recovered, walk.compared)


def _damage(line: bytes) -> str:
    return "its digest does not fit it: it was changed" if line.endswith(b"\n") else "it is not finished"


def _out_of_order(expected: int, seq: int) -> str:
    if seq > expected:
        gone = f"records {expected} to {seq - 1} are" if seq - 1 > expected else f"record {expected} is"
        return f"record {seq} stands here: {gone} missing, or moved"
    return f"record {seq} stands here a second time, or moved"
