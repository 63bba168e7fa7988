"""A region whose holdings and misdeeds a test writes down."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.dataset.query import Level, Query, Row, Selection
from gateway.deadline import Deadline
from gateway.dimse.suboperations import SubOperations
from gateway.errors import Aborted, GatewayError, Stalled
from gateway.region.inbox import Receiver
from gateway.region.profile import Profile
from tests.region.arriving import Arriving

Holdings = Mapping[str, Mapping[str, Sequence[str]]]
"""Study to series to instances."""

COUNTED = {"_00080061": "CT", "_00201206": 1, "_00201208": 1}
"""What a region tells of the level below a study."""

PATIENT_VRS = {"00100010": "PN", "00100020": "LO", "00100021": "LO", "00100030": "DA", "00100040": "CS"}
KEYS = {Level.STUDY: "0020000D", Level.SERIES: "0020000E", Level.IMAGE: "00080018"}


def profile(name: str, **changes: Any) -> Profile:
    known = {"name": name, "ae_title": name, "host": "127.0.0.1", "port": 104, "issuer_of_patient_id": name}
    return Profile(**{**known, **changes})


def row(level: Level = Level.STUDY, uid: str = "1.2.3", **attributes: Any) -> Row:
    """Make a row: its Unique Key, and attributes as tag (behind an underscore) = value or list of values."""
    made: Row = {KEYS[level]: {"vr": "UI", "Value": [uid]}}
    for tag, value in attributes.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        vr = PATIENT_VRS.get(tag[1:], "LO")
        shown = [{"Alphabetic": x} for x in values] if vr == "PN" else values
        made[tag[1:]] = {"vr": vr, "Value": shown} if shown else {"vr": vr}
    return made


def study_row(
    uid: str, patient_id: str = "MRN1", name: str = "Roy^Zoé", birth_date: str = "19700101", **more: Any
) -> Row:
    """Make the row of a study with a patient and what is below; a Patient ID is in its region's namespace."""
    told = COUNTED | more
    return row(Level.STUDY, uid, _00100010=name, _00100020=patient_id, _00100030=birth_date, **told)


@dataclass
class ScriptedRegion:
    """Holds studies, answers searches without filtering anything, and sends what a retrieve selects.

    Attributes:
        holdings: what it holds.
        rows: its study rows, where they are to say more than the Study Instance UID.
        failures: how its searches of a level end: after so many rows, with an error; None is silence.
        sends: what becomes of a retrieve; by default all that is selected arrives.
        patience: seconds that a search waits for it.
        usual: seconds that its searches take of late.
        walked: the levels that it answers by walking.
        modalities: of its series; CT where nothing is said.
        counting: whether its series rows tell their modality and how many instances they have.
        asked, told: the queries and the selections it met.
    """

    name: str
    holdings: Holdings = field(default_factory=dict)
    rows: Sequence[Row] | None = None
    failures: dict[Level, tuple[int, GatewayError | None]] = field(default_factory=dict)
    sends: "Callable[[ScriptedRegion, Selection, Receiver], Awaitable[SubOperations]] | None" = None
    changes: dict[str, Any] = field(default_factory=dict)
    asked: list[Query] = field(default_factory=list, repr=False)
    told: list[Selection] = field(default_factory=list, repr=False)
    deadlines: list[float] = field(default_factory=list, repr=False)
    stores: list[Arriving] = field(default_factory=list, repr=False)
    under_way: int = field(default=0, repr=False)
    held_up: Callable[[], bool] = field(default=lambda: False, repr=False)
    patience: float = 8.0
    usual: float = 0.0
    walked: frozenset[Level] = frozenset()
    modalities: dict[str, str] = field(default_factory=dict)
    counting: bool = True
    began: float = field(default=0.0, repr=False)

    @property
    def profile(self) -> Profile:
        return profile(self.name, **self.changes)

    def answers(self, level: Level) -> Sequence[Row]:
        if level is Level.STUDY:
            return [study_row(uid) for uid in self.holdings] if self.rows is None else self.rows
        series = [(study, uid) for study, held in self.holdings.items() for uid in held]
        if level is Level.SERIES:
            return [self.series_row(study, uid) for study, uid in series]
        return [
            row(level, instance, _0020000D=study, _0020000E=uid)
            for study, uid in series
            for instance in self.holdings[study][uid]
        ]

    def series_row(self, study: str, uid: str) -> Row:
        told = {"_00080060": self.modalities.get(uid, "CT")} if self.counting else {}
        count = len(self.holdings[study][uid]) if self.counting else 0
        return row(Level.SERIES, uid, _0020000D=study, **told, **({"_00201209": count} if count else {}))

    def walks(self, query: Query) -> bool:
        return query.level in self.walked

    async def search(self, query: Query, deadline: Deadline) -> AsyncGenerator[Row, None]:
        self.asked.append(query)
        self.deadlines.append(deadline.remaining)
        self.under_way += 1
        try:
            if deadline.passed:
                raise Stalled("too late")
            rows = self.answers(query.level)
            after, error = self.failures.get(query.level, (len(rows), None))
            for answer in rows[:after]:
                await asyncio.sleep(0)
                yield answer
            if query.level in self.failures:
                if error is not None:
                    raise error
                try:
                    async with deadline.timeout():
                        await asyncio.Event().wait()
                except TimeoutError:
                    raise Stalled("silence") from None
        finally:
            self.under_way -= 1

    async def retrieve(
        self, selection: Selection, receive: Receiver, deadline: Deadline, *, held_up: Callable[[], bool]
    ) -> SubOperations:
        self.began = self.began or asyncio.get_running_loop().time()
        self.told.append(selection)
        self.held_up = held_up
        self.under_way += 1
        try:
            return await (self.sends or send_all)(self, selection, receive)
        finally:
            self.under_way -= 1

    def selected(self, selection: Selection) -> list[str]:
        """Return the instances it holds of a selection."""
        series = self.holdings.get(selection.study, {})
        return [
            uid
            for name, uids in series.items()
            for uid in uids
            if selection.series in {None, name} and (not selection.instances or uid in selection.instances)
        ]

    def series_of(self, uid: str) -> str | None:
        """Return the Series Instance UID that the head of an instance has."""
        return next((x for held in self.holdings.values() for x, uids in held.items() if uid in uids), None)

    def arriving(self, uid: str, data: bytes = b"pixels" * 100) -> Arriving:
        store = Arriving(data=data, calling_ae_title=self.name, sop_instance_uid=uid)
        self.stores.append(store)
        return store


async def send_all(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
    """Send what is selected, one after the other."""
    uids = region.selected(selection)
    for uid in uids:
        await receive(region.arriving(uid).arrive(), region.series_of(uid))
    return SubOperations(status=0, completed=len(uids), failed=0, warning=0)


def sends(count: int, then: GatewayError | None = None, **reported: Any) -> Any:
    """Send the first so many instances; then fail, or report what is given."""

    async def send(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        for uid in region.selected(selection)[:count]:
            await receive(region.arriving(uid).arrive(), region.series_of(uid))
        if then is not None:
            raise then
        return replace(SubOperations(status=0, completed=count, failed=0, warning=0), **reported)

    return send


def lacking(*missing: str, then: GatewayError | None = None, **reported: Any) -> Any:
    """Send what is selected but for these, however often they are asked for; then fail, or report what is given."""

    async def send(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        uids = [uid for uid in region.selected(selection) if uid not in missing]
        for uid in uids:
            await receive(region.arriving(uid).arrive(), region.series_of(uid))
        if then is not None:
            raise then
        return replace(SubOperations(status=0, completed=len(uids), failed=0, warning=0), **reported)

    return send


def breaks_off_inside(uid: str, times: int | None = None) -> Any:
    """Send what is selected up to the middle of one instance, then abort; the first so many times, or always."""
    left = [times]

    async def send(region: ScriptedRegion, selection: Selection, receive: Receiver) -> SubOperations:
        for name in region.selected(selection):
            if name == uid and left[0] != 0:
                left[0] = None if left[0] is None else left[0] - 1
                await break_off(region.arriving(uid).arrive(300), region.series_of(uid), receive)
            await receive(region.arriving(name).arrive(), region.series_of(name))
        return SubOperations(status=0, completed=len(region.selected(selection)))

    return send


async def break_off(half: Arriving, series: str | None, receive: Receiver) -> None:
    taking = asyncio.ensure_future(receive(half, series))
    try:
        await asyncio.sleep(0.01)
        half.break_off(Aborted("gone"))
        with suppress(GatewayError):
            await taking
    finally:
        taking.cancel()
    raise Aborted("gone")
